//! Sending downlinks: checks and encodes them on the caller's thread, and hands them to the session.

use std::sync::atomic::Ordering;

use super::MqttClient;
use crate::{
    downlink::{Batch, Delivery, Draft, Room},
    error::{Error, ErrorKind, Result},
    message::{Downlink, MessageId, UplinkMessage},
    session::not_connected,
};

impl MqttClient {
    /// Sends a downlink: hex text, base64 text, bytes, a JSON object, or a [`Downlink`] with FPort,
    /// confirmation and schedule.
    ///
    /// Returns once the downlink is checked and accepted. It is then written in the background, in
    /// the order of the calls. A V2 network may still queue two that arrive together in another order;
    /// [`send_batch`](Self::send_batch) keeps the order. The downlink callback gets its
    /// [`message_id`](Delivery::message_id) when it has left this machine, which may happen before
    /// `send` returns. The [`Delivery`] then follows its progress.
    ///
    /// `Ok` does not mean that the server has it. Call [`close`](Self::close) before the program ends: it
    /// waits until the server has processed every downlink, and otherwise says how many are uncertain.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Downlink`] for everything that the network would drop silently: a device id, an
    /// FPort (1 to 223) or a payload that is not valid, an empty payload, or an absolute time less than
    /// 2.5 s ahead; this is checked first. [`ErrorKind::NotConnected`]; [`ErrorKind::QueueFull`];
    /// [`ErrorKind::NotAuthorized`] if the network has said, on this connection, that the key [may not
    /// send](Self::rights); [`ErrorKind::Forked`] in a
    /// [fork](crate#forks-threads-suspended-machines) of the process that created the client.
    ///
    /// ```no_run
    /// use serde_json::json;
    /// use ttn::{Downlink, Schedule};
    ///
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let first = client.send("dev-1", "AQ==")?;
    /// let second = client.send("dev-1", json!({"led_state": "on", "counter": 1}))?;
    /// let third = client.send("dev-1", Downlink::bytes([1, 2]).port(2).confirmed(true).schedule(Schedule::Last))?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn send(&self, dev_id: &str, downlink: impl Into<Downlink>) -> Result<Delivery> {
        let mut deliveries = self.send_downlinks(dev_id, &[downlink.into()])?;
        Ok(deliveries.swap_remove(0))
    }

    /// Sends several downlinks to one device, queued in this order. They share one
    /// [`schedule`](Downlink::schedule), which applies to all of them together: `Replace` replaces
    /// the device's queue with them.
    ///
    /// A v3 network gets them in one message. It counts once towards the rate limit, and the network
    /// accepts all downlinks or none.
    ///
    /// A V2 network gets them one by one, and may queue two that arrive together in any order. So each
    /// is written only when the network has reported on the one before it. If no report comes within
    /// 1 s, a warning is logged, and the rest of the batch is written at once, in an order that the
    /// network may change. This takes one round trip for each downlink: five of them take 37 ms instead of
    /// 11 ms if the network needs 5 ms for each. It takes no extra time with the network's own broker,
    /// which reads one packet per 100 ms. Downlinks to other devices do not wait.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), for the first downlink that is not valid; none is sent then. An empty
    /// list is an error too; [`clear_queue`](Self::clear_queue) empties the queue.
    ///
    /// ```no_run
    /// use ttn::{Downlink, Schedule};
    ///
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let steps = [[1, 10], [2, 20], [3, 30]].map(|step| Downlink::bytes(step).schedule(Schedule::Last));
    /// let deliveries = client.send_batch("dev-1", steps)?;
    /// assert_eq!(deliveries.len(), 3);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn send_batch<D: Into<Downlink>>(
        &self,
        dev_id: &str,
        downlinks: impl IntoIterator<Item = D>,
    ) -> Result<Vec<Delivery>> {
        let downlinks: Vec<Downlink> = downlinks.into_iter().map(Into::into).collect();
        self.send_downlinks(dev_id, &downlinks)
    }

    /// Sends downlinks to any number of devices. Takes pairs of a device id and a downlink, each with
    /// its own schedule, and writes them in this order, like [`send`](Self::send) for one after the
    /// other. Either all are accepted or none. To stay below the network's rate limit, set a
    /// [`pace`](crate::MqttClientBuilder::pace).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), for the first downlink that is not valid. Also
    /// [`ErrorKind::Downlink`] for more downlinks than
    /// [`send_capacity`](crate::MqttClientBuilder::send_capacity).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ttn::{DeliveryState, Downlink, MqttClient, Network, simulator::Simulator};
    /// # let network = Simulator::start(Network::V3)?;
    /// # ["lamp-1", "lamp-2", "lamp-3"].map(|lamp| network.device(lamp).join());
    /// # let client = MqttClient::builder(network.app_id(), network.access_key())
    /// #     .mqtt_address(network.mqtt_address())
    /// #     .build()?;
    /// # client.connect()?;
    /// let lamps = ["lamp-1", "lamp-2", "lamp-3"];
    /// let deliveries = client.send_many(lamps.map(|lamp| (lamp, Downlink::bytes([0x01]).port(15))))?;
    /// for (lamp, delivery) in lamps.iter().zip(&deliveries) {
    ///     println!("{lamp}: {}", delivery.wait_for(DeliveryState::Queued, Duration::from_secs(10))?);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_many<I, D>(
        &self,
        downlinks: impl IntoIterator<Item = (I, D)>,
    ) -> Result<Vec<Delivery>>
    where
        I: AsRef<str>,
        D: Into<Downlink>,
    {
        let mut draft = Draft::default();
        for (dev_id, downlink) in downlinks {
            self.draft(&mut draft, dev_id.as_ref(), &[downlink.into()])?;
        }
        self.send_draft(draft)
    }

    /// Answers an uplink: sends a downlink to its device, on the uplink's FPort unless the downlink
    /// sets one.
    ///
    /// A class A device listens briefly after its uplink (1 s later by the LoRaWAN specification, 5 s
    /// later on The Things Network), and the network needs part of that time. A reply from inside the
    /// uplink callback is in time; a late reply is sent after the next uplink, and so is one to an old
    /// uplink that a broker of your own has kept ([retained](crate::RawMessage::is_retained)). By default it replaces
    /// the device's queue, so that the device receives it next. With
    /// [`Schedule::Last`](crate::Schedule::Last) it goes to the end of the queue and, on V2, with
    /// [`Schedule::First`](crate::Schedule::First) to the front.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). Also [`ErrorKind::Downlink`] for an uplink of another application.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ttn::{MqttClient, Network, simulator::Simulator};
    /// # let network = Simulator::builder(Network::V3).receive_window(Duration::from_millis(500)).start()?;
    /// # let client = MqttClient::builder(network.app_id(), network.access_key())
    /// #     .mqtt_address(network.mqtt_address())
    /// #     .build()?;
    /// client.set_uplink_callback(|uplink, client| client.reply(uplink, [0x06]));
    /// # client.connect()?;
    /// # let device = network.device("counter-3");
    /// # device.uplink(5, [1, 2, 3]);
    /// # assert_eq!(device.next_downlink(Duration::from_secs(5)).unwrap().port, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reply(&self, uplink: &UplinkMessage, downlink: impl Into<Downlink>) -> Result<Delivery> {
        let app_id = self.app_id();
        if self.core().options.network.application_of(app_id) != uplink.app_id {
            return Err(Error::new(
                ErrorKind::Downlink,
                format!(
                    "cannot reply to {}: it belongs to the application {:?}, and this client to {app_id:?}",
                    uplink.dev_id, uplink.app_id
                ),
            ));
        }
        self.send(&uplink.dev_id, uplink.reply(downlink))
    }

    /// Empties the downlink queue of a device. v3 only; on V2 the queue can only be replaced. The
    /// network does not report the downlinks that it discards, and it does not stop a downlink that
    /// is being sent.
    ///
    /// The network does not report on the request. The deliveries of this client become
    /// [`Replaced`](crate::DeliveryState::Replaced) when the server has processed it: shown by a report
    /// about a later downlink of this client, 1 s after a later ping was answered, or with the first
    /// message from the network after [`unconfirmed_after`](crate::MqttClientBuilder::unconfirmed_after).
    /// If the connection ends before that, it is unknown whether the queue was emptied, and they keep
    /// their state.
    ///
    /// Returns once the request is accepted, with the id that the downlink callback gets when it has
    /// left this machine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Downlink`] on V2 or for a device id that is not valid;
    /// [`ErrorKind::NotConnected`]; [`ErrorKind::QueueFull`].
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.clear_queue("dev-1")?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn clear_queue(&self, dev_id: &str) -> Result<MessageId> {
        let options = &self.core().options;
        let mut draft = Draft::of_clear(options.network, &options.app_id, dev_id)?;
        draft.place(|request| self.core().topics.place(request))?;
        let (first, room) = self.admit(draft.len())?;
        self.hand_over(draft.into_batch(first, room))?;
        Ok(MessageId(first))
    }

    fn send_downlinks(&self, dev_id: &str, downlinks: &[Downlink]) -> Result<Vec<Delivery>> {
        let mut draft = Draft::default();
        self.draft(&mut draft, dev_id, downlinks)?;
        self.send_draft(draft)
    }

    fn draft(&self, draft: &mut Draft, dev_id: &str, downlinks: &[Downlink]) -> Result<()> {
        let core = self.core();
        let options = &core.options;
        draft.add(
            options.network,
            &options.app_id,
            &core.correlation,
            dev_id,
            downlinks,
        )
    }

    fn send_draft(&self, mut draft: Draft) -> Result<Vec<Delivery>> {
        draft.place(|request| self.core().topics.place(request))?;
        let (first, room) = self.admit(draft.len())?;
        let deliveries = draft.deliveries(first);
        self.hand_over(draft.into_batch(first, room))?;
        Ok(deliveries)
    }

    /// Reserves room for downlinks. Returns it with the first of their message ids.
    pub(super) fn admit(&self, downlinks: usize) -> Result<(u64, Room)> {
        let core = self.core();
        core.check_process()?;
        let (capacity, option) = match core.options.offline_queue {
            _ if core.link.status.is_connected() => (core.options.send_capacity, "send_capacity"),
            Some(queue) if core.link.status.is_open() => (queue.capacity, "offline_queue"),
            _ => return Err(not_connected()),
        };
        core.link.status.check_may_send()?;
        if downlinks > capacity {
            return Err(Error::new(
                ErrorKind::Downlink,
                format!(
                    "{downlinks} downlinks at once are more than the client can hold ({capacity}); send fewer, or raise {option}"
                ),
            ));
        }
        let full = || {
            Error::new(
                ErrorKind::QueueFull,
                format!(
                    "{capacity} downlinks can wait to be written, and there is no room for {downlinks} more; wait, or raise {option}"
                ),
            )
        };
        let room = core.link.room.take(downlinks, capacity).ok_or_else(full)?;
        let first = core
            .next_message
            .fetch_add(downlinks as u64, Ordering::Relaxed);
        Ok((first, room))
    }

    /// Hands messages to the session.
    pub(super) fn hand_over(&self, batch: Batch) -> Result<()> {
        let outbox = &self.core().link.outbox;
        outbox.send(batch).map_err(|_| not_connected())
    }
}
