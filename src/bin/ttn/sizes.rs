//! Sizes as users write them.

/// Reads a number of bytes, such as `500k`, `10M` or `2G`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size; write it as 500k, 10M or 2G");
    let number = text.trim_end_matches(['B', 'b']);
    let (number, unit) = match number.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&number[..at], 1_000),
        Some((at, 'm' | 'M')) => (&number[..at], 1_000_000),
        Some((at, 'g' | 'G')) => (&number[..at], 1_000_000_000),
        _ => (number, 1),
    };
    let number: u64 = number.trim_end().parse().map_err(|_| wrong())?;
    number
        .checked_mul(unit)
        .filter(|size| *size > 0)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_may_have_a_unit() {
        for (text, expected) in [
            ("1", Some(1)),
            ("500k", Some(500_000)),
            ("10 MB", Some(10_000_000)),
            ("2G", Some(2_000_000_000)),
            ("0", None),
            ("", None),
            ("M", None),
            ("1T", None),
            ("99999999999999999999", None),
            ("99999999999G", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }
}
