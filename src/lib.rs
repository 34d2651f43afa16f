//! A blocking, thread-based client for [The Things Network](https://www.thethingsnetwork.org):
//! uplinks by callback or channel, downlinks, joins and device events, for synchronous programs and
//! short scripts, without an async runtime.
//!
//! One API and one message model cover The Things Stack v3, which The Things Network, The Things
//! Stack Cloud and most installations run today, and V2 networks. The crate ports `MQTTClient` of
//! the V2 Python SDK method by method ([how to port a script](porting_from_python), [how to move
//! from V2 to v3](migrating_to_v3)), and builds on Eclipse Paho's C library.
//!
//! # Uplinks
//!
//! ```no_run
//! use ttn::MqttClient;
//!
//! let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1").build()?;
//! client.set_uplink_callback(|uplink, client| {
//!     println!("{} sent {}", uplink.dev_id, uplink.payload_hex());
//!     println!("temperature: {}", uplink.payload_fields["temperature"]);
//!     if let Some(gateway) = uplink.best_gateway() {
//!         println!("{} heard it with {:?} dBm", gateway.gtw_id, gateway.rssi);
//!     }
//!     client.close()
//! });
//! client.connect()?; // returns once subscribed, or with the reason why not
//! client.wait();     // until something closes the client
//! # Ok::<(), ttn::Error>(())
//! ```
//!
//! The fields of an [`UplinkMessage`] have the names of the V2 API and of the Python SDK, on both
//! networks. If you add several callbacks for one event, they are called in that order. A callback
//! may return a `Result`: its error, like a panic, is [logged](#logging) and reported as
//! [`Event::CallbackFailed`], and delivery continues.
//!
//! `payload_fields` is a JSON value. To calculate with it, take a [`number`](UplinkMessage::number), or
//! read all fields as [a type of your own](UplinkMessage::fields); an error names the member that does not
//! fit. The module [`fields`](mod@fields) reads what formatters really send: `"21.5 °C"`, `"NaN"`, `null`.
//!
//! # The two networks
//!
//! A client speaks v3 if its application id contains an `@` or its key is a v3 API key, and V2
//! otherwise; [`network`](MqttClientBuilder::network) sets it explicitly. The networks use different
//! terms:
//!
//! | here | on V2 | on v3 |
//! |---|---|---|
//! | application id | application id, the user name | application id `@` tenant id, the user name; the id alone if there are no tenants |
//! | access key | access key, `ttn-account-v2.…` | API key, `NNSXS.…` |
//! | server | [`mqtt_address`](MqttClientBuilder::mqtt_address) of a private installation | [`cluster`](MqttClientBuilder::cluster) of The Things Network or The Things Stack Cloud, or `mqtt_address` |
//! | [`discovery_address`](MqttClientBuilder::discovery_address) | discovery server | the stack and its `mqtt-connection-info` |
//! | `hardware_serial` | hardware serial | DevEUI |
//! | `app_eui` | AppEUI | JoinEUI |
//! | `payload_raw`, `payload_fields` | payload, payload function | `frm_payload`, `decoded_payload` of the payload formatter |
//! | `counter`, `port` | counter, port | `f_cnt`, `f_port` |
//! | gateways | `metadata.gateways` | `rx_metadata` |
//! | [`Activation`] | activation | join |
//! | [`Schedule::Replace`], [`Schedule::Last`] | schedule `replace`, `last` | `down/replace`, `down/push` |
//! | [`Schedule::First`] | schedule `first` | not available |
//! | [`DownlinkStep::Queued`], `Sent`, `Acknowledged`, `Failed` | `scheduled`, `sent`, `acks`, `errors` | `down/queued`, `sent`, `ack`, `failed` |
//! | [`DownlinkStep::NotAcknowledged`] | not reported | `down/nack` |
//!
//! # An API key
//!
//! Create it in the console of The Things Stack, under *Applications*, your application, *API
//! keys*, *Add API key*. It needs these rights:
//!
//! | for | right | without it |
//! |---|---|---|
//! | uplinks, joins, all other messages; [`queue`](MqttClient::queue) | *Read application traffic*, `RIGHT_APPLICATION_TRAFFIC_READ` | the client connects, but nothing ever arrives: [`KeyWarning`](Event::KeyWarning) |
//! | [`send`](MqttClient::send) | *Write downlink application traffic*, `RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE` | over MQTT the network drops downlinks silently: `send` returns [`NotAuthorized`](ErrorKind::NotAuthorized) |
//! | [`discovery_address`](MqttClientBuilder::discovery_address) | *View application information*, `RIGHT_APPLICATION_INFO` | `connect` returns `NotAuthorized` |
//!
//! The server says nothing about missing rights over MQTT. The warning and the error of `send` come from what
//! the client [asks over HTTP](#asking-over-http), and [`rights`](MqttClient::rights) returns all of it. New
//! rights take effect with the next connection, and a deleted key works until its connection ends.
//!
//! Keep the key out of the source code, for example in the environment or a file.
//!
//! # Events
//!
//! Everything that callbacks receive, and more, is also available as [`Event`] from any number of
//! independent [`Events`] streams, each a bounded crossbeam channel:
//!
//! ```
//! use std::time::Duration;
//! use ttn::{Event, crossbeam_channel::{select, tick}};
//! # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
//! # let client = ttn::MqttClient::builder(network.app_id(), network.access_key())
//! #     .mqtt_address(network.mqtt_address()).build()?;
//!
//! let events = client.events();
//! let ticker = tick(Duration::from_millis(10));
//! client.connect()?;
//! # network.device("soil-probe-07").uplink(1, [1]);
//! loop {
//!     select! {
//!         recv(events.receiver()) -> event => match event? {
//!             Event::Uplink(uplink) => break println!("{} sent something", uplink.dev_id),
//!             Event::Disconnected(lost) => println!("{}", lost.error),
//!             Event::Lagged(dropped) => println!("too slow: {dropped} events dropped"),
//!             _ => {}
//!         },
//!         recv(ticker) -> _ => println!("other work"),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Events serialize to [JSON](Event#as-json), for files, databases and other programs.
//!
//! # Downlinks
//!
//! The payload of a downlink is hex text, base64 text, bytes or a JSON object. It is sent on FPort 1 (a
//! formatter that encodes a JSON object can choose another), unconfirmed, and replaces what is queued
//! for the device (as in the Python SDK), unless a [`Downlink`] says otherwise.
//! [`send`](MqttClient::send) rejects everything it can check locally;
//! some mistakes only the network can see. The network does not report a device that it does not
//! know, fields that a v3 formatter cannot encode, or a key that lacks the right to write. So `send`
//! returns a [`Delivery`] that shows how far the downlink has come; [`DeliveryState`] says what each
//! state proves.
//!
//! ```
//! use std::time::Duration;
//! use serde_json::json;
//! use ttn::{DeliveryState, Downlink, Schedule};
//! # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
//! # let client = ttn::MqttClient::builder(network.app_id(), network.access_key())
//! #     .mqtt_address(network.mqtt_address()).build()?;
//! # client.connect()?;
//! # let pump = network.device("pump-1");
//!
//! client.send("pump-1", "0102")?;
//! client.send("pump-1", json!({"led_state": "on", "counter": 1}))?; // replaces the previous one
//! let delivery = client.send("pump-1", Downlink::bytes([1, 2]).port(20).confirmed(true).schedule(Schedule::Last))?;
//!
//! // This takes seconds at most. If it fails, the error lists the likely causes.
//! delivery.wait_for(DeliveryState::Queued, Duration::from_secs(15))?;
//! # std::thread::spawn(move || (0..50).for_each(|_| drop(pump.uplink(1, [0]))));
//! for state in delivery.states() {
//!     match state {
//!         DeliveryState::Sent => println!("a gateway has sent it"),
//!         DeliveryState::NotAcknowledged { .. } => println!("the network will send it again"),
//!         DeliveryState::Acknowledged => println!("the pump has received it"),
//!         state => println!("{state}"),
//!     }
//! }
//! # assert!(matches!(delivery.state(), DeliveryState::Acknowledged));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A v3 network identifies the downlink in every report, so the match is exact. A V2 network does
//! not: there a report is matched by device, FPort, confirmation and payload, to the oldest downlink of
//! this client that waits for such a report. If two programs send the same bytes to the same device
//! at the same time, their reports may be confused. All reports, including those about other programs' downlinks,
//! are available as [`Event::Downlink`].
//!
//! A class A device listens only after its own uplinks, so `Sent` may take a while. Use
//!
//! * [`reply`](MqttClient::reply) inside a callback, to be in time for the receive window of that
//!   uplink;
//! * [`send_batch`](MqttClient::send_batch) to send several downlinks to one device;
//! * [`send_many`](MqttClient::send_many) to send to many devices, at a
//!   [`pace`](MqttClientBuilder::pace) below the server's rate limit;
//! * [`clear_queue`](MqttClient::clear_queue) to discard everything queued for a device;
//! * [`stats().fair_use`](Stats::fair_use) to see how much airtime and how many downlinks each device
//!   uses in a day.
//!
//! On v3 a downlink can have a [`priority`](Downlink::priority), and go out through [certain
//! gateways](Downlink::gateway) or at [a certain time](Downlink::absolute_time). Each report says
//! [which downlink it is about](DownlinkEvent::is_about).
//!
//! Before your program ends, call [`close`](MqttClient::close) and check its result: it waits until the
//! server has processed every downlink, or returns an error that says how many are uncertain. A
//! downlink that was processed is not always accepted; only its [`Delivery`] shows that. After
//! [`GivenUp`](DeliveryState::GivenUp) and [`Unconfirmed`](DeliveryState::Unconfirmed), the device may
//! have received the downlink or not: send it again only if it may arrive twice.
//!
//! A downlink survives the program: store its [`key`](Delivery::key), and [`follow`](MqttClient::follow) it
//! in the next run.
//!
//! # Asking over HTTP
//!
//! A v3 network keeps silent over MQTT about most mistakes, and names them over HTTP. The client asks on its
//! own, in the background:
//!
//! | when | the client asks | what comes of it |
//! |---|---|---|
//! | the server refuses the key | why | the error of [`connect`](MqttClient::connect) and [`ConnectFailed`](Event::ConnectFailed) name the cause |
//! | the client has connected | what the key may do; again only if a right was missing, or the key has changed | [`KeyWarning`](Event::KeyWarning), [`rights`](MqttClient::rights), and an error of [`send`](MqttClient::send) |
//! | a downlink has [no report in time](MqttClientBuilder::unconfirmed_after), waits since before a reconnect, or is queued for a day | for the queue of its device, and why it is not there | it goes on as [`Queued`](DeliveryState::Queued), or the error of [`Unconfirmed`](DeliveryState::Unconfirmed) names the cause |
//!
//! It asks the host of the [`cluster`](MqttClientBuilder::cluster) or of the
//! [`discovery_address`](MqttClientBuilder::discovery_address). For your own installation, set
//! [`http_address`](MqttClientBuilder::http_address): without it, nobody is asked. The key goes to that host
//! and to the network's Identity Server only, which is another one on [some
//! clusters](MqttClientBuilder::identity_server_address). A question delays neither messages nor `close`, and a
//! failed one changes nothing; only the error of a refused connection waits for its answer, for 3 s at most,
//! within the [`connect_timeout`](MqttClientBuilder::connect_timeout).
//! [`ask_over_http(false)`](MqttClientBuilder::ask_over_http) turns all of this off.
//!
//! Three things happen only on request. [`queue`](MqttClient::queue) lists what waits for a device. With
//! [`downlinks(Over::Http)`](MqttClientBuilder::downlinks) the network answers each downlink at once. With
//! [`backfill`](MqttClientBuilder::backfill) the client [fetches what it has missed](#fetching-what-was-missed).
//!
//! ```
//! use ttn::{ErrorKind, MqttClient, Network, simulator::Simulator};
//!
//! let network = Simulator::start(Network::V3)?;
//! let typo = network.access_key().replace("NNSXS.", "NNSXS.A");
//! let client = MqttClient::builder(network.app_id(), typo)
//!     .mqtt_address(network.mqtt_address())
//!     .http_address(network.http_address())
//!     .build()?;
//! let error = client.connect().unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::NotAuthorized);
//! assert!(error.to_string().contains("the network does not know the API key"), "{error}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Messages that arrive another way
//!
//! Webhooks and the Storage Integration of v3 deliver the same JSON as MQTT, and so does the HTTP
//! integration of V2 for uplinks. One handler serves them all:
//!
//! ```
//! use ttn::{Event, MqttClient, Network, UplinkMessage};
//!
//! fn handle(event: &Event) {
//!     if let Event::Uplink(uplink) = event {
//!         println!("{} sent {}", uplink.dev_id, uplink.payload_hex());
//!     }
//! }
//! # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
//! # let client = MqttClient::builder(network.app_id(), network.access_key())
//! #     .mqtt_address(network.mqtt_address()).build()?;
//! # let events = client.events();
//! # client.connect()?;
//! # network.device("bed-07").uplink(2, [1]);
//! # client.close()?;
//! # drop(client);
//!
//! // MQTT
//! for event in events.iter() {
//!     handle(&event);
//! }
//! // The body of a webhook
//! # let body = r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"uplink_message":{}}"#;
//! handle(&Event::from_json(Network::V3, body)?);
//! // An answer of the Storage Integration, with a message in each line
//! # let answer = format!(r#"{{"result":{body}}}"#);
//! for event in Event::read_all(Network::V3, answer.as_bytes()) {
//!     handle(&event?);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who runs your code
//!
//! | thread | runs | ends |
//! |---|---|---|
//! | yours | the methods of [`MqttClient`]; every method that waits has a deadline, except [`wait`](MqttClient::wait) | |
//! | `ttn-callbacks` | callbacks, one at a time | with the last handle |
//! | `ttn-worker-N` | the closure of [worker](MqttClient::set_uplink_workers) N, if workers are set | with the last handle, or after its current uplink when its set is removed |
//! | `ttn-session` | connecting, subscribing, decoding; none of your code | with the last handle |
//! | `ttn-retry` | the [retry callback](MqttClient::set_retry_callback), if one is set | with the last handle, once the callback has returned |
//! | `ttn-feed` | a [`Feed`], between its two clients; none of your code | when the feed has closed |
//! | `ttn-wire` | the connection to the server: sockets, TLS, keep-alive; none of your code | with the connection |
//! | `ttn-ask` | a question [over HTTP](#asking-over-http); none of your code | with the answer, or after some seconds |
//! | `ttn-backfill` | fetches [what was missed](#fetching-what-was-missed); none of your code | with the backfill |
//! | `ttn-courier` | a downlink [over HTTP](MqttClientBuilder::downlinks); none of your code | with the answer, or after 10 s |
//! | `ttn-doctor` | the steps of a [diagnosis](MqttClientBuilder::diagnose), while it lasts; none of your code | when its step is done |
//! | `ttn-prepare`, `ttn-lookup` | what may block before a connection: discovery, files, name lookups; none of your code | when that is done |
//! | Paho's two | MQTT for all clients of the process; none of your code | never |
//!
//! You may call every method from any thread and from inside any callback, including `close`; you
//! may also drop the client there. A slow callback delays only the other callbacks of the same
//! client. A handle captured by a callback keeps the client alive; use the handle that the callback
//! receives instead.
//!
//! A handler that is slow because it waits for a database or another server belongs in
//! [workers](MqttClient::set_uplink_workers): eight of them wait for eight things at a time, and each device keeps
//! its order. Everything that this page says about callbacks is true of workers too, except that callbacks run in
//! order over all devices.
//!
//! # More than one process
//!
//! The networks deliver each message once to each connection, without acknowledgement. Where one process is not
//! enough, a [broker of your own](MqttClient::own_broker) comes between: it [keeps](Session) uplinks for a process that is
//! away, delivers again [what was not handled](Acknowledge), and [shares](MqttClientBuilder::shared_group) uplinks among
//! several processes. A [`Feed`] fills it. [From one process to many machines](scaling_out) explains when to use which,
//! from [workers](MqttClient::set_uplink_workers) in one process to a cluster.
//!
//! # When it does not work
//!
//! Replace `build()` by [`diagnose()`](MqttClientBuilder::diagnose): it looks at everything between the
//! options and the devices, and returns a report of what is wrong and what to do. [`doctor`] lists
//! what it may say, beside what `connect` and the events say.
//!
//! ```
//! use ttn::{MqttClient, Network, simulator::Simulator};
//!
//! let network = Simulator::start(Network::V3)?;
//! let report = MqttClient::builder(network.app_id(), network.access_key())
//!     .mqtt_address(network.mqtt_address())
//!     .http_address(network.http_address())
//!     .diagnose();
//! println!("{report}");
//! # assert!(report.is_healthy(), "{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Outages and other trouble
//!
//! If [`connect`](MqttClient::connect) fails, its error explains why: an [`ErrorKind`] for the
//! program and a sentence for the reader. After a later outage the client reconnects and subscribes
//! again; it counts as connected once every subscription is granted. A program that may start before
//! its network sets [`connect_retry`](MqttClientBuilder::connect_retry), which does the same for the
//! first connection.
//!
//! The delay between attempts grows from 1 s to 60 s with a random part
//! ([`reconnect_delay`](MqttClientBuilder::reconnect_delay)), and starts over after a connection that
//! lasted a minute. This backoff also spares a server that accepts connections and ends them at once,
//! or allows one client at a time; [`DisconnectCause`] says what an end looks like. A refused key is
//! retried slowly, or [not at all](MqttClientBuilder::refused_retry). To supply another key, choose
//! another delay or give up, set a [retry callback](MqttClient::set_retry_callback).
//!
//! | what happened | event | also |
//! |---|---|---|
//! | the connection was lost | [`Disconnected`](Event::Disconnected): why, what it looks like, next attempt | close callbacks, `false` |
//! | an attempt failed | [`ConnectFailed`](Event::ConnectFailed): why, attempt number, next attempt | connect callbacks, `false` |
//! | the client reconnected | [`Connected`](Event::Connected): [how long](Gap) it was away | connect callbacks, `true` |
//! | the frame counter of a device shows missing uplinks | [`Counter`](Event::Counter): how many, and [where they went missing](FrameLoss) | |
//! | a device is silent for a multiple of its usual interval, or back, if you [ask for it](MqttClientBuilder::silence_after) | [`DeviceSilent`](Event::DeviceSilent), [`DeviceBack`](Event::DeviceBack) | [`devices`](MqttClient::devices) |
//! | uplinks that were missed were [fetched](#fetching-what-was-missed), as far as possible | the uplinks, then [`Backfilled`](Event::Backfilled): how many, and what stays uncovered and why | [`Stats::backfilled`] |
//! | a subscriber was too slow | [`Lagged`](Event::Lagged): how many events were dropped | see [`Overflow`] |
//! | a message cannot be read | [`Malformed`](Event::Malformed), with its bytes | raw uplink callbacks |
//! | a member of a message cannot be read, but ids, payload, FPort and counter can | the message; the field is `None`, 0 or empty, and the member is in `extra` | [`Stats::odd_members`] |
//! | a broker of your own delivers a message that it has kept | the message, with [`is_retained`](Event::is_retained); it does not count as news of its device | the first one is logged |
//! | a downlink was not written, or was refused [over HTTP](MqttClientBuilder::downlinks) | [`PublishFailed`](Event::PublishFailed): why | |
//! | the key may not read traffic, or expires within 14 days | [`KeyWarning`](Event::KeyWarning): what is wrong, what to do | a warning in the log |
//!
//! ```
//! use ttn::{CounterFinding, Event, FrameLoss, MqttClient, Network, simulator::Simulator};
//!
//! let network = Simulator::start(Network::V3)?;
//! let device = network.device("bed-07");
//! let client = MqttClient::builder(network.app_id(), network.access_key())
//!     .mqtt_address(network.mqtt_address())
//! #   .reconnect_delay(std::time::Duration::from_millis(1), std::time::Duration::from_millis(2))
//!     .build()?;
//! let events = client.events();
//! client.connect()?;
//!
//! device.uplink(1, [0]);
//! # while !matches!(events.recv()?, Event::Uplink(_)) {}
//! network.stop();
//! device.uplink(1, [1]); // nobody receives it
//! network.restart()?;
//! loop {
//!     match events.recv()? {
//!         Event::Disconnected(lost) => println!("{}", lost.error),
//!         Event::Connected(connected) => {
//!             let gap = connected.gap.expect("an outage");
//!             println!("back after {:?}, with attempt {}", gap.length, gap.attempts);
//!             device.uplink(1, [2]);
//!         }
//!         Event::Counter(report) => match report.finding {
//!             CounterFinding::Missing { frames, loss: FrameLoss::Away } => {
//!                 break println!("{} sent {frames} uplinks meanwhile", report.dev_id);
//!             }
//!             finding => panic!("{finding:?}"),
//!         },
//!         _ => {}
//!     }
//! }
//! assert_eq!(client.stats().reconnects, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Over MQTT the networks keep nothing for a client that is away; on v3, it can [fetch what it
//! missed](#fetching-what-was-missed). Sending a downlink while disconnected is an error,
//! unless you set an [`offline_queue`](MqttClientBuilder::offline_queue); no downlink is ever written
//! twice.
//!
//! The client notices a cut connection at once. If the connection is silently dead, for example
//! because a cable was pulled or a router has forgotten it, the
//! [keep-alive](MqttClientBuilder::keep_alive) notices within twice its interval, or its interval and
//! 5 s.
//!
//! [`client.stats()`](MqttClient::stats) exposes all of this as counters, and
//! `received = decoded + malformed + dropped` holds exactly.
//!
//! # Fetching what was missed
//!
//! With [`backfill`](MqttClientBuilder::backfill), a v3 client fetches over HTTP what an outage has cost, after each
//! reconnect, and what this client itself has dropped because its queue was full. Such an uplink becomes an
//! [`Event::Uplink`] and runs the uplink callbacks like any other;
//! [`is_backfilled`](UplinkMessage::is_backfilled) tells them apart. In the end, [`Event::Backfilled`] says what was
//! fetched, and what is still missing, and why: with the defaults, 5 minutes after the reconnect, because storage is read
//! several times.
//!
//! ```
//! use ttn::{Backfill, Event, MqttClient, Network, simulator::{Simulator, Storage}};
//!
//! let network = Simulator::start(Network::V3)?;
//! network.storage(Some(Storage::new()));
//! let device = network.device("bed-07");
//! let client = MqttClient::builder(network.app_id(), network.access_key())
//!     .mqtt_address(network.mqtt_address())
//!     .http_address(network.http_address())
//! #   .reconnect_delay(std::time::Duration::from_millis(1), std::time::Duration::from_millis(2))
//! #   .backfill(Backfill::new().passes([std::time::Duration::ZERO])) /*
//!     .backfill(Backfill::new())
//! #   */
//!     .build()?;
//! let events = client.events();
//! client.connect()?;
//!
//! device.uplink(1, [0]);
//! # while !matches!(events.recv()?, Event::Uplink(_)) {}
//! network.stop();
//! device.uplink(1, [1]); // nobody receives it
//! network.restart()?;
//! for event in events.iter() {
//!     match event {
//!         Event::Uplink(uplink) if uplink.is_backfilled() => {
//!             assert_eq!((uplink.dev_id.as_str(), uplink.counter), ("bed-07", 1));
//!         }
//!         Event::Backfilled(report) => {
//!             println!("{report}");
//!             assert_eq!(report.delivered, 1);
//!             break;
//!         }
//!         _ => {}
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Networks keep uplinks in one of two places, and most keep none unless somebody turns it on:
//!
//! | | storage | event stream |
//! |---|---|---|
//! | where | hosted networks: the Storage Integration, which you activate for the application in the console | a server of your own that keeps events: `events.backend: redis` and `events.redis.store.enable: true`, which is not the default |
//! | for how long | 24 hours on The Things Network, 30 days on The Things Stack Cloud, as configured elsewhere | 10 minutes, and about the last 100 events of the application; one uplink is an event or more |
//! | what | uplinks, without [`app_eui`](UplinkMessage::app_eui), [`session_key_id`](UplinkMessage::session_key_id) and [`correlation_ids`](UplinkMessage::correlation_ids) | uplinks as they come over MQTT; of older ones, only that a device has sent something |
//! | right of the key | *Read application traffic* | the same |
//! | when | first, and again after a minute and after 5 minutes, because an uplink can be read only some time after it came | if the network has no storage, or nothing is stored; once |
//!
//! The client asks at the host of the [HTTP API](MqttClientBuilder::http_address). [`Backfill`] sets how far back, how often
//! and how fast. If the key may also read devices, the client finds out from their frame counters how many uplinks stay
//! missing.
//!
//! **Live traffic comes first.** Nothing waits for a backfill, so fetched uplinks come after later ones; among themselves
//! they are in the order of [`received_at`](UplinkMessage::received_at), except that a later reading of storage can bring
//! an earlier one. They come only as fast as your program reads them: while a queue is half full, the backfill waits. It
//! does not wait for a queue that nobody has read for 10 s: that one [drops](Overflow) what is too much, and reports it.
//! The frame counters of [`Event::Counter`] and [`Stats::frames`] take them into account: what came back is
//! [`Filled`](CounterFinding::Filled), and is not missing any more.
//!
//! **Nothing comes twice**, whichever way it came first. The client remembers what it has delivered lately, by the device,
//! the frame counter and the time at which the network received the uplink.
//!
//! **After a restart**, the next run goes on where this one ends: store the [`watermark`](UplinkMessage::watermark) of each
//! uplink with what you make of it, in one transaction, and set [`resume_from`](MqttClientBuilder::resume_from). It holds
//! once your program has handled the uplink that has it: everything before it was handled too, unless it was lost to your
//! subscription, which holds the watermark back. The example `archive` does this with a database.
//! [`MqttClient::backfill`] fetches any time that you name, for example the last 24 hours for a new program, or for one
//! that only fetches and never connects.
//!
//! It does not fetch joins, reports about downlinks, or anything but uplinks, because no network keeps these for long. It
//! sees no uplink that the network itself has lost. Nor does it look, unasked, for what the server has dropped while the
//! client was connected ([`FrameLoss::Upstream`]): [`MqttClient::backfill`] of that time does. V2 has no such API.
//! Programs with the same key share the network's rate limit, and the client leaves [some requests](Backfill::reserve) to
//! others.
//!
//! # Programs that run for a long time
//!
//! The example `service` does all of the following, and `examples/service.service` is a unit for
//! systemd. [Running for a year](running_for_a_year) is about what comes after: what to watch, what to store, and what to
//! do when something changes.
//!
//! | what happens | if you do nothing | do this |
//! |---|---|---|
//! | a signal: SIGTERM, Ctrl-C, SIGHUP of a closed terminal | the process ends immediately, without a farewell; downlinks that the server has not processed may be lost, and nothing reports them | receive the signal, for example with the crate `signal-hook`; [`close`](MqttClient::close), and turn its error into the exit status |
//! | systemd stops the program | it sends SIGTERM, and SIGKILL after `TimeoutStopSec` | set more than the [`close_timeout`](MqttClientBuilder::close_timeout), for example 40 s for the default |
//! | nobody reads the output any more: `program \| head` | `println!` panics. In a callback the panic is caught: the program runs on, and each further message prints another panic | write with `writeln!`, and close the client when that fails |
//! | SIGPIPE has its default action | Rust programs ignore SIGPIPE, and so does Paho from the first `connect` of a process on. A program that restores the default after that ends with its first write to a closed pipe, without a farewell | leave SIGPIPE ignored, or receive it like SIGTERM |
//! | the network is not up yet | `connect` returns an error | set [`connect_retry`](MqttClientBuilder::connect_retry), and call `connect` on a thread if a signal must end it: `close` on another thread does |
//! | the machine has no clock, and has not asked for the time yet | no certificate is valid: [`CertificateExpired`](ErrorKind::CertificateExpired), whose message says the time of this machine | set `connect_retry` too. A [retry callback](MqttClient::set_retry_callback) that gives up asks [`is_transient`](Error::is_transient) first, which is `true` here |
//!
//! A connection to the server that dies raises no SIGPIPE: on Linux the client writes with
//! `MSG_NOSIGNAL`. Paho writes to the loopback without that flag, so it could raise the signal; it did
//! not when 3 600 connections were cut while downlinks were written.
//!
//! ```
//! use std::{io::{self, Write}, thread};
//! use signal_hook::{consts::{SIGINT, SIGTERM}, iterator::Signals};
//! use ttn::{MqttClient, crossbeam_channel::{bounded, select}};
//! # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
//! # let client = MqttClient::builder(network.app_id(), network.access_key())
//! #     .mqtt_address(network.mqtt_address()).build()?;
//!
//! client.set_uplink_callback(|uplink, client| {
//!     match writeln!(io::stdout(), "{}", uplink.dev_id) {
//!         Ok(()) => Ok(()),
//!         Err(_) => client.close(), // nobody reads it any more
//!     }
//! });
//! let events = client.events();
//! let mut signals = Signals::new([SIGTERM, SIGINT])?;
//! let (sender, received) = bounded(1);
//! thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(signal)));
//! client.connect()?;
//! # signal_hook::low_level::raise(SIGTERM)?;
//! loop {
//!     select! {
//!         recv(received) -> _ => break,
//!         recv(events.receiver()) -> event => if let ttn::Event::Closed(_) = event? { break },
//!     }
//! }
//! client.close()?; // an error: how many downlinks are uncertain
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Server, TLS, discovery
//!
//! A hosted v3 network needs only the name of its [cluster](MqttClientBuilder::cluster). An [MQTT
//! address](MqttClientBuilder::mqtt_address) without a port means `mqtts://` on port 8883, with the
//! system's certificate authorities or [your own](MqttClientBuilder::ca_file); the chain and the host
//! name are checked. To use plain TCP, write `mqtt://` or another port: it exposes the access key to
//! everyone on the path. Without a cluster or an address, a [discovery
//! server](MqttClientBuilder::discovery_address) can supply the address.
//!
//! The client tries all addresses of a host, IPv6 and IPv4 in turn, and moves on when one fails or
//! after 250 ms; the error lists each of them. A [proxy](MqttClientBuilder::proxy) serves MQTT and
//! HTTP.
//!
//! TLS is 1.2 or 1.3, provided by rustls with ring. The authorities are those of the system
//! (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others), or a built-in list if the system has none. A
//! self-signed certificate is accepted if that exact certificate is set as an authority.
//! Certificates and keys are read again for each connection. Without the feature `tls` rustls is not
//! built, and an `mqtts://` or `https://` address is an error. The feature `encrypted-keys` reads
//! client keys that are protected by a passphrase.
//!
//! Paho, the MQTT engine, never talks to the server directly. It connects to a loopback port that is
//! open for some milliseconds, until Paho has presented a random token. The access key never crosses
//! the loopback. Another user of the machine can see that the port exists and can delay the
//! connection; only root can read the messages on it.
//!
//! A connected client uses five file descriptors, and a sixth while it connects.
//!
//! # Forks, threads, suspended machines
//!
//! **Programs that you start** do not inherit the connection to the server; they do inherit Paho's end of
//! the loopback.
//!
//! **A fork** without another program copies the client and none of its threads. The client works in the
//! parent only. In the child, every method that needs a thread says so at once: `send`, `connect` and
//! `close` return [`ErrorKind::Forked`], `is_connected` returns `false`, `wait` returns, a stream of
//! [`Events`] has ended, and a [`Delivery`] is [`Forgotten`](DeliveryState::Forgotten) unless its state was
//! final. Dropping the client there, or a simulated network, does not disturb the parent. If a callback or a
//! worker forks, the child ends when it returns. The crate cannot help with a
//! [`receiver`](Events::receiver) or [`states`](Delivery::states) that was taken before the fork: it waits
//! for ever in the child.
//!
//! Fork first, and create the client in the child. Once a process has begun to connect a client, no fork of
//! it can create one, because Paho's threads are in the parent; `build` says so.
//!
//! A child also has a copy of the socket to the server. It closes the copy when it first uses or drops the
//! client. Until then, or if the parent was reading or writing at the moment of the fork, the connection of
//! a parent that is killed stays open: the server ends it when it has heard nothing for one and a half times
//! the [keep-alive](MqttClientBuilder::keep_alive) (MQTT 3.1.1, section 3.1.2.10), and sends uplinks to
//! nobody in the meantime. The parent's `close`, and an outage that it notices, end the connection whoever
//! has copies.
//!
//! **Threads** that cannot be started are [`ErrorKind::ResourcesExhausted`]: from `build` (it starts two),
//! from `set_retry_callback`, from `set_uplink_workers` (one for each), and from `connect` (one for the lookup, one for the connection, and Paho's two
//! with the first connection of the process). The client retries as after any other failure; nothing is
//! left behind.
//!
//! **A suspended machine**, or a stopped process, loses its connection when the server gives it up. When
//! the client runs again, it pings the server as soon as anything wakes it, at the latest after the
//! keep-alive, and reconnects if no answer comes. [`Gap`] counts the time of the suspension.
//!
//! # Defaults
//!
//! | option | default |
//! |---|---|
//! | [`keep_alive`](MqttClientBuilder::keep_alive) | 30 s; a silent outage is noticed within twice this |
//! | [`connect_timeout`](MqttClientBuilder::connect_timeout) | 10 s, including discovery, name lookup and subscriptions |
//! | [`proxy`](MqttClientBuilder::proxy), [`proxy_from_environment`](MqttClientBuilder::proxy_from_environment) | none |
//! | [`http_address`](MqttClientBuilder::http_address) | the host of the cluster or of the discovery server; for any other MQTT address not known |
//! | [`identity_server_address`](MqttClientBuilder::identity_server_address) | the same host; on hosted networks that of the cluster `eu1` |
//! | [`ask_over_http`](MqttClientBuilder::ask_over_http) | yes, where the address is known |
//! | [`downlinks`](MqttClientBuilder::downlinks) | over MQTT |
//! | [`backfill`](MqttClientBuilder::backfill) | none; [`Backfill::new`] fetches up to 24 hours |
//! | [`resume_from`](MqttClientBuilder::resume_from) | from the first connection on |
//! | [`close_timeout`](MqttClientBuilder::close_timeout) | 5 s, and up to 30 s if downlinks are open |
//! | [`connect_retry`](MqttClientBuilder::connect_retry) | no: one attempt |
//! | [`reconnect`](MqttClientBuilder::reconnect) | yes |
//! | [`reconnect_delay`](MqttClientBuilder::reconnect_delay) | 1 s growing to 60 s, with jitter; starts over after a connection of 60 s |
//! | [`refused_retry`](MqttClientBuilder::refused_retry) | never before the first successful connection; every 60 s after it |
//! | [`offline_queue`](MqttClientBuilder::offline_queue) | none |
//! | [`pace`](MqttClientBuilder::pace) | none: downlinks are written immediately |
//! | [`counter_watch`](MqttClientBuilder::counter_watch) | 100 000 devices; in a [`shared_group`](MqttClientBuilder::shared_group), 0 |
//! | [`device_watch`](MqttClientBuilder::device_watch), [`silence_after`](MqttClientBuilder::silence_after) | no |
//! | [`duplicate_window`](MqttClientBuilder::duplicate_window) | 0; on a broker of one's own, 10 000 uplinks |
//! | [`unconfirmed_after`](MqttClientBuilder::unconfirmed_after) | 10 s after the downlink was written, and up to 10 s more to ask why |
//! | [`follow_downlinks`](MqttClientBuilder::follow_downlinks) | 10 000, for 48 hours |
//! | [`event_capacity`](MqttClientBuilder::event_capacity), [`overflow`](MqttClientBuilder::overflow) | 10 000 events per subscriber; the oldest are dropped |
//! | [`max_packet_size`](MqttClientBuilder::max_packet_size) | 16 MiB |
//! | [`receive_capacity`](MqttClientBuilder::receive_capacity) | 10 000 messages, 64 MiB |
//! | [`send_capacity`](MqttClientBuilder::send_capacity) | 1 000 downlinks waiting, 1 000 on their way out |
//! | MQTT | 3.1.1, clean session, QoS 0, no will, a new random client id for each connection; on a broker of one's own QoS 1 |
//!
//! # Recordings
//!
//! A [`Recorder`] writes every event to a file, a line of JSON each: messages with their topic and exact bytes, everything
//! else as notes. A [`Recording`] reads such files, the output of `mosquitto_sub -F '%j'` and answers of the Storage
//! Integration; its events have the same JSON as those of the live run. A [`Replay`] returns them at their own pace or
//! faster, into your handler or into the simulated network. An [`Anonymizer`] replaces ids, places, keys and payloads, so
//! that you can show a recording to others.
//!
//! # Devices at a glance
//!
//! With [`device_watch`](MqttClientBuilder::device_watch), [`MqttClient::devices`] lists each device: its last uplink and
//! usual interval, the frames lost by cause, its best gateway, battery, airtime today and open downlinks.
//! [`silence_after`](MqttClientBuilder::silence_after) also reports a device that is silent for a multiple of its usual
//! interval, and when it is back.
//!
//! # On the command line
//!
//! The feature `cli` builds the program `ttn`: `cargo install ttn --features cli`. It uses nothing but this API, so its
//! commands are also a guide to it:
//!
//! | command | uses |
//! |---|---|
//! | `ttn listen`, `ttn backfill` | [`MqttClient::events`], [`MqttClientBuilder::backfill`], [`MqttClient::backfill`] |
//! | `ttn send`, `ttn queue`, `ttn clear` | [`Delivery`], [`MqttClient::follow`], [`MqttClient::queue`], [`MqttClient::clear_queue`] |
//! | `ttn devices` | [`MqttClient::devices`] |
//! | `ttn doctor` | [`MqttClientBuilder::diagnose`] |
//! | `ttn feed` | [`Feed`] |
//! | `ttn record`, `ttn replay` | [`Recorder`], [`Recording`], [`Replay`], [`Anonymizer`] |
//! | `ttn simulate` | the module `simulator`, for clients in any language |
//!
//! `ttn COMMAND --help` fits a screen and ends with an example; `ttn --help` lists the exit statuses. The README has more
//! examples.
//!
//! # Without a network
//!
//! The feature `simulator` adds the module `simulator`: a simulated network inside your process, with
//! users, devices, gateways and the server's quirks. It is checked against recordings of real servers,
//! and its documentation lists what differs. It behaves like The Things Stack 3.32.1 unless you choose
//! another release. The examples in this documentation run on it, and so can your tests.
//!
//! # Logging
//!
//! The crate logs through the `log` crate. The targets are its module paths, such as `ttn::session`
//! or `ttn::client::callbacks`, so the filter `ttn=debug` selects everything. **Nothing is printed unless
//! your program installs a logger**, such as that of the crate `env_logger`; then the error that a
//! callback returns is visible only as [`Event::CallbackFailed`].
//!
//! | level | for |
//! |---|---|
//! | `error` | a callback or a worker that failed |
//! | `warn` | a key that may not read traffic or expires soon; events dropped because the callbacks or a worker do not keep up; a retry callback that takes too long; a system without certificate authorities; a V2 network that does not report on a downlink of a batch; the first retained message; on a broker of one's own, the first message at QoS 0 and the first of a partition that does not fit, and a shared group that cannot be proved; what a [`Feed`] cannot fetch, keep or pass on; a connection whose end Paho does not notice |
//! | `debug` | connections made, lost and refused; questions over HTTP without an answer; odd members of messages; how a backfill ended, and which uplinks it could not read |
//!
//! The access key appears in none of these messages, nor in what Paho logs.
//!
//! # Known problems
//!
//! * With `panic = "abort"`, a panic in a callback ends the process.
//! * When the last handle is dropped, the connection ends in the background. A process that exits
//!   immediately loses the downlinks that the server has not processed: The Things Stack takes 2 to
//!   4 ms for each, a V2 server 100 ms. Call [`close`](MqttClient::close) first.
//! * rustls with ring supports neither keys on the curve P-521, nor server certificates of version 1,
//!   nor names that appear only in the common name; each is an error that says so.
//! * If your program also uses Paho directly, it shares Paho's lock and its two threads with this
//!   crate, and can stall both.
//! * [`Published`](Event::Published) means that Paho has handed a downlink to the connection. If the
//!   connection breaks at that moment, the downlink may not have left this machine.
//! * What a key may do is known about a second after `connect`. Until then, `send` accepts downlinks with a
//!   key that may not send them; their [`Delivery`] says so.
//! * A v3 server silently drops messages for a client that reads too slowly, and sometimes in a
//!   burst. A gap in the frame [`counter`](UplinkMessage::counter) of a device is the only sign.
//! * At most 1 000 downlinks wait at a time, and a V2 server reads 10 packets a second. A loop over
//!   more devices must pause when `send` returns [`QueueFull`](ErrorKind::QueueFull). A v3 server
//!   whose rate limit is exceeded closes the connection, and loses the downlink that exceeds it and all
//!   behind it.
//!
//! # Building
//!
//! You need Rust 1.85 or later, a C compiler and cmake; Paho's C library and ring are compiled in. The README has recipes
//! for systems and targets.
//!
//! | feature | brings | without it |
//! |---|---|---|
//! | `tls` (default) | `mqtts://` and `https://` | such an address is an error that names the feature; neither rustls nor ring is built |
//! | `encrypted-keys` | client keys that are protected by a passphrase; brings `tls` | such a key is an error that says how to decrypt it |
//! | `simulator` | the module `simulator`: a simulated network inside your process | |
//! | `cli` | the command-line tool `ttn`; brings `simulator` | the tool and what it depends on are not built |

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod api;
mod backfill;
mod client;
mod clock;
mod closure;
mod config;
pub mod doctor;
mod downlink;
mod error;
mod events;
mod feed;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod inquiry;
mod message;
mod mqtt;
mod network;
mod process;
mod recording;
mod records;
mod recovery;
#[cfg(test)]
mod seeds;
mod server;
mod session;
#[cfg(feature = "simulator")]
pub mod simulator;
mod stats;
mod sync;
mod topics;
mod wire;

