//! The library's advice in terms of this program: its errors name methods of builders, users have options.

/// Phrases of the library, and what they are here. Longer ones come first.
const TERMS: [(&str, &str); 28] = [
    (
        ", or the server to ask for it with discovery_address(\"https://…\")",
        "",
    ),
    (
        "http_address, cluster or discovery_address",
        "--http-address or --cluster",
    ),
    ("cluster(\"eu1\")", "--cluster eu1"),
    ("cluster(\"nam1\")", "--cluster nam1"),
    ("cluster(\"au1\")", "--cluster au1"),
    ("mqtt_address(\"mqtts://…\")", "--address mqtts://…"),
    ("http_address(\"https://…\")", "--http-address https://…"),
    ("network(Network::V2)", "--network v2"),
    ("network(Network::V3)", "--network v3"),
    (
        "set them with credentials or client_certificate_files",
        "set them with --broker-user and --broker-password-file",
    ),
    (
        "set one with client_certificate_files or client_certificate_pem",
        "this program has none to present; use the library",
    ),
    (
        "ca_file or ca_pem",
        "--ca-file (of your own broker: --broker-ca-file)",
    ),
    ("the max_age of backfill", "this program fetches"),
    (
        "another one for Session::persistent",
        "another one with --client-id",
    ),
    ("set share_downlinks(false)", "use --downlinks alone"),
    ("take_downlinks(false)", "--downlinks no"),
    ("a watermark_file needs", "--watermark needs"),
    (" on the network's client", ""),
    ("set http_address", "use --http-address"),
    ("set it with http_address", "set it with --http-address"),
    ("name it with http_address", "name it with --http-address"),
    ("check http_address", "check --http-address"),
    ("set mqtt_address", "use --address"),
    ("set it with mqtt_address", "set it with --address"),
    (
        "of any other cluster with mqtt_address",
        "of any other cluster with --address",
    ),
    (
        "of your broker with mqtt_address",
        "of your broker with --broker",
    ),
    ("cannot read http_address", "cannot read --http-address"),
    ("silence_after(", "--silent-after ("),
];

/// Returns an error or advice of the library with the options of this program in it.
pub(crate) fn named(text: &str) -> String {
    let mut text = text.to_owned();
    for (term, option) in TERMS {
        if text.contains(term) {
            text = text.replace(term, option);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use ttn::{Backfill, MqttClient, MqttClientBuilder, Network};

    use super::*;

    #[test]
    fn errors_of_the_library_name_the_options_of_the_program() {
        let v3 = |app_id: &str| MqttClient::builder(app_id, "NNSXS.ID.SECRET");
        let why = |builder: MqttClientBuilder| named(&builder.build().unwrap_err().to_string());
        let client = v3("garden@ttn").build().expect("the server is asked for");
        let told = named(&client.connect().unwrap_err().to_string());
        assert!(
            told.contains("with --cluster eu1, --cluster nam1 or --cluster au1"),
            "{told}"
        );
        assert!(
            told.ends_with("set its MQTT server with --address mqtts://…"),
            "{told}"
        );
        let told = why(v3("garden@ttn").cluster("eu9"));
        assert!(told.ends_with("other cluster with --address"), "{told}");
        let told = why(v3("garden@ttn")
            .mqtt_address("tts.example")
            .backfill(Backfill::new()));
        assert!(
            told.ends_with("set it with --http-address https://…"),
            "{told}"
        );
        let told = why(MqttClient::builder("garden", "ttn-account-v2.SECRET").network(Network::V3));
        assert!(!told.contains("network("), "{told}");
        let client = v3("garden@ttn")
            .mqtt_address("tts.example")
            .build()
            .expect("it is complete");
        let told = named(&client.queue("beet-7").unwrap_err().to_string());
        assert!(told.ends_with("set --http-address or --cluster"), "{told}");
    }
}
