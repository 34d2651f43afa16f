//! A network inside your process, to write and test programs without an account, a radio or a
//! broker.
//!
//! [`Simulator::start`] opens a port of 127.0.0.1 that speaks MQTT and behaves like The Things Stack
//! v3 or the V2 network: it knows applications, keys and devices, publishes what devices send, queues
//! what applications send, and reports what happens to it. Clients connect to
//! [`Simulator::mqtt_address`] with [`Simulator::app_id`] and [`Simulator::access_key`].
//!
//! ```
//! use ttn::Network;
//! use ttn::simulator::Simulator;
//!
//! let network = Simulator::start(Network::V3)?;
//! let (address, app_id, access_key) = (network.mqtt_address(), network.app_id(), network.access_key());
//! println!("connect to {address} as {app_id} with {access_key}");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The command-line tool has it as a program of its own, for clients in any language: `ttn simulate`.
//!
//! # Devices
//!
//! A [`Device`] joins and sends uplinks on request. Each uplink opens a receive window of 100 ms. The
//! next downlink in the queue when the window closes reaches the device, which keeps it in
//! [`Device::received`] and acknowledges a confirmed one with its next uplink.
//! [Class C](Device::class_c) devices receive downlinks without an uplink.
//!
//! ```
//! use std::time::Duration;
//! use serde_json::json;
//! use ttn::Network;
//! use ttn::simulator::{Simulator, Uplink};
//!
//! let network = Simulator::start(Network::V3)?;
//! let device = network.device("soil-probe-07");
//! device.join();
//! device.uplink(2, [0x01, 0x67, 0x01, 0x10]);
//! device.send(Uplink::new(3, []).confirmed(true).gateways(2));
//! assert_eq!(device.next_downlink(Duration::from_millis(1)), None);
//!
//! network.set_decoder(|_port, bytes| Ok(Some(json!({"bytes": bytes.len()}))));
//! device.uplink(2, [1, 2, 3]);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Gateways and payload formatters
//!
//! By default, invented [`Gateway`]s hear an uplink. [`Uplink::heard_by`] names others: with a clock or
//! GPS, several antennas, fine timestamps, or one that takes no downlinks. Closures play the payload
//! formatters of an application or a device: [`Simulator::set_decoder`], [`Simulator::set_normalizer`],
//! [`Simulator::set_encoder`] and [`Simulator::set_downlink_decoder`].
//!
//! ```
//! use serde_json::json;
//! use ttn::Network;
//! use ttn::simulator::{Decoded, Gateway, Simulator, Uplink};
//!
//! let network = Simulator::start(Network::V3)?;
//! network.set_decoder(|_port, bytes| Ok(Decoded::new(json!({"level": bytes[0]})).warning("uncalibrated")));
//! let tower = Gateway::new("tower").gps(true).fine_timestamp(123_456_789);
//! network.device("soil-probe-07").send(Uplink::new(2, [7]).heard_by(tower));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Inspecting clients
//!
//! Tests see what their client did, and wait for it without sleeping: with [`Simulator::clients`],
//! [`Simulator::published`] and the `wait_for_` methods. [`Device::queue`] returns what the network
//! holds for a device. A channel tells what clients and devices do, as it happens:
//! [`SimulatorBuilder::activity`].
//!
//! ```
//! use std::time::Duration;
//! use ttn::Network;
//! use ttn::simulator::Simulator;
//!
//! let network = Simulator::start(Network::V3)?;
//! assert!(network.wait_for_clients(0, Duration::from_secs(5)));
//! assert!(network.published().is_empty());
//! assert!(network.device("pump-1").queue().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Injecting faults
//!
//! The network can stop and restart, lose its gateways or its clients, fail to transmit, publish
//! anything on any topic, and [misbehave](Quirks) in many ways.
//!
//! ```
//! use ttn::Network;
//! use ttn::simulator::Simulator;
//!
//! let network = Simulator::start(Network::V3)?;
//! network.publish("v3/simulated-app@ttn/devices/pump-1/up", "not JSON");
//! network.transmission_fails(Some("TOO_LATE"));
//! network.gateways_down(true);
//! network.disconnect_clients();
//! network.stop();
//! network.restart()?;
//! network.quirks(|quirks| quirks.ignore_pings = true);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # TLS
//!
//! With the feature `tls`, MQTT can be [over TLS](SimulatorBuilder::tls), and so can
//! [HTTP](SimulatorBuilder::https). Clients trust the [authority](Simulator::authority) of the network.
//!
//! # HTTP
//!
//! v3 also serves The Things Stack's HTTP API, at [`Simulator::http_address`]: whose a key is and what
//! it may do, applications, devices, queues, downlinks, the address of the MQTT server, and simulated
//! messages. Requests drive the same devices as MQTT. Tests see them with
//! [`Simulator::http_requests`], break the server with [`Simulator::http_fault`], limit its
//! [rate](Simulator::http_rate_limit), and take away the
//! [Identity Server](Simulator::identity_server_down). Keys can [expire](Simulator::expire_key), be
//! [deleted](Simulator::remove_key) or lose their application, have other
//! [rights](Simulator::set_rights), or be [somebody else's](Simulator::add_other_key).
//!
//! ```
//! use std::time::SystemTime;
//! use ttn::Network;
//! use ttn::simulator::{HttpFault, Simulator};
//!
//! let network = Simulator::start(Network::V3)?;
//! println!("ask {}/api/v3/auth_info", network.http_address());
//! network.http_fault_on("/down/push", Some(HttpFault::Html(502)));
//! network.expire_key(network.app_id(), network.access_key(), SystemTime::now());
//! assert!(network.http_requests().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What is kept for programs that were away
//!
//! Over HTTP, v3 serves stored uplinks once it has a [storage](Simulator::storage), and streams events,
//! which a [store](Simulator::event_store) lets begin in the past. [`Storage`] and [`EventStore`] set how
//! long and how much they keep, and how they misbehave; [`Simulator::advance_clock`] makes what they keep
//! old. Answers that come in lines can break in the middle: see [`HttpFault`], and
//! [`Simulator::http_faults_next`] for faults of single requests.
//!
//! ```
//! use std::time::Duration;
//! use ttn::Network;
//! use ttn::simulator::{EventStore, HttpFault, Simulator, Storage, Uplink};
//!
//! let network = Simulator::start(Network::V3)?;
//! network.storage(Some(Storage::new().write_delay(Duration::from_secs(30))));
//! network.event_store(Some(EventStore::new()));
//! network.device("soil-probe-07").send(Uplink::new(2, [7]).repeated_after(Duration::from_secs(60)));
//! network.http_faults_next("/storage/", [HttpFault::CutInFrame(3), HttpFault::RateLimited]);
//! network.advance_clock(Duration::from_secs(3600));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # The V2 network
//!
//! V2 starts and works in the same way. Features of only one of the networks are marked; using one
//! on the other network panics if a test would otherwise pass or fail for the wrong reason. Like the
//! real one, V2 reads 10 packets per second from a client, which a test that sends more can
//! [turn off](Quirks::rate_limit). Its payload functions are decoder, [converter](Simulator::set_converter),
//! [validator](Simulator::set_validator) and encoder, or [CayenneLPP](Simulator::set_payload_format).
//!
//! ```
//! use ttn::Network;
//! use ttn::simulator::Simulator;
//!
//! let network = Simulator::builder(Network::V2).quirks(|quirks| quirks.rate_limit = None).start()?;
//! assert_eq!(network.app_id(), "simulated-app");
//! network.device("soil-probe-07").uplink(2, [0x01, 0x67]);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Fidelity
//!
//! The simulator behaves as the real servers were measured to behave: The Things Stack 3.32.1, and the
//! last version of V2 with its own broker. The tests compare it with recordings of both.
//!
//! On v3, `#` and `v3/#` refer to the client's application, and so does `+` in place of its id.
//! Requests are read by protobuf's rules. A request that the server cannot read, or for an unknown
//! device, leaves no trace; other mistakes are reported on `down/failed`, once for each downlink of the
//! request. Messages have the members that the server prints, in the same order and without zeros.
//!
//! ## Uplinks and joins of The Things Stack
//!
//! The simulator was compared with release 3.32.1, open source edition with default options, message by
//! message.
//!
//! | about | like the real server |
//! |---|---|
//! | members | their presence, order and form; digits of times; correlation ids by kind |
//! | times | the Application Server receives an uplink 205 ms after the Network Server and 206 ms after the Gateway Server, a join 3.8 s after the Network Server |
//! | order | `down/failed`, `down/ack` or `down/nack`, `up/normalized`, `up`, `location/solved`, then `down/sent` |
//! | gateways | one entry for each antenna of each gateway; copies count once; a copy that comes 200 ms after the first is in no message; `time` and `settings.time` only with a clock; antennas other than the first transmit nothing |
//! | frame counters | repeated frames, damaged ones, old counters and jumps by more than 16,384 are never published; what they acknowledge is not acknowledged |
//! | FPort | no payload on 0 and 226; 224 never appears, nor the `down/ack` or `down/nack` that would come with it |
//! | decoder | no trace of a failure; `null` becomes `{}`, an array an object; not called on FPort 0; if it [crashes](Decoded::crash) the server, the uplink is lost, but not its `down/ack` |
//! | normalizer | measurements are checked; one unknown name removes all of them, and a failure also the decoded fields; without a normalizer, fields that are a measurement count as one |
//! | positions | in fields such as `latitude` and `longitude`, or in `gps_1`; kept in `locations.frm-payload` of later uplinks |
//! | simulated messages | [every kind](Device::simulate), with only what the request contains; which requests are refused |
//! | releases | `last_battery_percentage` from 3.33.1 and `attributes` from 3.34.0, by their documentation, if the [release](SimulatorBuilder::release) has them |
//!
//! | about | different by choice |
//! |---|---|
//! | delays | an uplink or a join is published at once, and only its times include the delays, unless [real delays](SimulatorBuilder::real_delays) are asked for |
//! | first counter | the first uplink of a session may have any frame counter, so that a test need not send those before |
//! | several `up/normalized` | in the order of the measurements; the order of the real server varies |
//! | `up/normalized`, `location/solved` | always before and after their `up`; the real server does so almost always |
//! | LoRaWAN | devices use EU868 and LoRaWAN 1.0.3; `consumed_airtime` is missing for data rates that LoRa lacks |
//! | not measured | FSK, LR-FHSS and Packet Broker look as their documentation says; relays exist only in [simulated messages](Device::simulate), and there is no class B |
//! | ids | a hosted application has made-up `network_ids`; every device has the same JoinEUI |
//! | answers to MAC commands | 3 bytes, a device status, in the next uplink, unless its [length](Uplink::options) is set |
//! | joins | a device hears the answer even if the gateways [refuse](Simulator::transmission_fails) or [lose](Simulator::gateways_deaf) downlinks |
//! | messages of services | [locations](Device::location_solved) and [data](Device::service_data) belong to no uplink: their only correlation id is an `as:up` |
//! | setters of [`Uplink`] | [fields](Uplink::fields), [warnings](Uplink::warning) and [measurements](Uplink::normalized) are published as they are, without formatters |
//!
//! ## Downlinks of The Things Stack
//!
//! These were compared in the same way.
//!
//! | about | like the real server |
//! |---|---|
//! | requests | read by protobuf's rules; an empty payload counts as none; which mistakes are silent, and which fail for each downlink of the request; a refused request changes nothing |
//! | events | their members, order and form; no `dev_addr` in messages about a request; correlation ids by kind, one `as:downlink` for each downlink |
//! | errors | names, codes, texts and attributes; one correlation id for all downlinks of a request, none for those that fail in the queue |
//! | frame counters | assigned when queued, from 1 in each session; replaced and cleared downlinks leave gaps; [MAC commands](Device::mac_commands) and acknowledgements without a downlink take counters too, and queued downlinks whose counters are then too low are renumbered |
//! | class A | one downlink for each uplink; if it is too long, the next one is sent and it fails after that; a downlink for classes B and C blocks those behind it until its time has passed and another is to be sent |
//! | confirmed downlinks | the next uplink decides; after a `down/nack`, the downlink goes to the end of the queue; `max_attempts` counts from `attempt`; the last nack follows `max_retries_reached` |
//! | joins | the queue and an unanswered downlink move to the new session; the first downlink travels with MAC commands and has priority `HIGHEST` |
//! | class C | nothing before the first uplink; one downlink after the other; a confirmed one waits until the one before is acknowledged or not, or until the [timeout](Device::class_c_timeout), after which nothing is reported about the one before |
//! | absolute time | 2.5 s of notice; a gateway [with GPS](Gateway::gps); sent to the gateway 5 s before the time or at once; those behind it wait until the time has passed |
//! | named gateways | unknown ones are ignored |
//! | gateways | those that [refuse](Simulator::transmission_fails), [report nothing](Simulator::gateways_silent) or [take no downlinks](Simulator::gateways_deaf); results that the server does not know become `UNKNOWN_ERROR` |
//! | kinds of device | [without EUIs](Device::without_euis), without a join (no `session_key_id`), [groups](Device::multicast), those whose application [keeps the keys](Device::keeps_own_keys), those that may [reset their counters](Device::resets_counters), those that [ask for the time](Device::synchronizes_clock) |
//!
//! | about | different by choice |
//! |---|---|
//! | pauses of class C | as long as the [receive window](SimulatorBuilder::receive_window), or [real ones](SimulatorBuilder::real_delays) of 0.2 to 2.5 s; the real server was seen to take up to 5 s |
//! | absolute time | too late less than 2 s before; what is behind leaves 1.1 s after the time. The real limits were not measured: it was too late for one that was next 1.6 s before |
//! | choice of gateways | any with GPS of those that heard the last uplink can keep a time, and any that heard a device can be named; a downlink for a time or for named gateways answers no uplink. By reading, not measured |
//! | a time of class A that has passed | fails also if only a frame of the network is to be sent, and not if all others are for classes B and C; not measured |
//! | requests with several mistakes | a missing FPort counts first, then a missing session, then the first bad downlink; not measured |
//! | several failures after one uplink | share the id of the call that passes them on; not measured |
//! | `down/sent` | never missing; the real server loses about one in a hundred |
//! | MAC commands | only with the first answer after a join, unless [asked for](Device::mac_commands) |
//! | gateways that are [down](Simulator::gateways_down) | keep the queue; this was not measured |
//! | class C at slow data rates | a downlink without an uplink may have 242 bytes |
//!
//! ## HTTP of The Things Stack
//!
//! The tests compare each answer with a recorded one, member by member.
//!
//! | about | like the real server |
//! |---|---|
//! | routes | `auth_info`, `applications/…` with rights and devices, devices at `as` and `ns`, `mqtt-connection-info`, `as/configuration`, `configuration/frequency-plans`, `down`, `down/push`, `down/replace`, `up/simulate`, `packages/storage/{type}` with and without `count`, `events`; others are 404, other methods 501 |
//! | order of checks | route, method, query and body, ids and values, rate, key, rights, and then the thing itself |
//! | errors | status, name, text, attributes and cause; none of these if the gateway in front of the servers refuses |
//! | keys | the middle part is the id: with another last part, the secret is wrong. `auth_info` and rights answer 200 without a key |
//! | rights | spelt out, in any order; a change counts for the next request, and for the next MQTT connection |
//! | rate limit | of each method, application or device, and key; headers in whole seconds, cut off |
//! | without an Identity Server | its routes are 404, those of the Application Server 503, and MQTT answers with code 5 |
//! | downlinks | one bad downlink refuses the whole list; the events come over MQTT as well |
//! | connections | HTTP/1.1, one request after the other; what is no request is answered once its first line ends |
//! | answers in lines | chunked, one frame a chunk; an empty line after each for exactly `Accept: text/event-stream`; errors wrapped in `error` unless the request could not be read; no body and no type if nothing is found; no chunks for HTTP/1.0 |
//! | counters and times of devices | `last_seen_at` in the list of the Identity Server; `session.last_f_cnt_up` and `session.started_at` at the Network Server |
//!
//! | about | different by choice |
//! |---|---|
//! | protocol | no HTTP/2, no compression but [in form](HttpFault::Gzip), no cookies, no `Grpc-Timeout` |
//! | size | bodies above 16 MiB are 400 as on the real server, but in plain text; heads above 1 MiB are 431 |
//! | cache of rights | none; an installation of several servers keeps them for two minutes |
//! | field masks | only what is simulated can be asked for; the whole `session` has the members that are simulated, and no keys |
//! | `mqtt-connection-info` | the one address of this network, as `public_tls_address` if it speaks [TLS](SimulatorBuilder::tls) |
//! | server addresses | 127.0.0.1, unless the device is on [another cluster](Device::on_other_cluster) |
//! | tenants | an id without a tenant belongs to the tenant of the key, else to that of the first application |
//! | users, organizations | collaborate in every application of the network; there are no administrators, who alone learn with 404 that an application does not exist where others get 403 or no rights |
//! | error texts | of a body that is no JSON, of an encoder that fails, of an `order` that is unknown, and of ids at the Identity Server: by reading, not measured |
//! | events and simulated messages | published once the answer is written |
//!
//! ## Stored uplinks
//!
//! Without a [`Storage`], which is the default, their routes answer with a bare 404, like the open source edition.
//! With one, they follow the documentation and answers of hosted networks, which were not measured.
//!
//! | about | like the hosted network |
//! |---|---|
//! | records | the message of MQTT with the same two times, without `join_eui`, `correlation_ids`, `session_key_id` and `uplink_token` |
//! | order | by the outer `received_at`, rising unless asked otherwise; those of one time in the order of their publication |
//! | `limit` | at most 1000 records, also without it; what follows is not mentioned; above 1000 it is 400 |
//! | `after` | exclusive |
//! | `field_mask` | the application id goes missing, and `settings` leaves an empty object |
//! | other cluster, unknown device | 200 and nothing |
//! | rate limit | of each key, over all applications and devices; `count` has one of its own |
//!
//! | about | different by choice |
//! |---|---|
//! | types | only `uplink_message` is stored, as on Cloud; the others are 200 and nothing |
//! | `before` | exclusive, unless [set](Storage::before_inclusive) |
//! | `last` with `after` | both count; a `limit` of 0 gives nothing |
//! | `continuation_token` | neither given nor read |
//! | masks | the parts of other messages than uplinks are not checked |
//! | what is stored | what devices send and what is [simulated](Device::simulate), not what [`Simulator::publish`] makes up |
//! | package associations | not there: each application has the storage |
//!
//! ## Events
//!
//! The tests compare the stream with a recorded one, member by member.
//!
//! | about | like the real server |
//! |---|---|
//! | start | the first frame repeats ids and names; the past follows, oldest first, and then the present, without a mark between them and without a heartbeat |
//! | `tail` | counts events before `names` does; at most 1024 |
//! | `after` | cut to milliseconds, and what is of that millisecond is left out; without `tail`, most of what is kept is lost, in the middle too |
//! | without a store | live only, with `X-Warning` if more is asked for |
//! | old events | without `data`, and with the ids of application and device alone |
//! | `names` | exact, or an expression between slashes; unknown ones and those that fit nothing are refused |
//! | rights | any one opens the stream; without `RIGHT_APPLICATION_TRAFFIC_READ` it is silent. It goes on when the key is deleted |
//!
//! | about | different by choice |
//! |---|---|
//! | events | those of messages over MQTT, `as.up.data.decode.warning`, `js.join.accept` and `ns.up.join.process`; in the stream of a device also `ns.up.data.receive`, `.process` and `.forward`, and `as.up.data.receive`, without their data |
//! | time | that of the message, not milliseconds later |
//! | names of downlink events | by reading; the data of each is the message of MQTT |
//! | expressions | without groups and `{}`; they fit the names that the simulator knows, about thirty |
//! | how many are kept | exactly [as many as set](EventStore::events); the real server keeps up to a third more |
//! | what `after` loses | all but the first eight and about a third of the others |
//! | ids of gateways, users and others | passed over |
//! | slow clients | lose nothing |
//!
//! ## MQTT
//!
//! Both networks use the same broker library.
//!
//! | about | like the real server | different by choice |
//! |---|---|---|
//! | CONNECT | Protocol levels 3 and 4; code 1 for others. Code 5 for any mistake in key, user name, id or account. A client id that is not UTF-8 and bytes after the last field are accepted. | Code 3 only with [`Quirks::connection_limit`]. |
//! | Rights | A key with [neither right](Rights) connects to v3, but neither receives nor sends, since it has another right; V2 refuses it. Connected clients keep their rights. A [deleted key](Simulator::remove_key) is refused at the next CONNECT. | V2 remembers the rights of a key for a minute; the simulator does not. |
//! | Sessions | Nothing is kept for an absent client. Two clients with the same id can be connected. | |
//! | Wills | v3 accepts them and never publishes them. V2 publishes one if the client may write to its topic. | |
//! | Filters | Any filter of the client's application is granted, others get 0x80. `#` and `+` are replaced by the application id. `x/#` does not match `x`. | They stay so behind a [plain broker](Quirks::plain_broker), which leaves filters as they are and lets `x/#` match `x`. |
//! | Delivery | At QoS 0, not retained, once however many filters match. | In the order of the causes, except the fields of V2. The real brokers deliver with several threads. |
//! | PUBLISH | Acknowledged and dropped if it is forbidden. A repeated message is executed again at QoS 1, but not at QoS 2. Packet identifier 0 gets its answer, QoS 3 is ignored. | |
//! | Order | A packet is handled before the next one is read: every answer comes after the events of what was published before. | |
//! | Mistakes | Malformed filters, topics with wildcards and unexpected packets end the connection. Reserved flags, a PINGREQ with a body, a SUBSCRIBE without filters and text that is not UTF-8 are tolerated. | |
//! | Keep-alive | The connection ends after exactly one and a half intervals, without an interval after an hour. | |
//! | End | If a subscribed client closes, what the server has not read is lost. If it closes only its output, everything is handled. | The server ends with FIN even when it has not read everything; the real ones with RST. |
//! | Rates | V2 reads 10 packets per second ([`Quirks::rate_limit`]). On v3, the first PUBLISH above the rate ends the connection, after the events of those before it ([`Quirks::publish_rate`]). | v3 has no rate unless a quirk sets one. |
//! | Slow clients | 64 messages are kept for a client. | A full buffer makes the publisher wait; the real brokers drop the message ([`WhenFull`]). |
//! | Events | | They are never late, reordered or lost unless a quirk says so ([`Quirks::event_delay`], [`Quirks::shuffle_events`], [`Quirks::lose_events`]). After a restart of the real v3, the first uplinks may change places. |
//! | TLS | 1.2 and 1.3, without client certificates ([`SimulatorBuilder::tls`]). A port speaks either TLS or plain MQTT. | Clients that are cut off get no `close_notify`. |
//!
//! ## V2
//!
//! | about | like the real server | different by choice |
//! |---|---|---|
//! | Messages | Members, their order and absence, number formats, escapes and error texts. | Signal strengths and identifiers are made up, also the payload and integrity code of a frame in `down/sent`; its header and size are right. |
//! | Uplinks | The first one of a device is a retry if its counter is 0, also after a join if the last counter was 0. Repetitions of unconfirmed ones are not heard. Gateways come in any order. | Published at once, not after 200 ms. The first uplink of a session may have any frame counter. |
//! | Frame counters | Old ones and jumps by more than 16,384 are not heard, unless the device may [reset them](Device::resets_counters); what they acknowledge is not acknowledged. | |
//! | Gateways | One entry for each [antenna](Gateway::antenna); copies count once. Fine timestamps, also encrypted; a time only [with a clock](Gateway::clock); [trust](Gateway::trusted); the location with its [source](Gateway::location_source). | `rf_chain` is 1. |
//! | MAC commands | [Answered](Device::mac_commands) with the downlink or in a frame of their own. | The only answer is that to a link check. |
//! | Simulated uplinks | No radio data, no source of the location, no retry. | |
//! | Attributes | Published unless decoding failed. The last servers add a warning ([`Quirks::shutdown_warning`]). | Off by default: the simulator is the network in service. |
//! | Field topics | In any order, and sometimes before their uplink. A field with an empty name is published on the topic of the uplink. One with `#` costs the handler its connection: later messages of the uplink and the requests of that moment are lost. | The handler connects again after 50 ms and loses nothing else. [`Quirks::field_topics`] turns them off. |
//! | Payload functions | Decoder errors are published before or after the uplink. A rejected uplink is not published; the downlink it acknowledges is sent again. [Without a format](PayloadFormat::None), there are neither fields nor attributes, and fields of a downlink are dropped. [CayenneLPP](PayloadFormat::CayenneLpp) is built in; its objects are published whole. | Functions of the program instead of JavaScript: the simulator does not cut off one that runs for 100 ms; it can [say that it does](Decoded::endless). |
//! | Joins | Gateways have neither trust nor a location, unless they state it; the device has its own. Without a gateway that can transmit, nothing is published. | On 868.1 MHz at SF7BW125, heard by one gateway, unless the test [chooses](Device::join_with). There is no registration on join: a test creates the device. |
//! | Device events | The location is left out unless it changed. The time is in the zone of the server, in UTC unless [set](Quirks::utc_offset). | |
//! | Requests | A request that cannot be read, or for an unknown device, leaves no trace. Keys in any case. | |
//! | Bursts | Queued in order behind the network's own broker, in any order behind a [plain one](Quirks::plain_broker): a third of the batches of five keep it. | Nothing overtakes a request that replaces the queue, which was not seen to happen. |
//! | Queue | `replace`, `first`, `last`; a confirmed downlink is sent after each uplink until it is acknowledged or replaced. | |
//! | Transmission | In the first or second receive window, slow frames always in the second; FSK in the first. | Always possible: gateways have no duty cycle and are never busy. A receive window lasts [as long as set](SimulatorBuilder::receive_window). |
//! | Addresses | From a block of the network. | `2601` for all devices. |

mod activity;
mod api;
mod history;
mod http;
mod json;
mod listening;
mod lorawan;
mod mqtt;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod properties;
mod quirks;
mod security;
mod sync;
#[cfg(feature = "tls")]
mod tls;
mod v2;
mod v3;

pub use activity::Activity;
pub use api::{Device, Simulator, SimulatorBuilder};
pub use http::{HttpFault, HttpRequest};
pub use lorawan::{
    Decoded, DownlinkConstraint, Encoded, Gateway, Location, Normalized, PayloadFormat,
    QueuedDownlink, Received, Rights, Uplink, Validated,
};
pub use mqtt::{ClientInfo, Disconnection};
pub use quirks::{PublishRate, Quirks, WhenFull};
pub use v3::{EventStore, KeyOf, Storage};
