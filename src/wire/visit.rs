//! A visit to a server: logs in, and leaves again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    destination::Destination,
    login::log_in,
    opening::{open, wait},
    relay::{DISCONNECT, Login},
    report::End,
    shortage::out_of,
    waiter::Waiter,
};

/// How long the server may take to close its side.
const FAREWELL: Duration = Duration::from_secs(10);

impl Login {
    /// Logs in to a server before `deadline`, and leaves again. Blocks.
    ///
    /// # Errors
    ///
    /// Why the server has not accepted the login.
    pub(crate) fn visit(&self, destination: &Destination, deadline: Instant) -> Result<(), End> {
        let server = &destination.server;
        let mut waiter = Waiter::new().map_err(|cause| End::Failed(out_of(server, cause)))?;
        let mut line = open(&mut waiter, destination, Arc::default(), deadline)?;
        let is_tls = destination.trust.is_some();
        log_in(&mut waiter, &mut line, self, server, is_tls, deadline)?;
        // The server has done what the login asks for. All of this fits into an empty buffer.
        let _ = line.write(&DISCONNECT).and_then(|_| line.close_writing());
        let until = Instant::now() + FAREWELL;
        let mut rest = [0; 1024];
        loop {
            match line.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(cause) if cause.kind() == std::io::ErrorKind::WouldBlock => {
                    if !matches!(wait(&mut waiter, server, None, until), Ok(true)) {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        line.end();
        Ok(())
    }
}
