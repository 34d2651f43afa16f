//! The parameters behind a path.

use super::{error::Refused, route::decoded};

/// The parameters of a request. Unknown names are passed over.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(text: &str) -> Result<Self, Refused> {
        let parameters = text.split('&').filter(|parameter| !parameter.is_empty());
        let read = |parameter: &str| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let plain = |text: &str| decoded(&text.replace('+', " "));
            Some((plain(name)?, plain(value)?))
        };
        let parameters: Option<Vec<_>> = parameters.map(read).collect();
        let invalid = || Refused::unreadable(format!("invalid URL escape in {text:?}"));
        parameters.map(Self).ok_or_else(invalid)
    }

    /// Returns the value of a parameter that can be given once.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, Refused> {
        let values: Vec<&str> = self.all(name).collect();
        match values[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => {
                let values = values.join(", ");
                let text = format!("too many values for field {name:?}: {values}");
                Err(Refused::unreadable(text))
            }
        }
    }

    pub(super) fn number(&self, name: &'static str) -> Result<Option<u32>, Refused> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let cause = match text.parse() {
            Ok(number) if is_number => return Ok(Some(number)),
            _ if is_number => "value out of range",
            _ => "invalid syntax",
        };
        let text = format!("parsing field {name:?}: strconv.ParseUint: parsing {text:?}: {cause}");
        Err(Refused::unreadable(text))
    }

    /// Returns the paths of the field mask.
    pub(super) fn mask(&self) -> Result<Vec<String>, Refused> {
        let mut paths: Vec<String> = match self.text("field_mask")? {
            Some("") | None => Vec::new(),
            Some(list) => list.split(',').map(str::to_owned).collect(),
        };
        paths.extend(self.all("field_mask.paths").map(str::to_owned));
        Ok(paths)
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let camel = match name.split_once('_') {
            Some((first, rest)) if !rest.is_empty() => {
                format!("{first}{}{}", rest[..1].to_ascii_uppercase(), &rest[1..])
            }
            _ => name.to_owned(),
        };
        let found = self.0.iter();
        let found = found.filter(move |(known, _)| known == name || *known == camel);
        found.map(|(_, value)| value.as_str())
    }
}
