//! The words of a verdict: what is wrong, and what to do.

use std::fmt;

use super::{Ours, Verdict};
use crate::{api::Owner, network::Network};

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application(id) => write!(f, "the application {id:?}"),
            Self::Gateway(id) => write!(f, "the gateway {id:?}"),
            Self::Client(id) => write!(f, "the OAuth client {id:?}"),
            Self::User(id) => write!(f, "the user {id:?}"),
            Self::Organization(id) => write!(f, "the organization {id:?}"),
            Self::Unknown => f.write_str("somebody else"),
        }
    }
}

impl Verdict {
    /// Says what the verdict is for a client of this application, and what to do; as part of a sentence.
    pub(crate) fn explain(&self, app_id: &str) -> String {
        let application = Network::V3.application_of(app_id);
        match self {
            Self::Good(_) => format!("the API key has rights on the application {application:?}"),
            Self::Accepted => {
                format!("the API key has a right on the application {application:?}")
            }
            Self::Personal(caller) => format!("the API key belongs to {}", caller.owner),
            Self::Foreign { owner, application: ours } => foreign(owner, *ours, application),
            Self::Restricted(owner) => {
                let whose = match owner {
                    Owner::Unknown => "a user".to_owned(),
                    owner => owner.to_string(),
                };
                format!(
                    "the API key belongs to {whose}, whose account is suspended, rejected or waits for approval; ask \
                     the operator of the network, or create an API key of the application {application:?}"
                )
            }
            Self::Mistyped => format!(
                "the API key is mistyped or cut off: its id is right, its secret is not; copy the whole key, or \
                 create another one for {application:?} (the Console shows a key only once)"
            ),
            Self::Unknown => format!(
                "the network does not know the API key: it was deleted, or belongs to another network or tenant; \
                 check the server, or create another key for {application:?}"
            ),
            Self::ApplicationDeleted => {
                "the application of the API key was deleted; use another application and a key of it".to_owned()
            }
            Self::Expired(at) => {
                let at = at.map_or_else(String::new, |at| format!(" at {}", humantime::format_rfc3339_seconds(at)));
                format!("the API key has expired{at}; create another one for {application:?}")
            }
            Self::Malformed => format!(
                "what was set as the access key is not a whole API key, which has three parts with dots between \
                 them and begins with NNSXS; copy the whole key, or create another one for {application:?}"
            ),
            Self::Unseen => {
                "over HTTP, the network sees no API key: what was set is not one, or something on the way, such as a \
                 proxy, removes it"
                    .to_owned()
            }
            Self::WrongUserName(Some(name)) => format!(
                "the API key is good, but the server knows the application as {name:?}; use that as the application \
                 id instead of {app_id:?}"
            ),
            Self::WrongUserName(None) => wrong_user_name(app_id, application),
            Self::NoReason => format!(
                "the API key is good and the application is {app_id:?} there, so the reason is not known; some \
                 servers repeat an earlier refusal for a few minutes"
            ),
            Self::CannotCheck => {
                "the server cannot reach its Identity Server and so cannot check keys, which says nothing about the \
                 API key; it accepts the key when the Identity Server is back"
                    .to_owned()
            }
            Self::NotKnown(why) => format!("why is not known: {why}"),
        }
    }
}

fn foreign(owner: &Owner, ours: Ours, application: &str) -> String {
    let instead = format!("create an API key of the application {application:?}");
    let missing = format!(
        "the network has no application {application:?}: check the id, or whether the application was deleted"
    );
    match (owner, ours) {
        (Owner::Application(other), Ours::Missing) => {
            format!("the API key belongs to the application {other:?}, and {missing}")
        }
        (Owner::Application(other), _) => format!(
            "the API key belongs to the application {other:?}, not to {application:?}; use a key of {application:?}, \
             or {other:?} as the application id"
        ),
        (Owner::Unknown, Ours::Missing) => missing,
        (Owner::Unknown, _) => format!(
            "the API key has no right on the application {application:?}, or there is no such application; check \
             the id, or {instead}"
        ),
        (Owner::User(_) | Owner::Organization(_), Ours::Missing) => {
            format!("the API key belongs to {owner}, and {missing}")
        }
        (Owner::User(_) | Owner::Organization(_), ours) => {
            let or_missing = match ours {
                Ours::Exists => "",
                _ => ", if there is such an application at all",
            };
            format!(
                "the API key belongs to {owner} and has no right on the application {application:?}{or_missing}; make \
                 the owner a collaborator and give the key the rights, or {instead}"
            )
        }
        (Owner::Gateway(_) | Owner::Client(_), _) => {
            format!("the API key belongs to {owner} and is of no use for an application; {instead}")
        }
    }
}

fn wrong_user_name(app_id: &str, application: &str) -> String {
    let other = match app_id == application {
        true => format!(
            "{application:?} is right only on a server without tenants; The Things Network needs \"{application}@ttn\", \
             and a server with tenants \"{application}@my-tenant\""
        ),
        false => format!(
            "a server without tenants needs {application:?}, The Things Network \"{application}@ttn\""
        ),
    };
    format!(
        "the API key is good for the application {application:?}, so the form of the application id {app_id:?} is \
         probably wrong: {other}"
    )
}
