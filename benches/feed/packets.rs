//! Uplinks of many devices, in turn, as PUBLISH packets. A packet costs the same for any number of
//! devices, since only the digits of the previous packet are overwritten.

use super::PUBLISH;
use crate::common::{APP, messages::v3_uplink};

/// Packets in one write.
pub const BATCH: u64 = 64;

/// The application's id with its tenant.
pub const TENANT_APP: &str = "bench-app@ttn";

const DEVICE: &str = "DDDDDD";
const COUNTER: &str = "CCCCCCC";
const FIRST_COUNTER: u64 = 1_000_000;

/// The step between devices that follow each other, so that they do not take turns in the order of
/// their ids. It shares no factor with a number of devices that is a product of 2 and 5.
const STRIDE: u64 = 7_919;

pub struct Packets {
    devices: u64,
    /// The packets of one write.
    bytes: Vec<u8>,
    length: usize,
    device_places: Vec<usize>,
    counter_place: usize,
}

impl Packets {
    pub fn new(devices: u32) -> Self {
        let devices = u64::from(devices);
        assert!(devices <= 1_000_000 && devices % STRIDE != 0);
        let packet = template();
        let [counter_place] = places(&packet, COUNTER)[..] else {
            panic!("an uplink has one counter");
        };
        let device_places = places(&packet, DEVICE);
        // In the topic, the ids, the EUI, and the address.
        assert_eq!(device_places.len(), 4);
        Self {
            devices,
            bytes: packet.repeat(BATCH as usize),
            length: packet.len(),
            device_places,
            counter_place,
        }
    }

    /// Returns `count` packets, after `before` others.
    pub fn batch(&mut self, before: u64, count: u64) -> &[u8] {
        let packets = self.bytes.chunks_exact_mut(self.length);
        for (packet, number) in packets.zip(before..before + count) {
            let device = digits::<6>(number * STRIDE % self.devices);
            for place in &self.device_places {
                packet[*place..][..6].copy_from_slice(&device);
            }
            let counter = digits::<7>(FIRST_COUNTER + number / self.devices);
            packet[self.counter_place..][..7].copy_from_slice(&counter);
        }
        &self.bytes[..self.length * count as usize]
    }
}

/// Returns one packet, with letters in place of the digits.
fn template() -> Vec<u8> {
    let (topic, payload) = v3_uplink(7, 1);
    let device = |text: &str| text.replace("soil-probe-07", &format!("soil-probe-{DEVICE}"));
    let topic = device(&topic).replace(&format!("{APP}@ttn"), TENANT_APP);
    let payload = device(&payload)
        .replace("ED0050007", &format!("ED0{DEVICE}"))
        .replace("260B0007", &format!("26{DEVICE}"))
        .replace(r#""f_cnt":10007"#, &format!(r#""f_cnt":{COUNTER}"#));
    let mut packet = vec![PUBLISH];
    let mut length = 2 + topic.len() + payload.len();
    while length > 0x7f {
        packet.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend((topic.len() as u16).to_be_bytes());
    packet.extend(topic.bytes());
    packet.extend(payload.bytes());
    packet
}

fn places(packet: &[u8], word: &str) -> Vec<usize> {
    let windows = packet.windows(word.len()).enumerate();
    let found = windows.filter(|(_, window)| *window == word.as_bytes());
    found.map(|(place, _)| place).collect()
}

fn digits<const N: usize>(mut number: u64) -> [u8; N] {
    let mut digits = [0; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}
