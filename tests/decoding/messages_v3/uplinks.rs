//! The recorded uplinks, value by value.

use super::*;

#[test]
fn the_smallest_uplink_of_an_open_source_server_has_no_tenant() {
    let barn = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "barn-gw".to_owned();
        gateway.eui = "AA555A0000000101".to_owned();
        gateway.timestamp = Some(2_147_483_648);
        gateway.rssi = Some(-61.0);
        gateway.channel_rssi = Some(-61.0);
        gateway.snr = Some(8.5);
        gateway.uplink_token =
            "S+GsBW/Bo1LLQB/+zFCgJ10LJMOfDyIIEfni5G9T0CwPx04CjyyNWA==".to_owned();
    });
    let mut metadata = lora(at(37, 450_251_815), vec![barn]);
    metadata.frequency = Some(868.1);
    metadata.airtime = Some(Duration::from_micros(46_336));
    let expected = Uplink {
        app_id: "barn".to_owned(),
        dev_id: "silo-1".to_owned(),
        port: 1,
        counter: 1,
        payload_raw: vec![1],
        network_ids: Some(made(|ids: &mut NetworkIds| {
            ids.net_id = "000000".to_owned();
        })),
        ..bed_07(
            "gs:uplink:01JV71ENN2CVE1CDPW1ZR0HTHF",
            at(37, 268_903_470),
            metadata,
        )
    };
    assert_eq!(uplink("up-lora-minimal-open-source"), expected);
}

#[test]
fn an_ordinary_uplink_has_all_its_values() {
    let mut gateway = roof_east(
        1_509_166_008,
        "gS4Vj/KYxqUxCI7tuxAwf1NB2oHcnzgBjDo0U3X6eqZB4AnkBg2iGIytE/5+rzbCBw9EVPiVPFA=",
        at(37, 932_766_844),
    );
    gateway.time = at(37, 787_000_000);
    gateway.location = Some(place(52.3731, 4.8922, 14, "registry"));
    let mut metadata = lora(at(37, 863_431_150), vec![gateway]);
    metadata.gateway_time = at(37, 787_000_000);
    let expected = Uplink {
        payload_fields: json!({"temperature": 28.86, "humidity": 45.6}),
        packet_error_rate: Some(0.04),
        version_ids: Some(made(|ids: &mut VersionIds| {
            ids.brand_id = "dragino".to_owned();
            ids.model_id = "lht65".to_owned();
            ids.hardware_version = "_unknown_hw_version_".to_owned();
            ids.firmware_version = "1.8".to_owned();
            ids.band_id = "EU_863_870".to_owned();
        })),
        ..bed_07(
            "gs:uplink:01JV6Y57CQKQB52X6F7BMSZMS4",
            at(37, 281_664_057),
            metadata,
        )
    };
    assert_eq!(uplink("up-lora-one-gateway"), expected);
}

#[test]
fn many_gateways_keep_their_differences() {
    let mut roof_east = roof_east(
        825_318_032,
        "TJe20e7HLZOFgCZI/7SIDgWn23NM2eSvf6zgjifzUOrDL7STq9/d8FwztmszBV9QfqnKSy053ro=",
        at(37, 751_464_754),
    );
    roof_east.time = at(37, 512_000_000);
    let harbour = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "harbour-2".to_owned();
        gateway.eui = "58A0CBFFFE801F0E".to_owned();
        gateway.timestamp = Some(2_122_956_804);
        gateway.rssi = Some(-113.0);
        gateway.channel_rssi = Some(-113.0);
        gateway.snr = Some(-4.75);
        gateway.uplink_token =
            "suDv+5fe1nj6HZ/Tgbwm/KqlDjjmVjkGui+SRH0AvI9ZSYXXdji1C96G+4OtiibKLllXvIvHFBE="
                .to_owned();
        gateway.channel = 3;
        gateway.received_at = at(37, 324_477_765);
    });
    let unnamed = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "eui-3133303730004a00".to_owned();
        gateway.eui = "3133303730004A00".to_owned();
        gateway.timestamp = Some(1_933_025_254);
        gateway.rssi = Some(-118.0);
        gateway.channel_rssi = Some(-118.0);
        gateway.snr = Some(-12.0);
        gateway.location = Some(place(52.0907, 5.1214, 0, "registry"));
        gateway.uplink_token =
            "WWS2o2zptldnZon8QZ/hZBYL3joXaQIqEe+Mgzvl5ftH04cFiiOCn0K1LNReqmqRSKG2sS0kB4c="
                .to_owned();
        gateway.channel = 3;
        gateway.received_at = at(37, 611_598_415);
    });
    let kerlink = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "kerlink-tower".to_owned();
        gateway.eui = "7076FF0056070AD9".to_owned();
        gateway.timestamp = Some(983_553_204);
        gateway.fine_timestamp = Some(512_345_678);
        gateway.rssi = Some(-105.5);
        gateway.signal_rssi = Some(-107.25);
        gateway.channel_rssi = Some(-105.5);
        gateway.rssi_standard_deviation = Some(1.5);
        gateway.snr = Some(2.2);
        gateway.frequency_offset = Some(-1423);
        gateway.uplink_token =
            "jguMzz5P1TRNAOZrqK+fBSkDdNVkEfrKMHvMYtWunzTVpxigLcNTgU2GtcNJJxnzN56T8yBB/OY="
                .to_owned();
        gateway.channel = 67;
        gateway.received_at = at(37, 874_301_157);
    });
    let mut metadata = lora(
        at(37, 331_901_638),
        vec![roof_east, harbour, unnamed, kerlink],
    );
    metadata.gateway_time = at(37, 512_000_000);
    let expected = bed_07(
        "gs:uplink:01JV6YBXVZR3RXZ4VZTNV1AP69",
        at(37, 382_429_710),
        metadata,
    );
    assert_eq!(uplink("up-lora-many-gateways"), expected);
}

