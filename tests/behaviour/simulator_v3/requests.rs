//! Downlink requests to the simulated v3 network: what is queued and what is refused.

use serde_json::{Value, json};

use super::{
    PUSH, REPLACE, assert_failed, assert_shape, fixture, instant, pump, push, request, start,
};

#[test]
fn requests_are_queued_as_recorded() {
    let network = start();
    network.set_encoder(|_port, fields| Ok(vec![fields["valve"].as_u64().unwrap() as u8, 1]));
    let (device, mut client) = pump(&network);
    for (name, recorded, without) in [
        ("request-push-raw", "down-queued", &[][..]),
        (
            "request-priority-misspelt",
            "down-queued-lowest-priority",
            &[],
        ),
        ("request-replace-one", "down-queued-lowest-priority", &[]),
        (
            "request-push-decoded",
            "down-queued-decoded",
            &["/downlink_queued/decoded_payload_warnings"],
        ),
    ] {
        let events = client.publish_1(PUSH, &request(name));
        assert_eq!(events.len(), 1, "{name}");
        assert_shape(&events[0].1, recorded, without);
    }
    let events = client.publish_1(PUSH, &request("request-push-many"));
    let ids = |(_, event): &(String, Value)| event["downlink_queued"]["correlation_ids"].clone();
    let ids: Vec<Value> = events.iter().map(ids).collect();
    assert_eq!(ids.len(), 3);
    for (index, ids) in ids.iter().enumerate() {
        assert!(ids[0].as_str().unwrap().starts_with("as:downlink:"));
        assert_eq!(ids[1], format!("batch-{}/3", index + 1));
    }
    let queue = device.queue();
    assert_eq!(queue.len(), 7);
    assert_eq!(
        (queue[3].port, queue[3].payload.clone()),
        (2, Some(vec![3, 1]))
    );
    let unconfirmed = r#""f_port":1,"frm_payload":"AQ==","confirmed_retry":{"attempt":1}"#;
    let events = client.publish_1(PUSH, &push(unconfirmed));
    assert_eq!(
        events[0].1["downlink_queued"]["confirmed_retry"],
        json!({"attempt": 1})
    );
    let events = client.publish_1(PUSH, &request("request-push-confirmed"));
    let retry = &events[0].1["downlink_queued"]["confirmed_retry"];
    assert_eq!(*retry, json!({"max_attempts": 3}));
}

#[test]
fn a_request_over_http_is_named_in_its_correlation_ids() {
    let network = instant();
    let (device, mut client) = pump(&network);
    let item = json!({"f_port": 1, "frm_payload": "AQ==", "correlation_ids": ["mine"]});
    let call = |call: &str| format!("rpc:/ttn.lorawan.v3.AppAs/{call}:");
    assert!(device.push_over_http(&json!({"downlinks": [item, item]})));
    let first = client.message_on("down/queued")["correlation_ids"].clone();
    let second = client.message_on("down/queued")["correlation_ids"].clone();
    assert_eq!((&first[1], &first[2]), (&json!("mine"), &second[2]));
    assert_ne!(first[0], second[0]);
    let id = first[2].as_str().unwrap();
    assert!(id.starts_with(&call("DownlinkQueuePush")), "{id}");
    assert!(device.replace_over_http(&json!({"downlinks": [item]})));
    let replaced = client.message_on("down/queued")["correlation_ids"].clone();
    let id = replaced[2].as_str().unwrap();
    assert!(id.starts_with(&call("DownlinkQueueReplace")), "{id}");
    assert!(!device.push_over_http(&json!({"downlinks": [{"f_port": 0, "frm_payload": "AQ=="}]})));
    assert_failed(
        &client.message_on("down/failed"),
        "applicationserver",
        "no_f_port",
        3,
    );
    device.uplink(1, [1]);
    let sent = client.message_on("down/sent")["downlink_sent"]["correlation_ids"].to_string();
    assert!(sent.contains(id), "{sent}");
}