#[doc = include_str!("porting_from_python.md")]
pub mod porting_from_python {}

#[doc = include_str!("migrating_to_v3.md")]
pub mod migrating_to_v3 {}

#[doc = include_str!("scaling_out.md")]
pub mod scaling_out {}

#[doc = include_str!("running_for_a_year.md")]
pub mod running_for_a_year {}

pub use anyhow;
pub use client::{Backfilling, CallbackId, MqttClient};
pub use closure::CallbackResult;
pub use config::{
    Acknowledge, Backfill, ConnectRetry, MqttClientBuilder, Over, Overflow, Session, Topics,
};
pub use crossbeam_channel;
pub use downlink::{Delivery, DeliveryState};
pub use error::{Error, ErrorKind, Result};
pub use events::{Events, EventsIter};
pub use feed::{Feed, FeedBuilder, FeedEvent, FeedStats};
pub use message::fields;
pub use message::{
    Activation, ActivationFailed, Antenna, BackfillProgress, BackfillSource, Backfilled, Battery,
    CallbackFailed, ClassBC, Closed, ConnectFailed, Connected, CounterFinding, CounterReport,
    DeviceBack, DeviceChange, DeviceEvent, DeviceSilent, DisconnectCause, Disconnected, Downlink,
    DownlinkEvent, DownlinkStep, ErrorDetails, Event, FrameLoss, Gap, Gateway, KeyConcern,
    KeyEnvelope, KeyWarning, Location, LocationSolved, Malformed, MessageId, Metadata, NetworkIds,
    PacketBroker, Priority, PublishFailed, QueueInvalidated, QueuedDownlink, RawMessage, Relay,
    Rights, Schedule, ServiceData, Transmission, Uncovered, UncoveredDevice, UncoveredReason,
    UplinkFailed, UplinkField, UplinkKey, UplinkMessage, VersionIds, Watermark,
};
pub use network::Network;
pub use recording::{
    Anonymizer, Note, Pacing, Recorded, Recorder, RecorderBuilder, Recording, Replay,
    ReplayStopper, Speed,
};
pub use records::Records;
pub use recovery::Retry;
pub use serde_json;
pub use stats::{DeviceStatus, DeviceUse, FairUse, FrameStats, Stats, WorkerStats};

/// The programs of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
