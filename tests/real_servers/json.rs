//! JSON that keeps the order of members and the text of numbers.

use std::fmt::Write;

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`, `true`, `false` or a number, as written.
    Bare(String),
    /// A string, unescaped.
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads one value.
    ///
    /// # Panics
    ///
    /// If the text is not JSON, or not as compact as the server writes it.
    pub fn read(text: &str) -> Self {
        let mut reader = Reader { rest: text };
        let value = reader.value();
        assert_eq!(reader.rest, "", "something follows the value in {text}");
        value
    }

    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members
                .iter()
                .find_map(|(key, value)| (key == name).then_some(value)),
            _ => None,
        }
    }

    /// Returns the value below members that are separated by `/`.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('/')
            .try_fold(self, |value, name| value.get(name))
    }

    /// Returns the text of a string, number or constant; empty for others.
    pub fn text(&self) -> &str {
        match self {
            Self::Bare(text) | Self::Text(text) => text,
            _ => "",
        }
    }

    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// Returns the value on several lines, one for each member.
    pub fn pretty(&self) -> String {
        let mut text = String::new();
        self.print(&mut text, 1);
        text
    }

    /// Returns the value as the server writes it.
    pub fn compact(&self) -> String {
        match self {
            Self::Bare(bare) => bare.clone(),
            Self::Text(string) => serde_json::to_string(string).unwrap(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::compact).collect();
                format!("[{}]", items.join(","))
            }
            Self::Object(members) => {
                let member = |(name, value): &(String, Self)| {
                    format!(
                        "{}:{}",
                        serde_json::to_string(name).unwrap(),
                        value.compact()
                    )
                };
                let members: Vec<String> = members.iter().map(member).collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }

    fn print(&self, text: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        match self {
            Self::Bare(bare) => text.push_str(bare),
            Self::Text(string) => write!(text, "{string:?}").unwrap(),
            Self::List(items) => {
                text.push('[');
                for item in items {
                    write!(text, "\n{indent}").unwrap();
                    item.print(text, depth + 1);
                }
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (name, value) in members {
                    write!(text, "\n{indent}{name}: ").unwrap();
                    value.print(text, depth + 1);
                }
                text.push('}');
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self) -> Json {
        if self.take("{") {
            let mut members = Vec::new();
            while !self.take("}") {
                let name = self.string();
                assert!(self.take(":"), "no colon before {}", self.rest);
                members.push((name, self.value()));
                self.take(",");
            }
            Json::Object(members)
        } else if self.take("[") {
            let mut items = Vec::new();
            while !self.take("]") {
                items.push(self.value());
                self.take(",");
            }
            Json::List(items)
        } else if self.rest.starts_with('"') {
            Json::Text(self.string())
        } else {
            let end = self.rest.find([',', '}', ']']).unwrap_or(self.rest.len());
            let (bare, rest) = self.rest.split_at(end);
            self.rest = rest;
            Json::Bare(bare.to_owned())
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn string(&mut self) -> String {
        let mut strings = serde_json::Deserializer::from_str(self.rest).into_iter();
        let string = strings.next().expect("a string").expect("a string");
        self.rest = &self.rest[strings.byte_offset()..];
        string
    }
}
