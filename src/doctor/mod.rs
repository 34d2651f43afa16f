//! Finds out why a client does not work: what is wrong, what was seen, and what to do.
//!
//! [`diagnose`](crate::MqttClientBuilder::diagnose) looks, in this order, at the options, the clock of
//! this machine, the name of the server, its addresses, TLS, the network's HTTP API, the access key, the
//! discovery of the MQTT server, MQTT itself, stored uplinks, devices, and what the key may do that a
//! client does not need. Each [`Step`] says what came of it; [`Report::verdict`] says the first thing
//! that is wrong.
//!
//! ```
//! use ttn::{MqttClient, Network, doctor::Verdict, simulator::Simulator};
//!
//! let network = Simulator::start(Network::V3)?;
//! network.set_rights(network.app_id(), network.access_key(), &["RIGHT_APPLICATION_INFO"]);
//! let report = MqttClient::builder(network.app_id(), network.access_key())
//!     .mqtt_address(network.mqtt_address())
//!     .http_address(network.http_address())
//!     .diagnose();
//! println!("{report}");
//! // It connects, but nothing will ever arrive.
//! assert_eq!(report.step("MQTT").map(|step| &step.verdict), Some(&Verdict::Ok));
//! assert!(report.verdict().contains("may not read the traffic"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The whole ends within 30 s, whatever the network does. It makes at most five requests over HTTP. The
//! first shows no key, and only a server that answers it as The Things Stack does is shown one; a
//! redirect is not followed. (The MQTT server gets the key in any case: you have named it.) Over MQTT it
//! connects and subscribes once, with a client id of its own, so that a running client is not disturbed,
//! and sends nothing. Neither the key nor the secret for a proxy is in the report.
//!
//! On V2, the steps about the HTTP API and the key are skipped, since there is no such API.
//!
//! # What is wrong, and what tells you
//!
//! Quoted from a client and a doctor with [`http_address`](crate::MqttClientBuilder::http_address) or a
//! server whose HTTP side is known; `…` stands for addresses and times. If the key is refused, the client
//! itself asks the network why. What is wrong with a device, such as an id that nobody knows or a device
//! that has never joined, is told by the [`Delivery`](crate::Delivery) of a downlink.
//!
//! | what is wrong | `connect` | event | [`verdict`](Report::verdict) |
//! |---|---|---|---|
//! | no such name | cannot find the host "no-such-host.invalid": …; check the address and the network | `ConnectFailed` | name: cannot find the host "no-such-host.invalid": …; check the address and the network |
//! | the name server is silent | looking up the server took longer than 2s; is the name server or discovery server reachable? | `ConnectFailed` | name: cannot find the host "server.fault.test": the name server did not answer in time |
//! | closed port | cannot reach mqtt://…: nothing listens there; is the server up and the port right? (…: refused) | `ConnectFailed` | TCP: cannot reach mqtt://…: nothing listens there; is the server up and the port right? |
//! | the server is down | cannot reach mqtt://…: nothing listens there; is the server up and the port right? (…: refused) | `ConnectFailed` | TCP: cannot reach mqtt://…: nothing listens there; is the server up and the port right? |
//! | firewall | cannot reach mqtt://…: no answer; is there a firewall in between? (…: no answer) | `ConnectFailed` | TCP: cannot reach mqtt://…: no answer; is there a firewall in between? |
//! | expired certificate | the certificate of mqtts://… was refused: it expired on …; the server needs a new one (this machine's clock says …; is that right?) | `ConnectFailed` | TLS: the certificate of mqtts://… was refused: it expired on …; the server needs a new one (this machine's clock says …; is that right?) |
//! | wrong clock | the certificate of mqtts://… was refused: it is not valid yet (not before …), and this machine's clock says …; is that right? | `ConnectFailed` | TLS: the certificate of mqtts://… was refused: it is not valid yet (not before …), and this machine's clock says …; is that right? |
//! | certificate for another host | the certificate of mqtts://… was refused: it is for another host name: it is valid for other.example, not for localhost; connect by the name in the certificate, or create a new one with the extension subjectAltName=DNS:localhost (in a file for `openssl x509 -req -extfile`, or with `openssl req -x509 -addext`) | `ConnectFailed` | TLS: the certificate of mqtts://… was refused: it is for another host name: it is valid for other.example, not for localhost; connect by the name in the certificate, or create a new one with the extension subjectAltName=DNS:localhost (in a file for `openssl x509 -req -extfile`, or with `openssl req -x509 -addext`) |
//! | certificate of an unknown authority | the certificate of mqtts://… was refused: it is not signed by the CA certificates that were set, but by its own key (it is self-signed, CN=localhost); set this certificate with ca_file or ca_pem | `ConnectFailed` | TLS: the certificate of mqtts://… was refused: it is not signed by the CA certificates that were set, but by its own key (it is self-signed, CN=localhost); set this certificate with ca_file or ca_pem |
//! | no TLS at that port | TLS with mqtts://… failed: the server closed the connection during the handshake; is this a TLS port, and does the server ask for a client certificate? | `ConnectFailed` | TLS: TLS with mqtts://… failed: the server closed the connection during the handshake; is this a TLS port, and does the server ask for a client certificate? If that port has no TLS, write mqtt:// or http:// |
//! | TLS is required | mqtt://… did not answer as an MQTT server does: it sent something else, beginning with …; check that this is the port for MQTT without TLS, and whether the server limits connections | `ConnectFailed` | MQTT: mqtt://… did not answer as an MQTT server does: it sent something else, beginning with …; check that this is the port for MQTT without TLS, and whether the server limits connections; if it is one for MQTT with TLS, write mqtts:// |
//! | TLS is required, and the server only closes | mqtt://… did not answer as an MQTT server does: it closed the connection; check that this is the port for MQTT without TLS, and whether the server limits connections | `ConnectFailed` | MQTT: mqtt://… did not answer as an MQTT server does: it closed the connection; check that this is the port for MQTT without TLS, and whether the server limits connections; if it is one for MQTT with TLS, write mqtts:// |
//! | the HTTP port as MQTT address | mqtt://… accepted the connection and then did not answer; is it an MQTT server, and is it overloaded? | `ConnectFailed` | MQTT: mqtt://… accepted the connection and then did not answer; is it an MQTT server, and is it overloaded? A port for HTTP (1885, 8885) is silent like this, too; MQTT usually has 1883, and 8883 with TLS |
//! | another kind of server | mqtt://… did not answer as an MQTT server does: it sent something else, beginning with "HTTP"; check that this is the port for MQTT without TLS, and whether the server limits connections | `ConnectFailed` | MQTT: mqtt://… did not answer as an MQTT server does: it sent something else, beginning with "HTTP"; check that this is the port for MQTT without TLS, and whether the server limits connections; if it is one for MQTT with TLS, write mqtts:// |
//! | no server is set | no server is known for the application "greenhouse@ttn": choose the hosted cluster of the application with cluster("eu1"), cluster("nam1") or cluster("au1") (on The Things Stack Cloud also "eu2" and "as1"); for your own installation set its MQTT server with mqtt_address("mqtts://…"), or the server to ask for it with discovery_address("https://…") | `ConnectFailed` | options: no server is known for the application "greenhouse@ttn": choose the hosted cluster of the application with cluster("eu1"), cluster("nam1") or cluster("au1") (on The Things Stack Cloud also "eu2" and "as1"); for your own installation set its MQTT server with mqtt_address("mqtts://…"), or the server to ask for it with discovery_address("https://…") |
//! | the HTTP side is not known | connects | `Connected` | it works, but HTTP API: the HTTP side of this MQTT address is not known, so what the key may do is not known, either; name it with http_address, such as https://host |
//! | the HTTP side is closed | connects | `Connected` | it works, but HTTP API: cannot reach http://…: nothing listens there; is the server up and the port right? (…: refused); the access key was not shown to it |
//! | https where there is no TLS | connects | `Connected` | it works, but HTTP API: TLS with https://… failed: the server sent something that is not TLS; is this a TLS port? (…); if it has no TLS, write http://; the access key was not shown to it |
//! | http where there is TLS | connects | `Connected` | it works, but HTTP API: http://… answers with HTTP 400, probably because it requires TLS; write https://; the access key was not shown to it |
//! | not The Things Stack | connects | `Connected` | it works, but HTTP API: http://… is not The Things Stack, or not its HTTP API; check the address; the access key was not shown to it |
//! | another port of The Things Stack | connects | `Connected` | it works, but HTTP API: http://… is The Things Stack, but not its HTTP API: the address has another port, or a path too much; the access key was not shown to it |
//! | a redirect | connects | `Connected` | it works, but HTTP API: http://… redirects to "http://…"; if that is the right one, set it instead; the access key was not shown to it |
//! | something in front of the server fails | connects | `Connected` | it works, but HTTP API: http://… cannot answer now (HTTP 502); try again later; the access key was not shown to it |
//! | the HTTP side is of another network | connects | `Connected` | it works, but key: over MQTT the server accepts the key, but over HTTP: the network does not know the API key: it was deleted, or belongs to another network or tenant; check the server, or create another key for "greenhouse". If the key was not changed just now, the HTTP API is probably that of another network: check http_address |
//! | a suspended account | mqtt://… refused the connection (CONNACK 5): the API key belongs to the user "gardener", whose account is suspended, rejected or waits for approval; ask the operator of the network, or create an API key of the application "greenhouse" | `ConnectFailed` | key: the API key belongs to the user "gardener", whose account is suspended, rejected or waits for approval; ask the operator of the network, or create an API key of the application "greenhouse" |
//! | not a key | mqtt://… refused the connection (CONNACK 5): what was set as the access key is not a whole API key, which has three parts with dots between them and begins with NNSXS; copy the whole key, or create another one for "greenhouse" | `ConnectFailed` | key: what was set as the access key is not a whole API key, which has three parts with dots between them and begins with NNSXS; copy the whole key, or create another one for "greenhouse" |
//! | no such key | mqtt://… refused the connection (CONNACK 5): the network does not know the API key: it was deleted, or belongs to another network or tenant; check the server, or create another key for "greenhouse" | `ConnectFailed` | key: the network does not know the API key: it was deleted, or belongs to another network or tenant; check the server, or create another key for "greenhouse" |
//! | half a key | mqtt://… refused the connection (CONNACK 5): the API key is mistyped or cut off: its id is right, its secret is not; copy the whole key, or create another one for "greenhouse" (the Console shows a key only once) | `ConnectFailed` | key: the API key is mistyped or cut off: its id is right, its secret is not; copy the whole key, or create another one for "greenhouse" (the Console shows a key only once) |
//! | expired key | mqtt://… refused the connection (CONNACK 5): the API key has expired; create another one for "greenhouse" | `ConnectFailed` | key: the API key has expired; create another one for "greenhouse" |
//! | deleted application | mqtt://… refused the connection (CONNACK 5): the application of the API key was deleted; use another application and a key of it | `ConnectFailed` | key: the application of the API key was deleted; use another application and a key of it |
//! | key of another application | mqtt://… refused the connection (CONNACK 5): the API key belongs to the application "greenhouse", not to "orchard"; use a key of "orchard", or "greenhouse" as the application id | `ConnectFailed` | key: the API key belongs to the application "greenhouse", not to "orchard"; use a key of "orchard", or "greenhouse" as the application id |
//! | no such application | mqtt://… refused the connection (CONNACK 5): the API key belongs to the application "greenhouse", and the network has no application "orchard": check the id, or whether the application was deleted | `ConnectFailed` | key: the API key belongs to the application "greenhouse", and the network has no application "orchard": check the id, or whether the application was deleted |
//! | key of a gateway | mqtt://… refused the connection (CONNACK 5): the API key belongs to the gateway "roof-east" and is of no use for an application; create an API key of the application "greenhouse" | `ConnectFailed` | key: the API key belongs to the gateway "roof-east" and is of no use for an application; create an API key of the application "greenhouse" |
//! | key of a user without rights on the application | mqtt://… refused the connection (CONNACK 5): the API key belongs to the user "gardener" and has no right on the application "greenhouse"; make the owner a collaborator and give the key the rights, or create an API key of the application "greenhouse" | `ConnectFailed` | key: the API key belongs to the user "gardener" and has no right on the application "greenhouse"; make the owner a collaborator and give the key the rights, or create an API key of the application "greenhouse" |
//! | the key is lost on the way | connects | `Connected` | it works, but key: over HTTP, the network sees no API key: what was set is not one, or something on the way, such as a proxy, removes it |
//! | the Identity Server is away | mqtt://… refused the connection (CONNACK 5): the server cannot reach its Identity Server and so cannot check keys, which says nothing about the API key; it accepts the key when the Identity Server is back | `ConnectFailed` | key: the server cannot reach its Identity Server and so cannot check keys, which says nothing about the API key; it accepts the key when the Identity Server is back |
//! | a tenant where there is none | mqtt://… refused the connection (CONNACK 5): the API key is good, but the server knows the application as "greenhouse"; use that as the application id instead of "greenhouse@ttn" | `ConnectFailed` | MQTT: mqtt://… refused the login: the API key is good, but the server knows the application as "greenhouse"; use that as the application id instead of "greenhouse@ttn" |
//! | no right to read | connects | `KeyWarning`: the API key "simulated key" may not read the traffic of the application "greenhouse@ttn", so no message will arrive; give it the right to read application traffic (RIGHT_APPLICATION_TRAFFIC_READ) and connect again: changed rights take effect with the next connection | key: the API key may not read the traffic of "greenhouse@ttn" (it lacks RIGHT_APPLICATION_TRAFFIC_READ): the client connects, and nothing ever arrives; give it the right in the Console, or create another key, and connect again |
//! | no right to send | connects | `Connected` | it works, but key: the API key may not send downlinks for "greenhouse@ttn" (it lacks RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE), and over MQTT the network drops them without a word; if the program sends, give it the right in the Console, or create another key, and connect again |
//! | too many rights | connects | `Connected` | it works, but least rights: the API key may do more than a client needs (RIGHT_APPLICATION_ALL, RIGHT_APPLICATION_DELETE, RIGHT_APPLICATION_DEVICES_READ_KEYS, RIGHT_APPLICATION_DEVICES_WRITE, RIGHT_APPLICATION_DEVICES_WRITE_KEYS, RIGHT_APPLICATION_SETTINGS_API_KEYS, RIGHT_APPLICATION_SETTINGS_BASIC, RIGHT_APPLICATION_SETTINGS_COLLABORATORS, RIGHT_APPLICATION_SETTINGS_PACKAGES): whoever gets hold of it can do that, too; create one with the rights to read traffic, write downlink traffic and view the application only |
//! | the key expires soon | connects | `KeyWarning`: the API key "simulated key" expires at …, in less than a day; after that, the network refuses it when the client connects: create another key in time | it works, but key: the API key expires at …; create another one before |

mod login;
mod report;
mod run;
mod survey;
mod traffic;
mod way;

use crate::config::MqttClientBuilder;
pub use report::{Report, Step, Verdict};

impl MqttClientBuilder {
    /// Finds out why a client with these options does not work. Blocks for at most 30 s, usually for
    /// less than one, and works on threads of its own. Options that are not valid are a report, too.
    ///
    /// [`doctor`](crate::doctor) lists what it looks at and what it may say.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let report = MqttClient::builder("My App", "NNSXS.ID.SECRET").cluster("eu1").diagnose();
    /// assert!(!report.is_healthy());
    /// assert!(report.verdict().starts_with("options: "));
    /// ```
    pub fn diagnose(self) -> Report {
        run::diagnose(&self)
    }
}
