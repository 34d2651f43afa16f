//! Partitions: the devices of an application, in a fixed number of parts.

use crate::error::{Error, Result};

/// More would mean more filters than brokers like in one SUBSCRIBE.
const MAX_PARTITIONS: u32 = 1_024;

/// Which partitions a client reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partitions {
    /// How many there are.
    pub(crate) total: u32,
    /// Those that the client reads, in ascending order.
    pub(crate) read: Vec<u32>,
}

/// What the options say about partitions, not checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionOptions {
    pub(super) total: Option<u32>,
    pub(super) numbers: Vec<u32>,
    pub(super) share: Option<(u32, u32)>,
}

impl PartitionOptions {
    pub(super) fn check(&self) -> Result<Option<Partitions>> {
        let Some(total) = self.total else {
            return match (self.numbers.is_empty(), self.share) {
                (true, None) => Ok(None),
                _ => Err(Error::config(
                    "partition and partitions_of choose among the partitions; say with partitions how many there are, as \
                     for the feed",
                )),
            };
        };
        if !(1..=MAX_PARTITIONS).contains(&total) {
            return Err(Error::config(format!(
                "partitions is {total}; there are 1 to {MAX_PARTITIONS}, as many as the feed publishes"
            )));
        }
        let mut read = self.numbers.clone();
        if let Some(number) = read.iter().find(|number| **number >= total) {
            return Err(Error::config(format!(
                "there is no partition {number}: of {total} partitions, the first is 0 and the last {}",
                total - 1
            )));
        }
        match self.share {
            Some((member, members)) if members == 0 || member >= members => {
                return Err(Error::config(format!(
                    "partitions_of({member}, {members}): members are numbered from 0, so the last of {members} is {}",
                    i64::from(members) - 1
                )));
            }
            Some((_, members)) if members > total => {
                return Err(Error::config(format!(
                    "{members} members are more than the {total} partitions, and some would read nothing; start fewer, or \
                     let the feed publish more partitions"
                )));
            }
            Some((member, members)) => {
                read.extend((0..total).filter(|number| number % members == member));
            }
            None if read.is_empty() => read.extend(0..total),
            None => {}
        }
        read.sort_unstable();
        read.dedup();
        Ok(Some(Partitions { total, read }))
    }
}

/// Returns the partition of a device: the FNV-1a hash of its id in 32 bits, modulo the number of partitions.
pub(crate) fn partition_of(dev_id: &str, total: u32) -> u32 {
    let hash = dev_id.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash % total.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(total: u32) -> PartitionOptions {
        PartitionOptions {
            total: Some(total),
            ..PartitionOptions::default()
        }
    }

    fn read(options: &PartitionOptions) -> Vec<u32> {
        options.check().unwrap().unwrap().read
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        let hash = |text| partition_of(text, u32::MAX);
        assert_eq!(hash(""), 0x811c_9dc5);
        assert_eq!(hash("a"), 0xe40c_292c);
        assert_eq!(hash("foobar"), 0xbf9c_f968);
    }

    #[test]
    fn each_partition_goes_to_exactly_one_of_any_number_of_members() {
        for total in [1, 2, 3, 7, 16, 100] {
            for members in 1..=total {
                let mut all: Vec<u32> = (0..members)
                    .flat_map(|member| {
                        let own = read(&PartitionOptions {
                            share: Some((member, members)),
                            ..options(total)
                        });
                        assert!(!own.is_empty(), "{member} of {members}, {total}");
                        own
                    })
                    .collect();
                all.sort_unstable();
                assert_eq!(all, Vec::from_iter(0..total), "{members} of {total}");
            }
        }
    }

    #[test]
    fn without_a_choice_a_client_reads_all_partitions_and_choices_add_up() {
        assert_eq!(read(&options(4)), [0, 1, 2, 3]);
        let several = PartitionOptions {
            numbers: vec![3, 1, 3],
            ..options(4)
        };
        assert_eq!(read(&several), [1, 3]);
    }

    #[test]
    fn partitions_that_do_not_exist_are_refused_with_the_reason() {
        let none = PartitionOptions::default();
        assert_eq!(none.check().unwrap(), None);
        for (options, words) in [
            (options(0), "1 to 1024"),
            (options(1_025), "1 to 1024"),
            (
                PartitionOptions {
                    numbers: vec![16],
                    ..options(16)
                },
                "the last 15",
            ),
            (
                PartitionOptions {
                    share: Some((3, 3)),
                    ..options(16)
                },
                "numbered from 0",
            ),
            (
                PartitionOptions {
                    share: Some((0, 0)),
                    ..options(16)
                },
                "numbered from 0",
            ),
            (
                PartitionOptions {
                    share: Some((0, 17)),
                    ..options(16)
                },
                "more than the 16",
            ),
            (
                PartitionOptions {
                    numbers: vec![1],
                    ..none
                },
                "how many there are",
            ),
        ] {
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(words), "{words:?} is missing in: {error}");
        }
    }
}
