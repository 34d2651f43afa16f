//! One question for all clients of the process that use the same key at the same network: their answers
//! would be the same.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{LazyLock, Mutex},
    time::{Duration, Instant},
};

use super::{Verdict, ask_rights};
use crate::{api::Api, process, sync};

/// How long an answer is news.
pub(crate) const FRESH: Duration = Duration::from_secs(60);

/// How long an answer is news that does not let a client receive and send. Somebody may be mending that.
const BRIEF: Duration = Duration::from_secs(5);

/// The most keys to remember, and to ask about at the same time.
const MAX_KEYS: usize = 64;

/// A fork does not use it: whoever asks has begun to connect a client, after which no fork can.
static TABLE: Mutex<Table> = Mutex::new(Table {
    entries: Vec::new(),
});

static DIGESTS: LazyLock<[RandomState; 2]> =
    LazyLock::new(|| [RandomState::new(), RandomState::new()]);

/// Takes an answer. It must not wait.
type Reply = Box<dyn FnOnce(Verdict) + Send>;

/// A key, an application and the hosts to ask, as a digest that only this process can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subject([u64; 2]);

impl Subject {
    fn of(api: &Api) -> Self {
        let what = (
            format!("{:?}", api.hosts()),
            api.application(),
            api.key().reveal(),
        );
        Self([0, 1].map(|digest| DIGESTS[digest].hash_one(&what)))
    }
}

struct Table {
    entries: Vec<(Subject, Entry)>,
}

enum Entry {
    Asked(Vec<Reply>),
    Known(Verdict, Instant),
}

/// What there is to do for somebody who wants an answer.
enum Joined {
    Answer(Reply, Verdict),
    Ask,
    Wait,
}

impl Table {
    fn join(&mut self, subject: Subject, reply: Reply, max_age: Duration, now: Instant) -> Joined {
        self.entries.retain(|(_, entry)| match entry {
            Entry::Asked(_) => true,
            Entry::Known(_, since) => now.duration_since(*since) < FRESH,
        });
        let own = self.entries.iter_mut().find(|(of, _)| *of == subject);
        match own {
            Some((_, Entry::Asked(replies))) => {
                replies.push(reply);
                return Joined::Wait;
            }
            Some((_, Entry::Known(verdict, since)))
                if now.duration_since(*since) < max_age.min(freshness(verdict)) =>
            {
                return Joined::Answer(reply, verdict.clone());
            }
            Some((_, entry)) => {
                *entry = Entry::Asked(vec![reply]);
                return Joined::Ask;
            }
            None => {}
        }
        if self.entries.len() >= MAX_KEYS {
            let known = |(_, entry): &(Subject, Entry)| matches!(entry, Entry::Known(..));
            match self.entries.iter().position(known) {
                Some(oldest) => drop(self.entries.remove(oldest)),
                None => {
                    let many = "too many questions over HTTP at once".to_owned();
                    return Joined::Answer(reply, Verdict::NotKnown(many));
                }
            }
        }
        self.entries.push((subject, Entry::Asked(vec![reply])));
        Joined::Ask
    }

    /// Keeps an answer, and returns who waits for it.
    fn settle(&mut self, subject: Subject, verdict: &Verdict, now: Instant) -> Vec<Reply> {
        let Some(own) = self.entries.iter().position(|(of, _)| *of == subject) else {
            return Vec::new();
        };
        let (_, waiting) = self.entries.remove(own);
        self.entries
            .push((subject, Entry::Known(verdict.clone(), now)));
        match waiting {
            Entry::Asked(replies) => replies,
            Entry::Known(..) => Vec::new(),
        }
    }
}

fn freshness(verdict: &Verdict) -> Duration {
    match verdict {
        Verdict::Good(rights) if rights.may_read() && rights.may_send() => FRESH,
        _ => BRIEF,
    }
}

/// A question on its way, which is settled whatever happens to its thread.
struct Question {
    subject: Subject,
    verdict: Option<Verdict>,
}

impl Question {
    fn settle(mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let verdict = self.verdict.take().unwrap_or_else(|| {
            Verdict::NotKnown("no thread could ask the network over HTTP".to_owned())
        });
        let replies = sync::lock(&TABLE).settle(self.subject, &verdict, Instant::now());
        for reply in replies {
            reply(verdict.clone());
        }
    }
}

