//! What goes wrong in the middle of answers that come in lines.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ttn::simulator::{HttpFault, Storage};

use crate::http_client::{Reply, connect, read_chunk, recorded, request};
use crate::site::{Site, shape, storage};

const UPLINKS: u64 = 5;
const SHORT: Duration = Duration::from_millis(50);

/// Starts a network with five stored uplinks.
fn site() -> Site {
    let site = Site::of("greenhouse");
    site.network.storage(Some(Storage::new()));
    for _ in 0..UPLINKS {
        site.device("bed-07").uplink(2, [1]);
    }
    site
}

impl Site {
    /// Lets the storage alone meet a fault.
    fn meets(&self, fault: HttpFault) {
        self.network.http_fault_on("/storage/", Some(fault));
    }

    /// Returns everything that comes of the stored uplinks until the connection ends.
    fn whole(&self, headers: &str) -> Vec<u8> {
        let headers = format!("Connection: close\r\n{headers}");
        let mut stream = self.open("GET", &storage(""), "", &headers);
        let mut whole = Vec::new();
        stream.read_to_end(&mut whole).unwrap();
        whole
    }
}

/// Returns how many chunks come, and whether the last one is among them.
fn chunks(whole: &[u8]) -> (usize, bool) {
    let text = String::from_utf8_lossy(whole);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    let count = body.matches("{\"result\":").count();
    (count, body.ends_with("\r\n0\r\n\r\n"))
}

fn counters(lines: &[&str]) -> Vec<u64> {
    let read = |line: &&str| serde_json::from_str::<Value>(line).ok();
    let counter = |line: Value| {
        let message = &line["result"]["uplink_message"];
        message
            .is_object()
            .then(|| message["f_cnt"].as_u64().unwrap_or(0))
    };
    lines.iter().filter_map(read).filter_map(counter).collect()
}

#[test]
fn a_stream_is_cut_within_a_frame_or_between_frames() {
    let site = site();
    assert_eq!(chunks(&site.whole("")), (5, true));
    for (fault, begun) in [
        (HttpFault::CutInFrame(0), 1),
        (HttpFault::CutInFrame(3), 4),
        (HttpFault::CutAfter(0), 0),
        (HttpFault::CutAfter(3), 3),
        (HttpFault::CutAfter(5), 5),
        (HttpFault::CutOff, 1),
    ] {
        site.meets(fault.clone());
        assert_eq!(chunks(&site.whole("")), (begun, false), "{fault:?}");
    }
    // Half of the fourth frame.
    site.meets(HttpFault::CutInFrame(3));
    let whole = String::from_utf8(site.whole("")).unwrap();
    let (_, last) = whole.rsplit_once("\r\n").unwrap();
    assert!(
        last.starts_with("{\"result\":") && !last.ends_with('}'),
        "{last}"
    );
    // There is no sixth frame to be cut.
    for fault in [
        HttpFault::CutInFrame(6),
        HttpFault::CutAfter(6),
        HttpFault::ErrorAfter(6),
    ] {
        site.meets(fault);
        assert_eq!(chunks(&site.whole("")), (5, true));
    }
    // Other answers are left alone.
    site.network.http_fault(Some(HttpFault::CutAfter(0)));
    assert_eq!(site.get("/auth_info").status, 200);
}

#[test]
fn an_error_comes_as_the_last_frame_of_a_good_answer() {
    let site = site();
    site.meets(HttpFault::ErrorAfter(1));
    let reply = site.stored("");
    let recording = recorded("storage-error-midstream.ndjson");
    let expected = recording.lines().last().unwrap();
    let expected: Value = serde_json::from_str(expected).unwrap();
    let lines = reply.lines();
    assert_eq!((reply.status, lines.len()), (200, 2));
    assert_eq!(shape(&lines[1]), shape(&expected));
    assert_eq!(lines[1]["error"]["message"], expected["error"]["message"]);
    site.meets(HttpFault::ErrorAfter(5));
    assert_eq!(site.stored("").lines().len(), 6);
    site.meets(HttpFault::ErrorAfter(0));
    assert_eq!(site.stored("").lines().len(), 1);
}

#[test]
fn lines_that_are_no_records_come_between_them() {
    let site = site();
    site.meets(HttpFault::GarbageAfter(2));
    let body = site.stored("").body;
    let lines: Vec<&str> = body.lines().collect();
    assert_eq!((lines.len(), counters(&lines)), (6, vec![0, 1, 2, 3, 4]));
    assert!(serde_json::from_str::<Value>(lines[2]).is_err());

    site.meets(HttpFault::EmptyLines);
    let body = site.stored("").body;
    let lines: Vec<&str> = body.lines().collect();
    assert_eq!((lines.len(), counters(&lines)), (15, vec![0, 1, 2, 3, 4]));

    site.meets(HttpFault::Doubled);
    let body = site.stored("").body;
    let lines: Vec<&str> = body.lines().collect();
    assert_eq!(counters(&lines), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);

    site.meets(HttpFault::HtmlAfter(2));
    let whole = String::from_utf8(site.whole("")).unwrap();
    assert!(whole.contains("<html>") && !whole.ends_with("\r\n0\r\n\r\n"));
    assert_eq!(whole.matches("{\"result\":").count(), 2);
    site.meets(HttpFault::Html(200));
    let page = site.stored("");
    assert_eq!(
        (page.status, page.header("Content-Type")),
        (200, Some("text/html"))
    );
}

