//! Ends the session that a broker keeps for a client.

use std::time::Instant;

use super::{dialing::login, reasons};
use crate::{
    config::{Broker, Options},
    error::{Error, Result},
    server::Route,
};

/// Returns the broker that keeps a session for the client.
///
/// # Errors
///
/// If there is none.
pub(crate) fn keeper(options: &Options) -> Result<&Broker> {
    let broker = options.broker.as_ref();
    broker
        .filter(|broker| broker.session.client_id().is_some())
        .ok_or_else(|| {
            Error::config(
                "there is no session to forget: no broker keeps one for this client; set \
                 session(Session::persistent(\"…\")), with the client id whose session the broker is to forget",
            )
        })
}

/// Connects with a clean session and leaves, so that the broker keeps nothing. Blocks. A broker with several servers has
/// one session, so the first that answers is enough.
///
/// # Errors
///
/// Why no server has accepted the client.
pub(crate) fn forget_session(options: &Options, keeper: &Broker) -> Result<()> {
    let mut result = Ok(());
    for address in &keeper.addresses {
        result = Route::find(options, &options.access_key, None, Some(address.clone())).and_then(
            |route| {
                let mut login = login(options, &options.access_key);
                login.is_clean = true;
                let deadline = Instant::now() + options.connect_timeout;
                let visited = login.visit(&route.destination, deadline);
                visited.map_err(|end| reasons::not_accepted(&route.address, options, end))
            },
        );
        if result.is_ok() {
            break;
        }
    }
    result
}