/// Asks what a key allows within this time, unless the process has asked in the last `max_age` or is about
/// to ask. The answer may come at once, or on another thread; `reply` must not wait.
pub(crate) fn share_rights(
    api: &Api,
    max_age: Duration,
    time: Duration,
    reply: impl FnOnce(Verdict) + Send + 'static,
) {
    let subject = Subject::of(api);
    let now = Instant::now();
    let joined = sync::lock(&TABLE).join(subject, Box::new(reply), max_age, now);
    match joined {
        Joined::Wait => {}
        Joined::Answer(reply, verdict) => reply(verdict),
        Joined::Ask => {
            let api = api.clone();
            let question = Question {
                subject,
                verdict: None,
            };
            let started = process::start_thread("ttn-ask", move || {
                question.settle(ask_rights(&api, now + time));
            });
            if let Err(cause) = started {
                log::debug!("cannot ask the network over HTTP: {cause}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::message::Rights;

    fn table() -> Table {
        Table {
            entries: Vec::new(),
        }
    }

    fn good() -> Verdict {
        let names = ["TRAFFIC_READ", "TRAFFIC_DOWN_WRITE"];
        Verdict::Good(Rights::new(
            names
                .map(|name| format!("RIGHT_APPLICATION_{name}"))
                .to_vec(),
        ))
    }

    fn subject(number: u64) -> Subject {
        Subject([number, 0])
    }

    fn reply() -> (Reply, Receiver<Verdict>) {
        let (sender, receiver) = channel();
        (
            Box::new(move |verdict| drop(sender.send(verdict))),
            receiver,
        )
    }

    fn kind(joined: &Joined) -> &'static str {
        match joined {
            Joined::Answer(..) => "answer",
            Joined::Ask => "ask",
            Joined::Wait => "wait",
        }
    }

    #[test]
    fn one_asks_and_the_others_get_its_answer() {
        let (mut table, start) = (table(), Instant::now());
        let mut receivers = Vec::new();
        let mut joined = Vec::new();
        for _ in 0..10 {
            let (reply, receiver) = reply();
            joined.push(table.join(subject(1), reply, FRESH, start));
            receivers.push(receiver);
        }
        let kinds: Vec<_> = joined.iter().map(kind).collect();
        assert_eq!((kinds[0], &kinds[1..]), ("ask", &["wait"; 9][..]));
        for reply in table.settle(subject(1), &Verdict::Unknown, start) {
            reply(Verdict::Unknown);
        }
        for receiver in receivers {
            assert_eq!(receiver.try_recv(), Ok(Verdict::Unknown));
        }
    }

    #[test]
    fn an_answer_is_shared_for_a_minute_unless_a_newer_one_is_wanted() {
        let (mut table, start) = (table(), Instant::now());
        table.join(subject(1), reply().0, FRESH, start);
        table.settle(subject(1), &good(), start);
        let mut at = |number, max_age, after| {
            let joined = table.join(subject(number), reply().0, max_age, start + after);
            kind(&joined)
        };
        let second = Duration::from_secs(1);
        assert_eq!(at(1, FRESH, FRESH - second), "answer");
        assert_eq!(at(2, FRESH, second), "ask");
        assert_eq!(at(1, Duration::ZERO, second), "ask");
        assert_eq!(at(1, FRESH, 2 * second), "wait");
    }

    #[test]
    fn an_answer_that_somebody_may_be_mending_is_shared_for_a_moment() {
        let start = Instant::now();
        for verdict in [Verdict::Mistyped, Verdict::Good(Rights::new(Vec::new()))] {
            let mut table = table();
            table.join(subject(1), reply().0, FRESH, start);
            table.settle(subject(1), &verdict, start);
            let mut at = |after| kind(&table.join(subject(1), reply().0, FRESH, start + after));
            assert_eq!(at(BRIEF / 2), "answer");
            assert_eq!(at(BRIEF), "ask");
        }
    }

    #[test]
    fn an_old_answer_is_forgotten() {
        let (mut table, start) = (table(), Instant::now());
        table.join(subject(1), reply().0, FRESH, start);
        table.settle(subject(1), &Verdict::Mistyped, start);
        let joined = table.join(subject(2), reply().0, FRESH, start + FRESH);
        assert_eq!(kind(&joined), "ask");
        assert_eq!(table.entries.len(), 1);
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut table, now) = (table(), Instant::now());
        for number in 0..1_000 {
            table.join(subject(number), reply().0, FRESH, now);
            if number % 2 == 0 {
                table.settle(subject(number), &Verdict::Unknown, now);
            }
            assert!(table.entries.len() <= MAX_KEYS);
        }
        let (reply, receiver) = reply();
        let Joined::Answer(reply, verdict) = table.join(subject(7_777), reply, FRESH, now) else {
            panic!("one question too many");
        };
        reply(verdict);
        assert!(!receiver.recv().unwrap().is_known());
    }

    #[test]
    fn a_question_without_a_thread_is_settled() {
        let (reply, receiver) = reply();
        let only = subject(fastrand::u64(..));
        sync::lock(&TABLE).join(only, reply, FRESH, Instant::now());
        drop(Question {
            subject: only,
            verdict: None,
        });
        assert!(!receiver.try_recv().unwrap().is_known());
    }
}