#[test]
fn a_stream_drips_or_falls_silent() {
    let site = site();
    site.meets(HttpFault::Drip(SHORT));
    let start = Instant::now();
    assert_eq!(site.stored("").results().len(), 5);
    assert!(start.elapsed() >= SHORT * 5);

    site.meets(HttpFault::SilentAfter(2));
    let mut stream = site.open("GET", &storage(""), "", "");
    Reply::read_head(&mut stream);
    for _ in 0..2 {
        read_chunk(&mut stream).unwrap();
    }
    stream.set_read_timeout(Some(SHORT)).unwrap();
    assert!(stream.read(&mut [0]).is_err());
    // A silent stream ends with the network.
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    site.network.stop();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn the_stream_of_events_meets_the_same_faults() {
    let site = site();
    let body = json!({"identifiers": [{"application_ids": {"application_id": "greenhouse"}}]});
    site.network
        .http_fault_on("/events", Some(HttpFault::CutAfter(2)));
    let (_, mut stream) = site.events(&body);
    site.device("bed-07").uplink(2, [1]);
    for _ in 0..2 {
        read_chunk(&mut stream).unwrap();
    }
    site.device("bed-07").uplink(2, [1]);
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_failure_of_a_stream_is_wrapped() {
    let site = site();
    site.meets(HttpFault::Status(503));
    let reply = site.stored("");
    assert_eq!(
        (reply.status, &reply.json()["error"]["code"]),
        (503, &json!(14))
    );
    site.meets(HttpFault::RateLimited);
    let reply = site.stored("");
    let name = &reply.json()["error"]["details"][0]["name"];
    assert_eq!((reply.status, name), (429, &json!("rate_limit_exceeded")));
    site.meets(HttpFault::Status(404));
    assert_eq!(site.stored("").json()["code"], 5);
    let count = format!("{}/count", storage(""));
    site.meets(HttpFault::Status(503));
    assert_eq!(site.get(&count).json()["code"], 14);
}

/// Returns what stored blocks of gzip hold, and checks their form.
fn unpacked(mut gzip: &[u8]) -> String {
    assert_eq!(gzip[..4], [0x1f, 0x8b, 8, 0]);
    gzip = &gzip[10..];
    let mut text = Vec::new();
    loop {
        let number = |at: usize| u16::from_le_bytes([gzip[at], gzip[at + 1]]);
        let (is_last, length) = (gzip[0] == 1, number(1));
        assert_eq!(number(3), !length);
        let end = 5 + usize::from(length);
        text.extend(&gzip[5..end]);
        gzip = &gzip[end..];
        if is_last {
            let size = u32::from_le_bytes(gzip[4..].try_into().unwrap());
            assert_eq!((gzip.len(), size as usize), (8, text.len()));
            return String::from_utf8(text).unwrap();
        }
    }
}

#[test]
fn an_answer_comes_in_gzip_if_the_client_takes_it() {
    let site = site();
    let plain = site.stored("").body;
    site.network.http_fault(Some(HttpFault::Gzip));
    assert_eq!(site.stored("").body, plain);
    let refused = site.get_with(&storage(""), "Accept-Encoding: br, gzipped\r\n");
    assert_eq!(refused.body, plain);
    let packed = |path: &str, accepts: &str| {
        let (head, body) = Reply::read_bytes(&mut site.open("GET", path, "", accepts));
        assert_eq!(head.header("Content-Encoding"), Some("gzip"), "{head:?}");
        unpacked(&body)
    };
    let accepts = "Accept-Encoding: deflate, gzip;q=1.0\r\n";
    assert_eq!(packed(&storage(""), accepts), plain);
    let info = packed("/auth_info", "Accept-Encoding: gzip\r\n");
    assert!(info.starts_with("{\"api_key\""), "{info}");
}

#[test]
fn old_clients_get_no_chunks() {
    let site = site();
    let expected = site.stored("").body;
    let mut stream = connect(&site.network.http_address());
    let key = site.authorization.as_deref().unwrap();
    let path = storage("");
    let get = format!("GET /api/v3{path} HTTP/1.0\r\nAuthorization: {key}\r\n\r\n");
    stream.write_all(get.as_bytes()).unwrap();
    let mut whole = String::new();
    stream.read_to_string(&mut whole).unwrap();
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    assert!(
        !head.contains("chunked") && !head.contains("Content-Length"),
        "{head}"
    );
    assert_eq!(body, expected);
}

#[test]
fn a_connection_goes_on_after_a_stream() {
    let site = site();
    let mut stream = site.open("GET", &storage(""), "", "");
    assert_eq!(Reply::read(&mut stream).results().len(), 5);
    let path = storage("/devices/bed-08");
    let again = request("GET", &path, site.authorization.as_deref(), "");
    stream.write_all(again.as_bytes()).unwrap();
    assert_eq!(Reply::read(&mut stream).body, "");
    let requests = site.network.http_requests();
    let expected = format!("/api/v3{}", storage(""));
    assert_eq!(requests[0].path, expected);
}
