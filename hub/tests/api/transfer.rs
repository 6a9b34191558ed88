//! What is exported, read in again, here or elsewhere.

mod refused;

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::RevokeUpdateKey;
use silo_hub::internals::transfer::{Import, ImportError, Imported, export};

use crate::common::{TestHub, revision};
use crate::update_keys::{add, get, words};

pub(crate) async fn exported(open: &OpenHub, tokens: bool) -> String {
    let mut output = Vec::new();
    export(&open.store, tokens, &mut output)
        .await
        .expect("the database answers");
    String::from_utf8(output).expect("JSON is UTF-8")
}

pub(crate) async fn import(open: &OpenHub, text: &str) -> Result<Imported, ImportError> {
    Import::begin(text.as_bytes())?
        .read_in(&open.registry, open.clock.now())
        .await
}

/// Silos with everything that can be exported.
async fn fill(hub: &TestHub) {
    hub.put_silo(
        "office",
        &[("db", "10.0.0.5"), ("db", "fd00::5"), ("web", "10.0.0.7")],
    )
    .await;
    hub.put("/silos/office/records/db")
        .json(&json!({
            "ip": "10.0.0.6", "comment": "Gestell 3 «ä»", "notify": "a@lan",
            "ipv6_suffix": "::5", "expires_after": 3600,
        }))
        .await;
    hub.put_silo("empty", &[]).await;
    hub.put_silo("gone", &[("x", "10.0.0.9")]).await;
    hub.delete("/silos/gone").await;
    hub.delete("/silos/office/records/web").await;
    hub.credential("write", &["office"], &["nas-*"]).await;
}

async fn silo(hub: &TestHub, id: &str) -> Value {
    hub.get(&format!("/silos/{id}")).await.json()
}

#[tokio::test]
async fn an_empty_database_takes_over_everything_with_its_revisions() {
    let (source, from) = TestHub::start_in_parts().await;
    fill(&source).await;
    let (target, to) = TestHub::start_in_parts().await;
    let text = exported(&from, false).await;
    let imported = import(&to, &text).await.unwrap();
    assert_eq!((imported.silos_added, imported.silos_changed), (3, 0));
    assert_eq!(imported.read.history, imported.history);
    assert_eq!(exported(&to, false).await, text);
    assert_eq!(silo(&target, "office").await, silo(&source, "office").await);
    assert_eq!(target.get("/silos/gone").await.status, 404);
    let record = target.get("/silos/office/records/db").await.json();
    assert_eq!(record["comment"], "Gestell 3 «ä»");
    let highest = revision(&silo(&source, "office").await);
    let next = revision(&target.put_silo("new", &[]).await.json());
    assert!(next > highest + 1);
}

#[tokio::test]
async fn a_second_import_adds_nothing() {
    let (source, from) = TestHub::start_in_parts().await;
    fill(&source).await;
    let text = exported(&from, false).await;
    let (_target, to) = TestHub::start_in_parts().await;
    import(&to, &text).await.unwrap();
    for open in [&from, &to] {
        let again = import(open, &text).await.unwrap();
        assert_eq!(again.read.silos, 3);
        let Imported {
            silos_added,
            silos_changed,
            history,
            tokens,
            ..
        } = again;
        assert_eq!((silos_added, silos_changed, history, tokens), (0, 0, 0, 0));
        assert_eq!(exported(open, false).await, text);
    }
}

