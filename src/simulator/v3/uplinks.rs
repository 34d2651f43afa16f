//! Uplinks of The Things Stack: from the device to the clients.

use std::time::SystemTime;

use fastrand::Rng;

use super::{
    LOCATION, NORMALIZED, State, UP, V3, clock_package,
    device::{Device, MAX_LENGTH},
    event::{self, News},
    formatters::Formatted,
    frame::Frame,
    gateways,
    messages::{self, Correlation, DEDUPLICATION, Downlink, Ids, Reception, at_network_server},
    position::Position,
    turn::Window,
};
use crate::simulator::{
    lorawan::{self, DeviceId, Gateway, Modulation, Release},
    sync::deadline,
};

/// The FPort that the Network Server may not report.
const UNPUBLISHED: u8 = 224;
/// How much a counter may jump.
const LARGEST_GAP: u32 = 16_384;
/// The first release with `last_battery_percentage`, and that with `attributes`.
const WITH_BATTERY: Release = [3, 33, 1];
const WITH_ATTRIBUTES: Release = [3, 34, 0];

/// An uplink that the network heard.
pub(super) struct Heard<'a> {
    pub(super) frame: &'a Frame,
    gateways: Vec<Gateway>,
    /// By the Application Server.
    pub(super) received: SystemTime,
    pub(super) correlation_ids: Vec<String>,
}

impl V3 {
    /// Handles an uplink.
    pub(super) fn receive(&self, state: &mut State, id: DeviceId<'_>, frame: &Frame) {
        let uplink = &frame.uplink;
        let gateways = uplink.receptions(&mut state.random);
        state.gateways.meet(&gateways);
        let Some((device, _, random)) = state.parts(id) else {
            return;
        };
        let Some(session) = device.newest_session() else {
            return;
        };
        let last = session.up_counter;
        let is_again = Some(frame.counter) == last;
        let is_reset = device.resets_counters && !frame.acknowledges;
        let is_new = is_new(frame.counter, last)
            || is_reset && last.is_some_and(|last| frame.counter < last);
        if uplink.bad_crc || !is_new && !is_again {
            log::debug!("dropping an uplink of {id}: damaged, or with an unexpected frame counter");
            return;
        }
        device.begin_session();
        if let Some(session) = &mut device.session {
            session.up_counter = Some(frame.counter);
        }
        device.paths = gateways::paths(&gateways, uplink.packet_broker);
        let received = match uplink.time {
            Some(time) => time.checked_add(DEDUPLICATION).unwrap_or(time),
            None => self.env.clock.now(),
        };
        let cause = Correlation::new(received, random).uplink();
        device.last_seen_at = Some(received);
        let heard = Heard {
            frame,
            gateways,
            received,
            correlation_ids: Correlation::new(received, random).passed_on(Some(&cause)),
        };
        if is_new && uplink.port == UNPUBLISHED {
            // What the Network Server reports about it is invalid as a whole.
            device.unanswered = None;
        } else if is_new {
            self.process(id, &heard, device, random);
        }
        let window = Window {
            cause: Some(cause),
            acknowledges: uplink.confirmed,
            max_length: max_length(&uplink.modulation),
        };
        if self.env.receive_window.is_zero() {
            self.serve(state, id, window);
        } else {
            let closes = deadline(self.env.receive_window);
            device.window.open(&self.env.windows, closes, id, window);
        }
    }

    /// Does what the Application Server does about an uplink.
    fn process(&self, id: DeviceId<'_>, heard: &Heard<'_>, device: &mut Device, random: &mut Rng) {
        let ids = device.ids(id);
        self.settle(&ids, device, heard, random);
        let encrypted = Formatted::default();
        let formatted = match device.own_keys {
            Some(_) => Some(&encrypted),
            None => heard.frame.formatted.as_ref(),
        };
        if let Some(formatted) = formatted {
            self.publish(heard, formatted, &ids, device, random);
        }
        let asked_at = at_network_server(heard.received);
        let answer = clock_package::answer(&heard.frame.uplink, asked_at);
        if let Some(answer) = answer.filter(|_| device.synchronizes_clock) {
            let answer = Downlink {
                correlation_ids: heard.correlation_ids.clone(),
                ..answer
            };
            // What fails is published.
            let _ = self.enqueue(id, device, vec![answer], false, random);
        }
    }

