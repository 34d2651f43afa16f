//! What a state of a downlink means for somebody who waits for one. Pure.

use clap::ValueEnum;
use ttn::DeliveryState;

use crate::status::Status;

/// A state to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Wait {
    Written,
    Queued,
    Sent,
    Acknowledged,
}

impl Wait {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Acknowledged => "acknowledged",
        }
    }

    fn is_reached(self, state: &DeliveryState) -> bool {
        match state {
            DeliveryState::Written => self == Self::Written,
            DeliveryState::Queued | DeliveryState::NotSent(_) => {
                matches!(self, Self::Written | Self::Queued)
            }
            DeliveryState::Sent
            | DeliveryState::NotAcknowledged { .. }
            | DeliveryState::GivenUp => self != Self::Acknowledged,
            DeliveryState::Acknowledged => true,
            _ => false,
        }
    }
}

/// What is known of a downlink, from its states.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    wait: Wait,
    was_sent: bool,
    last: DeliveryState,
}

impl Outcome {
    pub(super) fn new(wait: Wait) -> Self {
        Self {
            wait,
            was_sent: false,
            last: DeliveryState::Accepted,
        }
    }

    /// Takes the next state.
    pub(super) fn advance(&mut self, state: DeliveryState) {
        self.was_sent |= Wait::Sent.is_reached(&state);
        self.last = state;
    }

    pub(super) fn last(&self) -> &DeliveryState {
        &self.last
    }

    /// Returns whether it waits to be written.
    pub(super) fn is_unwritten(&self) -> bool {
        matches!(self.last, DeliveryState::Accepted)
    }

    /// Returns whether the network has said nothing about it yet.
    pub(super) fn is_unreported(&self) -> bool {
        matches!(self.last, DeliveryState::Accepted | DeliveryState::Written)
    }

    /// Returns how the wait ends with the last state; `None` if it goes on.
    pub(super) fn end(&self) -> Option<Status> {
        match &self.last {
            state if self.wait.is_reached(state) => Some(Status::Done),
            DeliveryState::Failed(error) => Some(match Status::of_kind(error.kind()) {
                status @ (Status::Unreachable | Status::NotAuthorized) => status,
                _ if self.was_sent => Status::NotAcknowledged,
                _ => Status::DownlinkFailed,
            }),
            DeliveryState::Expired | DeliveryState::Replaced => Some(Status::DownlinkFailed),
            DeliveryState::Unconfirmed(_) | DeliveryState::Forgotten => Some(Status::Unconfirmed),
            _ => None,
        }
    }

    /// Returns how the wait ends if no further state comes.
    pub(super) fn end_without_more(&self) -> Status {
        self.end().unwrap_or(match self.was_sent {
            true => Status::NotAcknowledged,
            false => Status::Unconfirmed,
        })
    }

    /// Returns how the wait ends if its time is over, or a signal ends it.
    pub(super) fn end_in_time(&self) -> Status {
        match self.last {
            DeliveryState::GivenUp => Status::NotAcknowledged,
            _ => self.end().unwrap_or(Status::TimedOut),
        }
    }
}

/// Returns the status for several downlinks: the lowest of those that are not done.
pub(super) fn together(one: Status, other: Status) -> Status {
    match (one, other) {
        (Status::Done, status) | (status, Status::Done) => status,
        (one, other) => one.min(other),
    }
}

#[cfg(test)]
mod tests {
    use ttn::{Downlink, Error, MqttClient};

    use super::*;

    /// An error of the library of the kind `Downlink`, and one of the kind `NotConnected`.
    fn errors() -> (Error, Error) {
        let client = MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET").unwrap();
        let refused = client.send("No Device", Downlink::bytes([1])).unwrap_err();
        let unwritten = client.send("dev-1", Downlink::bytes([1])).unwrap_err();
        (refused, unwritten)
    }

    fn end(wait: Wait, states: &[DeliveryState]) -> Option<Status> {
        outcome(wait, states).end()
    }

    fn outcome(wait: Wait, states: &[DeliveryState]) -> Outcome {
        let mut outcome = Outcome::new(wait);
        for state in states {
            assert_eq!(outcome.end(), None, "before {state}");
            outcome.advance(state.clone());
        }
        outcome
    }

    #[test]
    fn a_state_is_reached_by_itself_and_by_every_later_one() {
        use DeliveryState::{Acknowledged, Queued, Sent, Written};
        let order = [Written, Queued, Sent, Acknowledged];
        let waits = [Wait::Written, Wait::Queued, Wait::Sent, Wait::Acknowledged];
        for (wanted, wait) in waits.into_iter().enumerate() {
            for (reached, state) in order.iter().enumerate() {
                let expected = (reached >= wanted).then_some(Status::Done);
                let found = end(wait, std::slice::from_ref(state));
                assert_eq!(found, expected, "{wait:?} with {state}");
            }
        }
    }

    #[test]
    fn a_failure_after_the_transmission_is_a_missing_acknowledgement() {
        let (refused, _) = errors();
        let failed = DeliveryState::Failed(refused);
        let sent = [DeliveryState::Sent, failed.clone()];
        assert_eq!(
            end(Wait::Acknowledged, &sent),
            Some(Status::NotAcknowledged)
        );
        let not_sent = [DeliveryState::Queued, failed];
        assert_eq!(
            end(Wait::Acknowledged, &not_sent),
            Some(Status::DownlinkFailed)
        );
    }

    #[test]
    fn what_was_not_written_for_want_of_a_connection_says_so() {
        let (_, unwritten) = errors();
        let states = [DeliveryState::Failed(unwritten)];
        assert_eq!(end(Wait::Queued, &states), Some(Status::Unreachable));
    }

    #[test]
    fn a_wait_goes_on_while_the_network_tries_again() {
        let states = [
            DeliveryState::Sent,
            DeliveryState::NotAcknowledged { attempt: Some(2) },
        ];
        let outcome = outcome(Wait::Acknowledged, &states);
        assert_eq!(outcome.end(), None);
        assert_eq!(outcome.end_in_time(), Status::TimedOut);
    }

    #[test]
    fn what_the_network_has_given_up_is_not_acknowledged_in_time() {
        let states = [DeliveryState::Sent, DeliveryState::GivenUp];
        let outcome = outcome(Wait::Acknowledged, &states);
        assert_eq!(outcome.end(), None);
        assert_eq!(outcome.end_in_time(), Status::NotAcknowledged);
    }

    #[test]
    fn an_unconfirmed_downlink_is_never_acknowledged() {
        let outcome = outcome(Wait::Acknowledged, &[DeliveryState::Sent]);
        assert_eq!(outcome.end_without_more(), Status::NotAcknowledged);
    }

    #[test]
    fn of_several_downlinks_the_lowest_failure_counts() {
        let all = [Status::Done, Status::TimedOut, Status::DownlinkFailed];
        let status = all.into_iter().fold(Status::Done, together);
        assert_eq!(status, Status::DownlinkFailed);
    }
}