#[tokio::test]
async fn an_import_into_a_used_database_takes_new_revisions_and_reports_them() {
    let (source, from) = TestHub::start_in_parts().await;
    fill(&source).await;
    let (target, to) = TestHub::start_in_parts().await;
    target.put_silo("own", &[("a", "10.2.0.1")]).await;
    target.put_silo("gone", &[("here", "10.2.0.2")]).await;
    let old = target
        .put_silo("office", &[("db", "10.2.0.3"), ("extra", "10.2.0.4")])
        .await;
    let untouched = [silo(&target, "own").await, silo(&target, "gone").await];
    let held = silo(&target, "office").await;
    let imported = import(&to, &exported(&from, false).await).await.unwrap();
    assert_eq!((imported.silos_added, imported.silos_changed), (1, 1));
    assert_eq!(
        [silo(&target, "own").await, silo(&target, "gone").await],
        untouched
    );
    let new = silo(&target, "office").await;
    assert_eq!(
        new["dnsrecords"],
        silo(&source, "office").await["dnsrecords"]
    );
    assert!(revision(&new) > revision(&held));
    let rows = target.history("office").await;
    let of = |via: &str| rows.iter().filter(|row| row["via"] == via).count();
    assert_eq!(of("import"), 3, "{rows:?}");
    assert_eq!(rows[0]["revision"], new["revision"]);
    let kept = target
        .get("/silos/office")
        .header("if-none-match", &old.etag())
        .await;
    assert_eq!(kept.status, 200, "an old tag matches nothing new");
    // A silo that never was here has a new revision as well, and its own history below it.
    let empty = silo(&target, "empty").await;
    assert!(revision(&empty) > revision(&untouched[1]));
}

#[tokio::test]
async fn a_truncated_import_is_completed_by_the_complete_file() {
    let (source, from) = TestHub::start_in_parts().await;
    fill(&source).await;
    let text = exported(&from, false).await;
    let lines: Vec<&str> = text.lines().collect();
    for cut in 1..lines.len() {
        let (target, to) = TestHub::start_in_parts().await;
        let error = import(&to, &lines[..cut].join("\n")).await.unwrap_err();
        assert!(
            matches!(error, ImportError::CutShort(at) if at == cut as u64),
            "{error}"
        );
        let half = &lines[cut][..lines[cut].len() / 2];
        let error = import(&to, &format!("{}\n{half}", lines[..cut].join("\n"))).await;
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(&format!("line {}: ", cut + 1)), "{error}");
        import(&to, &text).await.unwrap();
        assert_eq!(exported(&to, false).await, text, "cut after line {cut}");
        assert_eq!(silo(&target, "office").await, silo(&source, "office").await);
    }
}

#[tokio::test]
async fn a_write_into_a_truncated_import_ends_its_keeping_of_revisions() {
    let (source, from) = TestHub::start_in_parts().await;
    fill(&source).await;
    let text = exported(&from, false).await;
    let (target, to) = TestHub::start_in_parts().await;
    let lines: Vec<&str> = text.lines().collect();
    import(&to, &lines[..2].join("\n")).await.unwrap_err();
    let own = revision(&target.put_silo("own", &[]).await.json());
    import(&to, &text).await.unwrap();
    let office = silo(&target, "office").await;
    assert!(revision(&office) > own);
    assert_eq!(
        office["dnsrecords"],
        silo(&source, "office").await["dnsrecords"]
    );
}

#[tokio::test]
async fn imported_tokens_stay_valid_with_the_same_key() {
    let (source, from) = TestHub::start_in_parts().await;
    fill(&source).await;
    let reader = source.credential("read", &["office"], &[]).await;
    let revoked = source.credential("read", &["office"], &[]).await;
    source.delete(&format!("/tokens/{}", &revoked[5..15])).await;
    let text = exported(&from, true).await;
    for secret in [&reader[16..], &revoked[16..], &source.admin[16..]] {
        assert!(!text.contains(secret), "an export shows a credential");
    }
    let (target, to) = TestHub::start_in_parts().await;
    let imported = import(&to, &text).await.unwrap();
    assert_eq!(imported.tokens, 4);
    let status = async |credential: &str| {
        let call = target.open_call(Method::GET, "/silos/office");
        call.bearer(credential).await.status
    };
    assert_eq!(status(&reader).await, 200);
    assert_eq!(status(&source.admin).await, 200);
    assert_eq!(status(&revoked).await, 401);
    assert_eq!(import(&to, &text).await.unwrap().tokens, 0);
    assert!(!exported(&from, false).await.contains("\"token\":{"));
}

