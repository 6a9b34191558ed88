use std::net::TcpListener;
use std::sync::Mutex;

use silo_e2e::http_server::{HttpServer, Request, Response};

use super::*;
use crate::agent_name::AgentName;
use crate::connection::{Authentication, ConnectionSettings, HubAddress, parse_hub_url};
use crate::credential::Secret;

fn client(hub: &str) -> HubClient {
    let hub = HubAddress {
        url: parse_hub_url(hub).unwrap(),
        authentication: Authentication::Bearer(Secret::new("hush")),
    };
    let connection = Connection::to(hub, AgentName::default());
    HubClient::new(&connection, AgentKind::Upstream, &Route::default()).unwrap()
}

fn client_of(hubs: &[String]) -> HubClient {
    let settings = ConnectionSettings {
        hubs: hubs.to_vec(),
        token: Some(Secret::new(format!("silo_abcdefgh12_{}", "x".repeat(43)))),
        ..ConnectionSettings::default()
    };
    let connection = settings.resolve(None).unwrap();
    HubClient::new(&connection, AgentKind::Downstream, &Route::default()).unwrap()
}

/// The URL of a port on which nothing listens.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// An answer of a hub to a read of silo `office`, or to the question for the caller's address.
fn hub_answer(request: &Request, database: &str) -> Response {
    let body = match request.path() {
        "/ip" => r#"{"ip":"127.0.0.1"}"#,
        _ => {
            r#"{"id":"office","dnsrecords":[],"revision":7,"updated_at":"2026-01-02T03:04:05.678Z"}"#
        }
    };
    Response::text(200, body)
        .with_header("Content-Type", "application/json")
        .with_header("ETag", "\"7\"")
        .with_header("Silo-Database", database)
}

fn office() -> SiloId {
    "office".parse().unwrap()
}

#[test]
fn routes_are_joined_below_the_hubs_own_path() {
    let join = |hub, segments: &[&str]| client(hub).endpoint().resource(segments).to_string();
    assert_eq!(join("http://h:1", &["ip"]), "http://h:1/ip");
    assert_eq!(
        join("http://h/silo", &["silos", "a"]),
        "http://h/silo/silos/a"
    );
    assert_eq!(
        join("http://h/silo/", &["silos", "a/b"]),
        "http://h/silo/silos/a%2Fb"
    );
}

#[test]
fn a_client_does_not_print_its_credential() {
    assert!(!format!("{:?}", client("http://h")).contains("hush"));
}

#[tokio::test]
async fn the_next_hub_is_asked_only_if_one_is_unavailable() {
    for (first, is_passed_over) in [
        (None, true),
        (Some(503), true),
        (Some(400), false),
        (Some(401), false),
        (Some(403), false),
        (Some(404), false),
        (Some(429), false),
        (Some(500), false),
        (Some(502), false),
    ] {
        let broken = first.map(|status| HttpServer::start(move |_| Response::text(status, "no")));
        let broken_url = broken.as_ref().map_or_else(closed_port, |hub| hub.url(""));
        let good = HttpServer::start(|request| hub_answer(&request, "a"));
        let client = client_of(&[broken_url.clone(), good.url("")]);
        let fetched = client.silo(&office(), Poll::default()).await;
        assert_eq!(fetched.is_ok(), is_passed_over, "{first:?}: {fetched:?}");
        let answered = if is_passed_over {
            good.url("")
        } else {
            broken_url.clone()
        };
        // The hub that answered is asked first from now on, also by clones.
        assert_eq!(client.clone().hub(), answered, "{first:?}");
        assert_eq!(client.key(), broken_url);
    }
}

#[tokio::test]
async fn the_failures_of_all_hubs_are_named() {
    let (one, two) = (closed_port(), closed_port());
    let client = client_of(&[one.clone(), two.clone()]);
    let error = client.silo(&office(), Poll::default()).await.unwrap_err();
    assert_eq!(error.kind(), "unreachable");
    assert_eq!(error.token(), None);
    for hub in [one, two] {
        assert!(error.to_string().contains(&hub), "{error}");
    }
}

