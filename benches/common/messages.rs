//! The uplinks that all benchmarks use.

use super::APP;

/// Topic and payload of an uplink of about 1 KiB, heard by two gateways, with decoded fields.
pub fn uplink(number: usize) -> (String, String) {
    let dev_id = format!("soil-probe-{number:02}");
    let payload = format!(
        concat!(
            r#"{{"app_id":"{app}","dev_id":"{dev}","hardware_serial":"70B3D5499F3C00{number:02X}","#,
            r#""port":2,"counter":{counter},"confirmed":true,"payload_raw":"AWcA5gJoZANzJigEAgF4BQIA0g==","#,
            r#""payload_fields":{{"air":{{"humidity":50.0,"pressure":976.8,"temperature":23.0}},"#,
            r#""battery_mv":3612,"door":"closed","low_battery":false,"moisture":[21.5,22.25,19.75],"uptime_s":81433}},"#,
            r#""metadata":{{"time":"2018-11-21T18:05:03.518304771Z","frequency":867.1,"modulation":"LORA","#,
            r#""data_rate":"SF9BW125","airtime":246784000,"coding_rate":"4/5","gateways":["#,
            r#"{{"gtw_id":"eui-1dee1b6f00aa0301","gtw_trusted":true,"timestamp":4294967295,"#,
            r#""time":"2018-11-21T18:05:03.497112Z","channel":3,"rssi":-121,"snr":-9.75,"rf_chain":0,"#,
            r#""latitude":51.92442,"longitude":4.477733,"altitude":14,"location_source":"registry"}},"#,
            r#"{{"gtw_id":"harbour-roof-2","gtw_trusted":true,"timestamp":2240118875,"#,
            r#""time":"2018-11-21T18:05:02.975501Z","channel":3,"rssi":-117.5,"snr":-6.5,"rf_chain":0,"#,
            r#""latitude":51.91103,"longitude":4.468124,"altitude":-3,"location_source":"registry"}}],"#,
            r#""latitude":51.9201,"longitude":4.4712,"altitude":2,"location_source":"registry"}}}}"#,
        ),
        app = APP,
        dev = dev_id,
        number = number,
        counter = 10_000 + number,
    );
    (format!("{APP}/devices/{dev_id}/up"), payload)
}

/// Topic and payload of a v3 uplink as the hosted network sends it, with a decoded payload: about
/// 1.4 KiB if two gateways heard it.
pub fn v3_uplink(number: usize, gateways: usize) -> (String, String) {
    let dev_id = format!("soil-probe-{number:02}");
    let gateways: Vec<_> = GATEWAYS[..gateways].iter().map(gateway).collect();
    let payload = format!(
        concat!(
            r#"{{"end_device_ids":{{"device_id":"{dev}","application_ids":{{"application_id":"{app}"}},"#,
            r#""dev_eui":"70B3D57ED005{number:04X}","join_eui":"A840410000000101","dev_addr":"260B{number:04X}"}},"#,
            r#""correlation_ids":["gs:uplink:01JV6YBXVZR3RXZ4VZTNV1AP69"],"received_at":"2025-05-14T08:21:37.382429710Z","#,
            r#""uplink_message":{{"session_key_id":"dG6BC37n6CeHiJeb0pYleQ==","f_port":2,"f_cnt":{counter},"#,
            r#""frm_payload":"AWcA5gJoZANzJigEAgF4BQIA0g==","decoded_payload":{{"air":{{"humidity":50,"pressure":976.8,"#,
            r#""temperature":23.1}},"battery_mv":3612,"door":"closed","low_battery":false,"moisture":[21.5,22.25,19.75]}},"#,
            r#""rx_metadata":[{gateways}],"settings":{{"data_rate":{{"lora":{{"bandwidth":125000,"spreading_factor":7,"#,
            r#""coding_rate":"4/5"}}}},"frequency":"868300000","timestamp":825318032,"time":"2025-05-14T08:21:37.512Z"}},"#,
            r#""received_at":"2025-05-14T08:21:37.331901638Z","confirmed":true,"consumed_airtime":"0.051456s","#,
            r#""network_ids":{{"net_id":"000013","ns_id":"EC656E0000000181","tenant_id":"ttn","cluster_id":"eu1","#,
            r#""cluster_address":"eu1.cloud.thethings.network"}}}}}}"#,
        ),
        app = APP,
        dev = dev_id,
        number = number,
        counter = 10_000 + number,
        gateways = gateways.join(","),
    );
    (format!("v3/{APP}@ttn/devices/{dev_id}/up"), payload)
}

/// The id, EUI, RSSI and SNR of each gateway.
const GATEWAYS: [(&str, &str, &str, &str); 4] = [
    ("roof-east", "0016C001F10A1B2C", "-97", "9.2"),
    ("harbour-2", "58A0CBFFFE801F0E", "-113", "-4.75"),
    ("eui-3133303730004a00", "3133303730004A00", "-118.5", "-12"),
    ("kerlink-tower", "7076FF0056070AD9", "-105", "2.25"),
];

fn gateway((gateway_id, eui, rssi, snr): &(&str, &str, &str, &str)) -> String {
    format!(
        concat!(
            r#"{{"gateway_ids":{{"gateway_id":"{id}","eui":"{eui}"}},"time":"2025-05-14T08:21:37.512Z","#,
            r#""timestamp":825318032,"rssi":{rssi},"channel_rssi":{rssi},"snr":{snr},"#,
            r#""location":{{"latitude":52.0907,"longitude":5.1214,"altitude":21,"source":"SOURCE_REGISTRY"}},"#,
            r#""uplink_token":"TJe20e7HLZOFgCZI/7SIDgWn23NM2eSvf6zgjifzUOrDL7STq9/d8FwztmszBV9QfqnKSy053ro=","#,
            r#""channel_index":3,"received_at":"2025-05-14T08:21:37.351464754Z"}}"#,
        ),
        id = gateway_id,
        eui = eui,
        rssi = rssi,
        snr = snr,
    )
}
