//! What consumers have handled, from the files they write, compared with what was published.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::publisher::Published;

/// Returns the time in nanoseconds since 1970: the processes of a test share this clock.
pub fn nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_nanos() as u64
}

/// An uplink that a consumer has handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    /// When, in nanoseconds since 1970.
    pub time: u64,
    pub consumer: usize,
    /// The process, since a consumer may be killed and started again.
    pub process: u32,
    pub device: String,
    pub counter: u32,
    pub number: u32,
    pub is_redelivered: bool,
    pub is_duplicate: bool,
    /// What tells the uplink from all others.
    pub key: String,
}

impl Handled {
    /// The line in the file of a consumer.
    pub fn line(&self) -> String {
        let Self {
            time,
            process,
            device,
            counter,
            number,
            is_redelivered,
            is_duplicate,
            key,
            ..
        } = self;
        format!(
            "handled {time} {process} {device} {counter} {number} {} {} {key}\n",
            u8::from(*is_redelivered),
            u8::from(*is_duplicate),
        )
    }

    fn parse(consumer: usize, line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("handled ")?.splitn(8, ' ');
        let mut next = || words.next();
        Some(Self {
            consumer,
            time: next()?.parse().ok()?,
            process: next()?.parse().ok()?,
            device: next()?.to_owned(),
            counter: next()?.parse().ok()?,
            number: next()?.parse().ok()?,
            is_redelivered: next()? == "1",
            is_duplicate: next()? == "1",
            key: next()?.to_owned(),
        })
    }
}

/// Another line of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub word: String,
    pub time: u64,
    pub process: u32,
    pub text: String,
}

impl Note {
    fn parse(line: &str) -> Self {
        let mut words = line.splitn(4, ' ');
        let mut next = || words.next().unwrap_or_default();
        Self {
            word: next().to_owned(),
            time: next().parse().unwrap_or_default(),
            process: next().parse().unwrap_or_default(),
            text: next().to_owned(),
        }
    }
}

/// The files of the consumers, read on as they grow.
#[derive(Debug)]
pub struct Records {
    files: Vec<Growing>,
    pub handled: Vec<Handled>,
    /// The other lines, with their consumers.
    pub notes: Vec<(usize, Note)>,
    /// The numbers that were handled.
    seen: BTreeSet<u32>,
}

#[derive(Debug)]
struct Growing {
    path: PathBuf,
    read: u64,
}

impl Records {
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            files: files
                .into_iter()
                .map(|path| Growing { path, read: 0 })
                .collect(),
            handled: Vec::new(),
            notes: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    /// Reads what was added to the files.
    pub fn read(&mut self) {
        for (consumer, file) in self.files.iter_mut().enumerate() {
            for line in file.lines() {
                match Handled::parse(consumer, &line) {
                    Some(handled) => {
                        self.seen.insert(handled.number);
                        self.handled.push(handled);
                    }
                    None => self.notes.push((consumer, Note::parse(&line))),
                }
            }
        }
    }

    /// Returns how many of these messages were handled.
    pub fn distinct(&self, numbers: &Range<u32>) -> usize {
        self.seen.range(numbers.clone()).count()
    }

    /// Returns those of these messages that were not handled.
    pub fn missing(&self, numbers: &Range<u32>) -> Vec<u32> {
        let numbers = numbers.clone();
        numbers
            .filter(|number| !self.seen.contains(number))
            .collect()
    }

    /// Returns how many notes of a consumer have this word.
    pub fn notes_of(&self, consumer: usize, word: &str) -> usize {
        let is_one = |(of, note): &&(usize, Note)| *of == consumer && note.word == word;
        self.notes.iter().filter(is_one).count()
    }
}

impl Growing {
    fn lines(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        // A consumer that has not started yet has no file.
        let Ok(mut file) = File::open(&self.path) else {
            return Vec::new();
        };
        file.seek(SeekFrom::Start(self.read))
            .and_then(|_| file.read_to_end(&mut text))
            .expect("the file can be read");
        let complete = text.iter().rposition(|byte| *byte == b'\n');
        text.truncate(complete.map_or(0, |end| end + 1));
        self.read += text.len() as u64;
        let text = String::from_utf8(text).expect("lines are UTF-8");
        text.lines().map(str::to_owned).collect()
    }
}

/// What became of the published messages.
#[derive(Debug)]
pub struct Account {
    pub published: usize,
    pub lost: Vec<u32>,
    /// Those that were handled more than once.
    pub twice: Vec<u32>,
    /// First deliveries behind a later message of the same device.
    pub late: Vec<Handled>,
    /// Those of them that were not delivered before.
    pub out_of_order: Vec<Handled>,
    pub redelivered: usize,
    pub duplicates: usize,
    /// The second time in the same process that was not told as one.
    pub untold: Vec<Handled>,
    /// The second time, published once, that was not told as a redelivery.
    pub unmarked: Vec<Handled>,
    /// Those whose key is not the one of the first time, or the one of another message.
    pub wrong_keys: Vec<Handled>,
    /// The messages that each consumer handled first.
    pub shares: Vec<usize>,
    /// The longest time in which a consumer handled nothing while messages were published.
    pub gaps: Vec<Duration>,
    pub repeated: usize,
    pub connections: usize,
    /// Between the first message published and the last one handled first.
    pub time: Duration,
    /// How long after the last acknowledgement to the publisher the last message was handled first.
    pub after: Duration,
}

