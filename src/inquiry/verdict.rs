//! What an answer means.

use std::time::SystemTime;

use crate::{
    api::{Caller, ConnectionInfo, Failure, Meaning, Owner, Refusal},
    error::ErrorKind,
    message::Rights,
};

/// What the network says about the key of a client, or about its login.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The key has these rights on the application.
    Good(Rights),
    /// The key has a right on the application. Which ones it has is not known.
    Accepted,
    /// The key is that of a user or an organization; its rights on the application are a question of
    /// their own.
    Personal(Box<Caller>),
    /// The key is good and has no right on the application.
    Foreign {
        owner: Owner,
        application: Ours,
    },
    /// The account of the key's owner is suspended, rejected, or waits for its approval.
    Restricted(Owner),
    /// The id of the key is right, its secret is not.
    Mistyped,
    /// There is no such key.
    Unknown,
    ApplicationDeleted,
    /// With the time, if it is known.
    Expired(Option<SystemTime>),
    /// What was sent is not a key.
    Malformed,
    /// The server has seen no key.
    Unseen,
    /// The key is good, the login is not: by this user name the server knows the application, if it says so.
    WrongUserName(Option<String>),
    /// The key and the user name are good.
    NoReason,
    /// The server cannot check keys now.
    CannotCheck,
    /// The answers tell nothing about the key; why, as part of a sentence.
    NotKnown(String),
}

/// Whether there is the application that the client is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    Exists,
    Missing,
    NotAsked,
}

impl Verdict {
    /// Reads the answer about the caller. `application` is the id of the client's application, without a
    /// tenant.
    pub(crate) fn of(answer: &Result<Caller, Failure>, application: &str) -> Self {
        let caller = match answer {
            Ok(caller) => caller,
            Err(failure) => return Self::of_failure(failure),
        };
        match &caller.owner {
            Owner::Application(id) if id == application => {
                Self::Good(rights(caller, caller.rights.clone()))
            }
            Owner::User(_) | Owner::Organization(_) => Self::Personal(Box::new(caller.clone())),
            Owner::Unknown => Self::Unseen,
            owner => Self::Foreign {
                owner: owner.clone(),
                application: Ours::NotAsked,
            },
        }
    }

    /// Adds the answer about the rights on the application to what is known of the key of a user or an
    /// organization.
    pub(crate) fn with_rights(self, answer: &Result<Vec<String>, Failure>) -> Self {
        let Self::Personal(caller) = self else {
            return self;
        };
        let foreign = |application| Self::Foreign {
            owner: caller.owner.clone(),
            application,
        };
        match answer {
            Ok(none) if none.is_empty() => foreign(Ours::NotAsked),
            Ok(names) => Self::Good(rights(&caller, names.clone())),
            Err(Failure::Refused(refusal)) if is_no_application(refusal) => foreign(Ours::Missing),
            Err(failure) => match Self::of_failure(failure) {
                Self::Restricted(_) => Self::Restricted(caller.owner),
                other => other,
            },
        }
    }

    /// Adds the answer whether the application exists.
    pub(crate) fn with_application(self, answer: &Result<(), Failure>) -> Self {
        let Self::Foreign { owner, .. } = self else {
            return self;
        };
        let application = match answer {
            Ok(()) => Ours::Exists,
            Err(Failure::Refused(refusal)) if is_no_application(refusal) => Ours::Missing,
            Err(Failure::Refused(refusal)) if refusal.meaning() == Meaning::AccountBlocked => {
                return Self::Restricted(owner);
            }
            Err(_) => Ours::NotAsked,
        };
        Self::Foreign { owner, application }
    }

    /// Adds the connection information to what is known of a good key that is refused with the user name
    /// `app_id`.
    pub(crate) fn with_connection_info(
        self,
        answer: &Result<ConnectionInfo, Failure>,
        app_id: &str,
    ) -> Self {
        match (&self, answer) {
            (Self::Good(_) | Self::Accepted, Ok(info)) if info.username == app_id => Self::NoReason,
            (Self::Good(_) | Self::Accepted, Ok(info)) => {
                let is_told = !info.username.is_empty();
                Self::WrongUserName(is_told.then(|| info.username.clone()))
            }
            (Self::Good(_) | Self::Accepted, Err(failure)) => match Self::of_failure(failure) {
                Self::CannotCheck => Self::CannotCheck,
                _ => Self::WrongUserName(None),
            },
            _ => self,
        }
    }

