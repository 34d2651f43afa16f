//! The verdicts of recorded answers, read from a server that gives them.

use std::{
    fs,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tiny_http::{Header, Response, Server};

use super::*;
use crate::{
    api::Hosts,
    config::{MqttClientBuilder, Options},
    error::ErrorKind,
    sync,
};

const APP: &str = "greenhouse@ttn";
const KEY: &str = "NNSXS.EXAMPLEKEYID.EXAMPLEKEYSECRETEXAMPLE";

const CALLER: &str = "/api/v3/auth_info";
const RIGHTS: &str = "/api/v3/applications/greenhouse/rights";
const APPLICATION: &str = "/api/v3/applications/greenhouse";
const INFO: &str = "/api/v3/as/applications/greenhouse/mqtt-connection-info";

fn fixture(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v3-http");
    fs::read_to_string(format!("{folder}/{name}")).unwrap()
}

/// A server that gives recorded answers; to everything else, that it is not served.
struct Recorded {
    server: Arc<Server>,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorded {
    fn start(answers: &[(&'static str, u16, &'static str)]) -> Self {
        let read = |&(path, status, file)| (path, status, fixture(file));
        Self::serve(answers.iter().map(read).collect())
    }

    /// Starts a server whose answers have these bodies.
    fn start_with(answers: &[(&'static str, u16, &str)]) -> Self {
        let own = |&(path, status, body): &(_, _, &str)| (path, status, body.to_owned());
        Self::serve(answers.iter().map(own).collect())
    }

    fn serve(answers: Vec<(&'static str, u16, String)>) -> Self {
        let server = Arc::new(Server::http((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (serving, seen) = (Arc::clone(&server), Arc::clone(&asked));
        let unserved = fixture("error-404.json");
        let thread = thread::spawn(move || {
            for request in serving.incoming_requests() {
                let path = request.url().to_owned();
                let answer = answers.iter().find(|(of, ..)| *of == path);
                let (status, body) = answer.map_or((404, &unserved), |(_, s, body)| (*s, body));
                sync::lock(&seen).push(path);
                let json = Header::from_bytes("Content-Type", "application/json").unwrap();
                let answer = Response::from_string(body).with_header(json);
                let _ = request.respond(answer.with_status_code(status));
            }
        });
        Self {
            server,
            asked,
            thread: Some(thread),
        }
    }

    fn options(&self) -> Options {
        let address = self.server.server_addr().to_ip().unwrap();
        MqttClientBuilder::new(APP.to_owned(), KEY.to_owned())
            .mqtt_address("mqtt://localhost")
            .http_address(format!("http://{address}"))
            .check()
            .unwrap()
    }

    fn api(&self) -> Api {
        let options = self.options();
        let hosts = Hosts::of(&options).unwrap();
        Api::new(hosts, &options, options.access_key.clone(), Duration::MAX)
    }

    fn asked(&self) -> Vec<String> {
        sync::lock(&self.asked).clone()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.server.unblock();
        self.thread.take().map(JoinHandle::join);
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn why(answers: &[(&'static str, u16, &'static str)], app_id: &str) -> (Verdict, Vec<String>) {
    let server = Recorded::start(answers);
    let verdict = ask_why_refused(&server.api(), app_id, soon());
    (verdict, server.asked())
}

#[test]
fn every_recorded_answer_about_a_bad_key_has_its_own_sentence() {
    for (status, file, verdict, words) in [
        (
            400,
            "error-400-token.json",
            Verdict::Malformed,
            "not a whole API key",
        ),
        (
            401,
            "error-401.json",
            Verdict::Unknown,
            "does not know the API key",
        ),
        (
            401,
            "error-401-application-deleted.json",
            Verdict::ApplicationDeleted,
            "was deleted",
        ),
        (
            401,
            "error-401-secret.json",
            Verdict::Mistyped,
            "its id is right, its secret is not",
        ),
        (
            401,
            "error-401-expired.json",
            Verdict::Expired(None),
            "has expired",
        ),
        (
            401,
            "error-401-no-key.json",
            Verdict::Unseen,
            "sees no API key",
        ),
        (
            401,
            "error-401-basic.json",
            Verdict::Unseen,
            "sees no API key",
        ),
        (
            200,
            "auth-info-anonymous.json",
            Verdict::Unseen,
            "sees no API key",
        ),
    ] {
        let (found, asked) = why(&[(CALLER, status, file)], APP);
        assert_eq!(found, verdict, "{file}");
        assert!(found.explain(APP).contains(words), "{}", found.explain(APP));
        assert_eq!(found.kind(), ErrorKind::NotAuthorized);
        assert!(!found.is_transient());
        assert_eq!(asked, [CALLER], "{file}");
    }
}

#[test]
fn the_owner_of_a_key_for_something_else_is_named() {
    for (file, status, application, words) in [
        (
            "auth-info-other-application.json",
            200,
            "application.json",
            "belongs to the application \"orchard\", not to \"greenhouse\"",
        ),
        (
            "auth-info-other-application.json",
            404,
            "error-404-application.json",
            "no application \"greenhouse\"",
        ),
        (
            "auth-info-gateway-key.json",
            200,
            "application.json",
            "the gateway \"roof-east\"",
        ),
        (
            "auth-info-user-key.json",
            200,
            "application.json",
            "the user \"somebody\" and has no right on the application \"greenhouse\";",
        ),
        (
            "auth-info-organization-key.json",
            404,
            "error-404-application.json",
            "no application \"greenhouse\"",
        ),
        (
            "auth-info-oauth.json",
            503,
            "error-proxy.html",
            "if there is such an application at all",
        ),
    ] {
        let answers = [
            (CALLER, 200, file),
            (RIGHTS, 200, "rights-empty.json"),
            (APPLICATION, status, application),
        ];
        let (found, _) = why(&answers, APP);
        assert!(found.explain(APP).contains(words), "{}", found.explain(APP));
        assert_eq!(found.kind(), ErrorKind::NotAuthorized);
        assert_eq!(found.rights(), None);
    }
}

#[test]
fn one_request_tells_the_rights_of_a_key_of_the_application() {
    for (file, reads, sends) in [
        ("auth-info.json", true, true),
        ("auth-info-read-only.json", true, false),
        ("auth-info-expiring.json", true, false),
        ("auth-info-no-name.json", true, false),
        ("auth-info-link.json", true, true),
    ] {
        let server = Recorded::start(&[(CALLER, 200, file)]);
        let verdict = ask_rights(&server.api(), soon());
        let rights = verdict.rights().unwrap();
        assert_eq!(
            (rights.may_read(), rights.may_send()),
            (reads, sends),
            "{file}"
        );
        assert_eq!(rights.owner, "the application \"greenhouse\"");
        assert_eq!(rights.key_id, "EXAMPLEKEYIDEXAMPLEKEYIDEXAMPLEKEYIDABC");
        assert_eq!(
            rights.expires_at.is_some(),
            file == "auth-info-expiring.json"
        );
        assert_eq!(server.asked(), [CALLER]);
    }
}

#[test]
fn the_rights_of_a_personal_key_are_those_on_the_application() {
    for (file, reads, sends) in [
        ("rights-full.json", true, true),
        ("rights-read-only.json", true, false),
        ("rights-mqtt.json", true, true),
        ("rights-info-only.json", false, false),
    ] {
        for owner in [
            "auth-info-user-key.json",
            "auth-info-organization-key.json",
            "auth-info-admin-key.json",
            "auth-info-oauth.json",
        ] {
            let server = Recorded::start(&[(CALLER, 200, owner), (RIGHTS, 200, file)]);
            let verdict = ask_rights(&server.api(), soon());
            let rights = verdict.rights().unwrap();
            assert_eq!(
                (rights.may_read(), rights.may_send()),
                (reads, sends),
                "{file}"
            );
            assert_eq!(server.asked(), [CALLER, RIGHTS]);
        }
    }
}

#[test]
fn a_good_key_that_is_refused_has_the_wrong_user_name() {
    for (status, file, verdict) in [
        (200, "connection-info.json", Verdict::NoReason),
        (
            200,
            "connection-info-open-source.json",
            Verdict::WrongUserName(Some("greenhouse".to_owned())),
        ),
        (403, "error-403.json", Verdict::WrongUserName(None)),
        (503, "error-503-identity-server.json", Verdict::CannotCheck),
    ] {
        let answers = [(CALLER, 200, "auth-info.json"), (INFO, status, file)];
        let (found, asked) = why(&answers, APP);
        assert_eq!(found, verdict, "{file}");
        assert_eq!(asked, [CALLER, INFO]);
    }
    let text = Verdict::WrongUserName(None).explain("greenhouse");
    assert!(
        text.contains("\"greenhouse@ttn\"") && text.contains("probably"),
        "{text}"
    );
    let text = Verdict::WrongUserName(None).explain(APP);
    assert!(
        text.contains("without tenants needs \"greenhouse\""),
        "{text}"
    );
    let text = Verdict::WrongUserName(Some("greenhouse".to_owned())).explain(APP);
    assert!(text.contains("instead of \"greenhouse@ttn\""), "{text}");
}

#[test]
fn without_an_identity_server_the_application_server_is_asked() {
    for (status, file, verdict) in [
        (200, "connection-info.json", Verdict::NoReason),
        (403, "error-403.json", Verdict::WrongUserName(None)),
        (401, "error-401-secret.json", Verdict::Mistyped),
        (401, "error-401-expired.json", Verdict::Expired(None)),
        (503, "error-503-identity-server.json", Verdict::CannotCheck),
        (
            403,
            "error-403-no-rights.json",
            Verdict::Foreign {
                owner: Owner::Unknown,
                application: Ours::NotAsked,
            },
        ),
    ] {
        let (found, asked) = why(&[(INFO, status, file)], APP);
        assert_eq!(found, verdict, "{file}");
        assert_eq!(asked, [CALLER, INFO]);
    }
}

#[test]
fn a_server_that_cannot_check_keys_blames_nobody_and_may_be_tried_again() {
    let (found, _) = why(&[(INFO, 503, "error-503-identity-server.json")], APP);
    assert!(found.is_transient());
    assert_eq!(found.kind(), ErrorKind::ServerUnavailable);
    let text = found.explain(APP);
    assert!(text.contains("says nothing about the API key"), "{text}");
}

#[test]
fn an_answer_that_tells_nothing_never_blames_the_key() {
    for (status, file) in [
        (200, "error-proxy.html"),
        (502, "error-proxy.html"),
        (401, "error-proxy.html"),
        (403, "error-proxy.html"),
        (404, "error-404.json"),
        (404, "error-404-outside.json"),
        (429, "error-429.json"),
        (504, "error-504-timeout.json"),
    ] {
        let (found, _) = why(&[(CALLER, status, file), (INFO, status, file)], APP);
        assert!(matches!(found, Verdict::NotKnown(_)), "{file}: {found:?}");
        assert!(!found.is_known() && !found.is_transient());
        let text = found.explain(APP);
        assert!(text.starts_with("why is not known: "), "{text}");
        assert!(!text.contains("EXAMPLEKEYSECRET"), "{text}");
    }
    let server = Recorded::start(&[]);
    let api = server.api();
    drop(server);
    let found = ask_why_refused(&api, APP, soon());
    assert!(!found.is_known(), "{found:?}");
}

#[test]
fn nothing_is_asked_after_the_deadline() {
    let server = Recorded::start(&[(CALLER, 200, "auth-info.json")]);
    let found = ask_why_refused(&server.api(), APP, Instant::now());
    assert!(!found.is_known());
    assert_eq!(server.asked(), [""; 0]);
}

#[test]
fn an_expired_key_says_when_if_that_is_known() {
    let at = humantime::parse_rfc3339("2026-12-01T13:42:38Z").unwrap();
    let text = Verdict::Expired(Some(at)).explain(APP);
    assert!(
        text.contains("has expired at 2026-12-01T13:42:38Z;"),
        "{text}"
    );
}

#[test]
fn an_account_that_is_blocked_is_the_reason_whoever_says_so() {
    for name in [
        "user_suspended",
        "user_rejected",
        "user_requested",
        "oauth_client_suspended",
    ] {
        let body =
            format!(r#"{{"details":[{{"namespace":"pkg/identityserver","name":"{name}"}}]}}"#);
        let server = Recorded::start_with(&[(CALLER, 403, &body)]);
        let found = ask_why_refused(&server.api(), APP, soon());
        assert_eq!(found, Verdict::Restricted(Owner::Unknown), "{name}");
        assert!(found.is_known() && !found.is_transient());
        let text = found.explain(APP);
        assert!(
            text.contains("belongs to a user, whose account is suspended"),
            "{text}"
        );

        let user = fixture("auth-info-user-key.json");
        let server = Recorded::start_with(&[(CALLER, 200, &user), (RIGHTS, 403, &body)]);
        let found = ask_why_refused(&server.api(), APP, soon());
        assert_eq!(
            found,
            Verdict::Restricted(Owner::User("somebody".to_owned()))
        );
    }
}