#[test]
fn a_fine_timestamp_may_be_encrypted() {
    let kerlink = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "kerlink-tower".to_owned();
        gateway.eui = "7076FF0056070AD9".to_owned();
        gateway.timestamp = Some(2_209_385_435);
        gateway.encrypted_fine_timestamp = vec![
            0xcb, 0xd7, 0x62, 0x1c, 0xc1, 0x22, 0xdc, 0x0d, 0x91, 0x82, 0x16, 0xeb, 0xd5, 0x4b,
            0x19, 0x83,
        ];
        gateway.encrypted_fine_timestamp_key_id = "0".to_owned();
        gateway.rssi = Some(-99.0);
        gateway.channel_rssi = Some(-99.0);
        gateway.snr = Some(6.0);
        gateway.uplink_token =
            "m+xmZhv5mOTWkOnxaFe7/i6V3exmeNIMmeV8pm/WXXDe6xqJ8wxo8H+84DEPo+qjsP0Yy9gPHGI="
                .to_owned();
        gateway.channel = 3;
        gateway.received_at = at(37, 393_878_281);
    });
    let expected = bed_07(
        "gs:uplink:01JV70X5MXGJN4TG58J67D9SJP",
        at(37, 349_784_628),
        lora(at(37, 550_099_988), vec![kerlink]),
    );
    assert_eq!(uplink("up-lora-encrypted-fine-timestamp"), expected);
}

#[test]
fn gateways_behind_packet_broker_say_whose_they_are() {
    let own = roof_east(
        2_462_528_558,
        "FtfjiHO57b0nREDiHhRjDWGb+GIi8UCpXgxOC1Ir39E317lAN9IJjVsePpgXs1R/Z7qbo/KyWT8=",
        at(37, 494_211_497),
    );
    let broker = |message_id: &str, tenant_id: &str, gateway_id: &str, hops: Vec<Value>| {
        Some(Box::new(made(|broker: &mut PacketBroker| {
            broker.message_id = message_id.to_owned();
            broker.forwarder_net_id = "000013".to_owned();
            broker.forwarder_tenant_id = tenant_id.to_owned();
            broker.forwarder_cluster_id = "ttn-v2-eu-1".to_owned();
            broker.forwarder_gateway_eui = "B827EBFFFE8F1234".to_owned();
            broker.forwarder_gateway_id = gateway_id.to_owned();
            broker.home_network_net_id = "000013".to_owned();
            broker.home_network_tenant_id = "ttn".to_owned();
            broker.home_network_cluster_id = "eu1.cloud.thethings.network".to_owned();
            broker.hops = hops;
        })))
    };
    let of_v2 = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "packetbroker".to_owned();
        gateway.packet_broker = broker(
            "01JV7041X118KMTNTGKEGJ0PJM",
            "ttnv2",
            "eui-b827ebfffe8f1234",
            vec![
                json!({
                    "received_at": "2025-05-14T08:21:37.729216860Z",
                    "sender_name": "router-dataplane-57d9d9bddd-x8k2m",
                    "receiver_name": "router-5b5dc54cf7-psnt7",
                    "receiver_agent": "pbrouter/1.5.2 go/1.19.2 linux/amd64"
                }),
                json!({
                    "received_at": "2025-05-14T08:21:37.250776107Z",
                    "sender_address": "forwarder_uplink",
                    "receiver_name": "router-5b5dc54cf7-psnt7",
                    "receiver_agent": "pbrouter/1.5.2 go/1.19.2 linux/amd64"
                }),
            ],
        );
        gateway.time = at(37, 858_428_850);
        gateway.rssi = Some(-115.0);
        gateway.channel_rssi = Some(-115.0);
        gateway.snr = Some(-3.5);
        gateway.location = Some(place(51.9225, 4.4792, 22, "registry"));
        gateway.uplink_token = "MU/tyGTM1OgjSG48dTE8p925KU6MvMQQosiItM1zNk7FCHXKnHB0jcPdHSp+FBHaFPbKZSgE/qXW9RAlYvBO/4LqXWIiHOypTGFGoDz41Fun9QwUzX5hoH3m".to_owned();
        gateway.received_at = at(37, 811_947_534);
    });
    let of_a_tenant = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "packetbroker".to_owned();
        gateway.packet_broker = broker(
            "01JV6YMAPEFNJC1NGMK37TM2N9",
            "tenant-b",
            "north-gw",
            Vec::new(),
        );
        gateway.time = at(37, 565_279_603);
        gateway.rssi = Some(-120.0);
        gateway.channel_rssi = Some(-120.0);
        gateway.snr = Some(-9.25);
        gateway.uplink_token = "haj6rB9Uk6dZy4dlAt3yiwUqqebOjb46rvW9izIuo0afdwNGjvSwtLDFkmEnMamwhtiroE8dxlAFzXFX44olBl4tDLziggJ9q46xAD7pFOJnupGOMHaRVmRZ".to_owned();
        gateway.received_at = at(37, 966_301_036);
    });
    let expected = bed_07(
        "gs:uplink:01JV71H1ACFTJFQ8X51GZP3T8V",
        at(37, 619_598_752),
        lora(at(37, 946_549_687), vec![own, of_v2, of_a_tenant]),
    );
    assert_eq!(uplink("up-lora-packet-broker-gateways"), expected);
}

