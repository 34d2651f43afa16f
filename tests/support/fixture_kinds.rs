//! Which kind of message a fixture in `tests/fixtures/v3/` is.

/// The beginning of its name, and the end of its topic.
pub const V3: [(&str, &str); 11] = [
    ("up-", "up"),
    ("normalized-", "up/normalized"),
    ("join-", "join"),
    ("down-queued", "down/queued"),
    ("down-sent", "down/sent"),
    ("down-ack", "down/ack"),
    ("down-nack", "down/nack"),
    ("down-failed", "down/failed"),
    ("down-queue-invalidated", "down/invalidated"),
    ("location-", "location/solved"),
    ("service-", "service/data"),
];