impl Account {
    pub fn of(published: &Published, records: &Records) -> Self {
        let consumers = records.files.len();
        let numbers = &published.numbers;
        let mut handled = records.handled.clone();
        handled.retain(|one| numbers.contains(&one.number));
        handled.sort_by_key(|handled| handled.time);
        let mut first = BTreeMap::new();
        let mut account = Self {
            published: numbers.len(),
            lost: Vec::new(),
            twice: Vec::new(),
            late: Vec::new(),
            out_of_order: Vec::new(),
            redelivered: handled.iter().filter(|one| one.is_redelivered).count(),
            duplicates: handled.iter().filter(|one| one.is_duplicate).count(),
            untold: Vec::new(),
            unmarked: Vec::new(),
            wrong_keys: Vec::new(),
            shares: vec![0; consumers],
            gaps: vec![Duration::ZERO; consumers],
            repeated: published.repeated.len(),
            connections: published.connections,
            time: Duration::ZERO,
            after: Duration::ZERO,
        };
        let mut twice = BTreeSet::new();
        let mut of_process = BTreeSet::new();
        let mut keys = BTreeMap::new();
        let mut numbers_of = BTreeMap::new();
        let mut counters: BTreeMap<String, u32> = BTreeMap::new();
        let mut last_of = vec![published.begin; consumers];
        for one in handled {
            let told = of_process.insert((one.process, one.number)) || one.is_duplicate;
            if !told {
                account.untold.push(one.clone());
            }
            let key = keys.entry(one.number).or_insert(one.key.clone());
            let number = numbers_of.entry(one.key.clone()).or_insert(one.number);
            if *key != one.key || *number != one.number {
                account.wrong_keys.push(one.clone());
            }
            let gap = one.time.min(published.end);
            let gap = gap.saturating_sub(last_of[one.consumer]);
            account.gaps[one.consumer] = account.gaps[one.consumer].max(Duration::from_nanos(gap));
            last_of[one.consumer] = one.time;
            if first.insert(one.number, one.consumer).is_some() {
                twice.insert(one.number);
                if !one.is_redelivered && !published.repeated.contains(&one.number) {
                    account.unmarked.push(one);
                }
                continue;
            }
            account.shares[one.consumer] += 1;
            account.time = Duration::from_nanos(one.time.saturating_sub(published.begin));
            account.after = Duration::from_nanos(one.time.saturating_sub(published.end));
            let newest = counters.entry(one.device.clone()).or_default();
            if one.counter < *newest {
                let again = one.is_redelivered || published.repeated.contains(&one.number);
                if !again {
                    account.out_of_order.push(one.clone());
                }
                account.late.push(one);
            } else {
                *newest = one.counter;
            }
        }
        for (gap, last) in account.gaps.iter_mut().zip(last_of) {
            *gap = (*gap).max(Duration::from_nanos(published.end.saturating_sub(last)));
        }
        account.twice = twice.into_iter().collect();
        account.lost = numbers
            .clone()
            .filter(|number| !first.contains_key(number))
            .collect();
        account
    }
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} published: lost {}, twice {}, late {} ({} of them not again), shares {:?}, gaps {:.1?}, told as \
             redelivered {}, as duplicate {}, published again {} over {} connections, {:.1?} ({:.1?} after the publisher)",
            self.published,
            self.lost.len(),
            self.twice.len(),
            self.late.len(),
            self.out_of_order.len(),
            self.shares,
            self.gaps,
            self.redelivered,
            self.duplicates,
            self.repeated,
            self.connections,
            self.time,
            self.after,
        )
    }
}

#[test]
fn an_account_tells_what_is_lost_twice_late_and_wrong() {
    let handled = |time, process, number: u32| Handled {
        time,
        consumer: (process % 2) as usize,
        process,
        device: format!("stall-{}", number % 2),
        counter: number / 2,
        number,
        is_redelivered: false,
        is_duplicate: false,
        key: number.to_string(),
    };
    let mut records = Records::new([PathBuf::new(), PathBuf::new()]);
    records.handled = vec![
        handled(10, 2, 0),
        handled(20, 2, 4),
        // Behind 4 of the same device.
        handled(30, 3, 2),
        // In the same process, and not told.
        handled(40, 2, 4),
        // In another one, and told.
        Handled {
            is_redelivered: true,
            ..handled(50, 3, 0)
        },
        // With the key of another one.
        Handled {
            key: "0".to_owned(),
            ..handled(60, 3, 1)
        },
        // Of another run.
        handled(70, 2, 6),
    ];
    let published = Published {
        numbers: 0..6,
        repeated: BTreeSet::new(),
        connections: 1,
        begin: 0,
        end: 100,
    };
    let account = Account::of(&published, &records);
    let numbers = |list: &[Handled]| Vec::from_iter(list.iter().map(|one| one.number));
    assert_eq!(account.lost, [3, 5]);
    assert_eq!(account.twice, [0, 4]);
    assert_eq!(numbers(&account.late), [2]);
    assert_eq!(numbers(&account.out_of_order), [2]);
    assert_eq!(numbers(&account.untold), [4]);
    assert_eq!(numbers(&account.unmarked), [4]);
    assert_eq!(numbers(&account.wrong_keys), [1]);
    assert_eq!(account.shares, [2, 2]);
    assert_eq!(account.gaps, [60, 40].map(Duration::from_nanos));
    assert_eq!(account.time, Duration::from_nanos(60));
}
