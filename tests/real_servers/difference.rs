//! The difference between two texts, line by line.

/// Returns the lines that differ, after `-` (expected) or `+` (found), with some lines around them; `None`
/// if the texts are equal.
pub fn between(expected: &[String], found: &[String]) -> Option<String> {
    if expected == found {
        return None;
    }
    let expected: Vec<&str> = expected.iter().flat_map(|text| text.lines()).collect();
    let found: Vec<&str> = found.iter().flat_map(|text| text.lines()).collect();
    let lengths = common_lengths(&expected, &found);
    let (mut left, mut right) = (0, 0);
    let mut lines = Vec::new();
    while left < expected.len() || right < found.len() {
        let in_both =
            left < expected.len() && right < found.len() && expected[left] == found[right];
        if in_both {
            lines.push((' ', expected[left]));
            (left, right) = (left + 1, right + 1);
        } else if right == found.len()
            || left < expected.len() && lengths[left + 1][right] >= lengths[left][right + 1]
        {
            lines.push(('-', expected[left]));
            left += 1;
        } else {
            lines.push(('+', found[right]));
            right += 1;
        }
    }
    Some(excerpt(&lines))
}

/// Returns the changed lines, those just around them, and the topic of each changed message.
fn excerpt(lines: &[(char, &str)]) -> String {
    const AROUND: usize = 2;
    let is_changed = |index: usize| lines[index].0 != ' ';
    let is_near = |index: usize| {
        (index.saturating_sub(AROUND)..=(index + AROUND).min(lines.len() - 1)).any(is_changed)
    };
    let is_topic = |index: usize| !lines[index].1.starts_with(' ');
    let next_topic = |index: usize| (index + 1..lines.len()).find(|next| is_topic(*next));
    let has_changes =
        |index: usize| (index..next_topic(index).unwrap_or(lines.len())).any(is_changed);
    let shown =
        (0..lines.len()).filter(|index| is_near(*index) || is_topic(*index) && has_changes(*index));
    let lines = shown.map(|index| format!("{}{}", lines[index].0, lines[index].1));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the length of the longest common subsequence of each two ends.
fn common_lengths(left: &[&str], right: &[&str]) -> Vec<Vec<u16>> {
    let mut lengths = vec![vec![0; right.len() + 1]; left.len() + 1];
    for l in (0..left.len()).rev() {
        for r in (0..right.len()).rev() {
            lengths[l][r] = if left[l] == right[r] {
                lengths[l + 1][r + 1] + 1
            } else {
                lengths[l + 1][r].max(lengths[l][r + 1])
            };
        }
    }
    lengths
}
