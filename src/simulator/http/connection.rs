//! A connection: one request after the other.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use super::{
    Answer, HttpFault, HttpRequest, Request, Server, Service,
    answer::{Body, Form},
    request::End,
    stream::Stream,
};
use crate::simulator::security::Security;

/// One end of a TCP connection, which the server can close at any time.
pub(super) struct Socket(Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.as_ref().read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.as_ref().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.as_ref().flush()
    }
}

/// Serves a connection until one side closes it.
pub(super) fn serve(server: &Server, stream: Arc<TcpStream>, service: &dyn Service) {
    let _ = stream.set_nodelay(true);
    let peer = Arc::clone(&stream);
    let ended = match &server.security {
        Security::Plain => converse(server, Socket(stream), &|| is_open(&peer, false), service),
        #[cfg(feature = "tls")]
        Security::Tls(authority) => {
            let mut first = [0];
            let is_plain =
                matches!(stream.peek(&mut first), Ok(1) if first[0].is_ascii_uppercase());
            let mut socket = Socket(stream);
            if is_plain {
                let text = "Client sent an HTTP request to an HTTPS server.\n";
                let _ = write!(socket, "HTTP/1.0 400 Bad Request\r\n\r\n{text}");
                return;
            }
            let Ok(line) = authority.accept(socket) else {
                return;
            };
            converse(server, line, &|| is_open(&peer, true), service)
        }
    };
    if let Err(error) = ended {
        log::debug!("an HTTP connection broke: {error}");
    }
}

/// Returns whether the client is still there. With TLS, it says goodbye before it leaves, and has nothing
/// else to say while an answer comes.
fn is_open(stream: &TcpStream, is_secured: bool) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let seen = stream.peek(&mut [0]);
    let is_restored = stream.set_nonblocking(false).is_ok();
    let is_there = match seen {
        Ok(count) => count > 0 && !is_secured,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    };
    is_there && is_restored
}

fn converse(
    server: &Server,
    mut line: impl Read + Write,
    is_open: &dyn Fn() -> bool,
    service: &dyn Service,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let request = match Request::read(&mut line, &mut buffer) {
            Ok(request) => request,
            Err(End::Closed) => return Ok(()),
            Err(End::Refused(answer)) => return answer.write(&mut line, false, false),
        };
        let fault = server.take_note(HttpRequest::from(&request));
        let form = Form {
            keeps_alive: request.keeps_alive,
            is_old: request.is_old,
            is_gzip: fault == Some(HttpFault::Gzip) && request.accepts_gzip(),
        };
        let answer = match fault.clone() {
            None => service.answer(&request),
            Some(HttpFault::Slow(delay)) => {
                let answer = service.answer(&request);
                service.answered();
                if !server.pause(delay) {
                    return Ok(());
                }
                answer
            }
            Some(HttpFault::Silent) => {
                io::copy(&mut line, &mut io::sink())?;
                return Ok(());
            }
            Some(HttpFault::Status(status)) => service.failed(&request, status),
            Some(HttpFault::RateLimited) => service.limited(&request),
            Some(HttpFault::Html(status)) => Answer::new(status, "text/html", page(status)),
            Some(HttpFault::CutOff) => {
                let answer = service.answer(&request);
                service.answered();
                if let Body::Whole(_) = answer.body {
                    return answer.write_half(&mut line);
                }
                answer
            }
            Some(HttpFault::Redirect(to)) => Answer::redirect(302, to),
            Some(HttpFault::NotHttp) => {
                line.write_all(b"220 mail.example ESMTP ready\r\n")?;
                return line.flush();
            }
            Some(HttpFault::Gzip) if form.is_gzip => service.answer(&request).packed(),
            Some(_) => service.answer(&request),
        };
        if let Body::Stream(_) = answer.body {
            let stream = Stream {
                server,
                form,
                fault,
                is_open,
            };
            let goes_on = stream.write(&mut line, answer);
            service.answered();
            match goes_on? {
                true => continue,
                false => return Ok(()),
            }
        }
        let written = answer.write(&mut line, request.method == "HEAD", request.keeps_alive);
        service.answered();
        written?;
        if !request.keeps_alive {
            return Ok(());
        }
    }
}

/// Returns a page of something in front of a server.
pub(super) fn page(status: u16) -> String {
    let title = format!("{status} {}", super::answer::reason(status));
    format!("<html>\n<head><title>{title}</title></head>\n<body>{title}</body>\n</html>\n")
}
