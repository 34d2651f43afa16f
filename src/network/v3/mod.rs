//! The Things Stack v3: its ids, topics and JSON.

mod downlink;
mod message;
mod parts;
mod request;
mod uplink;

pub(super) use message::{decode, event_from_json};
pub(super) use request::{encode_clear, encode_downlinks};

use crate::error::{Error, ErrorKind, Result};

/// The words of its JSON.
enum V3 {}

const ID_RULE: &str = "ids have 3 to 36 lower-case letters and digits, with single - between them";

/// How API keys and OAuth access tokens begin.
pub(super) const KEY_STARTS: [&str; 2] = ["NNSXS.", "MFRWG."];

/// The tenant that is The Things Network.
const COMMUNITY: &str = "ttn";

pub(super) fn cluster_host(app_id: &str, cluster: &str) -> Result<String> {
    let Some(tenant) = split_uid(app_id).1 else {
        return Err(Error::config(format!(
            "on hosted clusters the application id names its tenant: {app_id}@{COMMUNITY} on The Things Network, \
             {app_id}@my-tenant on The Things Stack Cloud"
        )));
    };
    let (name, clusters): (_, &[&str]) = if tenant == COMMUNITY {
        ("The Things Network", &["eu1", "nam1", "au1"])
    } else {
        (
            "The Things Stack Cloud",
            &["eu1", "eu2", "nam1", "au1", "as1"],
        )
    };
    if !clusters.contains(&cluster) {
        return Err(Error::config(format!(
            "{cluster:?} is no cluster of {name}, there are {}; give the host of another with mqtt_address",
            clusters.join(", ")
        )));
    }
    Ok(if tenant == COMMUNITY {
        format!("{cluster}.cloud.thethings.network")
    } else {
        format!("{tenant}.{cluster}.cloud.thethings.industries")
    })
}

pub(super) fn credentials_to_check(app_id: &str) -> String {
    let (application, tenant) = split_uid(app_id);
    let form = match tenant {
        None => format!(
            "a hosted network needs the tenant in the application id, {application}@{COMMUNITY} on The Things Network"
        ),
        Some(tenant) => format!(
            "the tenant, here {tenant:?}, is {COMMUNITY:?} on The Things Network; an installation of your own without tenants needs {application} alone"
        ),
    };
    format!(
        "check the form of the application id ({form}), that the API key is of this application, whole and not expired or \
         deleted, that it has any right on it, and that the application is on this cluster; if it has worked before, the \
         network may also be out of order"
    )
}

/// An application id, on hosted networks with `@` and a tenant id behind it.
pub(super) fn check_app_id(app_id: &str) -> Result<()> {
    let (application, tenant) = split_uid(app_id);
    if is_id(application) && tenant.is_none_or(is_id) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{app_id:?} is no application id of The Things Stack, as my-app or my-app@tenant: {ID_RULE}"
    )))
}

pub(super) fn check_device_id(dev_id: &str) -> Result<()> {
    if is_id(dev_id) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Downlink,
        format!("{dev_id:?} is no device id of The Things Stack: {ID_RULE}"),
    ))
}

/// `^[a-z0-9](?:[-]?[a-z0-9]){2,}$`, at most 36 characters
fn is_id(text: &str) -> bool {
    let mut letters = 0;
    let mut after_letter = false;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' => {
                letters += 1;
                after_letter = true;
            }
            b'-' if after_letter => after_letter = false,
            _ => return false,
        }
    }
    after_letter && letters >= 3 && text.len() <= 36
}

/// Application id and tenant id.
fn split_uid(app_id: &str) -> (&str, Option<&str>) {
    match app_id.split_once('@') {
        Some((application, tenant)) => (application, Some(tenant)),
        None => (app_id, None),
    }
}

pub(super) fn subscriptions(app_id: &str) -> Vec<String> {
    vec![format!("v3/{app_id}/devices/+/#")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    #[test]
    fn ids_follow_the_networks_rule() {
        for id in ["abc", "a-b-c", "bed-07", "0a1", &"a".repeat(36)] {
            assert!(is_id(id), "{id}");
        }
        for id in [
            "",
            "ab",
            "a-b",
            "Bed",
            "-abc",
            "abc-",
            "a--bc",
            "a_bc",
            "a.bc",
            "äbc",
            "a bc",
            &"a".repeat(37),
            &format!("{}a", "a-".repeat(18)),
        ] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn an_application_id_may_have_a_tenant() {
        for app_id in ["greenhouse", "greenhouse@ttn", "greenhouse@acme-2"] {
            assert!(check_app_id(app_id).is_ok(), "{app_id}");
        }
        for app_id in [
            "",
            "@ttn",
            "greenhouse@",
            "greenhouse@ttn@ttn",
            "Greenhouse@ttn",
            "gh",
            "a/bc",
        ] {
            let error = check_app_id(app_id).unwrap_err();
            assert!(
                error.to_string().contains(&format!("{app_id:?}")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_hosted_cluster_has_the_host_of_its_tenant() {
        for (app_id, cluster, host) in [
            ("greenhouse@ttn", "eu1", "eu1.cloud.thethings.network"),
            ("greenhouse@ttn", "nam1", "nam1.cloud.thethings.network"),
            ("greenhouse@ttn", "au1", "au1.cloud.thethings.network"),
            (
                "greenhouse@acme",
                "eu1",
                "acme.eu1.cloud.thethings.industries",
            ),
            (
                "greenhouse@acme",
                "as1",
                "acme.as1.cloud.thethings.industries",
            ),
        ] {
            assert_eq!(cluster_host(app_id, cluster).unwrap(), host);
        }
        for (app_id, cluster, words) in [
            ("greenhouse@ttn", "eu2", "eu1, nam1, au1"),
            ("greenhouse@acme", "eu3", "eu1, eu2, nam1, au1, as1"),
            (
                "greenhouse@ttn",
                "eu1.cloud.thethings.network",
                "mqtt_address",
            ),
            ("greenhouse", "eu1", "greenhouse@ttn"),
        ] {
            let error = cluster_host(app_id, cluster).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn the_form_of_id_and_key_tells_the_network() {
        for (app_id, key, network) in [
            ("greenhouse", "ttn-account-v2.secret", Network::V2),
            ("greenhouse", "secret", Network::V2),
            ("greenhouse@ttn", "secret", Network::V3),
            ("greenhouse", "NNSXS.ID.SECRET", Network::V3),
            ("greenhouse", "MFRWG.ID.SECRET", Network::V3),
            ("greenhouse@ttn", "ttn-account-v2.secret", Network::V3),
        ] {
            assert_eq!(Network::detect(app_id, key), network, "{app_id} {key}");
        }
    }
}
