//! Payload formatters.

use serde_json::{Value, json};
use ttn::simulator::{Decoded, Encoded, Normalized};

use super::stage::{Scene, Stage};

/// What the decoder of the recordings does in JavaScript.
fn decode(port: u8, bytes: &[u8]) -> Result<Decoded, String> {
    Ok(match port {
        1 | 9 => Decoded::new(json!({
            "temperature": 21.5, "count": 3, "bytes": bytes, "received": "undefined",
        }))
        .warning("calibration missing")
        .warning("old"),
        4 => Decoded::new(json!({
            "latitude": 48.5, "longitude": 9.25, "altitude": 300, "accuracy": 5,
        })),
        6 => json!(7).into(),
        7 | 27 => Value::Null.into(),
        8 => Decoded::new(json!({
            "int": 12_345_678_901_u64, "big": 1e21, "small": 1e-7, "neg": -0.5, "f": 0.1,
            "t": true, "n": null, "s": "<&>é\u{2028}\"", "l": [1, [], {}],
        })),
        22 => Decoded::crash(),
        23 => json!({"x": null}).into(),
        24 => json!({"x": -0.0, "y": 1e300, "z": 5e-324}).into(),
        29 => json!([1, 2]).into(),
        _ => return Err("failed".into()),
    })
}

#[test]
fn a_decoder_may_return_anything() {
    Scene::new("js-decoder")
        .first(|stage| stage.network.set_decoder(decode))
        .before(11, |stage| {
            stage.device.uplink(22, [1]);
        })
        .plays();
}

#[test]
fn an_acknowledgement_survives_a_decoder_that_makes_the_server_fail() {
    Scene::new("js-panic")
        .first(|stage| stage.network.set_decoder(decode))
        .instead(5, |stage| {
            stage.device.uplink(22, [1]);
        })
        .plays();
}

#[test]
fn measurements_are_checked_and_come_before_their_uplink() {
    let air = |temperature: f64| json!({"air": {"temperature": temperature}});
    let unknown = || json!({"smell": 1});
    let normalize = move |fields: &Value| {
        Ok(match fields["p"].as_u64().unwrap() {
            1 => Normalized::new([json!({"air": {"temperature": 21.5, "relativeHumidity": 55}})])
                .warning("n1"),
            2 => Normalized::new([air(-300.0)]),
            3 | 8 => Normalized::new([unknown()]),
            4 => return Err("failed".into()),
            5 | 7 => Normalized::new([air(1.0), unknown()]),
            9 => Normalized::crash(),
            11 => Normalized::new([air(1.0), air(-300.0)]),
            _ => Normalized::default(),
        })
    };
    let decode = |port, _: &[u8]| Ok(Decoded::new(json!({"p": port, "t": 21.5})).warning("w1"));
    Scene::new("js-normalized")
        .first(move |stage| {
            stage.network.set_decoder(decode);
            stage.network.set_normalizer(normalize);
        })
        .before(10, |stage| {
            stage.device.uplink(9, [1]);
        })
        .plays();
}

#[test]
fn an_encoder_may_choose_a_port_warn_and_fail() {
    let encode = |port: u8, fields: &Value| {
        if let Some(own) = fields["port"].as_u64() {
            return Ok(Encoded::new([9]).port(own as u32));
        }
        if fields["long"] == 1 {
            return Ok(Encoded::new([1; 300]));
        }
        let led = fields["led"].as_bool().ok_or("failed")?;
        Ok(Encoded::new([u8::from(led)])
            .port(port.into())
            .warning("led is old"))
    };
    let decode = |port, bytes: &[u8]| match bytes {
        [0x42] => Err("failed".into()),
        _ => Ok(Decoded::new(json!({"led": bytes == [1], "port": port})).warning("decoded")),
    };
    Scene::new("js-encoder")
        .first(move |stage| {
            stage.network.set_encoder(encode);
            stage.network.set_downlink_decoder(decode);
        })
        .plays();
}

#[test]
fn a_downlink_without_a_port_gets_that_of_its_encoder() {
    let value = |fields: &Value| fields["value_1"].as_u64().unwrap() as u8;
    let device = |stage: &Stage, name| stage.network.device(&format!("encoder-ports-{name}"));
    Scene::new("encoder-ports")
        .first(move |stage| {
            device(stage, "new").set_encoder(move |_, fields| Ok(vec![value(fields)]));
            device(stage, "own").set_encoder(|_, _| Ok(Encoded::new([1]).port(12)));
            device(stage, "given").set_encoder(|port, _| Ok(Encoded::new([1]).port(port.into())));
            device(stage, "old").set_encoder(move |port, fields| {
                Ok(Encoded::new([value(fields)]).port(port.into()))
            });
            device(stage, "lpp").set_encoder(move |port, fields| {
                let hundredths = 100 * u16::from(value(fields));
                let bytes = [&[1][..], &hundredths.to_be_bytes()].concat();
                Ok(Encoded::new(bytes).port(port.into()))
            });
        })
        .plays();
}

#[test]
fn without_an_encoder_fields_are_sent_as_no_bytes() {
    Scene::new("no-encoder").plays();
}

#[test]
fn every_kind_of_message_can_be_simulated() {
    Scene::new("http-simulate")
        .first(|stage| stage.network.set_decoder(decode))
        .plays();
}
