//! Which MQTT server an application has.

use super::{Api, Failure, answer::Object, hosts::Task};

/// What a server announces about the MQTT server of an application; empty where it announces
/// nothing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ConnectionInfo {
    pub(crate) public_address: String,
    pub(crate) public_tls_address: String,
    /// The id by which the MQTT server knows the application.
    pub(crate) username: String,
}

impl Api {
    /// Asks for the connection information of the application. Needs `RIGHT_APPLICATION_INFO`.
    pub(crate) fn connection_info(&self) -> Result<ConnectionInfo, Failure> {
        let path = self.of_application_server("/mqtt-connection-info");
        ConnectionInfo::take(self.get(Task::Application, &path)?)
    }
}

impl ConnectionInfo {
    fn take(mut answer: Object<'_>) -> Result<Self, Failure> {
        Ok(Self {
            public_address: answer.take_text("public_address")?,
            public_tls_address: answer.take_text("public_tls_address")?,
            username: answer.take_text("username")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::answer::quote, *};
    use crate::config::AccessKey;

    fn read(body: &str) -> Result<ConnectionInfo, Failure> {
        let key = AccessKey::new("NNSXS.ID.A-LONG-ENOUGH-SECRET".to_owned());
        ConnectionInfo::take(Object::read(body.as_bytes(), &key)?)
    }

    #[test]
    fn an_absent_or_empty_member_is_the_same() {
        for body in [
            "{}",
            r#"{"public_address":null,"username":""}"#,
            r#"{"public_tls_address":" ","more":[7]}"#,
        ] {
            assert_eq!(read(body).unwrap(), ConnectionInfo::default(), "{body}");
        }
    }

    #[test]
    fn a_server_that_repeats_the_key_is_not_repeated() {
        let key = AccessKey::new("NNSXS.ID.A-LONG-ENOUGH-SECRET".to_owned());
        for word in ["NNSXS.ID.A-LONG-ENOUGH-SECRET", "A-LONG-ENOUGH-SECRET"] {
            for name in ["public_address", "public_tls_address", "username"] {
                let failure = read(&format!(r#"{{"{name}":"x{word}"}}"#)).unwrap_err();
                assert!(!format!("{failure:?}").contains("SECRET"), "{failure:?}");
                let Failure::Unreadable { why, .. } = failure else {
                    panic!("{failure:?}");
                };
                assert!(why.contains(name), "{why}");
            }
            assert_eq!(quote(&format!("wrong key: {word}"), &key), None);
        }
    }
}