    /// Reads what the Application Server answers to the question for the connection information. It asks
    /// an Identity Server about the key, perhaps another one than this client can.
    pub(crate) fn of_application_server(answer: &Result<ConnectionInfo, Failure>) -> Self {
        let foreign = |application| Self::Foreign {
            owner: Owner::Unknown,
            application,
        };
        match answer {
            Ok(_) => Self::Accepted,
            Err(Failure::Refused(refusal)) if is_no_application(refusal) => foreign(Ours::Missing),
            Err(failure @ Failure::Refused(refusal)) => match refusal.meaning() {
                Meaning::MissingRights(_) => Self::Accepted,
                Meaning::NoRights => foreign(Ours::NotAsked),
                _ => Self::of_failure(failure),
            },
            Err(failure) => Self::of_failure(failure),
        }
    }

    /// Reads a failure that any server of the network may answer.
    pub(crate) fn of_failure(failure: &Failure) -> Self {
        let refusal = match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Unanswered(failure) => {
                return Self::NotKnown(format!(
                    "the HTTP API of the network does not answer ({})",
                    failure.seen
                ));
            }
            Failure::Unreadable { why, .. } => {
                return Self::NotKnown(format!(
                    "the answer over HTTP is not that of The Things Stack ({why})"
                ));
            }
        };
        match refusal.meaning() {
            Meaning::MalformedKey => Self::Malformed,
            Meaning::OwnerDeleted => Self::ApplicationDeleted,
            Meaning::UnknownKey => Self::Unknown,
            Meaning::WrongSecret => Self::Mistyped,
            Meaning::KeyExpired => Self::Expired(None),
            Meaning::NoKey => Self::Unseen,
            Meaning::AccountBlocked => Self::Restricted(Owner::Unknown),
            Meaning::NoIdentityServer => Self::CannotCheck,
            Meaning::NotServed => Self::NotKnown(format!(
                "{} is not served there; if the network has its Identity Server elsewhere, set identity_server_address",
                refusal.url
            )),
            meaning => {
                let message = refusal.message.as_deref();
                let message = message.map_or_else(String::new, |message| format!(", {message}"));
                let advice = match meaning {
                    Meaning::TlsRequired | Meaning::Redirected | Meaning::MissingTenant => {
                        format!("; {}", refusal.explain())
                    }
                    _ => String::new(),
                };
                Self::NotKnown(format!(
                    "{} answers with HTTP {}{message}{advice}",
                    refusal.url, refusal.status
                ))
            }
        }
    }

    /// The verdict if there was no time for a question.
    pub(super) fn late() -> Self {
        Self::NotKnown("the HTTP API of the network did not answer in time".to_owned())
    }

    /// Returns the rights on the application, if they are known.
    pub(crate) fn rights(&self) -> Option<&Rights> {
        match self {
            Self::Good(rights) => Some(rights),
            _ => None,
        }
    }

    /// Returns whether the server may accept the key later, without any change by the user.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::CannotCheck)
    }

    /// Returns whether the answers say something about the key or the login.
    pub(crate) fn is_known(&self) -> bool {
        !matches!(self, Self::NotKnown(_) | Self::Unseen)
    }

    /// Returns the kind of the error of a client that was refused.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::CannotCheck => ErrorKind::ServerUnavailable,
            _ => ErrorKind::NotAuthorized,
        }
    }
}

fn rights(caller: &Caller, names: Vec<String>) -> Rights {
    Rights {
        key_id: caller.key_id.clone(),
        key_name: caller.key_name.clone(),
        owner: caller.owner.to_string(),
        expires_at: caller.expires_at,
        ..Rights::new(names)
    }
}

/// Returns whether the server says that there is no such application. The meaning alone is no proof: it is
/// also that of other errors with the status 404.
fn is_no_application(refusal: &Refusal) -> bool {
    refusal.is("pkg/identityserver/store", "application_not_found")
}
