//! Replaces TLS in a build without it: no value can be created, so no method can be called.

use std::{
    convert::Infallible,
    fmt,
    io::{self, Read, Write},
};

use crate::{
    config::Certificates,
    error::{Error, Result},
    wire::Security,
};

#[derive(Clone, Debug)]
pub(crate) struct Trust(Infallible);

impl Trust {
    pub(crate) fn read(_: &Certificates) -> Result<Self> {
        Err(Error::config(
            "this build of ttn has no TLS (feature `tls`); enable the feature, or connect without TLS with an address that starts with mqtt:// or http://",
        ))
    }

    pub(crate) fn start(&self, _: &str) -> Result<Tls> {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(crate) struct Tls(Infallible);

impl Tls {
    pub(crate) fn handshake<S: Read + Write>(&mut self, _: &mut S) -> io::Result<bool> {
        match self.0 {}
    }

    pub(crate) fn read<S: Read + Write>(&mut self, _: &mut S, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub(crate) fn write<S: Read + Write>(&mut self, _: &mut S, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub(crate) fn flush<S: Read + Write>(&mut self, _: &mut S) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn wants_write(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn close_notify(&mut self) {
        match self.0 {}
    }

    pub(crate) fn security(&self) -> Security {
        match self.0 {}
    }

    pub(crate) fn lacks_client_certificate(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn explain(&self, _: &dyn fmt::Display, _: &io::Error) -> Error {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_tls_says_so() {
        let error = Trust::read(&Certificates::default()).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Config);
        assert!(error.to_string().contains("feature `tls`"), "{error}");
    }
}
