//! The receive window of a device.

use std::time::Instant;

use super::{DeviceId, WindowKey, Windows};

/// The open receive window of a device, if any; `W` is how the network can answer in it.
pub(crate) struct ReceiveWindow<W>(Option<(WindowKey, W)>);

impl<W> ReceiveWindow<W> {
    pub(crate) fn closed() -> Self {
        Self(None)
    }

    /// Opens a window and replaces any open one.
    pub(crate) fn open(&mut self, windows: &Windows, closes: Instant, id: DeviceId<'_>, window: W) {
        let key = windows.open(closes, id);
        if let Some((older, _)) = self.0.replace((key, window)) {
            windows.forget(older);
        }
    }

    /// Returns the window that is open.
    pub(crate) fn get(&self) -> Option<&W> {
        self.0.as_ref().map(|(_, window)| window)
    }

    /// Closes the window with that key, or any window without a key; returns the window it closed.
    pub(crate) fn close(&mut self, windows: &Windows, key: Option<WindowKey>) -> Option<W> {
        let is_meant = |(open, _): &mut (WindowKey, W)| key.is_none_or(|key| key == *open);
        let (key, window) = self.0.take_if(is_meant)?;
        windows.forget(key);
        Some(window)
    }
}