#[test]
fn a_gateway_with_gps_that_must_not_transmit() {
    let mast = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "mast-gps".to_owned();
        gateway.eui = "24E124FFFEF0AABB".to_owned();
        gateway.time = at(37, 41_000_000);
        gateway.gps_time = at(37, 41_000_000);
        gateway.timestamp = Some(746_820_105);
        gateway.rssi = Some(-88.0);
        gateway.channel_rssi = Some(-88.0);
        gateway.snr = Some(11.0);
        let mut location = place(-33.8568, 151.2153, 58, "gps");
        location.accuracy = Some(5);
        gateway.location = Some(location);
        gateway.downlink_path_constraint = "NEVER".to_owned();
        gateway.uplink_token =
            "0MvHAg54DwOSJZMU6K2MeDxEyD52IrRZkcIaAYKe/fuxrHTalBnIobs2JdT8lZB+RmCYcFQ2j/M="
                .to_owned();
        gateway.channel = 3;
        gateway.received_at = at(37, 361_595_385);
        gateway.extra = object(json!({
            "advanced": {"vendor_temperature_c": 41.5, "dir": {"azimuth": 180}}
        }));
    });
    let mut metadata = lora(at(37, 535_260_494), vec![mast]);
    metadata.gateway_time = at(37, 41_000_000);
    let expected = bed_07(
        "gs:uplink:01JV6Y6ADX85C3PHZZY30ACHY1",
        at(37, 314_851_628),
        metadata,
    );
    assert_eq!(uplink("up-lora-gps-time-and-path-constraint"), expected);
}

#[test]
fn an_airtime_may_be_longer_than_a_second() {
    let mut gateway = roof_east(
        1_182_029_790,
        "pcJ61ALSlxDSKEQpKOy3DorCEBj+MUGXMQNMhSTv4tNhj7kifAS/XxnDX1JrGk4wHXsbPvMhAZU=",
        at(37, 443_233_308),
    );
    gateway.rssi = Some(-128.0);
    gateway.channel_rssi = Some(-128.0);
    gateway.snr = Some(-19.8);
    let mut metadata = lora(at(37, 222_106_766), vec![gateway]);
    metadata.data_rate = "SF12BW125".to_owned();
    metadata.airtime = Some(Duration::from_micros(2_793_472));
    let expected = Uplink {
        payload_raw: vec![0; 51],
        ..bed_07(
            "gs:uplink:01JV6ZKKHA2Z7YQ45RJWFMH8QY",
            at(37, 854_224_285),
            metadata,
        )
    };
    assert_eq!(uplink("up-lora-sf12-long-airtime"), expected);
}

#[test]
fn a_long_payload_arrives_whole() {
    let gateway = roof_east(
        2_449_933_015,
        "9aXBgyLuq8nR89UrR3Gbx8TscfJ2R5vVR7eow8ZJaA/aA4PCJluvu+0fismzEhnGLPVfpQ9wQjY=",
        at(37, 880_032_055),
    );
    let mut metadata = lora(at(37, 413_566_192), vec![gateway]);
    metadata.airtime = Some(Duration::from_micros(368_896));
    let expected = Uplink {
        payload_raw: (0..222).collect(),
        ..bed_07(
            "gs:uplink:01JV71D5DSWMVY71VXK8NBK5BY",
            at(37, 5_957_006),
            metadata,
        )
    };
    assert_eq!(uplink("up-lora-sf7-largest-payload"), expected);
}