#[tokio::test]
async fn hubs_of_several_databases_are_refused() {
    /// What the first and the second hub serve, and what is known from an earlier run; `-`: the hub is down.
    struct Case(&'static str, &'static str, Option<(&'static str, usize)>);
    for (Case(first, second, known), is_accepted) in [
        (Case("a", "a", None), true),
        (Case("a", "-", None), true),
        (Case("-", "a", None), true),
        (Case("a", "a", Some(("a", 1))), true),
        (Case("-", "a", Some(("a", 0))), true),
        // The second took over, with another database.
        (Case("-", "b", Some(("a", 0))), false),
        (Case("b", "a", Some(("a", 0))), false),
        (Case("b", "a", Some(("a", 1))), false),
        // All hubs have got another one.
        (Case("b", "b", Some(("a", 0))), true),
        (Case("b", "b", Some(("a", 1))), true),
        // The one that had the known database has another one now; the other can't be asked.
        (Case("b", "-", Some(("a", 0))), true),
        (Case("b", "-", Some(("a", 1))), false),
    ] {
        let start = |database: &'static str| {
            (database != "-")
                .then(|| HttpServer::start(move |request| hub_answer(&request, database)))
        };
        let hubs = [start(first), start(second)];
        let urls: Vec<String> = hubs
            .iter()
            .map(|hub| hub.as_ref().map_or_else(closed_port, |hub| hub.url("")))
            .collect();
        let client = client_of(&urls);
        if let Some((id, at)) = known {
            let (id, hub) = (id.to_owned(), urls[at].clone());
            client.expect_database(Database { id, hub });
        }
        let fetched = client.silo(&office(), Poll::default()).await;
        let case = format!("{first} {second} {known:?}: {fetched:?}");
        assert_eq!(fetched.is_ok(), is_accepted, "{case}");
        if let Err(error) = fetched {
            assert_eq!(error.kind(), "other database", "{case}");
            for part in ["database a", "database b"] {
                assert!(error.to_string().contains(part), "{case}");
            }
        }
    }
}

#[tokio::test]
async fn a_single_hub_may_be_set_up_anew() {
    let hub = HttpServer::start(|request| hub_answer(&request, "b"));
    let client = client_of(&[hub.url("")]);
    let known = |id: &str, hub: String| Database {
        id: id.to_owned(),
        hub,
    };
    client.expect_database(known("a", hub.url("")));
    assert!(client.silo(&office(), Poll::default()).await.is_ok());
    assert_eq!(client.database(), Some(known("b", hub.url(""))));
}

#[tokio::test]
async fn a_poll_and_what_is_applied_are_told_in_header_fields() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hub = HttpServer::start({
        let seen = Arc::clone(&seen);
        move |request| {
            let fields = ["prefer", "if-none-match", "silo-applied", "silo-agent"];
            let values = fields.map(|name| request.header(name).to_owned());
            seen.lock().unwrap().push((request.method.clone(), values));
            Response::text(304, "").with_header("ETag", "\"7\"")
        }
    });
    let client = client_of(&[hub.url("")]);
    let poll = Poll {
        tag: Some("\"7\""),
        wait: Some(Duration::from_secs(50)),
        applied: Some("\"6\""),
    };
    let fetched = client.silo(&office(), poll).await.unwrap();
    assert_eq!(fetched, Fetched::NotModified);
    client.tell_applied(&office(), "\"7\"").await.unwrap();
    let agent = AgentName::default().header(AgentKind::Downstream);
    let agent = agent.to_str().unwrap();
    let request = |method: &str, fields: [&str; 4]| (method.to_owned(), fields.map(str::to_owned));
    assert_eq!(
        *seen.lock().unwrap(),
        [
            request("GET", ["wait=50", "\"7\"", "\"6\"", agent]),
            request("HEAD", ["", "\"7\"", "\"7\"", agent]),
        ]
    );
}

