//! One reader at a time for each key on a server: all of a process share what the network lets a key ask.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, LazyLock, Mutex, Weak},
};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::handover::Stopped;
use crate::{
    config::AccessKey,
    sync::{Stop, lock},
};

/// The gates by the hashes of servers and keys. A hash tells nothing about the key, because each process has
/// another.
static GATES: LazyLock<Mutex<Gates>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Gates {
    hash: RandomState,
    gates: HashMap<u64, Weak<Gate>>,
}

/// Whoever has taken the token may ask.
struct Gate {
    back: Sender<()>,
    token: Receiver<()>,
}

/// The permission to ask. It ends when it is dropped.
pub(super) struct Turn(Arc<Gate>);

impl Turn {
    /// Waits for the permission.
    pub(super) fn wait(server: &str, key: &AccessKey, stop: &Stop) -> Result<Self, Stopped> {
        let gate = Gate::of(server, key);
        select! {
            recv(gate.token) -> _ => Ok(Self(gate.clone())),
            recv(stop) -> _ => Err(Stopped),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.0.back.try_send(());
    }
}

impl Gate {
    fn of(server: &str, key: &AccessKey) -> Arc<Self> {
        let mut gates = lock(&GATES);
        let hash = gates.hash.hash_one((server, key.reveal()));
        if let Some(gate) = gates.gates.get(&hash).and_then(Weak::upgrade) {
            return gate;
        }
        gates.gates.retain(|_, gate| gate.strong_count() > 0);
        let (back, token) = bounded(1);
        let _ = back.send(());
        let gate = Arc::new(Self { back, token });
        gates.gates.insert(hash, Arc::downgrade(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::mpsc, thread, time::Duration};

    use super::*;

    const SERVER: &str = "http://localhost:1885";

    fn key(text: &str) -> AccessKey {
        AccessKey::new(text.to_owned())
    }

    #[test]
    fn one_reader_waits_for_another_with_the_same_key_and_not_for_others() {
        let (_wanted, stop) = bounded::<Infallible>(0);
        let turn = Turn::wait(SERVER, &key("gate-1"), &stop);
        assert!(Turn::wait(SERVER, &key("gate-2"), &stop).is_ok());
        assert!(Turn::wait("http://other", &key("gate-1"), &stop).is_ok());
        let (told, hears) = mpsc::channel();
        let other = thread::spawn({
            let stop = stop.clone();
            move || {
                let turn = Turn::wait(SERVER, &key("gate-1"), &stop);
                told.send(turn.is_ok()).unwrap();
            }
        });
        assert!(hears.recv_timeout(Duration::from_millis(100)).is_err());
        drop(turn);
        assert!(hears.recv_timeout(Duration::from_secs(10)).unwrap());
        other.join().unwrap();
    }

    #[test]
    fn waiting_ends_when_nobody_wants_the_result() {
        let (wanted, stop) = bounded::<Infallible>(0);
        let _turn = Turn::wait(SERVER, &key("gate-3"), &stop);
        drop(wanted);
        assert!(Turn::wait(SERVER, &key("gate-3"), &stop).is_err());
    }
}
