use super::*;

/// Has neither storage nor events, and knows its devices.
pub(super) fn counting() -> Server {
    let off = unfinished("X-Warning: Events storage is not enabled\r\n", &[]);
    Server::start(move |request, stream| {
        let device = |dev_id: &str, seen| {
            format!(
                "{{\"ids\":{{\"device_id\":\"{dev_id}\"}},\"last_seen_at\":\"{}\"}}",
                rfc(at(seen))
            )
        };
        let list = format!(
            "{{\"end_devices\":[{},{},{}]}}",
            device("bed-07", 1_500),
            device("tank-1", 1_400),
            device("roof-3", 100)
        );
        let answer = match request {
            _ if request.contains("/storage/") => not_found(),
            _ if request.contains("/events") => off.clone(),
            _ if request.contains("/devices?") => sized("200 OK", "", &list),
            _ if request.contains("bed-07") => {
                sized("200 OK", "", r#"{"session":{"last_f_cnt_up":30}}"#)
            }
            _ => sized("200 OK", "", r#"{"session":{"last_f_cnt_up":8}}"#),
        };
        let _ = stream.write_all(answer.as_bytes());
    })
}

#[test]
fn what_stays_uncovered_is_counted_for_each_device() {
    let server = counting();
    let heard = |dev_id: &str, _: SystemTime| {
        let (counter, missing) = if dev_id == "bed-07" { (20, 2) } else { (8, 0) };
        Some(LastHeard {
            counter,
            missing,
            uncovered: 0,
        })
    };
    let counts = || quick().count_uncovered(true);
    let task = Task {
        heard: Arc::new(heard),
        ..self::task(&server, counts())
    };
    let (_, outcome) = Fetching::start(task).finish();
    let [time] = &outcome.uncovered[..] else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        (time.reason, time.uplinks),
        (UncoveredReason::NotEnabled, Some(12))
    );
    assert_eq!(time.devices.len(), 1);
    assert_eq!(time.devices[0].uplinks, Some(12));
    assert!(
        server
            .requests()
            .iter()
            .all(|request| !request.contains("roof-3"))
    );

    // Nothing is missing.
    let task = Task {
        heard: Arc::new(|dev_id: &str, _: SystemTime| {
            let counter = if dev_id == "bed-07" { 30 } else { 8 };
            Some(LastHeard {
                counter,
                missing: 0,
                uncovered: 0,
            })
        }),
        ..self::task(&server, counts())
    };
    let (_, outcome) = Fetching::start(task).finish();
    assert!(outcome.uncovered.is_empty(), "{outcome:?}");

    // Nobody knows.
    let (_, outcome) = Fetching::start(self::task(&server, counts())).finish();
    assert_eq!(outcome.uncovered[0].uplinks, None);
    assert_eq!(outcome.uncovered[0].devices.len(), 2);
}

#[test]
fn without_the_right_nothing_is_counted_and_nothing_is_said() {
    let server = Server::start(|request, stream| {
        let answer = match request.contains("/devices?") {
            true => sized("403 No", "", r#"{"code":7,"message":"no"}"#),
            false => not_found(),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let task = task(&server, quick().count_uncovered(true));
    let (_, outcome) = Fetching::start(task).finish();
    assert_eq!(reasons(&outcome), [UncoveredReason::NotEnabled]);
    assert_eq!(outcome.uncovered[0].uplinks, None);
    assert!(outcome.is_settled && outcome.error.is_none());
}
