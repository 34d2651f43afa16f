//! The Things Stack v3: its ids, topics and JSON.

mod downlink;
mod frame;
mod message;
mod parts;
mod request;
mod unnamed;
mod uplink;

pub(super) use downlink::{error_details, is_not_repeated, queued, tries_again};
pub(crate) use frame::Frame;
pub(super) use frame::frame;
pub(super) use message::{decode, device_filters, is_uplink_topic, report_filters, sender};
pub(super) use request::{encode_clear, encode_downlinks};
pub(super) use unnamed::{decode_by_member, event_from_json, event_of_record};

use super::{ids::IdRule, json::Dialect, split_at_byte, split_topic};
use crate::error::{Error, Result};

/// Marks how this network names the members of its JSON.
enum V3 {}

/// Servers write snake_case; programs that convert protobuf themselves may write lowerCamelCase.
impl Dialect for V3 {
    const HAS_CAMEL_CASE: bool = true;
}

pub(super) const NAME: &str = "The Things Stack v3";

/// How API keys and OAuth access tokens start.
pub(super) const KEY_STARTS: [&str; 2] = ["NNSXS.", "MFRWG."];

pub(super) const KEY_ADVICE: &str = "make an API key in the console of The Things Stack";

/// Says that a port is the one of the server's MQTT for gateways.
pub(super) fn foreign_port(port: u16) -> Option<&'static str> {
    match port {
        1882 | 8882 => Some("this port is for gateways; applications use 1883, or 8883 with TLS"),
        _ => None,
    }
}

pub(super) const UNAVAILABLE: &str = "the application or its tenant has reached its connection limit; close one of the other connections";

pub(super) const MISSING_READ_RIGHT: &str =
    "the API key may lack the right to read application traffic (RIGHT_APPLICATION_TRAFFIC_READ)";

pub(super) const MISSING_WRITE_RIGHT: &str = "the API key may lack the right to write downlink application traffic (RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE)";

pub(super) const SILENT_FIELDS: &str = "it was sent as fields, and the downlink formatter may have failed (it threw an error or returned errors): the network then silently drops everything that was sent in the same message";

pub(super) const SUBSCRIPTION_TO_CHECK: &str = "the server knows this client by another application id; check the tenant in it, and that the server runs The Things Stack v3";

pub(super) const INSTEAD_OF_CLOSED_SERVER: &str = "it was the discovery server of the public V2 network, closed in December 2021; \
     set the cluster of The Things Network instead, such as cluster(\"eu1\")";

/// Paths that users copy with the address of a server.
const NOT_IN_BASE: [&str; 3] = ["/api/v3", "/api", "/console"];

pub(super) fn http_base(address: &str) -> &str {
    let base = NOT_IN_BASE
        .iter()
        .find_map(|path| address.strip_suffix(path));
    base.unwrap_or(address).trim_end_matches('/')
}

pub(super) fn check_discovery_path(path: &str) -> Result<(), &'static str> {
    match path.split('/').any(|part| part == "console") {
        true => Err("that is a page of the console; leave out what follows the host"),
        false => Ok(()),
    }
}

pub(super) const ADDRESS_ADVICE: &str = "choose the hosted cluster of the application with cluster(\"eu1\"), cluster(\"nam1\") or cluster(\"au1\") \
     (on The Things Stack Cloud also \"eu2\" and \"as1\"); for your own installation set its MQTT server \
     with mqtt_address(\"mqtts://…\"), or the server to ask for it with discovery_address(\"https://…\")";

/// `^[a-z0-9](?:[-]?[a-z0-9]){2,}$`, at most 36 characters
pub(super) const ID_RULE: IdRule = IdRule {
    separators: b"-",
    min_letters: 3,
    max_letters: 36,
    max_length: 36,
    description: "ids of The Things Stack have 3 to 36 lower-case letters and digits, with single - between them",
};

/// The tenant of The Things Network.
const COMMUNITY: &str = "ttn";

pub(super) fn cluster_host(app_id: &str, cluster: &str) -> Result<String> {
    let Some(tenant) = split_uid(app_id).1 else {
        return Err(Error::config(format!(
            "hosted clusters need the tenant in the application id: {app_id}@{COMMUNITY} on The Things Network, \
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
            "{cluster:?} is not a cluster of {name}, which has {}; set the host of any other cluster with mqtt_address",
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
            "hosted networks need the tenant in the application id, {application}@{COMMUNITY} on The Things Network"
        ),
        Some(tenant) => format!(
            "the tenant, here {tenant:?}, is {COMMUNITY:?} on The Things Network; your own installation without tenants needs {application} alone"
        ),
    };
    format!(
        "check the form of the application id ({form}), that the API key belongs to this application, is complete, and has not \
         expired or been deleted, that it has any right on the application, and that the application is on this cluster; \
         if it worked before, the network may also be down"
    )
}

/// Checks an application id, which on hosted networks ends with `@` and a tenant id.
pub(super) fn check_app_id(app_id: &str) -> Result<()> {
    let (application, tenant) = split_uid(app_id);
    if ID_RULE.allows(application) && tenant.is_none_or(|tenant| ID_RULE.allows(tenant)) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{app_id:?} is not a valid application id of The Things Stack, such as my-app or my-app@tenant: {}",
        ID_RULE.description
    )))
}

pub(super) fn unknown_device(app_id: &str, dev_id: &str) -> String {
    format!(
        "there may be no device {dev_id:?} in the application {app_id:?} on this server (is it the right tenant and cluster?)"
    )
}

/// Splits an application id into application and tenant.
pub(super) fn split_uid(app_id: &str) -> (&str, Option<&str>) {
    match split_at_byte(app_id, b'@') {
        Some((application, tenant)) => (application, Some(tenant)),
        None => (app_id, None),
    }
}

pub(super) fn subscriptions(app_id: &str) -> Vec<String> {
    vec![format!("v3/{app_id}/devices/+/#")]
}

/// The ends of the topics of downlink requests.
const REQUESTS: [&str; 2] = ["down/push", "down/replace"];

pub(super) fn request_filters(app_id: &str) -> Vec<String> {
    REQUESTS
        .iter()
        .map(|end| format!("v3/{app_id}/devices/+/{end}"))
        .collect()
}

pub(super) fn is_request(app_id: &str, topic: &str) -> bool {
    let parts = topic.strip_prefix("v3/").and_then(split_topic);
    parts.is_some_and(|(uid, _, end)| uid == app_id && REQUESTS.contains(&end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    #[test]
    fn ids_follow_the_networks_rule() {
        for id in ["abc", "a-b-c", "bed-07", "0a1", &"a".repeat(36)] {
            assert!(ID_RULE.allows(id), "{id}");
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
            assert!(!ID_RULE.allows(id), "{id}");
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
