//! Downlinks beyond the process that sent them: following one by its key, and reading a queue.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::bounded;

use super::MqttClient;
use crate::{
    api::{Api, Failure, Hosts, Meaning},
    downlink::{Delivery, Followed},
    error::{Error, ErrorKind, Result},
    message::{MessageId, QueuedDownlink},
    network::Network,
    process,
    session::Command,
};

/// How long to wait for the list of a queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

impl MqttClient {
    /// Follows a downlink that was sent before, mostly by an earlier run of the program. `key` is what
    /// [`Delivery::key`] returned for it, `dev_id` its device.
    ///
    /// The new [`Delivery`] begins as [`Written`](crate::DeliveryState::Written) and goes on with the
    /// reports that arrive from now on. On v3, where the [HTTP API](crate::MqttClientBuilder::http_address)
    /// is known and [`ask_over_http`](crate::MqttClientBuilder::ask_over_http) is on, the client first looks
    /// into the device's queue: a downlink that is there becomes [`Queued`](crate::DeliveryState::Queued), one
    /// that is not becomes [`Unconfirmed`](crate::DeliveryState::Unconfirmed), because it was sent or discarded in
    /// the meantime, or never queued; a later report still counts. Otherwise it waits for a report.
    ///
    /// If the client already follows it, both deliveries show the same progress. On V2 the content
    /// identifies a downlink: of several equal ones that the client follows, the oldest is meant.
    ///
    /// Can be called before [`connect`](Self::connect). Does not wait. The downlink counts towards
    /// [`follow_downlinks`](crate::MqttClientBuilder::follow_downlinks), like those that are sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Downlink`] for a text that is not a key of this network, or for a device id that is not
    /// valid; [`ErrorKind::Forked`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ttn::{DeliveryState, Downlink, MqttClient, Network, simulator::Simulator};
    /// # let network = Simulator::start(Network::V3)?;
    /// # let valve = network.device("valve-3");
    /// # valve.join();
    /// # let client = || MqttClient::builder(network.app_id(), network.access_key())
    /// #     .mqtt_address(network.mqtt_address())
    /// #     .build();
    /// # let (first, second) = (client()?, client()?);
    /// # first.connect()?;
    /// let delivery = first.send("valve-3", Downlink::bytes([1]).port(2))?;
    /// let key = delivery.key();
    /// delivery.wait_for(DeliveryState::Queued, Duration::from_secs(10))?;
    /// first.close()?;
    ///
    /// // Later, in another process:
    /// let delivery = second.follow(&key, "valve-3")?;
    /// second.connect()?;
    /// # valve.uplink(1, [0]);
    /// delivery.wait_for(DeliveryState::Sent, Duration::from_secs(60))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn follow(&self, key: &str, dev_id: &str) -> Result<Delivery> {
        let core = self.core();
        core.check_process()?;
        let network = core.options.network;
        network.check_device_id(dev_id)?;
        let followed = Followed::of_key(network, key, dev_id)?;
        let number = core.next_message.fetch_add(1, Ordering::Relaxed);
        let delivery = Delivery::new(MessageId(number), &followed);
        self.command(Command::Follow(number, followed))?;
        Ok(delivery)
    }

    /// Returns the downlinks that wait in the network for a device, in their order: those of every program.
    /// v3 only.
    ///
    /// Asks the [HTTP API](crate::MqttClientBuilder::http_address) and waits for the answer, at most 10 s;
    /// in a callback, other callbacks wait too. Needs no connection, and works also with
    /// [`ask_over_http(false)`](crate::MqttClientBuilder::ask_over_http). The queue of a device without a
    /// session is empty. A confirmed downlink that is sent and waits for its acknowledgement is not in the
    /// queue.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Config`]: the address of the HTTP API is not known, or the network is V2, which has none.
    /// - [`ErrorKind::DeviceNotFound`]: this server does not know the device.
    /// - [`ErrorKind::NotAuthorized`]: the key is not accepted, or lacks the right that the error names,
    ///   `RIGHT_APPLICATION_TRAFFIC_READ`.
    /// - [`ErrorKind::Downlink`] for a device id that is not valid; [`ErrorKind::Decode`] for an answer
    ///   that cannot be read; [`ErrorKind::Forked`].
    /// - Otherwise the reason why there is no answer, such as [`ErrorKind::TimedOut`],
    ///   [`ErrorKind::ConnectionRefused`] or [`ErrorKind::ServerUnavailable`].
    ///
    /// The [source](std::error::Error::source) of an error that the network states is an
    /// [`ErrorDetails`](crate::ErrorDetails).
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// for downlink in client.queue("dev-1")? {
    ///     println!("FPort {}: {:02x?}", downlink.port, downlink.payload_raw);
    /// }
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn queue(&self, dev_id: &str) -> Result<Vec<QueuedDownlink>> {
        let core = self.core();
        core.check_process()?;
        let options = &core.options;
        options.network.check_device_id(dev_id)?;
        let hosts = Hosts::of(options).ok_or_else(|| no_api(options.network))?;
        let api = Api::new(hosts, options, core.link.status.access_key(), QUEUE_TIMEOUT);
        let (reply, answer) = bounded(1);
        let device: Arc<str> = dev_id.into();
        process::start_thread("ttn-ask", move || {
            let _ = reply.send(api.queue(&device));
        })
        .map_err(Error::no_thread)?;
        match answer.recv_timeout(QUEUE_TIMEOUT) {
            Ok(Ok(queue)) => Ok(queue),
            Ok(Err(failure)) => Err(no_queue(dev_id, failure)),
            Err(_) => Err(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "cannot read the queue of {dev_id}: no answer over HTTP within {QUEUE_TIMEOUT:?}"
                ),
            )),
        }
    }
}

fn no_api(network: Network) -> Error {
    Error::config(match network {
        Network::V2 => "a V2 network has no list of the queue of a device",
        Network::V3 => {
            "the queue of a device is read over HTTP, and the address of the HTTP API is not known; set http_address, cluster or discovery_address"
        }
    })
}

fn no_queue(dev_id: &str, failure: Failure) -> Error {
    let kind = match &failure {
        Failure::Unreadable { .. } => ErrorKind::Decode,
        Failure::Refused(refusal) if refusal.meaning() == Meaning::NoSuchDevice => {
            ErrorKind::DeviceNotFound
        }
        failure => failure.kind(),
    };
    let text = format!("cannot read the queue of {dev_id}: {failure}");
    match failure {
        Failure::Unanswered(failure) => Error::with_source(kind, text, failure.source),
        Failure::Unreadable {
            source: Some(source),
            ..
        } => Error::with_source(kind, text, source),
        Failure::Refused(refusal) => match refusal.details {
            Some(details) => Error::with_source(kind, text, *details),
            None => Error::new(kind, text),
        },
        Failure::Unreadable { source: None, .. } => Error::new(kind, text),
    }
}
