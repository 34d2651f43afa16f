//! Setting and removing callbacks.

use std::sync::atomic::Ordering;

use super::{
    CallbackId, MqttClient,
    callbacks::{Callback, Setter},
};
use crate::{
    closure::{CallbackResult, closure},
    error::{Error, Result},
    message::{MessageId, RawMessage, UplinkMessage},
    recovery::{Retry, RetryCallback},
    session::Command,
};

impl MqttClient {
    /// Adds a callback for the result of each attempt to connect: `true` if uplinks arrive from now
    /// on, `false` if the attempt failed. The reason is in
    /// [`Event::ConnectFailed`](crate::Event::ConnectFailed) and in the result of
    /// [`connect`](Self::connect).
    ///
    /// Callbacks run on the thread `ttn-callbacks`, one after the other, in the order in which they
    /// were added. An event can have several callbacks; all of them run. They stay set after `close`
    /// and `connect`. A callback that is added inside a callback starts with the next event.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.set_connect_callback(|connected, client| println!("{}: {connected}", client.app_id()));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_connect_callback<F, R>(&self, mut callback: F) -> CallbackId
    where
        F: FnMut(bool, &MqttClient) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.set(Callback::Connect(closure(
            move |connected: &bool, client: &Self| callback(*connected, client),
        )))
    }

    /// Adds a callback for uplinks. It runs on the thread `ttn-callbacks`; see
    /// [`set_connect_callback`](Self::set_connect_callback). It also gets uplinks that a broker of your own
    /// has kept; [`uplink.raw().is_retained()`](crate::RawMessage::is_retained) tells them.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let mut count = 0;
    /// client.set_uplink_callback(move |uplink, client| {
    ///     count += 1;
    ///     println!("uplink {count} is from {}", uplink.dev_id);
    ///     if uplink.payload_fields["alarm"] == true {
    ///         client.send(&uplink.dev_id, "01")?;
    ///     }
    ///     ttn::anyhow::Ok(())
    /// });
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_uplink_callback<F, R>(&self, callback: F) -> CallbackId
    where
        F: FnMut(&UplinkMessage, &MqttClient) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.set(Callback::Uplink(closure(callback)))
    }

    /// Adds a callback for raw uplinks: topic and bytes, including uplinks that cannot be decoded. It
    /// runs after the uplink callbacks, on the thread `ttn-callbacks`; see
    /// [`set_connect_callback`](Self::set_connect_callback).
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.set_uplink_raw_callback(|raw, _| println!("{}: {} bytes", raw.topic(), raw.payload().len()));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_uplink_raw_callback<F, R>(&self, callback: F) -> CallbackId
    where
        F: FnMut(&RawMessage, &MqttClient) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.set(Callback::UplinkRaw(closure(callback)))
    }

    /// Adds a callback for downlinks that have left this machine. It gets their
    /// [`message_id`](crate::Delivery::message_id). At that point, neither the server nor the device
    /// has acknowledged anything. It runs on the thread `ttn-callbacks`; see
    /// [`set_connect_callback`](Self::set_connect_callback).
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.set_downlink_callback(|mid, _| println!("message {mid} was written"));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_downlink_callback<F, R>(&self, mut callback: F) -> CallbackId
    where
        F: FnMut(MessageId, &MqttClient) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.set(Callback::Downlink(closure(
            move |id: &MessageId, client: &Self| callback(*id, client),
        )))
    }

    /// Adds a callback for the end of a connection: `true` if the program closed the client, `false`
    /// if the connection was lost. With [`reconnect`](crate::MqttClientBuilder::reconnect) the client
    /// then reconnects automatically. It runs on the thread `ttn-callbacks`; see
    /// [`set_connect_callback`](Self::set_connect_callback).
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.set_close_callback(|asked_for, _| println!("closed as asked: {asked_for}"));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_close_callback<F, R>(&self, mut callback: F) -> CallbackId
    where
        F: FnMut(bool, &MqttClient) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.set(Callback::Close(closure(
            move |asked_for: &bool, client: &Self| callback(*asked_for, client),
        )))
    }

    /// Sets the callback that decides what happens after a failed attempt or a lost connection. It can
    /// change the delay, stop trying, and supply another access key; see [`Retry`]. A client has one
    /// retry callback; setting another replaces it.
    ///
    /// It runs on its own thread, `ttn-retry`, so it may take its time, for example to fetch a key.
    /// The client waits for it for up to
    /// [`connect_timeout`](crate::MqttClientBuilder::connect_timeout); `close` ends the wait. After
    /// that, or if the callback fails, the client does what it had planned. A key that arrives late is
    /// still used. [`Event::Disconnected`](crate::Event::Disconnected),
    /// [`Event::ConnectFailed`](crate::Event::ConnectFailed) and their callbacks follow the answer,
    /// because they say when the next attempt starts. While the callback is busy it is not called
    /// again.
    ///
    /// It is called when the client is about to retry, or to stop after it has retried. It is not
    /// called for the single attempt of a `connect` without
    /// [`connect_retry`](crate::MqttClientBuilder::connect_retry), nor for a lost connection with
    /// [`reconnect(false)`](crate::MqttClientBuilder::reconnect). A closure that captures a handle of
    /// the client keeps the client alive.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ResourcesExhausted`](crate::ErrorKind::ResourcesExhausted) if the thread cannot be
    /// started; [`ErrorKind::Forked`](crate::ErrorKind::Forked).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// client.set_retry_callback(|retry| {
    ///     println!("{}; next attempt in {:?}", retry.error(), retry.delay());
    ///     if retry.attempt() > 100 {
    ///         retry.give_up();
    ///     }
    /// })?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn set_retry_callback<F, R>(&self, callback: F) -> Result<()>
    where
        F: FnMut(&mut Retry) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.core().check_process()?;
        let callback = RetryCallback::start(callback).map_err(Error::no_thread)?;
        self.command(Command::SetRetryCallback(callback))
    }

    /// Removes a callback, or a set of [workers](Self::set_uplink_workers). It does not run for later events, nor
    /// for those that wait in its queue. Removing it twice does nothing.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let id = client.set_connect_callback(|_, _| {});
    /// client.remove_callback(id);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn remove_callback(&self, id: CallbackId) {
        if self.core().is_here() && !self.core().workers.remove(id) {
            self.setter(Setter::Remove(id));
        }
    }

    fn set(&self, callback: Callback) -> CallbackId {
        let id = CallbackId(self.core().next_callback.fetch_add(1, Ordering::Relaxed));
        self.core().interest.raise();
        self.setter(Setter::Add(id, callback));
        id
    }

    fn setter(&self, setter: Setter) {
        if self.core().is_here() {
            // Fails only for handles that outlive the thread: clones made in its last callbacks.
            let _ = self.core().setters.send(setter);
        }
    }
}
