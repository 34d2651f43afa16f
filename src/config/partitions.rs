//! Partitions: the devices of an application, in a fixed number of parts.

/// Which partitions a client reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partitions {
    /// How many there are.
    pub(crate) total: u32,
    /// Those that the client reads, in ascending order.
    pub(crate) read: Vec<u32>,
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

    #[test]
    fn the_hash_is_fnv_1a() {
        let hash = |text| partition_of(text, u32::MAX);
        assert_eq!(hash(""), 0x811c_9dc5);
        assert_eq!(hash("a"), 0xe40c_292c);
        assert_eq!(hash("foobar"), 0xbf9c_f968);
    }
}