#[test]
fn a_wide_american_channel_and_a_tenant_of_its_own() {
    let depot = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "depot-us".to_owned();
        gateway.eui = "24E124FFFEF31337".to_owned();
        gateway.timestamp = Some(831_113_787);
        gateway.rssi = Some(-71.0);
        gateway.channel_rssi = Some(-71.0);
        gateway.snr = Some(12.5);
        gateway.uplink_token =
            "I4HxArHWgmax9bzs7poH2M/H19qR7XRba8lG+hw2yVPRa8LLN9irTflEM0pf4yLsCQhZRy98+Ig="
                .to_owned();
        gateway.channel = 8;
        gateway.received_at = at(37, 358_154_847);
    });
    let mut metadata = lora(at(37, 471_644_586), vec![depot]);
    metadata.frequency = Some(904.6);
    metadata.data_rate = "SF8BW500".to_owned();
    metadata.airtime = Some(Duration::from_micros(25_792));
    let expected = Uplink {
        app_id: "cold-chain".to_owned(),
        dev_id: "truck-12".to_owned(),
        dev_addr: "27FD00A1".to_owned(),
        network_ids: Some(made(|ids: &mut NetworkIds| {
            ids.net_id = "000013".to_owned();
            ids.ns_id = "EC656E0000000181".to_owned();
            ids.tenant_id = "acme".to_owned();
            ids.cluster_id = "nam1".to_owned();
            ids.cluster_address = "nam1.cloud.thethings.industries".to_owned();
            ids.tenant_address = "acme.nam1.cloud.thethings.industries".to_owned();
        })),
        ..bed_07(
            "gs:uplink:01JV6YBTY8XN5HNWPXBRBAVTSY",
            at(37, 886_244_351),
            metadata,
        )
    };
    assert_eq!(uplink("up-lora-us915"), expected);
}

#[test]
fn an_fsk_uplink_has_a_bit_rate_and_no_data_rate() {
    let mut gateway = roof_east(
        1_990_395_463,
        "Mo5CtxftuMqcFDINa1ugif55nyZpja+xwz6nsntis6dW/U3HGNcon1hqGLkpqUZQpybyrQ/JbWg=",
        at(37, 875_445_595),
    );
    gateway.rssi = Some(-77.0);
    gateway.channel_rssi = Some(-77.0);
    gateway.snr = None;
    gateway.channel = 8;
    let mut metadata = lora(at(37, 510_274_984), vec![gateway]);
    metadata.frequency = Some(868.8);
    metadata.modulation = "FSK".into();
    metadata.data_rate = String::new();
    metadata.coding_rate = String::new();
    metadata.bit_rate = Some(50_000);
    metadata.airtime = Some(Duration::from_micros(4_640));
    let expected = bed_07(
        "gs:uplink:01JV6YJPD0VHDNFHH9Y71HT8ST",
        at(37, 308_311_112),
        metadata,
    );
    assert_eq!(uplink("up-fsk"), expected);
}

#[test]
fn an_lr_fhss_uplink_has_a_channel_width_and_a_drift() {
    let gateway = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "lr-gw".to_owned();
        gateway.eui = "24E124FFFEF45566".to_owned();
        gateway.timestamp = Some(3_370_655_506);
        gateway.rssi = Some(-121.0);
        gateway.channel_rssi = Some(-121.0);
        gateway.frequency_offset = Some(871);
        gateway.frequency_drift = Some(-12);
        gateway.hopping_width = Some(35);
        gateway.uplink_token =
            "qnVqOCHT0vXsABagdvGt2OUOTryAFRfMezJFCfz70efQuJTUcFMepsZrREITpqajWP6ClQkkSaY="
                .to_owned();
        gateway.channel = 10;
        gateway.received_at = at(37, 337_610_821);
    });
    let mut metadata = lora(at(37, 898_789_976), vec![gateway]);
    metadata.frequency = Some(867.7);
    metadata.modulation = "LR_FHSS".into();
    metadata.data_rate = "M0CW137".to_owned();
    metadata.coding_rate = "1/3".to_owned();
    metadata.airtime = Some(Duration::from_micros(1_236_992));
    let expected = Uplink {
        payload_raw: vec![1, 2, 3, 4, 5],
        ..bed_07(
            "gs:uplink:01JV6Z87SV8NCCN1C9B9YAQQ86",
            at(37, 833_355_104),
            metadata,
        )
    };
    assert_eq!(uplink("up-lrfhss"), expected);
}

#[test]
fn a_frame_may_have_a_port_and_no_payload() {
    let gateway = roof_east(
        3_717_359_740,
        "FRY7yTNeWnyPihdmqGHVbsn9bI6KM220NjtXyiCjLuDU4ynBTGBWqnibb2iwFw1v/nDoyljmX+E=",
        at(37, 991_220_503),
    );
    let mut metadata = lora(at(37, 323_871_157), vec![gateway]);
    metadata.airtime = Some(Duration::from_micros(46_336));
    let expected = Uplink {
        port: 10,
        payload_raw: Vec::new(),
        ..bed_07(
            "gs:uplink:01JV7025CJTXJFC019BG974K1X",
            at(37, 394_331_018),
            metadata,
        )
    };
    assert_eq!(uplink("up-empty-payload"), expected);
}

