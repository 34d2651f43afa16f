//! The body of a request.

use std::io::Read;

use super::request::{End, more, plain};

/// Reads a body of that length.
pub(super) fn counted(
    line: &mut impl Read,
    buffer: &mut Vec<u8>,
    length: usize,
) -> Result<Vec<u8>, End> {
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
        body.extend(counted(line, buffer, length)?);
        // The end of the line.
        counted(line, buffer, 2)?;
        if length == 0 {
            return Ok(body);
        }
    }
}
