//! What a record carries beside its addresses.

use reqwest::Method;
use serde_json::{Value, json};

use super::DB;
use crate::common::{TestHub, dnsrecords, revision};

#[tokio::test]
async fn attributes_are_kept_until_they_are_cleared() {
    let hub = TestHub::start().await;
    let all = json!({
        "comment": "rack 3",
        "notify": "ops@example.org",
        "ipv6_suffix": "::5",
        "expires_after": 1800,
    });
    let mut body = all.clone();
    body["ip"] = json!("10.0.0.5");
    let shown = |answer: &crate::common::Answer| {
        let record = answer.json();
        let names = ["comment", "notify", "ipv6_suffix", "expires_after"];
        let set = names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), record.get(*name)?.clone())));
        Value::Object(set.collect())
    };
    let answer = hub.put(DB).json(&body).await;
    assert_eq!(answer.status, 201);
    assert_eq!(shown(&answer), all);
    // Left out: kept.
    let answer = hub.put(DB).json(&json!({"ip": "10.0.0.6"})).await;
    assert_eq!(shown(&answer), all);
    // A PUT of the silo keeps them while the hostname stays, and never shows them.
    let silo = hub
        .put_silo(
            "office",
            &[("db", "10.0.0.7"), ("db", "fd00::7"), ("nas", "10.0.0.9")],
        )
        .await;
    assert_eq!(
        silo.json()["dnsrecords"],
        dnsrecords(&[("db", "10.0.0.7"), ("db", "fd00::7"), ("nas", "10.0.0.9")])["dnsrecords"]
    );
    assert_eq!(shown(&hub.get(DB).await), all);
    // The removal of one family keeps them, too.
    assert_eq!(hub.delete(&format!("{DB}?family=4")).await.status, 204);
    assert_eq!(shown(&hub.get(DB).await), all);
    // `null` clears.
    let answer = hub
        .put(DB)
        .json(&json!({"comment": null, "expires_after": null}))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["ips"], json!(["fd00::7"]));
    let rest = json!({"notify": "ops@example.org", "ipv6_suffix": "::5"});
    assert_eq!(shown(&answer), rest);
    assert_eq!(shown(&hub.get(DB).await), rest);
    // A hostname that went away comes back bare.
    hub.put_silo("office", &[("nas", "10.0.0.9")]).await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    assert_eq!(shown(&hub.get(DB).await), json!({}));
}

#[tokio::test]
async fn an_attribute_change_takes_a_revision_and_adds_no_history() {
    let hub = TestHub::start().await;
    let made = hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    let history = hub.history("office").await;
    let answer = hub.put(DB).json(&json!({"comment": "rack 3"})).await;
    assert_eq!(answer.status, 200);
    let number = revision(&answer.json());
    assert!(number > revision(&made.json()));
    assert_eq!(answer.etag(), format!("\"{number}-db\""));
    assert_eq!(answer.json()["ips"], json!(["10.0.0.5"]));
    let silo = hub.get("/silos/office").await;
    assert_eq!(revision(&silo.json()), number);
    assert_eq!(hub.history("office").await, history);
    // The same once more changes nothing.
    for body in [
        json!({"comment": "rack 3"}),
        json!({"comment": "rack 3", "ip": "10.0.0.5", "notify": null}),
    ] {
        let again = hub.put(DB).json(&body).await;
        assert_eq!(again.etag(), answer.etag());
    }
    assert_eq!(hub.get("/silos/office").await.body, silo.body);
}

#[tokio::test]
async fn attributes_without_an_address_make_no_record() {
    let hub = TestHub::start().await;
    let answer = hub.put(DB).json(&json!({"comment": "rack 3"})).await;
    assert_eq!(answer.status, 422);
    assert_eq!(hub.get("/silos/office").await.status, 404);
    hub.put_silo("office", &[]).await;
    let silo = hub.get("/silos/office").await;
    let answer = hub.put(DB).json(&json!({"expires_after": 3600})).await;
    assert_eq!(answer.status, 422);
    assert_eq!(hub.get("/silos/office").await.body, silo.body);
}

#[tokio::test]
async fn the_mail_address_is_shown_to_writers_and_admins_only() {
    let hub = TestHub::start().await;
    let body = json!({"ip": "10.0.0.5", "notify": "ops@example.org", "comment": "rack 3"});
    hub.put(DB).json(&body).await;
    for (role, shown) in [("read", false), ("write", true), ("admin", true)] {
        let silos: &[&str] = if role == "admin" { &[] } else { &["office"] };
        let credential = hub.credential(role, silos, &[]).await;
        let answer = hub.open_call(Method::GET, DB).bearer(&credential).await;
        assert_eq!(answer.json()["comment"], "rack 3", "{role}");
        assert_eq!(answer.json().get("notify").is_some(), shown, "{role}");
    }
}

#[tokio::test]
async fn texts_of_any_script_come_back_as_they_were_given() {
    let hub = TestHub::start().await;
    let longest = "\u{1f5a5}".repeat(1000);
    let comments = [
        "Küche, Straße, ÄÖÜ",
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{1f680}",
        "u\u{308} is not \u{fc}",
        "日本語 עברית \t \" ' \\ % _ ? $1",
        " spaces around  ",
        "",
        &longest,
    ];
    let path = |number: usize| format!("/silos/office/records/h{number}");
    for (number, comment) in comments.iter().enumerate() {
        let body = json!({"ip": "10.0.0.5", "comment": comment});
        let made = hub.put(&path(number)).json(&body).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.json()["comment"], *comment);
    }
    let names = ["Gerät \u{1f680} Ü".to_owned(), "\u{1f511}".repeat(100)];
    for name in &names {
        hub.token(json!({"name": name, "role": "admin"})).await;
    }
    let hub = hub.restart().await;
    for (number, comment) in comments.iter().enumerate() {
        let record = hub.get(&path(number)).await.json();
        assert_eq!(record["comment"], *comment, "{record}");
    }
    let tokens = hub.get("/tokens").await.json();
    for name in &names {
        let mut tokens = tokens.as_array().unwrap().iter();
        assert!(tokens.any(|token| token["name"] == **name), "{name}");
    }
}
