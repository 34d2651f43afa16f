//! Regular expressions for names of events: letters, `.`, sets such as `[a-z]`, `*`, `+` and `?` behind one
//! of them, `^`, `$`, and `|` between whole expressions. Groups are refused, unlike by the real server.

/// An expression that was read.
pub(super) struct Pattern(Vec<Branch>);

#[derive(Default)]
struct Branch {
    is_at_start: bool,
    is_at_end: bool,
    atoms: Vec<Atom>,
}

struct Atom {
    /// The characters that fit; empty for any.
    ranges: Vec<(char, char)>,
    is_negated: bool,
    least: usize,
    most: usize,
}

impl Pattern {
    /// Reads an expression; `None` if it is invalid or has groups.
    pub(super) fn read(text: &str) -> Option<Self> {
        let branches: Option<Vec<Branch>> = text.split('|').map(Branch::read).collect();
        branches.map(Self)
    }

    /// Returns whether it fits somewhere in a name.
    pub(super) fn fits(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        self.0.iter().any(|branch| branch.fits(&name))
    }
}

impl Branch {
    fn read(text: &str) -> Option<Self> {
        let mut branch = Self::default();
        let mut characters = text.chars().peekable();
        if characters.next_if_eq(&'^').is_some() {
            branch.is_at_start = true;
        }
        while let Some(character) = characters.next() {
            let (mut ranges, mut is_negated) = (Vec::new(), false);
            match character {
                '$' if characters.peek().is_none() => {
                    branch.is_at_end = true;
                    break;
                }
                '(' | ')' | '*' | '+' | '?' | '{' | '^' | '$' => return None,
                '.' => {}
                '[' => {
                    is_negated = characters.next_if_eq(&'^').is_some();
                    loop {
                        let first = match characters.next()? {
                            ']' => break,
                            '\\' => characters.next()?,
                            first => first,
                        };
                        let last = match characters.next_if_eq(&'-') {
                            Some(_) => characters.next()?,
                            None => first,
                        };
                        ranges.push((first, last));
                    }
                    if ranges.is_empty() {
                        return None;
                    }
                }
                '\\' => {
                    let plain = characters.next().filter(|next| !next.is_alphanumeric())?;
                    ranges.push((plain, plain));
                }
                plain => ranges.push((plain, plain)),
            }
            let (least, most) = match characters.peek() {
                Some('*') => (0, usize::MAX),
                Some('+') => (1, usize::MAX),
                Some('?') => (0, 1),
                _ => (1, 1),
            };
            if (least, most) != (1, 1) {
                characters.next();
            }
            branch.atoms.push(Atom {
                ranges,
                is_negated,
                least,
                most,
            });
        }
        Some(branch)
    }

    fn fits(&self, name: &[char]) -> bool {
        let last = if self.is_at_start { 0 } else { name.len() };
        (0..=last).any(|start| self.fits_at(&self.atoms, &name[start..]))
    }

    fn fits_at(&self, atoms: &[Atom], rest: &[char]) -> bool {
        let Some((atom, others)) = atoms.split_first() else {
            return !self.is_at_end || rest.is_empty();
        };
        let fitting = rest.iter().take_while(|character| atom.fits(**character));
        let most = fitting.count().min(atom.most);
        (atom.least..=most)
            .rev()
            .any(|count| self.fits_at(others, &rest[count..]))
    }
}

impl Atom {
    fn fits(&self, character: char) -> bool {
        let is_in = |(first, last): &(char, char)| (*first..=*last).contains(&character);
        self.ranges.is_empty() || self.ranges.iter().any(is_in) != self.is_negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_fit_as_everywhere() {
        for (text, name, fits) in [
            (r"^as\.up\..*", "as.up.data.forward", true),
            (r"^as\.up\..*", "gs.as.up.x", false),
            ("up.data", "as.up.data.forward", true),
            ("forward$", "as.up.data.forward", true),
            ("up$", "as.up.data.forward", false),
            ("^[aj]s.", "js.join.accept", true),
            ("^[^aj]s.", "js.join.accept", false),
            ("x|join", "js.join.accept", true),
            ("^jo?s", "js.join.accept", true),
            ("c+e", "js.join.accept", true),
            ("", "anything", true),
        ] {
            let pattern = Pattern::read(text).unwrap();
            assert_eq!(pattern.fits(name), fits, "{text} in {name}");
        }
        for text in ["(", "*", "[a", "[]", "a{2}", "(a|b)", r"\"] {
            assert!(Pattern::read(text).is_none(), "{text}");
        }
    }
}
