//! What a request shows to be let in.

/// What the header `Authorization` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credentials<'a> {
    /// Nothing, or a text without the word for a scheme.
    None,
    /// Another scheme than `Bearer`.
    Unsupported,
    /// Not a key.
    NoKey,
    /// What the server stumbles over.
    Broken,
    Key(&'a str),
}

impl<'a> Credentials<'a> {
    pub(super) fn read(header: Option<&'a str>) -> Self {
        let header = header.unwrap_or_default().trim_end();
        let Some((scheme, key)) = header.split_once(' ') else {
            return match header.contains('\t') {
                true => Self::Broken,
                false => Self::None,
            };
        };
        if scheme.contains('\t') {
            Self::Broken
        } else if !scheme.eq_ignore_ascii_case("bearer") {
            Self::Unsupported
        } else if key.starts_with("NNSXS.") && key.split('.').count() == 3 {
            Self::Key(key)
        } else {
            Self::NoKey
        }
    }

    pub(super) fn key(self) -> Option<&'a str> {
        match self {
            Self::Key(key) => Some(key),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_after_the_scheme_and_one_blank() {
        for (header, credentials) in [
            (None, Credentials::None),
            (Some(""), Credentials::None),
            (Some("Bearer"), Credentials::None),
            (Some("Bearer "), Credentials::None),
            (Some("NNSXS.A.B"), Credentials::None),
            (Some("Bearer NNSXS.A.B"), Credentials::Key("NNSXS.A.B")),
            (Some("bEARER NNSXS.A.B  "), Credentials::Key("NNSXS.A.B")),
            (Some("Bearer  NNSXS.A.B"), Credentials::NoKey),
            (Some("Bearer NNSXS.A"), Credentials::NoKey),
            (Some("Bearer NNSXS.A.B.C"), Credentials::NoKey),
            (Some("Bearer nnsxs.A.B"), Credentials::NoKey),
            (Some("Bearer\tNNSXS.A.B"), Credentials::Broken),
            (Some("Basic NNSXS.A.B"), Credentials::Unsupported),
            (Some("Key NNSXS.A.B"), Credentials::Unsupported),
        ] {
            assert_eq!(Credentials::read(header), credentials, "{header:?}");
        }
    }
}
