//! A visit to a server, which only logs in.

use std::{io::Write, thread, time::Instant};

use super::{
    KEY, LONG,
    peer::{Server, read_out, read_packet},
};
use crate::wire::{Destination, Login};

#[test]
fn a_visit_says_farewell_so_that_the_server_keeps_nothing() {
    let server = Server::start();
    let destination = Destination {
        server: "the server".to_owned(),
        host: "localhost".to_owned(),
        port: server.address().port(),
        addresses: vec![server.address()],
        proxy: None,
        trust: None,
    };
    let login = Login {
        client_id: "worker-1".to_owned(),
        user_name: Some("app".to_owned()),
        password: Some(KEY.as_bytes().to_vec()),
        keep_alive: LONG,
        is_clean: true,
    };
    thread::scope(|scope| {
        let visit = scope.spawn(|| login.visit(&destination, Instant::now() + LONG));
        let mut peer = server.accept_plain();
        assert_eq!(read_packet(&mut peer), login.packet());
        peer.write_all(&[0x20, 2, 0, 0]).unwrap();
        assert_eq!(read_out(&peer), [0xe0, 0]);
        drop(peer);
        visit.join().unwrap().unwrap();
    });
}