#[test]
fn a_frame_of_commands_alone_has_port_0() {
    let gateway = roof_east(
        1_237_195_548,
        "s9/YvI7tu8HEgeU9QOUwUB3SnH+w0OiItKi+sN4+SpcQgmoXwdkVEYkpbZCDJKpOoq1RTJFudVs=",
        at(37, 638_747_090),
    );
    let mut metadata = lora(at(37, 701_381_625), vec![gateway]);
    metadata.airtime = Some(Duration::from_micros(46_336));
    let expected = Uplink {
        port: 0,
        counter: 121,
        payload_raw: Vec::new(),
        ..bed_07(
            "gs:uplink:01JV6Z1Q9BZ4V79MJ7EKPXV45P",
            at(37, 135_129_907),
            metadata,
        )
    };
    assert_eq!(uplink("up-port-zero-mac-only"), expected);
}

#[test]
fn the_first_frame_of_a_session_has_counter_0() {
    let gateway = roof_east(
        1_014_472_321,
        "TnxofmrG/xSRH5VbKdQNaoJJGxjnhC9iHKoWdPy/rt3HvQAooVwA9pY/kdPI5Q3Wzx6tO6SuI5c=",
        at(37, 192_593_152),
    );
    let expected = Uplink {
        counter: 0,
        ..bed_07(
            "gs:uplink:01JV703WP22YK29RWB238X8Y9W",
            at(37, 117_869_629),
            lora(at(37, 129_362_587), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-first-frame-counter-zero"), expected);
}

#[test]
fn an_uplink_without_gateways_is_not_taken_for_a_simulated_one() {
    let expected = bed_07(
        "gs:uplink:01JV6YPV672RY0P6P3ABYVSTDY",
        at(37, 48_083_552),
        lora(at(37, 278_679_871), Vec::new()),
    );
    assert_eq!(uplink("up-no-gateways"), expected);
}

#[test]
fn a_confirmed_uplink_and_a_counter_beyond_16_bits() {
    let gateway = roof_east(
        2_854_483_980,
        "TiKdiR93xJd/9grH75uXz1q6pSr7GBuNZ33N1O/LuW39SViGKRfLYQJjwulZ0GiZE2GHMMjruAo=",
        at(37, 248_145_965),
    );
    let expected = Uplink {
        counter: 65_536,
        confirmed: true,
        ..bed_07(
            "gs:uplink:01JV6YGNMXDAPFHQ90H5K9TZAM",
            at(37, 959_918_965),
            lora(at(37, 295_605_595), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-confirmed"), expected);
}

#[test]
fn fields_may_be_nested_and_hold_any_text() {
    let gateway = roof_east(
        3_431_012_227,
        "q3IXS8ZWnzegIuaOj8vPX8JxeWSDJXrlPmImhi0xDWrO+vyJH8eKIZPaSeQS+64tG1Vv+zEJzrw=",
        at(37, 530_064_273),
    );
    let mut metadata = lora(at(37, 193_179_241), vec![gateway]);
    metadata.airtime = Some(Duration::from_micros(46_336));
    let expected = Uplink {
        port: 4,
        payload_raw: vec![0x7b, 0x01],
        payload_fields: json!({
            "position": {"hdop": 0.9, "lat": 52.3736735, "lon": 4.886663},
            "empty_object": {},
            "raw": [0, 255, 500, 1000],
            "matrix": [[1, 2], [3, 4]],
            "text": "why not \u{2014} gr\u{fc}\u{df}e \u{6f22}\u{5b57}",
            "none": null,
            "empty_list": [],
            "sensors": [
                {"id": "a", "value": 21.5, "ok": true},
                {"id": "b", "value": null, "ok": false}
            ]
        }),
        ..bed_07(
            "gs:uplink:01JV6Z0FXHTF9N9SVTYC69RFW8",
            at(37, 764_724_315),
            metadata,
        )
    };
    assert_eq!(uplink("up-decoded-nested"), expected);
}

#[test]
fn fields_may_be_empty_and_are_there_then() {
    let gateway = roof_east(
        1_249_951_351,
        "P01tjL9Gb4Cor4htNc6s8bpIlwnNEBYWew5tgkJTyAa5SokhE+ypjY26lDMdVtsNm+GD9dkTMdU=",
        at(37, 348_027_138),
    );
    let expected = Uplink {
        payload_fields: json!({}),
        ..bed_07(
            "gs:uplink:01JV709WQ4EF9BKFBWTGESFFYK",
            at(37, 436_676_258),
            lora(at(37, 560_832_378), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-decoded-empty-object"), expected);
}

#[test]
fn a_formatter_may_warn() {
    let gateway = roof_east(
        1_939_352_541,
        "5hQfr/LTjc8Tuxzts9FtVyQsLxknLpO0sDwADW2ZmBII7h/IFzhiVqCsMxXY6SdvnCWk1uB2K+Q=",
        at(37, 837_496_816),
    );
    let expected = Uplink {
        payload_fields: json!({"level": 101.2}),
        payload_warnings: strings(&["level above 100", "calibration missing"]),
        ..bed_07(
            "gs:uplink:01JV6Z872310K4Q61AV050F400",
            at(37, 933_047_234),
            lora(at(37, 817_199_695), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-decoded-with-warnings"), expected);
}

#[test]
fn a_formatter_that_failed_leaves_no_fields() {
    let gateway = roof_east(
        3_535_318_584,
        "nIm1FuJY+Iwwo4r0MWeADp5Uf28DV9/teiAmQ4HTUy/qSv+2T2nl9apfrhsK8qNJdL1/Hyzk1A0=",
        at(37, 36_036_678),
    );
    let expected = Uplink {
        port: 99,
        payload_raw: vec![0xde, 0xad, 0xbe, 0xef],
        payload_fields: Value::Null,
        ..bed_07(
            "gs:uplink:01JV71FGYA6NXWKEBKY9HFXD2P",
            at(37, 701_114_492),
            lora(at(37, 282_187_592), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-decode-failed"), expected);
}

#[test]
fn fields_of_cayenne_have_a_name_for_each_channel() {
    let gateway = roof_east(
        3_606_946_518,
        "MU8/HPArz6MNtwlwxH+kCXllgJ+/ET4+a3nieZtHpW6BNPkxLU1uznkolsC90Lnu+5/MiSO7ZYg=",
        at(37, 434_181_557),
    );
    let mut metadata = lora(at(37, 577_097_375), vec![gateway]);
    metadata.airtime = Some(Duration::from_micros(56_576));
    let expected = Uplink {
        payload_raw: vec![0x01, 0x67, 0x01, 0x10, 0x02, 0x68, 0x32],
        payload_fields: json!({"temperature_1": 27.2, "relative_humidity_2": 25}),
        ..bed_07(
            "gs:uplink:01JV6YX9ZPP6BQ3YDVPW5W0SZN",
            at(37, 169_109_669),
            metadata,
        )
    };
    assert_eq!(uplink("up-cayenne"), expected);
}

#[test]
fn measurements_in_the_networks_words_are_a_list() {
    let gateway = roof_east(
        3_210_798_052,
        "PF6toKAoR++E+autfJriZIVRRjfOOc8JM8DztegliqPKef6F2q7l5JUdBx4wRmV7Qs9O6j81JCE=",
        at(37, 152_159_084),
    );
    let expected = Uplink {
        payload_fields: json!({"t": 21.5, "h": 60}),
        normalized_payload: vec![json!({"air": {"temperature": 21.5, "relativeHumidity": 60}})],
        ..bed_07(
            "gs:uplink:01JV718VTA0V0DDVDGKKPZHQK0",
            at(37, 490_240_406),
            lora(at(37, 285_014_632), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-normalized-payload"), expected);
}

#[test]
fn a_device_may_have_several_locations_and_the_users_is_the_location() {
    let gateway = roof_east(
        2_336_915_358,
        "WE191W8zUA1QiQMfGi6PG9FAHeJcCpcvnz5ReaZeHr1m9dBYSFu6lImtJXjy7wZ5o421kPjPBNY=",
        at(37, 897_423_950),
    );
    let mut metadata = lora(at(37, 598_845_766), vec![gateway]);
    let mut by_payload = place(52.37312, 4.89301, 1, "gps");
    by_payload.accuracy = Some(12);
    let mut by_cloud = place(52.374, 4.895, 0, "lora_tdoa_geolocation");
    by_cloud.accuracy = Some(350);
    metadata.location = Some(bed());
    metadata.locations = BTreeMap::from([
        ("frm-payload".to_owned(), by_payload),
        ("lora-cloud-geolocation-v3".to_owned(), by_cloud),
        ("user".to_owned(), bed()),
    ]);
    let expected = Uplink {
        payload_fields: json!({"latitude": 52.37312, "longitude": 4.89301}),
        ..bed_07(
            "gs:uplink:01JV701VB5S5PS066H2Q9X96F4",
            at(37, 753_783_270),
            metadata,
        )
    };
    assert_eq!(uplink("up-locations-several"), expected);
}

#[test]
fn a_device_of_the_repository_names_its_product() {
    let gateway = roof_east(
        2_152_738_193,
        "cl+dziJOB15q24sB0/4UuO0WbkxRJ1Qu+YFgNmGkxt0kJXtQjYwDrxptSdLlG5dRPOj6d2BihZU=",
        at(37, 834_262_863),
    );
    let expected = Uplink {
        version_ids: Some(made(|ids: &mut VersionIds| {
            ids.brand_id = "milesight-iot".to_owned();
            ids.model_id = "ws302".to_owned();
            ids.hardware_version = "1.0".to_owned();
            ids.firmware_version = "1.15".to_owned();
            ids.band_id = "EU_863_870".to_owned();
        })),
        ..bed_07(
            "gs:uplink:01JV6Y95ERKCP3E9DPTW5VYT6K",
            at(37, 223_423_939),
            lora(at(37, 71_245_730), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-version-ids-lora-alliance"), expected);
}

#[test]
fn the_battery_is_as_the_device_last_reported_it() {
    let gateway = roof_east(
        2_305_691_955,
        "3rLUkrsKW319a5K3JZbhffAlbDI2xLAIlPOi2A50XenFQUf9Ix5lwytCqr07oNYDiDGS8hMcv18=",
        at(37, 179_084_843),
    );
    let expected = Uplink {
        battery: Some(made(|battery: &mut Battery| {
            battery.percentage = Some(87.40157);
            battery.counter = 96;
            battery.received_at =
                at(37, 869_507_215).map(|time| time - Duration::from_secs(24 * 3600));
        })),
        ..bed_07(
            "gs:uplink:01JV71BW1SH59ZYP7KSYB574SM",
            at(37, 89_961_939),
            lora(at(37, 631_280_177), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-battery-3-33"), expected);
}

#[test]
fn a_device_has_attributes() {
    let gateway = roof_east(
        137_094_326,
        "eKUuDeF29pFf9palv7DnSKCT3+A8WD3W+cGtpIY0FUHFSM7f1K6vr/olSDuGd5F7byEouh23Gz0=",
        at(37, 990_314_154),
    );
    let mut metadata = lora(at(37, 421_822_672), vec![gateway]);
    metadata.location = Some(bed());
    metadata.locations = BTreeMap::from([("user".to_owned(), bed())]);
    let attributes = [("row", "7"), ("installed-by", "J. Doe"), ("site", "hall-b")];
    let expected = Uplink {
        attributes: attributes
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into(),
        ..bed_07(
            "gs:uplink:01JV6YRTWVS95PJW7AVJWP6BGX",
            at(37, 821_939_753),
            metadata,
        )
    };
    assert_eq!(uplink("up-attributes-3-34"), expected);
}

#[test]
fn an_encrypted_payload_comes_with_its_key() {
    let gateway = roof_east(
        2_706_202_842,
        "X7bxOdetfhLGqdgdmzUWn6Mg1aSRmiCk9wiuy7Vr+fgMNoOI34ploWHvw214plQfAJS5uy/FZnk=",
        at(37, 167_166_049),
    );
    let expected = Uplink {
        payload_raw: vec![0x9f, 0x1c, 0x22, 0xa0],
        app_s_key: Some(made(|key: &mut KeyEnvelope| {
            key.kek_label = "ns:000013:acme:kek1".to_owned();
            key.encrypted_key = vec![
                0x27, 0xac, 0x2f, 0x93, 0xd4, 0x8f, 0x39, 0xd1, 0xdf, 0xe3, 0xd5, 0x34, 0x19, 0x14,
                0xe0, 0x93, 0x7b, 0xa8, 0x6d, 0x95, 0xf2, 0xf0, 0x6d, 0x2e,
            ];
        })),
        last_downlink_counter: Some(41),
        ..bed_07(
            "gs:uplink:01JV6ZBVSDD4B5KVDJ9QFD3Q8N",
            at(37, 164_789),
            lora(at(37, 547_759_288), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-skip-payload-crypto"), expected);
}

#[test]
fn a_simulated_uplink_says_so() {
    let gateway = made(|gateway: &mut Gateway| {
        gateway.gtw_id = "test".to_owned();
        gateway.rssi = Some(42.0);
        gateway.channel_rssi = Some(42.0);
        gateway.snr = Some(4.2);
    });
    let expected = Uplink {
        counter: 0,
        simulated: true,
        correlation_ids: strings(&[
            "as:up:01JV6ZN1YDBZA05D2Z3VN0Q418",
            "rpc:/ttn.lorawan.v3.AppAs/SimulateUplink:01JV6YCJHPMQQPY0EPKMPJN04T",
        ]),
        ..bed_07(
            "",
            at(37, 929_156_672),
            lora(at(37, 869_287_225), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-simulated"), expected);
}

#[test]
fn a_device_activated_by_personalisation_may_have_no_euis() {
    let gateway = roof_east(
        564_337_713,
        "YB0tA+bIUFpkgO/ne7FtZNzw5/B6hzJJmBA5ZWfMxQE6end4XLK8X1RRlZQ+bRbayvzHpwUr7do=",
        at(37, 764_286_185),
    );
    let expected = Uplink {
        dev_id: "abp-1".to_owned(),
        hardware_serial: String::new(),
        app_eui: String::new(),
        ..bed_07(
            "gs:uplink:01JV6YC74ZRDFXS4GBEY3SJVMV",
            at(37, 529_911_124),
            lora(at(37, 701_033_319), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-abp-device"), expected);
}

#[test]
fn there_may_be_many_correlation_ids() {
    let gateway = roof_east(
        658_148_242,
        "lRCNbughmyKjY7y5O/wqIhAtObGXEnPWc7zegPMsED/pBtcBeaw35WN6h9R+wT2fHUU9qDoLjic=",
        at(37, 612_645_655),
    );
    let expected = Uplink {
        correlation_ids: strings(&[
            "as:up:01JV70DQJ8W6M7SVYGJCW4Z743",
            "gs:conn:01JV71JT1Z3RDY1GEXAE8W3C93",
            "gs:up:host:01JV6YTR3V3DKHBQ9SE2822M5B",
            "gs:uplink:01JV6Y7MZV0QWME8FP7P79494M",
            "ns:uplink:01JV6ZT5EH3BBEJ8M6RPF41FFF",
            "rpc:/ttn.lorawan.v3.GsNs/HandleUplink:01JV6Z2JPP8QY54EFNWQN1M1WV",
            "rpc:/ttn.lorawan.v3.NsAs/HandleUplink:01JV700DX23208W40NJ72243PN",
        ]),
        ..bed_07(
            "",
            at(37, 955_301_291),
            lora(at(37, 770_134_719), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-many-correlation-ids-pre-3-28"), expected);
}

#[test]
fn members_of_later_releases_stay_reachable_at_their_level() {
    let mut gateway = roof_east(
        499_548_016,
        "2cwMh5d2KtbBkt6TKPH3ZFj2K/hSEXCf4SD0tHzO21NiRgavnOWTBLbSmYnBK5mrhDjsnqWpI3g=",
        at(37, 352_964_392),
    );
    gateway.extra = object(json!({"angle_of_arrival": {"azimuth": 12.5}}));
    let mut metadata = lora(at(37, 189_029_902), vec![gateway]);
    metadata.extra = object(json!({"polarization": "RIGHT"}));
    let expected = Uplink {
        payload_fields: json!({"x": 1}),
        extra: object(json!({"device_channel_index": 3, "tenant_ids": {"tenant_id": "ttn"}})),
        ..bed_07(
            "gs:uplink:01JV70T6R6AYZCHDW1QY7JZ0CR",
            at(37, 843_238_717),
            metadata,
        )
    };
    assert_eq!(uplink("up-unknown-future-fields"), expected);
}

#[test]
fn numbers_may_be_written_as_text() {
    let mut gateway = roof_east(
        26_175_153,
        "8ZSubfee5AfPfuNX2gqozEVjc7E8O+qgDjsZnvU8vJTJNpiQT9HJ9KMAhF2/hQIR/E3mArlD0+8=",
        at(37, 84_624_807),
    );
    gateway.fine_timestamp = Some(7);
    gateway.frequency_offset = Some(-5);
    let expected = bed_07(
        "gs:uplink:01JV6YB4FBPDHSFRCH50GWS2GC",
        at(37, 102_184_805),
        lora(at(37, 435_338_845), vec![gateway]),
    );
    assert_eq!(uplink("up-numbers-as-strings"), expected);
}

#[test]
fn null_is_the_same_as_absent() {
    let gateway = roof_east(
        2_598_442_425,
        "HgEUBmLGexpS4MwCibc0DKm58zkx6nSg/zNKCK7y05ZMnt/RnDpK4X7g+vJFKgAjNtaoqeP3DOM=",
        at(37, 205_380_560),
    );
    let expected = Uplink {
        correlation_ids: Vec::new(),
        ..bed_07(
            "",
            at(37, 471_279_862),
            lora(at(37, 495_071_191), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-explicit-nulls"), expected);
}

#[test]
fn a_message_on_one_line_keeps_its_signs() {
    let gateway = roof_east(
        963_546_800,
        "Pi28w321P77b/vWwTQldTQYNpoKCNFGfJA8uA/GJQGql28qqdmR0HypWfEq6TXSuUaRtGmQTg+w=",
        at(37, 112_883_446),
    );
    let expected = Uplink {
        payload_fields: json!({"note": "a<b & c>d \"quoted\" back\\\\slash tab\there"}),
        attributes: BTreeMap::from([("label".to_owned(), "<b>&</b>".to_owned())]),
        ..bed_07(
            "gs:uplink:01JV71DHTQ7S4RTZ51EFC0WQ9R",
            at(37, 344_611_577),
            lora(at(37, 730_927_372), vec![gateway]),
        )
    };
    assert_eq!(uplink("up-compact-one-line"), expected);
}

#[test]
fn one_measurement_is_an_event_of_its_own() {
    let Event::UplinkNormalized(normalized) = decode("normalized-air") else {
        panic!()
    };
    let gateway = roof_east(
        3_925_743_778,
        "C/reHDKx3hMyCTS7rjlL55CVf3ftifPpUchrtFrK7jg/NLgbAm+4LvQydAMb6Pwq2rOKqDHOPKA=",
        at(37, 83_526_915),
    );
    let expected = Uplink {
        normalized_payload: vec![json!({"air": {"temperature": 21.5, "relativeHumidity": 60}})],
        packet_error_rate: None,
        ..bed_07(
            "gs:uplink:01JV6YCSN0H85TN4TBQ33FY71V",
            at(37, 91_053_474),
            lora(at(37, 393_738_823), vec![gateway]),
        )
    };
    assert_eq!(seen((*normalized).clone()), expected);
}
