//! A connection: one request after the other.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use super::{
    Answer, HttpFault, HttpRequest, Request, Server, Service, request::End, server::Scheme,
};

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
    let ended = match &server.scheme {
        Scheme::Http => converse(server, Socket(stream), service),
        #[cfg(feature = "tls")]
        Scheme::Https(authority) => {
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
            converse(server, line, service)
        }
    };
    if let Err(error) = ended {
        log::debug!("an HTTP connection broke: {error}");
    }
}

fn converse(server: &Server, mut line: impl Read + Write, service: &dyn Service) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let request = match Request::read(&mut line, &mut buffer) {
            Ok(request) => request,
            Err(End::Closed) => return Ok(()),
            Err(End::Refused(answer)) => return answer.write(&mut line, false, false),
        };
        let fault = server.take_note(HttpRequest::from(&request));
        let answer = match fault {
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
            Some(HttpFault::Html(status)) => page(status),
            Some(HttpFault::CutOff) => {
                let answer = service.answer(&request);
                service.answered();
                return answer.write_half(&mut line);
            }
            Some(HttpFault::Redirect(to)) => Answer::redirect(302, to),
            Some(HttpFault::NotHttp) => {
                line.write_all(b"220 mail.example ESMTP ready\r\n")?;
                return line.flush();
            }
        };
        let written = answer.write(&mut line, request.method == "HEAD", request.keeps_alive);
        service.answered();
        written?;
        if !request.keeps_alive {
            return Ok(());
        }
    }
}

/// Returns a page of something in front of a server.
fn page(status: u16) -> Answer {
    let title = format!("{status} {}", super::answer::reason(status));
    let html =
        format!("<html>\n<head><title>{title}</title></head>\n<body>{title}</body>\n</html>\n");
    Answer::new(status, "text/html", html)
}
