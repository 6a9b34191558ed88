//! Which silo a call is for, and that no token may do more here than by REST.

use reqwest::Method;
use serde_json::{Value, json};

use super::{basic, ips, lines};
use crate::common::{TestHub, text};

#[tokio::test]
async fn the_silo_follows_from_the_token_or_the_user_name() {
    let hub = TestHub::start().await;
    hub.put_silo("home", &[]).await;
    hub.put_silo("gone", &[]).await;
    hub.delete("/silos/gone").await;
    let one = hub.credential("write", &["office"], &[]).await;
    let two = hub.credential("write", &["office", "lab"], &[]).await;
    let globs = hub.credential("write", &["h*", "g*", "lab"], &[]).await;
    let reader = hub.credential("read", &["home", "lab"], &[]).await;
    let admin = hub.admin.clone();
    for (number, (token, user, silo)) in [
        (&one, "", Some("office")),
        (&one, "home", Some("office")),
        (&one, "ü, no silo", Some("office")),
        (&two, "lab", Some("lab")),
        (&two, "Office", Some("office")),
        (&two, "home", None),
        (&two, "", None),
        (&globs, "home", Some("home")),
        (&globs, "lab", Some("lab")),
        (&globs, "house", None),
        (&globs, "gone", None),
        (&globs, "h*", None),
        (&globs, "*", None),
        (&reader, "home", None),
        (&admin, "home", Some("home")),
        (&admin, "mistyped", None),
        (&admin, "", None),
    ]
    .into_iter()
    .enumerate()
    {
        let case = format!("{number}: {user}");
        let hostname = format!("h{number}");
        let path = format!("/v3/update?hostname={hostname}&myip=192.0.2.1");
        let answer = basic(&hub, Method::GET, &path, user, token).await;
        match silo {
            Some(silo) => {
                assert_eq!(answer.status, 200, "{case}: {answer:?}");
                assert_eq!(lines(&answer), "good 192.0.2.1", "{case}");
                assert_eq!(
                    ips(&hub, silo, &hostname).await,
                    json!(["192.0.2.1"]),
                    "{case}"
                );
            }
            None => assert_eq!((answer.status, answer.text()), (401, "badauth\n"), "{case}"),
        }
    }
    let ids: Vec<_> = hub
        .walk("/silos")
        .await
        .concat()
        .iter()
        .map(|silo| text(&silo["id"]))
        .collect();
    assert_eq!(
        ids,
        ["home", "lab", "office"],
        "a refused user name makes no silo"
    );
}

/// Whatever a token may not do by REST, it may not do here.
#[tokio::test]
async fn no_right_is_more_than_the_tokens_own() {
    let hub = TestHub::start().await;
    for silo in ["office", "home"] {
        hub.put_silo(silo, &[("db", "10.0.0.1"), ("nas-1", "10.0.0.1")])
            .await;
    }
    let tokens = [
        hub.credential("read", &["office"], &[]).await,
        hub.credential("read", &["*"], &[]).await,
        hub.credential("write", &["office"], &[]).await,
        hub.credential("write", &["office"], &["nas-*"]).await,
        hub.credential("write", &["home"], &[]).await,
        hub.credential("write", &["o*"], &["db"]).await,
        hub.credential("write", &["office", "home"], &["nas-1"])
            .await,
        hub.credential("write", &["*"], &[]).await,
        hub.admin.clone(),
    ];
    let (mut allowed, mut refused) = (0, 0);
    for (number, token) in tokens.iter().enumerate() {
        for silo in ["office", "home", "none"] {
            for hostname in ["db", "nas-1", "nas-2"] {
                let case = format!("token {number}, {silo}, {hostname}");
                // REST's own word on it: an impossible precondition is judged after the right.
                let rest = hub
                    .open_call(Method::PUT, &format!("/silos/{silo}/records/{hostname}"))
                    .bearer(token)
                    .header("if-match", "\"never\"")
                    .json(&json!({"ip": "10.0.0.1"}))
                    .await;
                let may = match rest.status {
                    412 => true,
                    403 => false,
                    _ => panic!("{case}: {rest:?}"),
                };
                let before = hub.walk("/silos").await;
                let ip = format!("192.0.2.{}", 1 + (allowed + refused) % 250);
                let path = format!("/nic/update?hostname={hostname}&myip={ip}");
                let answer = basic(&hub, Method::GET, &path, silo, token).await;
                if answer.status == 200 && answer.text().starts_with("good") {
                    allowed += 1;
                    // A token of one silo writes there whatever the user name.
                    let written = [silo, "office", "home"];
                    let after = hub.walk("/silos").await;
                    assert_ne!(before, after, "{case}");
                    let changed = written.iter().find(|silo| {
                        let find = |pages: &[Vec<Value>]| {
                            pages.concat().into_iter().find(|row| row["id"] == **silo)
                        };
                        find(&before) != find(&after)
                    });
                    let silo = changed.unwrap_or_else(|| panic!("{case}: nothing changed"));
                    let right = hub
                        .open_call(Method::PUT, &format!("/silos/{silo}/records/{hostname}"))
                        .bearer(token)
                        .header("if-match", "\"never\"")
                        .json(&json!({"ip": "10.0.0.1"}))
                        .await;
                    assert_eq!(right.status, 412, "{case}: written in {silo}");
                } else {
                    refused += 1;
                    assert!(
                        matches!(answer.text(), "nohost\n" | "badauth\n"),
                        "{case}: {answer:?}"
                    );
                    assert_eq!(before, hub.walk("/silos").await, "{case}");
                    // Refused though the token may: only where the user name would make a new silo.
                    assert!(!may || silo == "none", "{case}: {answer:?}");
                }
            }
        }
    }
    assert!(
        allowed >= 20 && refused >= 20,
        "{allowed} allowed, {refused} refused"
    );
}
