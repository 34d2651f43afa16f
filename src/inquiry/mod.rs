//! What the answers of a v3 server mean for the key of a client: whose it is, what it allows, and why a
//! server refuses it. [`Verdict`] reads answers and asks nothing; the functions here ask, in an order
//! that needs the fewest requests. They block until their deadline.

mod shared;
#[cfg(test)]
mod tests;
mod verdict;
mod words;

use std::time::{Duration, Instant};

use crate::api::{Api, Owner};
pub(crate) use shared::{FRESH, share_rights};
pub(crate) use verdict::{Ours, Verdict};

/// Asks what the key of a client allows on its application: one request, two for the key of a user or an
/// organization.
pub(crate) fn ask_rights(api: &Api, deadline: Instant) -> Verdict {
    let Some(timely) = within(api, deadline) else {
        return Verdict::late();
    };
    let verdict = Verdict::of(&timely.caller(), api.application());
    match (&verdict, within(api, deadline)) {
        (Verdict::Personal(_), Some(timely)) => verdict.with_rights(&timely.rights()),
        (Verdict::Personal(_), None) => Verdict::late(),
        _ => verdict,
    }
}

/// Asks why an MQTT server refuses a client that logs in as `app_id`. Needs up to four requests.
pub(crate) fn ask_why_refused(api: &Api, app_id: &str, deadline: Instant) -> Verdict {
    let verdict = ask_rights(api, deadline);
    let Some(api) = within(api, deadline) else {
        return verdict;
    };
    match &verdict {
        Verdict::Foreign {
            owner: Owner::Application(_) | Owner::User(_) | Owner::Organization(_),
            ..
        } => verdict.with_application(&api.find_application()),
        Verdict::Good(_) => verdict.with_connection_info(&api.connection_info(), app_id),
        // Without an Identity Server there, the Application Server asks its own.
        Verdict::NotKnown(_) => {
            let told = api.connection_info();
            match Verdict::of_application_server(&told) {
                Verdict::NotKnown(_) => verdict,
                Verdict::Accepted => Verdict::Accepted.with_connection_info(&told, app_id),
                other => other,
            }
        }
        _ => verdict,
    }
}

/// Returns the same with a limit that ends at the deadline; `None` after it.
fn within(api: &Api, deadline: Instant) -> Option<Api> {
    let left = deadline.saturating_duration_since(Instant::now());
    (left > Duration::ZERO).then(|| api.within(left))
}
