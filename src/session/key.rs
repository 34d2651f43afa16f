//! What the session knows about its access key: why it was refused, what it allows, when it expires.

use std::time::{Duration, Instant, SystemTime};

use super::{Session, asking::Inquiry, lifecycle::Input, reasons};
use crate::{
    config::Address,
    inquiry::{FRESH, Verdict},
    message::{DownlinkStep, Event, KeyWarning, NOTICE, Rights},
    mqtt::Attempt,
    wire::End,
};

/// How long a refused key is not asked about again.
const SAME_REASON: Duration = Duration::from_secs(30);

/// How often to look at the clock for a key that expires, which the machine may have slept through.
const LOOK: Duration = Duration::from_secs(24 * 60 * 60);

/// Pure state: what is known about the key in use, and what to ask and to say.
#[derive(Debug, Default)]
pub(super) struct KeyWatch {
    /// Counts the keys of the client. An answer about an earlier key is none.
    number: u64,
    rights: Option<Rights>,
    is_asked: bool,
    /// The rights were told about an earlier connection, and may be others on this one.
    is_old: bool,
    /// A downlink of this client was queued on this connection, whatever the rights are said to be.
    is_overruled: bool,
    said_may_not_read: bool,
    said_expires: bool,
    look_at: Option<Instant>,
    /// Why the key was refused last.
    reason: Option<(Verdict, Instant)>,
    /// The refusal that is being explained.
    refusal: Option<(Attempt, Address, u8)>,
}

impl KeyWatch {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    fn rights(&self) -> Option<&Rights> {
        self.rights.as_ref()
    }

    /// Notes that the client uses another key.
    fn changed(&mut self) {
        *self = Self {
            number: self.number + 1,
            refusal: self.refusal.take(),
            ..Self::default()
        };
    }

    /// Notes that the client is connected. Returns whether to ask for the rights, and how old an answer
    /// may be: nothing is asked again while nothing is wrong.
    fn connected(&mut self) -> Option<Duration> {
        self.is_overruled = false;
        let max_age = match &self.rights {
            _ if self.is_asked => return None,
            None => FRESH,
            Some(rights) if rights.may_read() && rights.may_send() => return None,
            // They may have changed, and what has changed takes effect with this connection.
            Some(_) => Duration::ZERO,
        };
        (self.is_asked, self.is_old) = (true, true);
        Some(max_age)
    }

    /// Notes what the network says about the key with this number. Returns whether it is the one in use.
    fn told(&mut self, number: u64, verdict: Verdict) -> bool {
        if number != self.number {
            return false;
        }
        self.is_asked = false;
        match verdict {
            Verdict::Good(rights) => {
                self.said_may_not_read &= !rights.may_read();
                self.rights = Some(rights);
                self.is_old = false;
            }
            other => log::debug!("the rights of the key are not known: {other:?}"),
        }
        true
    }

    /// Notes that a downlink of this client was queued.
    fn overruled(&mut self) {
        self.is_overruled = true;
    }

    /// Returns the rights of a key that is known not to be able to send on this connection.
    fn ban(&self) -> Option<&Rights> {
        let rights = self.rights.as_ref()?;
        (!rights.may_send() && !self.is_overruled && !self.is_old).then_some(rights)
    }

    /// Returns what there is to say, once for each key.
    fn warnings(&mut self, app_id: &str, now: Instant, time: SystemTime) -> Vec<KeyWarning> {
        self.look_at = None;
        let Some(rights) = &self.rights else {
            return Vec::new();
        };
        let mut warnings = Vec::new();
        if !rights.may_read() && !self.said_may_not_read {
            self.said_may_not_read = true;
            warnings.push(KeyWarning::may_not_read(rights, app_id));
        }
        let Some(end) = rights.expires_at.filter(|_| !self.said_expires) else {
            return warnings;
        };
        match KeyWarning::expires_soon(rights, time) {
            Some(warning) => {
                self.said_expires = true;
                warnings.push(warning);
            }
            None => {
                let left = end.duration_since(time).unwrap_or_default();
                let left = left.saturating_sub(NOTICE).min(LOOK);
                self.look_at = Some(now + left + Duration::from_secs(1));
            }
        }
        warnings
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Notes why the key with this number was refused.
    fn explained(&mut self, number: u64, mut verdict: Verdict, now: Instant) -> Verdict {
        if number != self.number {
            return verdict;
        }
        if let (Verdict::Expired(at), Some(rights)) = (&mut verdict, &self.rights) {
            *at = at.or(rights.expires_at);
        }
        self.reason = Some((verdict.clone(), now));
        verdict
    }

    /// Returns why the key was refused, if that was told a short time ago and stays the same.
    fn known_reason(&self, now: Instant) -> Option<Verdict> {
        let (verdict, since) = self.reason.as_ref()?;
        let is_it = now.duration_since(*since) < SAME_REASON
            && verdict.is_known()
            && !verdict.is_transient();
        is_it.then(|| verdict.clone())
    }
}

impl Session {
    /// Uses another key, which nothing is known about.
    pub(super) fn key_changed(&mut self) {
        self.asking.key_changed(&self.access_key);
        self.status.set_access_key(self.access_key.clone());
        self.sending.key_changed(&self.access_key);
        self.filling.key_changed(&self.access_key);
        self.key.changed();
        self.show_rights();
    }