#[test]
fn replace_swaps_the_queue_and_push_appends_to_it() {
    let network = start();
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-many"));
    client.publish_1(PUSH, &request("request-push-raw"));
    assert_eq!(device.queue().len(), 4);
    assert_eq!(
        client
            .publish_1(REPLACE, &request("request-replace-one"))
            .len(),
        1
    );
    assert_eq!(device.queue().len(), 1);
    for nothing in [
        r#"{"downlinks":[]}"#,
        "{}",
        r#"{"downlink":[{"f_port":1}]}"#,
    ] {
        assert_eq!(client.publish_1(PUSH, nothing), []);
        assert_eq!(device.queue().len(), 1, "{nothing}");
    }
    for nothing in [
        r#"{"downlinks":[]}"#,
        "{}",
        r#"{"downlink":[{"f_port":1}]}"#,
    ] {
        client.publish_1(PUSH, &request("request-push-raw"));
        assert_eq!(client.publish_1(REPLACE, nothing), []);
        assert!(device.queue().is_empty(), "{nothing}");
    }
}

#[test]
fn a_request_that_cannot_be_read_leaves_no_trace() {
    let network = start();
    network.set_encoder(|_port, fields| match fields["led"].as_bool() {
        Some(on) => Ok(vec![u8::from(on)]),
        None => panic!("led is not a boolean"),
    });
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-raw"));
    let mut unreadable: Vec<String> = [
        "request-dropped-port-224",
        "request-dropped-gateway-id",
        "request-dropped-no-payload",
        "request-dropped-correlation-id",
        "request-dropped-eui-as-hex",
    ]
    .map(request)
    .to_vec();
    unreadable.extend(
        [
            "",
            "[]",
            "null",
            "1",
            "not JSON",
            "{",
            r#"{"downlinks":{}}"#,
        ]
        .map(str::to_owned),
    );
    unreadable.extend(
        ["[1]", "[null]", "[[]]", "\"x\""].map(|list| format!(r#"{{"downlinks":{list}}}"#)),
    );
    let long = "A".repeat(342);
    unreadable.extend(
        [
            r#""f_port":256,"frm_payload":"AQ==""#,
            r#""f_port":-1,"frm_payload":"AQ==""#,
            r#""f_port":1.5,"frm_payload":"AQ==""#,
            r#""f_port":true,"frm_payload":"AQ==""#,
            r#""f_port":" 1","frm_payload":"AQ==""#,
            r#""f_port":1,"frm_payload":"A""#,
            r#""f_port":1,"frm_payload":"AQ=""#,
            r#""f_port":1,"frm_payload":"+_==""#,
            r#""f_port":1,"frm_payload":[1]"#,
            r#""f_port":1,"frm_payload":null"#,
            &format!(r#""f_port":1,"frm_payload":"{long}""#),
            r#""f_port":1,"decoded_payload":[1]"#,
            r#""f_port":1,"decoded_payload":{"led":true,"led":false}"#,
            r#""f_port":1,"decoded_payload":{"led":1}"#,
            r#""f_port":1,"frm_payload":"AQ==","priority":7"#,
            r#""f_port":1,"frm_payload":"AQ==","priority":-1"#,
            r#""f_port":1,"frm_payload":"AQ==","priority":true"#,
            r#""f_port":1,"frm_payload":"AQ==","confirmed":"true""#,
            r#""f_port":1,"frm_payload":"AQ==","confirmed":1"#,
            r#""f_port":1,"frm_payload":"AQ==","correlation_ids":"a""#,
            r#""f_port":1,"frm_payload":"AQ==","correlation_ids":[1]"#,
            r#""f_port":1,"frm_payload":"","confirmed":true"#,
            r#""f_port":1,"frm_payload":"AQ==","confirmed":true,"confirmed_retry":{"max_attempts":33}"#,
            r#""f_port":1,"frm_payload":"AQ==","confirmed_retry":{"max_attempts":0}"#,
            r#""f_port":1,"frm_payload":"AQ==","class_b_c":{"absolute_time":"tomorrow"}"#,
            r#""f_port":1,"frm_payload":"AQ==","class_b_c":{"gateways":[{}]}"#,
            r#""f_port":1,"frm_payload":"AQ==","f_port":1"#,
            r#""f_port":1,"frm_payload":"AQ==","fPort":1"#,
        ]
        .map(push),
    );
    let good = r#"{"f_port":1,"frm_payload":"AQ=="}"#;
    unreadable.push(format!(
        r#"{{"downlinks":[{good},{{"f_port":224,"frm_payload":"AQ=="}}]}}"#
    ));
    unreadable.push(format!(r#"{{"downlinks":[{good},{{"f_port":1}}]}}"#));
    unreadable.push(format!(r#"{{"downlinks":[{good}],"downlinks":[]}}"#));
    for request in unreadable {
        assert_eq!(client.publish_1(REPLACE, &request), [], "{request}");
        assert_eq!(device.queue().len(), 1, "{request}");
    }
    client.publish(
        PUSH,
        b"{\"downlinks\":[{\"f_port\":1,\"frm_payload\":\"AQ==\",\"x\":\"\xff\"}]}",
    );
    client.assert_silent();
}

#[test]
fn requests_are_read_as_protobuf_reads_json() {
    let network = start();
    let (device, mut client) = pump(&network);
    let id = "é".repeat(100);
    for (request, port, bytes) in [
        (push(r#""f_port":1,"frm_payload":"AQ==""#), 1, vec![1]),
        (push(r#""fPort":2,"frmPayload":"AQ""#), 2, vec![1]),
        (
            push(r#""f_port":"3","frm_payload":"-_8""#),
            3,
            vec![0xfb, 0xff],
        ),
        (
            push(r#""f_port":4.0,"frm_payload":"+/8=""#),
            4,
            vec![0xfb, 0xff],
        ),
        (push(r#""f_port":5e0,"frm_payload":"AR==""#), 5, vec![1]),
        (
            push(r#""f_port":6,"frm_payload":"","decoded_payload":{"a":1}"#),
            6,
            vec![],
        ),
        (
            push(r#""f_port":255,"frm_payload":"AQ==","x":1,"x":{"y":2}"#),
            255,
            vec![1],
        ),
        (
            push(r#""f_port":7,"frm_payload":"AQ==","priority":null,"confirmed":null"#),
            7,
            vec![1],
        ),
        (
            push(r#""f_port":8,"frm_payload":"AQ==","priority":6"#),
            8,
            vec![1],
        ),
        (push(r#""f_port":9,"decoded_payload":{}"#), 9, vec![]),
        (
            push(r#""f_port":10,"frm_payload":"AQ==""#) + "} and more",
            10,
            vec![1],
        ),
        (
            push(&format!(
                r#""f_port":11,"frm_payload":"AQ==","correlationIds":["{id}"]"#
            )),
            11,
            vec![1],
        ),
    ] {
        let events = client.publish_1(REPLACE, &request);
        assert_eq!(events.len(), 1, "{request}");
        let queue = device.queue();
        assert_eq!(queue.len(), 1, "{request}");
        assert_eq!(
            (queue[0].port, queue[0].payload.clone()),
            (port, Some(bytes)),
            "{request}"
        );
    }
}

#[test]
fn fields_are_encoded_on_arrival() {
    let network = start();
    let (device, mut client) = pump(&network);
    let fields = |port: u8| {
        push(&format!(
            r#""f_port":{port},"decoded_payload":{{"led":true}}"#
        ))
    };
    let events = client.publish_1(PUSH, &fields(2));
    assert_eq!(
        events[0].1["downlink_queued"]["decoded_payload"],
        json!({"led": true})
    );
    assert_eq!(device.queue()[0].payload, Some(Vec::new()));
    let no_port = client.publish_1(PUSH, &fields(0));
    assert_failed(&no_port[0].1, "applicationserver", "no_f_port", 3);
    network.set_encoder(|port, fields| Ok(vec![port, u8::from(fields["led"] == true)]));
    client.publish_1(PUSH, &fields(0));
    assert_eq!(device.queue()[1].port, 1);
    assert_eq!(device.queue()[1].payload, Some(vec![0, 1]));
    network.set_encoder(|_port, _fields| Err::<Vec<u8>, _>("out of range".into()));
    assert_eq!(client.publish_1(PUSH, &fields(2)), []);
    device.uplink(1, [1]);
    let sent = client.message_on("down/sent");
    assert!(sent["downlink_sent"].get("decoded_payload").is_none());
    network.set_encoder(|_port, _fields| Ok(vec![1]));
    let confirmed = push(r#""f_port":1,"decoded_payload":{"led":true},"confirmed":true"#);
    client.publish_1(REPLACE, &confirmed);
    device.uplink(1, [1]);
    client.message_on("down/sent");
    device.uplink(1, [1]);
    let ack = client.message_on("down/ack");
    assert!(ack["downlink_ack"].get("decoded_payload").is_none());
}

#[test]
fn every_item_of_a_refused_request_fails() {
    let network = start();
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-raw"));
    let good = r#""f_port":15,"frm_payload":"vu8=","priority":"NORMAL""#;
    let no_port = r#""frm_payload":"vu8=""#;
    let long = format!(r#""f_port":15,"frm_payload":"{}""#, "AAAA".repeat(81));
    let expired =
        r#""f_port":15,"frm_payload":"vu8=","class_b_c":{"absolute_time":"2025-05-14T08:00:00Z"}"#;
    let session = [
        "/downlink_failed/downlink/session_key_id",
        "/downlink_failed/downlink/f_cnt",
    ];
    for (item, namespace, name, code, recorded, without) in [
        (
            no_port,
            "applicationserver",
            "no_f_port",
            3,
            "down-failed-no-port",
            &[][..],
        ),
        (
            &long,
            "networkserver",
            "application_downlink_too_long",
            3,
            "down-failed-too-long",
            &[],
        ),
        (
            expired,
            "networkserver",
            "downlink_expired",
            9,
            "down-failed-expired",
            &session,
        ),
    ] {
        let request = format!(r#"{{"downlinks":[{{{item}}},{{{good}}}]}}"#);
        let events = client.publish_1(REPLACE, &request);
        assert_eq!(events.len(), 2, "{name}");
        for (topic, event) in &events {
            assert!(topic.ends_with("/down/failed"));
            assert_failed(event, namespace, name, code);
        }
        assert_shape(&events[0].1, recorded, without);
        let error = &events[0].1["downlink_failed"]["error"];
        let format = &fixture(recorded)["downlink_failed"]["error"]["message_format"];
        assert_eq!(error["message_format"], *format);
        let ids = &events[0].1["downlink_failed"]["downlink"]["correlation_ids"];
        assert_eq!(*ids, events[0].1["correlation_ids"]);
        assert_eq!(device.queue().len(), 1, "the queue stays");
    }
    let events = client.publish_1(PUSH, &push(&long));
    let attributes = &events[0].1["downlink_failed"]["error"]["attributes"];
    assert_eq!(*attributes, json!({"length": 243, "max": "242"}));
    let longest = format!(r#""f_port":15,"frm_payload":"{}AAA=""#, "AAAA".repeat(80));
    assert!(
        client.publish_1(PUSH, &push(&longest))[0]
            .0
            .ends_with("/down/queued")
    );
}

#[test]
fn a_full_queue_refuses_the_whole_request() {
    let network = start();
    network.quirks(|quirks| quirks.downlink_queue = 3);
    let (device, mut client) = pump(&network);
    client.publish_1(PUSH, &request("request-push-raw"));
    let events = client.publish_1(PUSH, &request("request-push-many"));
    assert_eq!(events.len(), 3);
    assert_failed(&events[0].1, "networkserver", "downlink_queue_capacity", 8);
    assert_shape(
        &events[0].1,
        "down-failed-queue-full",
        &["/downlink_failed/downlink/priority"],
    );
    assert_eq!(device.queue().len(), 1);
    client.publish_1(REPLACE, &request("request-push-many"));
    assert_eq!(device.queue().len(), 3);
}
