//! Whose key it is, and what it allows.

use std::time::SystemTime;

use super::{Api, Failure, answer::Object, hosts::Task};

/// Who calls, as `auth_info` tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Caller {
    /// The id of the key, which is not secret.
    pub(crate) key_id: String,
    pub(crate) key_name: String,
    pub(crate) owner: Owner,
    /// For a key of an application or a gateway, all rights on it. For a key of a user or an
    /// organization, the most that it may have anywhere.
    pub(crate) rights: Vec<String>,
    pub(crate) expires_at: Option<SystemTime>,
}

/// What a key belongs to, with its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Owner {
    Application(String),
    Gateway(String),
    Client(String),
    User(String),
    Organization(String),
    /// The server has seen no key, or one of another kind.
    #[default]
    Unknown,
}

impl Api {
    /// Asks for the owner and the rights of the key.
    pub(crate) fn caller(&self) -> Result<Caller, Failure> {
        Caller::take(self.get(Task::Identity, "/api/v3/auth_info")?)
    }

    /// Asks what the key allows on the application. Nothing is also the answer if there is no such
    /// application.
    pub(crate) fn rights(&self) -> Result<Vec<String>, Failure> {
        let mut answer = self.get(Task::Identity, &self.of_application("/rights"))?;
        answer.take_texts("rights")
    }
}

impl Caller {
    fn take(mut answer: Object<'_>) -> Result<Self, Failure> {
        if let Some(token) = answer.take_object("oauth_access_token")? {
            return Self::take_token(token);
        }
        let Some(mut access) = answer.take_object("api_key")? else {
            return Ok(Self::default());
        };
        let owner = match access.take_object("entity_ids")? {
            Some(ids) => Owner::take(ids)?,
            None => Owner::Unknown,
        };
        let Some(mut key) = access.take_object("api_key")? else {
            return Ok(Self {
                owner,
                ..Self::default()
            });
        };
        Ok(Self {
            key_id: key.take_text("id")?,
            key_name: key.take_text("name")?,
            owner,
            rights: key.take_texts("rights")?,
            expires_at: key.take_time("expires_at")?,
        })
    }

    /// Takes an access token of an OAuth client, which acts for a user.
    fn take_token(mut token: Object<'_>) -> Result<Self, Failure> {
        let user = token.take_object("user_ids")?;
        Ok(Self {
            key_id: token.take_text("id")?,
            key_name: String::new(),
            owner: match user {
                Some(mut user) => Owner::User(user.take_text("user_id")?),
                None => Owner::Unknown,
            },
            rights: token.take_texts("rights")?,
            expires_at: token.take_time("expires_at")?,
        })
    }
}

impl Owner {
    fn take(mut ids: Object<'_>) -> Result<Self, Failure> {
        type Make = fn(String) -> Owner;
        let kinds: [(&str, &str, Make); 5] = [
            ("application_ids", "application_id", Self::Application),
            ("gateway_ids", "gateway_id", Self::Gateway),
            ("client_ids", "client_id", Self::Client),
            ("user_ids", "user_id", Self::User),
            ("organization_ids", "organization_id", Self::Organization),
        ];
        for (member, id, make) in kinds {
            if let Some(mut entity) = ids.take_object(member)? {
                return Ok(make(entity.take_text(id)?));
            }
        }
        Ok(Self::Unknown)
    }
}
