//! Who may set which hostname.

use reqwest::Method;
use serde_json::json;
use silo_hub::internals::domain::dynahost::{MAX_UNCONFIRMED, SecidHash};
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::{
    ApplyError, OpenDynahost, Opened, Refusal, RevokeUpdateKey, SetByDynahost, Shown,
};
use silo_hub::internals::secrets::random_id;
use silo_hub::internals::store::Queries;
use silo_shared::credential::TokenId;

use super::{HERE, get, home, name, ok, start, update, update_from, wrong};

/// What `update-key add --dynahost` does.
pub(super) async fn add(open: &OpenHub, hostname: &str) -> (Opened, TokenId) {
    let command = OpenDynahost {
        silo: home(),
        hostname: name(hostname),
        id: random_id().expect("random bytes"),
    };
    open.registry.apply(command).await.expect("it is opened")
}

/// A first use, without the cost of a hash.
async fn first_use(open: &OpenHub, hostname: &str) -> Result<(), ApplyError> {
    let command = SetByDynahost {
        silo: home(),
        hostname: name(hostname),
        shown: Shown::New {
            hash: SecidHash("$argon2id$".to_owned()),
            id: random_id().expect("random bytes"),
        },
        ip: HERE.parse().expect("an address"),
        notify: None,
        login: None,
    };
    open.registry.apply(command).await.map(|_| ())
}

#[tokio::test]
async fn a_host_is_bound_to_its_first_secid() {
    let (hub, open) = start().await;
    assert_eq!(update(&hub, "secid=one&host=nas").await, ok());
    assert_eq!(
        update_from(&hub, "secid=two&host=nas", "192.0.2.8").await,
        wrong()
    );
    let record = hub.get("/silos/home/records/nas").await.json();
    assert_eq!(record["ips"], json!([HERE]), "the other changed nothing");
    assert_eq!(
        update(&hub, "secid=two&host=h1").await,
        ok(),
        "each host has its own"
    );

    // It stays bound without its record; once revoked, any caller can bind it.
    hub.delete("/silos/home/records/nas").await;
    assert_eq!(
        update_from(&hub, "secid=two&host=nas", "192.0.2.8").await,
        wrong()
    );
    let binding = open.store.dynahost(&home(), &name("nas")).await;
    let binding = binding.expect("it can be read").expect("it is there");
    assert!(!binding.is_confirmed);
    let revoke = open.registry.apply(RevokeUpdateKey(binding.id));
    revoke.await.expect("it is there");
    assert_eq!(
        update_from(&hub, "secid=two&host=nas", "192.0.2.8").await,
        ok()
    );
    assert_eq!(update(&hub, "secid=one&host=nas").await, wrong());
}

#[tokio::test]
async fn long_secids_differ_beyond_their_first_72_bytes() {
    let (hub, _open) = start().await;
    let long = "s".repeat(72);
    assert_eq!(update(&hub, &format!("secid={long}1&host=nas")).await, ok());
    for other in [format!("{long}2"), format!("{long}11"), long.clone()] {
        let answer = update(&hub, &format!("secid={other}&host=nas")).await;
        assert_eq!(answer, wrong(), "{other}");
    }
    assert_eq!(update(&hub, &format!("secid={long}1&host=nas")).await, ok());
}

#[tokio::test]
async fn a_host_with_a_record_is_bound_only_once_an_admin_has_opened_it() {
    let (hub, open) = start().await;
    hub.put_silo("home", &[("nas", "10.0.0.5")]).await;
    assert_eq!(update(&hub, "secid=one&host=nas").await, wrong());
    assert!(open.store.dynahosts().await.expect("a list").is_empty());

    let (opened, id) = add(&open, "nas").await;
    assert_eq!(opened, Opened::Open);
    assert_eq!(add(&open, "nas").await, (Opened::OpenAlready, id));
    // Not bound yet: there is no history to show.
    let log = get(&hub, "/log?secid=one&host=nas", HERE).await;
    assert_eq!((log.status, log.text().to_owned()), wrong());
    assert_eq!(update(&hub, "secid=one&host=nas").await, ok());
    assert_eq!(update(&hub, "secid=two&host=nas").await, wrong());
    let record = hub.get("/silos/home/records/nas").await.json();
    assert_eq!(record["ips"], json!([HERE]));
    assert_eq!(add(&open, "nas").await, (Opened::ConfirmedAlready, id));

    // A silo that was set as a whole keeps what is bound.
    hub.put_silo("home", &[("nas", "10.0.0.6")]).await;
    assert_eq!(update(&hub, "secid=one&host=nas").await, ok());
}