#[tokio::test]
async fn a_hub_of_another_database_gets_no_write_and_its_errors_do_not_count() {
    let writes = Arc::new(Mutex::new(0));
    let other = HttpServer::start({
        let writes = Arc::clone(&writes);
        move |request| {
            if request.method == "PUT" {
                *writes.lock().unwrap() += 1;
            }
            if request.path() == "/ip" {
                return hub_answer(&request, "b");
            }
            Response::text(404, "no such silo").with_header("Silo-Database", "b")
        }
    });
    let first = closed_port();
    let (silo, hostname) = (office(), "db".parse().unwrap());
    let client = || {
        let client = client_of(&[first.clone(), other.url("")]);
        client.expect_database(Database {
            id: "a".to_owned(),
            hub: first.clone(),
        });
        client
    };
    let update = RecordUpdate {
        addresses: Addresses {
            v4: Some("10.0.0.5".parse().unwrap()),
            ..Addresses::default()
        },
        ..RecordUpdate::default()
    };
    let written = client().set_record(&silo, &hostname, &update).await;
    let read = client().record(&silo, &hostname).await.map(|_| ());
    for error in [written.map(|_| ()).unwrap_err(), read.unwrap_err()] {
        assert_eq!(error.kind(), "other database", "{error}");
    }
    assert_eq!(*writes.lock().unwrap(), 0);
}

#[tokio::test]
async fn a_hub_that_takes_over_is_not_asked_to_wait() {
    let preferred = Arc::new(Mutex::new(Vec::new()));
    let second = HttpServer::start({
        let preferred = Arc::clone(&preferred);
        move |request| {
            let value = request.header("prefer").to_owned();
            preferred.lock().unwrap().push(value);
            hub_answer(&request, "a")
        }
    });
    let client = client_of(&[closed_port(), second.url("")]);
    let poll = Poll {
        tag: Some("\"6\""),
        wait: Some(Duration::from_secs(50)),
        ..Poll::default()
    };
    for _ in 0..2 {
        client.silo(&office(), poll).await.unwrap();
    }
    // The first hub may have used the time up; the one that stays is asked to wait.
    assert_eq!(*preferred.lock().unwrap(), ["", "wait=50"]);
}

#[tokio::test]
async fn a_removal_whose_answer_was_lost_counts_although_the_next_hub_has_no_such_thing() {
    // What the second hub answers to the removal, and which addresses it has then; whether it counts as removed.
    for (status, held, is_removed) in [
        (412, Some(r#"["10.0.0.5"]"#), true),
        (412, Some(r#"["10.0.0.5","fd00::5"]"#), false),
        (404, None, true),
    ] {
        let second = HttpServer::start(move |request| {
            if request.path() == "/ip" {
                return hub_answer(&request, "a");
            }
            match (request.method.as_str(), held) {
                ("DELETE", _) => Response::text(status, "no"),
                (_, None) => Response::text(404, "no"),
                (_, Some(ips)) => Response::text(
                    200,
                    format!(
                        r#"{{"hostname":"db","ips":{ips},"revision":7,"updated_at":"x","last_seen":"x"}}"#
                    ),
                ),
            }
        });
        let hostname = "db".parse().unwrap();
        let removal = async |client: HubClient| {
            let silo = office();
            let removing = client.remove_family(&silo, &hostname, Family::V6, "\"6\"");
            removing.await.unwrap()
        };
        let lost = client_of(&[closed_port(), second.url("")]);
        assert_eq!(removal(lost).await, is_removed, "{status} {held:?}");
        // Without a hub before it, another program did that.
        assert!(!removal(client_of(&[second.url("")])).await);
        let lost = client_of(&[closed_port(), second.url("")]);
        let removed = lost.remove_record(&office(), &hostname, "\"6\"").await;
        assert_eq!(removed.unwrap(), status == 404, "{status}");
    }
}

#[tokio::test]
async fn a_hub_with_a_certificate_that_is_not_trusted_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let identity = silo_e2e::http_server::Identity::make(folder.path());
    let first = HttpServer::start_tls(&identity, |request| hub_answer(&request, "a"));
    let second = HttpServer::start(|request| hub_answer(&request, "a"));
    let client = client_of(&[first.url(""), second.url("")]);
    let error = client.silo(&office(), Poll::default()).await.unwrap_err();
    assert_eq!(error.kind(), "untrusted");
    let said = error.to_string();
    assert!(
        said.contains(&first.url("")) && said.contains("trust"),
        "{said}"
    );
    assert_eq!(error.token(), None);
}