/// A hub that keeps its key in a file of another's.
async fn start_with_key(file: &std::path::Path) -> (TestHub, Arc<OpenHub>) {
    TestHub::start_in_parts_with(|settings| {
        settings.key_file = Some(file.to_owned());
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await
}

#[tokio::test]
async fn imported_update_keys_stay_valid_with_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.key");
    let (_source, from) = start_with_key(&file).await;
    let [first, second, gone, own] =
        ["first", "second", "gone", "taken"].map(|name| format!("{name}-0123456789?a=b,c&%2F"));
    let nas = add(&from, &first, "nas").await.unwrap();
    let db = add(&from, &second, "db").await.unwrap();
    let revoked = add(&from, &gone, "web").await.unwrap();
    from.registry
        .apply(RevokeUpdateKey(revoked.id))
        .await
        .unwrap();
    add(&from, &own, "theirs").await.unwrap();
    let text = exported(&from, true).await;
    assert_eq!(text.matches("{\"update_key\":{").count(), 4);
    assert!(!text.contains("0123456789"), "an export shows a key");
    assert!(!exported(&from, false).await.contains("update_key\":{"));

    let (target, to) = start_with_key(&file).await;
    let here = add(&to, &own, "ours").await.unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let from_key = lines.iter().position(|line| line.contains("update_key"));
    // Cut short behind the first of them, and read in whole over it.
    let cut = lines[..=from_key.unwrap()].join("\n");
    import(&to, &cut).await.unwrap_err();
    let imported = import(&to, &text).await.unwrap();
    assert_eq!(imported.read.update_keys, 4);
    // Its own, and all but the one of the same key.
    let now = exported(&to, true).await;
    assert_eq!(now.matches("{\"update_key\":{").count(), 4);
    let again = import(&to, &text).await.unwrap();
    assert_eq!((again.tokens, again.update_keys), (0, 0));

    let mut expected = vec![nas.clone(), db, here];
    expected.sort_by_key(|key| (key.created_at, key.id.to_string()));
    assert_eq!(to.store.update_keys().await.unwrap(), expected);
    let call = async |key: &str| get(&target, &format!("/u/{key}"), "192.0.2.7").await;
    assert_eq!(call(&first).await, words(200, "OK"));
    assert_eq!(call(&second).await, words(200, "OK"));
    assert_eq!(call(&gone).await, words(403, "BADKEY"));
    // The one that was here keeps its record.
    assert_eq!(call(&own).await, words(200, "OK"));
    assert_eq!(target.get("/silos/office/records/ours").await.status, 200);
    assert_eq!(target.get("/silos/office/records/theirs").await.status, 404);
    let history = target.history("office").await;
    assert!(history.iter().any(|row| row["token"] == nas.id.as_str()));

    // Revoked here stays revoked here.
    to.registry.apply(RevokeUpdateKey(nas.id)).await.unwrap();
    assert_eq!(import(&to, &text).await.unwrap().update_keys, 0);
    assert_eq!(call(&first).await, words(403, "BADKEY"));
}

#[tokio::test]
async fn a_revert_reaches_before_an_import() {
    let (source, from) = TestHub::start_in_parts().await;
    let first = source
        .put_silo("office", &[("db", "10.0.0.5")])
        .await
        .json();
    source.put_silo("office", &[("db", "10.0.0.6")]).await;
    let (target, to) = TestHub::start_in_parts().await;
    target.put_silo("own", &[]).await;
    import(&to, &exported(&from, false).await).await.unwrap();
    let command = crate::revert::command("office", revision(&first));
    to.registry.apply(command).await.unwrap();
    assert_eq!(
        silo(&target, "office").await["dnsrecords"],
        first["dnsrecords"]
    );
}

#[tokio::test]
async fn many_pages_hold_everything() {
    let (source, from) = TestHub::start_in_parts().await;
    let names: Vec<String> = (0..1203).map(|number| format!("h{number}")).collect();
    let rows: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "10.0.0.1"))
        .collect();
    source.put_silo("many", &rows).await;
    source.put_silo("many", &rows[..1000]).await;
    for number in 0..1100 {
        source.put_silo(&format!("s{number}"), &[]).await;
    }
    let text = exported(&from, false).await;
    let (_target, to) = TestHub::start_in_parts().await;
    let imported = import(&to, &text).await.unwrap();
    assert_eq!((imported.silos_added, imported.history), (1101, 1203 + 203));
    assert_eq!(exported(&to, false).await, text);
}
