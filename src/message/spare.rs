//! The memory of an uplink that nobody needs any more, for the next one.

use std::{mem, sync::Arc};

use serde_json::Value;

use super::{Gateway, Metadata, NetworkIds, RawMessage, UplinkMessage, VersionIds};

/// The largest memory of a text to keep, in bytes, and of a list, in elements: one odd message must not
/// make every later uplink large.
const LONGEST: usize = 256;
const MOST: usize = 8;

/// What the next uplink is read into. Without an earlier uplink, everything is new.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    /// Nobody else has it, and it has no content.
    uplink: Option<Arc<UplinkMessage>>,
    /// The parts that an uplink need not have. What they contain goes when something is read into them.
    pub(crate) correlation_ids: Vec<String>,
    pub(crate) payload_fields: Value,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) network_ids: NetworkIds,
    pub(crate) version_ids: VersionIds,
}

impl Spare {
    /// Takes an uplink apart for the uplink in `raw`, if nobody else has it.
    pub(crate) fn new(mut uplink: Arc<UplinkMessage>, raw: &RawMessage) -> Self {
        let Some(old) = Arc::get_mut(&mut uplink) else {
            return Self::default();
        };
        let mut spare = Self {
            uplink: None,
            correlation_ids: short(&mut old.correlation_ids),
            payload_fields: old.payload_fields.take(),
            gateways: short(&mut old.metadata.gateways),
            network_ids: old.network_ids.take().unwrap_or_default(),
            version_ids: old.version_ids.take().unwrap_or_default(),
        };
        old.renew(raw.clone());
        spare.uplink = Some(uplink);
        spare
    }

    /// Returns an uplink without content, the first time the one that was taken apart.
    pub(crate) fn uplink(&mut self, raw: &RawMessage) -> Arc<UplinkMessage> {
        let new = || Arc::new(UplinkMessage::new("", "", raw.clone()));
        self.uplink.take().unwrap_or_else(new)
    }

    /// Returns the uplink that was taken apart.
    pub(crate) fn uplink_mut(&mut self) -> Option<&mut UplinkMessage> {
        Arc::get_mut(self.uplink.as_mut()?)
    }
}

/// A value whose memory can be used again.
pub(crate) trait Reuse: Default {
    /// Makes it equal to a new one.
    fn empty(&mut self);
}

fn emptied<T: Reuse>(value: &mut T) -> T {
    let mut value = mem::take(value);
    value.empty();
    value
}

fn short<T>(list: &mut Vec<T>) -> Vec<T> {
    match list.capacity() <= MOST {
        true => mem::take(list),
        false => Vec::new(),
    }
}

impl Reuse for String {
    fn empty(&mut self) {
        match self.capacity() <= LONGEST {
            true => self.clear(),
            false => *self = Self::new(),
        }
    }
}

impl Reuse for Vec<u8> {
    fn empty(&mut self) {
        match self.capacity() <= LONGEST {
            true => self.clear(),
            false => *self = Self::new(),
        }
    }
}

impl Reuse for Gateway {
    fn empty(&mut self) {
        *self = Self {
            gtw_id: emptied(&mut self.gtw_id),
            eui: emptied(&mut self.eui),
            uplink_token: emptied(&mut self.uplink_token),
            ..Self::default()
        };
    }
}

impl Reuse for NetworkIds {
    fn empty(&mut self) {
        *self = Self {
            net_id: emptied(&mut self.net_id),
            ns_id: emptied(&mut self.ns_id),
            tenant_id: emptied(&mut self.tenant_id),
            cluster_id: emptied(&mut self.cluster_id),
            cluster_address: emptied(&mut self.cluster_address),
            tenant_address: emptied(&mut self.tenant_address),
        };
    }
}

impl Reuse for VersionIds {
    fn empty(&mut self) {
        *self = Self {
            brand_id: emptied(&mut self.brand_id),
            model_id: emptied(&mut self.model_id),
            hardware_version: emptied(&mut self.hardware_version),
            firmware_version: emptied(&mut self.firmware_version),
            band_id: emptied(&mut self.band_id),
        };
    }
}

impl UplinkMessage {
    /// Makes it equal to a new one.
    fn renew(&mut self, raw: RawMessage) {
        *self = Self {
            app_id: emptied(&mut self.app_id),
            dev_id: emptied(&mut self.dev_id),
            hardware_serial: emptied(&mut self.hardware_serial),
            app_eui: emptied(&mut self.app_eui),
            dev_addr: emptied(&mut self.dev_addr),
            payload_raw: emptied(&mut self.payload_raw),
            metadata: Metadata {
                data_rate: emptied(&mut self.metadata.data_rate),
                coding_rate: emptied(&mut self.metadata.coding_rate),
                ..Metadata::default()
            },
            session_key_id: emptied(&mut self.session_key_id),
            ..Self::new("", "", raw)
        };
    }
}
