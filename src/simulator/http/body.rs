//! The body of a request.

use std::io::Read;

use super::request::{End, more, plain};

/// The longest body that is read.
const LONGEST: usize = 16 << 20;

/// Reads a body of that length.
pub(super) fn counted(
    line: &mut impl Read,
    buffer: &mut Vec<u8>,
    length: usize,
) -> Result<Vec<u8>, End> {
    if length > LONGEST {
        return Err(End::Refused(plain(400)));
    }
    while buffer.len() < length {
        more(line, buffer)?;
    }
    Ok(buffer.drain(..length).collect())
}

/// Reads a body that comes in chunks.
pub(super) fn chunked(line: &mut impl Read, buffer: &mut Vec<u8>) -> Result<Vec<u8>, End> {
    let mut body = Vec::new();
    loop {
        let (start, length) = match httparse::parse_chunk_size(buffer) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => {
                more(line, buffer)?;
                continue;
            }
            Err(_) => return Err(End::Refused(plain(400))),
        };
        let length = usize::try_from(length).map_err(|_| End::Refused(plain(400)))?;
        buffer.drain(..start);
        if length == 0 {
            skip_trailers(line, buffer)?;
            return Ok(body);
        }
        if length > LONGEST - body.len() {
            return Err(End::Refused(plain(400)));
        }
        body.extend(counted(line, buffer, length)?);
        if counted(line, buffer, 2)? != b"\r\n" {
            return Err(End::Refused(plain(400)));
        }
    }
}

/// Reads what follows the last chunk: headers, and an empty line.
fn skip_trailers(line: &mut impl Read, buffer: &mut Vec<u8>) -> Result<(), End> {
    let mut length = 0;
    loop {
        while !buffer.contains(&b'\n') {
            if length + buffer.len() > LONGEST {
                return Err(End::Refused(plain(400)));
            }
            more(line, buffer)?;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let trailer: Vec<u8> = buffer.drain(..=end.unwrap_or_default()).collect();
        if trailer.trim_ascii().is_empty() {
            return Ok(());
        }
        length += trailer.len();
    }
}
