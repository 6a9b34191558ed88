//! `/metrics`: who may read it, what is in it, and that what clients send does not make it grow.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use silo_hub::internals::domain::time::Time;
use silo_hub::internals::domain::token::{Role, TokenSpec};
use silo_hub::internals::registry::new_token::NewToken;

use crate::common::{TestHub, client, listener};

/// The names and labels of all samples.
fn series(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
        .collect()
}

/// The value of a sample.
fn value(text: &str, name: &str) -> f64 {
    let samples = text.lines().filter_map(|line| line.rsplit_once(' '));
    let found = samples.into_iter().find(|(series, _)| *series == name);
    let (_, value) = found.unwrap_or_else(|| panic!("{name} is not in:\n{text}"));
    value.parse().expect("a sample is a number")
}

#[tokio::test]
async fn the_role_metrics_reads_metrics_and_status_and_nothing_else() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let (id, metrics) = hub
        .token(json!({"name": "prometheus", "role": "metrics"}))
        .await;
    let record = json!({"ip": "10.0.0.6"});
    for (method, path, body, status) in [
        (Method::GET, "/metrics", None, 200),
        (Method::GET, "/status", None, 200),
        (Method::GET, "/silos", None, 403),
        (Method::GET, "/events", None, 403),
        (Method::GET, "/silos/office", None, 404),
        (Method::GET, "/silos/office/history", None, 404),
        (Method::GET, "/silos/office/agents", None, 404),
        (Method::GET, "/silos/office/events", None, 404),
        (Method::PUT, "/silos/office/records/db", Some(&record), 403),
        (Method::DELETE, "/silos/office", None, 403),
        (Method::GET, "/tokens", None, 403),
        (Method::GET, "/audit", None, 403),
        (Method::GET, "/deliveries", None, 403),
    ] {
        let mut call = hub.open_call(method.clone(), path).bearer(&metrics);
        if let Some(body) = body {
            call = call.json(body);
        }
        assert_eq!(call.await.status, status, "{method} {path}");
    }
    // It may end itself, as any token.
    let gone = hub.open_call(Method::DELETE, &format!("/tokens/{id}"));
    assert_eq!(gone.bearer(&metrics).await.status, 204);
    for limited in [
        json!({"name": "x", "role": "metrics", "silos": ["office"]}),
        json!({"name": "x", "role": "metrics", "hostnames": ["db"]}),
    ] {
        let answer = hub.post("/tokens").json(&limited).await;
        assert_eq!(answer.status, 422, "{limited}");
        assert!(answer.text().contains("reads no silos"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_role_of_a_newer_version_is_authenticated_and_may_do_nothing() {
    let (hub, open) = TestHub::start_in_parts().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let spec = TokenSpec {
        name: "of tomorrow".to_owned(),
        role: Role::stored("auditor").unwrap(),
        silos: vec!["*".to_owned()],
        hostnames: None,
        expires_at: None,
    };
    let key = open.key().await.unwrap();
    let new = NewToken::make(spec, &key, Time::from_millis(1)).unwrap();
    open.registry.apply(new.command).await.unwrap();
    let credential = new.credential.expose();
    let own = format!("/tokens/{}", new.token.id);
    let rotate = format!("{own}/rotate");
    for (method, path, status) in [
        (Method::GET, "/silos", 403),
        (Method::GET, "/silos/office", 404),
        (Method::GET, "/events", 403),
        (Method::PUT, "/silos/office/records/db", 403),
        (Method::GET, "/metrics", 403),
        (Method::GET, "/status", 403),
        (Method::GET, "/tokens", 403),
        (Method::POST, &*rotate, 403),
        (Method::DELETE, &*own, 403),
    ] {
        let call = hub.open_call(method.clone(), path).bearer(credential);
        let call = call.json(&json!({"ip": "10.0.0.6"}));
        assert_eq!(call.await.status, status, "{method} {path}");
    }
    let tokens = hub.get("/tokens").await.json();
    let shown = tokens.as_array().unwrap().iter();
    let shown: Vec<_> = shown.map(|token| token["role"].clone()).collect();
    assert!(shown.contains(&json!("auditor")), "{shown:?}");
    // An update by an older protocol is refused in its words.
    let update = hub.open_call(Method::GET, "/nic/update?hostname=db&myip=10.0.0.7");
    let answer = update.bearer(credential).in_words().await;
    assert!(!answer.text().contains("good"), "{answer:?}");
    assert_eq!(
        hub.get("/silos/office").await.json()["dnsrecords"][0]["ip"],
        "10.0.0.5"
    );
}

#[tokio::test]
async fn requests_commits_and_what_is_stored_are_counted() {
    let hub = TestHub::start().await;
    let before = hub.get("/metrics").await.text().to_owned();
    hub.put_silo("office", &[("db", "10.0.0.5"), ("nas", "10.0.0.7")])
        .await;
    for _ in 0..3 {
        assert_eq!(hub.get("/silos/office").await.status, 200);
    }
    let wrong = format!("silo_aaaaaaaaaa_{}", "x".repeat(43));
    hub.open_call(Method::GET, "/silos/office")
        .bearer(&wrong)
        .await;
    // The status counts again; the metrics then show it.
    hub.pass(60);
    let status = hub.get("/status").await;
    assert_eq!(status.status, 200, "{status:?}");
    let text = hub.get("/metrics").await.text().to_owned();
    for (name, expected) in [
        ("silo_silos", 1.0),
        ("silo_records", 2.0),
        ("silo_tokens", 1.0),
        ("silo_database_up", 1.0),
        ("silo_refused_credentials_total", 1.0),
        ("silo_watchers{kind=\"read\"}", 0.0),
        (
            "silo_http_requests_total{method=\"GET\",route=\"/silos/{id}\",status=\"200\"}",
            3.0,
        ),
        (
            "silo_http_requests_total{method=\"GET\",route=\"/silos/{id}\",status=\"401\"}",
            1.0,
        ),
        (
            "silo_http_requests_total{method=\"PUT\",route=\"/silos/{id}\",status=\"201\"}",
            1.0,
        ),
        (
            "silo_http_request_seconds_count{route=\"/silos/{id}\"}",
            5.0,
        ),
        ("silo_agents{kind=\"downstream\",state=\"behind\"}", 0.0),
    ] {
        assert!(
            (value(&text, name) - expected).abs() < 1e-9,
            "{name}:\n{text}"
        );
    }
    let commits = |text: &str| value(text, "silo_commits_total");
    assert!(commits(&text) > commits(&before), "{text}");
    let revision = hub.get("/silos/office").await.json()["revision"].as_i64();
    assert_eq!(Some(value(&text, "silo_revision") as i64), revision);
    assert!(value(&text, "silo_view_bytes") > 0.0 && value(&text, "silo_database_bytes") > 0.0);
}

#[tokio::test]
async fn open_metrics_is_sent_only_if_asked_for() {
    let hub = TestHub::start().await;
    let plain = hub.get("/metrics").await;
    let kind = plain.header("content-type").unwrap().to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert!(!plain.text().contains("# EOF"));
    let wanted = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let open = hub.get("/metrics").header("accept", wanted).await;
    let kind = open.header("content-type").unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(open.text().ends_with("# EOF\n"), "{}", open.text());
}

#[tokio::test]
async fn a_listener_for_metrics_serves_only_them_and_asks_for_no_credential() {
    let address = listener().local_addr().unwrap();
    let hub = TestHub::start_with(|settings| settings.metrics_listen = Some(address)).await;
    let get = async |path: &str| {
        let url = format!("http://{address}{path}");
        let answer = client().get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("\nsilo_silos "), "{text}");
    for path in ["/", "/silos", "/status", "/ping", "/metrics/"] {
        assert_eq!(get(path).await.0, 404, "{path}");
    }
    let posted = client()
        .post(format!("http://{address}/metrics"))
        .send()
        .await;
    assert_eq!(posted.unwrap().status(), 405);
    assert_eq!(hub.open_call(Method::GET, "/metrics").await.status, 401);
    hub.stop().await;
}

#[tokio::test]
async fn random_requests_add_no_series() {
    let hub = TestHub::start().await;
    let http = client();
    let send = async |number: u32| {
        let credential = format!("silo_{number:010}_{}", "x".repeat(43));
        for (method, path) in [
            ("GET", format!("/silos/s{number}")),
            ("GET", format!("/silos/s{number}/records/h{number}")),
            ("PUT", format!("/silos/s{number}/records/h{number}")),
            ("GET", format!("/p{number}/q?x={number}")),
            ("GET", format!("/u/k{number}")),
            (
                "GET",
                format!("/nic/update?hostname=h{number}&myip=10.0.0.1"),
            ),
            (&*format!("M{number}"), format!("/silos/s{number}")),
            ("POST", format!("/deliveries/{number}/retry")),
        ] {
            let method: Method = method.parse().unwrap();
            // Some answers are in words of their protocol.
            let call = http.request(method, format!("http://{}{path}", hub.address));
            call.bearer_auth(&credential).send().await.unwrap();
        }
    };
    for number in 0..20 {
        send(number).await;
    }
    hub.get("/metrics").await;
    let before = series(hub.get("/metrics").await.text());
    for number in 1000..1100 {
        send(number).await;
    }
    let after = series(hub.get("/metrics").await.text());
    assert_eq!(after, before);
}