#[tokio::test]
async fn a_hundred_hosts_wait_for_an_admin_at_most() {
    let (hub, open) = start().await;
    for host in 0..MAX_UNCONFIRMED {
        first_use(&open, &format!("h{host}"))
            .await
            .expect("it is free");
    }
    let full = first_use(&open, "h-more").await;
    assert!(
        matches!(full, Err(ApplyError::Refused(Refusal::TooManyUnconfirmed))),
        "{full:?}"
    );
    let (status, words) = update(&hub, "secid=one&host=h-more").await;
    assert_eq!(status, 403);
    assert!(
        words.contains("100 hosts are waiting to be confirmed"),
        "{words}"
    );
    assert_eq!(hub.get("/silos/home/records/h-more").await.status, 404);

    // What an admin opened or confirmed does not count.
    add(&open, "nas").await;
    assert_eq!(update(&hub, "secid=one&host=nas").await, ok());
    assert_eq!(add(&open, "h7").await.0, Opened::Confirmed);
    assert_eq!(update(&hub, "secid=one&host=h-more").await, ok());
    assert_eq!(update(&hub, "secid=one&host=h-and-more").await.0, 403);
}

#[tokio::test]
async fn two_first_calls_at_once_are_of_one_caller() {
    let (hub, open) = start().await;
    let (v4, v6, other) = tokio::join!(
        update(&hub, "secid=one&host=nas"),
        update_from(&hub, "secid=one&host=nas", "2001:db8::7"),
        update_from(&hub, "secid=one&host=nas", "192.0.2.8"),
    );
    assert_eq!([v4, v6, other], [ok(), ok(), ok()]);
    assert_eq!(open.store.dynahosts().await.expect("a list").len(), 1);
}

#[tokio::test]
async fn the_log_is_a_table_of_the_hosts_own_history() {
    let (hub, _open) = start().await;
    hub.put_silo("home", &[("h1", "10.9.9.9")]).await;
    assert_eq!(update(&hub, "secid=one&host=nas").await, ok());
    assert_eq!(
        update_from(&hub, "secid=one&host=nas", "192.0.2.8").await,
        ok()
    );
    // A value that nothing of the hub writes.
    let mut database = hub.home.connect().await;
    sqlx::query("UPDATE history SET via = '<i>&\"</i>' WHERE new_ip = '192.0.2.8'")
        .execute(&mut database)
        .await
        .expect("the history can be written");
    for method in [Method::GET, Method::POST] {
        let log = hub
            .open_call(method, "/log?secid=one&host=nas")
            .seen_from("192.0.2.9")
            .await;
        assert_eq!(log.status, 200, "{log:?}");
        for (header, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(log.header(header), Some(value));
        }
        let policy = log.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        let html = log.text();
        let newest =
            "<td>192.0.2.7</td><td>192.0.2.8</td><td>&#60;i&#62;&#38;&#34;&#60;/i&#62;</td>";
        let first = "<td>-</td><td>192.0.2.7</td><td>dynahost</td>";
        assert!(html.find(newest) < html.find(first), "{html}");
        assert!(html.contains(newest) && html.contains(first), "{html}");
        for no in ["10.9.9.9", "<i>", "one"] {
            assert!(!html.contains(no), "{no}: {html}");
        }
    }
    for query in [
        "secid=two&host=nas",
        "secid=one&host=h1",
        "secid=one&host=h2",
    ] {
        let log = get(&hub, &format!("/log?{query}"), HERE).await;
        assert_eq!((log.status, log.text().to_owned()), wrong(), "{query}");
    }
    let log = get(&hub, "/log?secid=one&host=db", HERE).await;
    assert_eq!(log.status, 403, "not within hostnames");
    assert_eq!(get(&hub, "/log?host=nas", HERE).await.status, 400);
}

#[tokio::test]
async fn a_new_owner_of_a_hostname_sees_no_earlier_history() {
    let (hub, open) = start().await;
    hub.put_silo("home", &[("nas", "10.0.0.5")]).await;
    hub.delete("/silos/home/records/nas").await;
    hub.pass(1);
    assert_eq!(update(&hub, "secid=one&host=nas").await, ok());
    let log = async || {
        let log = hub.open_call(Method::GET, "/log?secid=one&host=nas").await;
        log.text().to_owned()
    };
    let seen = log().await;
    assert!(seen.contains(HERE) && !seen.contains("10.0.0.5"), "{seen}");
    // But with an admin's word.
    add(&open, "nas").await;
    let seen = log().await;
    assert!(seen.contains(HERE) && seen.contains("10.0.0.5"), "{seen}");
}