    /// Posts the messages about an uplink.
    fn publish(
        &self,
        heard: &Heard<'_>,
        formatted: &Formatted,
        ids: &Ids<'_>,
        device: &mut Device,
        random: &mut Rng,
    ) {
        let uplink = &heard.frame.uplink;
        if let Some(percent) = uplink.battery.filter(|_| self.env.release >= WITH_BATTERY) {
            let at = at_network_server(heard.received);
            device.battery = Some(messages::battery(heard.frame.counter, percent, at));
        }
        let in_fields = || Position::find(formatted.fields.as_ref()?);
        let position = uplink.location.map(Position::from).or_else(in_fields);
        device.position = position.or(device.position);
        let reception = self.reception(heard, formatted, ids, device, random);
        let post = |at, kind, body: &str| {
            self.post(at, ids, kind, &heard.correlation_ids, body);
        };
        let again = uplink.repeated_after.map(|time| heard.received + time);
        let times = [Some(heard.received), again];
        let tell = |name, ids: &Ids<'_>, data: Option<(&str, &str)>| {
            self.events.add(&News {
                name,
                time: heard.received,
                ids,
                is_of_device: data.is_none(),
                data,
                correlation_ids: &heard.correlation_ids,
            });
        };
        tell("ns.up.data.receive", ids, None);
        tell("ns.up.data.process", ids, None);
        tell("as.up.data.receive", ids, None);
        let message = reception.message();
        if !formatted.warnings.is_empty() {
            let data = Some((event::UPLINK, message.as_str()));
            tell("as.up.data.decode.warning", &ids.of_request(), data);
        }
        tell("ns.up.data.forward", ids, None);
        let copies = self.broker.quirks().uplink_copies();
        for at in times.into_iter().flatten() {
            for _ in 0..copies {
                for measurement in &formatted.normalized {
                    post(at, NORMALIZED, &reception.normalized(measurement));
                }
                post(at, UP, &message);
            }
            if let Some(position) = position {
                post(at, LOCATION, &messages::position_solved(position));
            }
        }
    }

    fn reception<'a>(
        &self,
        heard: &'a Heard<'_>,
        formatted: &'a Formatted,
        ids: &Ids<'a>,
        device: &'a Device,
        random: &mut Rng,
    ) -> Reception<'a> {
        let uplink = &heard.frame.uplink;
        let session = device.session.as_ref();
        let mut reception = Reception {
            uid: ids.uid,
            session_key_id: session.map_or(&[], |session| &session.key_id[..]),
            uplink,
            counter: heard.frame.counter,
            formatted,
            time: at_network_server(heard.received),
            frequency: uplink.hertz(heard.frame.counter),
            uptime: self.env.clock.uptime(),
            heard: &heard.gateways,
            rx_metadata: Vec::new(),
            options: heard.frame.options,
            own_key: session.and_then(|session| device.own_key(session)),
            last_downlink: match (&device.own_keys, session) {
                (Some(_), Some(session)) => session.given,
                _ => 0,
            },
            locations: messages::locations(device.location, device.position),
            battery: device.battery.clone(),
            prints_attributes: self.env.release >= WITH_ATTRIBUTES,
        };
        let mut entries = Vec::new();
        for gateway in &heard.gateways {
            entries.push(reception.gateway(gateway, random));
        }
        if uplink.packet_broker {
            let foreign = lorawan::gateways(heard.gateways.len() + 1, random).pop();
            entries.extend(foreign.map(|gateway| reception.foreign_gateway(&gateway, random)));
        }
        reception.rx_metadata = entries;
        reception
    }
}

/// Returns whether the Network Server takes a frame with that counter for a new one.
fn is_new(counter: u32, last: Option<u32>) -> bool {
    last.is_none_or(|last| counter > last && counter - last <= LARGEST_GAP)
}

/// Returns the longest payload at a data rate of EU868.
fn max_length(modulation: &Modulation) -> usize {
    let spreading = match modulation {
        Modulation::Lora(data_rate) => {
            lorawan::lora_parts(data_rate).map(|(spreading, _)| spreading)
        }
        Modulation::Fsk | Modulation::LrFhss => None,
    };
    match spreading {
        Some(10..=12) => 51,
        Some(9) => 115,
        _ => MAX_LENGTH,
    }
}
