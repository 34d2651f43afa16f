//! Who reads standard output.

use ttn::crossbeam_channel::{Receiver, never};

/// Receives a message when the reader of standard output has gone, so that `ttn listen | head -1` ends although
/// there is nothing to write. Elsewhere than on Unix, only the next line shows it.
pub(crate) fn watch() -> Receiver<()> {
    #[cfg(unix)]
    if let Some(gone) = pipe::watch() {
        return gone;
    }
    never()
}

#[cfg(unix)]
mod pipe {
    use std::{
        io::{self, IsTerminal},
        os::fd::AsRawFd,
        thread,
    };

    use mio::{Events, Interest, Poll, Token, event::Event, unix::SourceFd};
    use ttn::crossbeam_channel::{Receiver, bounded};

    /// Returns nothing if standard output is not a pipe or a socket.
    pub(super) fn watch() -> Option<Receiver<()>> {
        let out = io::stdout();
        if out.is_terminal() {
            return None;
        }
        let poll = Poll::new().ok()?;
        let descriptor = out.as_raw_fd();
        // A file cannot be watched.
        poll.registry()
            .register(&mut SourceFd(&descriptor), Token(0), Interest::WRITABLE)
            .ok()?;
        let (sender, gone) = bounded(1);
        thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || {
                if wait(poll).is_ok() {
                    let _ = sender.send(());
                }
            })
            .ok()?;
        Some(gone)
    }

    /// Waits until nobody can read any more.
    fn wait(mut poll: Poll) -> io::Result<()> {
        let mut events = Events::with_capacity(1);
        loop {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ if events.iter().any(is_end) => return Ok(()),
                _ => {}
            }
        }
    }

    fn is_end(event: &Event) -> bool {
        event.is_error() || event.is_write_closed()
    }
}
