//! Whether a message ends the broker's connections: it is larger than the broker takes, or on a topic to which the user
//! may not publish. Pure state.

/// Messages are published one by one after this many connections in a row that ended without an acknowledgement.
const FRUITLESS: u32 = 2;

/// The program is told after this many of them.
const TOLD: u32 = 5;

/// After how many proofs in a row a message is given up. One is a connection that acknowledges another message, and ends
/// before this one is acknowledged. So a connection that ends again and again loses nothing.
const PROOFS: u32 = 10;

/// What is known about the first message of the list.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// How many connections have ended without any acknowledgement since this message is the first.
    fruitless: u32,
    proofs: u32,
    /// How often another message was chosen in vain.
    misses: usize,
    connection: Connection,
}

/// What has happened on this connection.
#[derive(Debug, Default)]
struct Connection {
    has_published: bool,
    has_acknowledged: bool,
    /// Whether the first message was published alone after another was acknowledged.
    is_test: bool,
}

/// What the end of a connection says about the first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// The program is to be told.
    Suspected,
    /// No try will help.
    Guilty,
}

impl Doubt {
    /// Returns whether messages are published one by one.
    pub(super) fn is_alone(&self) -> bool {
        self.fruitless >= FRUITLESS || self.proofs > 0
    }

    /// Returns how many of the messages behind the first to skip, to find one that is to be acknowledged before it; `None`
    /// if it is its own turn.
    pub(super) fn other(&self) -> Option<usize> {
        (!self.connection.has_acknowledged).then_some(self.misses)
    }

    /// Notes that a message is published.
    pub(super) fn published(&mut self, is_first: bool) {
        let is_test = is_first && self.is_alone() && self.connection.has_acknowledged;
        self.connection.has_published = true;
        self.connection.is_test |= is_test;
    }

    pub(super) fn acknowledged(&mut self, is_first: bool) {
        self.connection.has_acknowledged = true;
        if is_first {
            self.acquit();
        }
    }

    /// Notes that the first message is another one now, or is acknowledged.
    fn acquit(&mut self) {
        self.fruitless = 0;
        self.proofs = 0;
        self.misses = 0;
        self.connection.is_test = false;
    }

    /// Notes that a new connection begins. Late news of the last one say nothing about it.
    pub(super) fn connected(&mut self) {
        self.connection = Connection::default();
    }

    /// Notes that the connection has ended.
    pub(super) fn ended(&mut self) -> Verdict {
        let connection = std::mem::take(&mut self.connection);
        if connection.is_test {
            self.proofs += 1;
            if self.proofs >= PROOFS {
                self.acquit();
                return Verdict::Guilty;
            }
        } else if connection.has_published && !connection.has_acknowledged {
            self.proofs = 0;
            self.fruitless = self.fruitless.saturating_add(1);
            self.misses += usize::from(self.is_alone());
            if self.fruitless == TOLD {
                return Verdict::Suspected;
            }
        }
        Verdict::Nothing
    }
}