    /// Returns the input for a connection that the server did not accept.
    pub(super) fn not_accepted(&mut self, attempt: Attempt, address: &Address, end: End) -> Input {
        let code = match end {
            End::Refused(code) => code,
            _ => 0,
        };
        let error = reasons::not_accepted(address, &self.options, end);
        let is_foreign = self.options.network.foreign_port(address.port()).is_some();
        if matches!(code, 4 | 5) && !is_foreign && self.asking.is_possible() {
            self.key.refusal = Some((attempt, address.clone(), code));
            return Input::Refused(attempt, error);
        }
        Input::Failed(attempt, error)
    }

    /// Asks why the server has refused the login. Returns the answer if it is known.
    pub(super) fn inquire(&mut self, attempt: Attempt, deadline: Instant) -> Option<Input> {
        if let Some(verdict) = self.key.known_reason(Instant::now()) {
            return Some(self.explained(attempt, &verdict));
        }
        let why = Inquiry::Why {
            attempt,
            key: self.key.number(),
            app_id: self.options.app_id.as_str().into(),
            deadline,
        };
        match self.asking.ask_at_once(why) {
            true => None,
            false => Some(Input::Explained(attempt, None)),
        }
    }

    /// Handles the answer why the server has refused the login.
    pub(super) fn on_reason(&mut self, attempt: Attempt, key: u64, verdict: Verdict) {
        let verdict = self.key.explained(key, verdict, Instant::now());
        let input = self.explained(attempt, &verdict);
        self.feed(input);
    }

    fn explained(&mut self, attempt: Attempt, verdict: &Verdict) -> Input {
        let refusal = self.key.refusal.take_if(|(of, ..)| *of == attempt);
        let error = refusal.map(|(_, server, code)| {
            reasons::refused_because(&server, &self.options, code, verdict)
        });
        Input::Explained(attempt, error)
    }

    /// Asks for the rights of the key in the background, if they are not known.
    pub(super) fn ask_rights(&mut self) {
        if self.asking.is_possible() {
            if let Some(max_age) = self.key.connected() {
                self.asking.ask_rights(self.key.number(), max_age);
            }
            self.show_rights();
            self.warn_of_key();
        }
    }

    /// Handles the answer about the rights of a key.
    pub(super) fn on_rights(&mut self, key: u64, verdict: Verdict) {
        if self.key.told(key, verdict) {
            self.show_rights();
            self.warn_of_key();
        }
    }

    /// Notes that the network has queued a downlink of this client.
    pub(super) fn note_queued(&mut self, event: &Event) {
        if self.key.ban().is_none() && !self.key.is_asked {
            return;
        }
        let Event::Downlink(report) = event else {
            return;
        };
        let mut ids = report.correlation_ids.iter();
        let is_own = ids.any(|id| self.correlation.is_own(id));
        if report.step == DownlinkStep::Queued && is_own && !event.is_retained() {
            self.key.overruled();
            self.show_rights();
        }
    }

    /// Says what is wrong with the key, while the client is connected.
    pub(super) fn warn_of_key(&mut self) {
        let app_id = &self.options.app_id;
        let warnings = self.key.warnings(app_id, Instant::now(), SystemTime::now());
        for warning in warnings {
            log::warn!("{warning}");
            self.receiving.report(Event::KeyWarning(warning));
        }
    }

    /// Shows other threads what is known about the key. It cannot be known not to send before the client is
    /// connected again.
    pub(super) fn show_rights(&mut self) {
        let ban = self.key.ban().filter(|_| self.status.is_connected());
        let ban = ban.map(|rights| reasons::may_not_send(rights, &self.options.app_id));
        self.status.set_rights(self.key.rights().cloned(), ban);
    }
}
