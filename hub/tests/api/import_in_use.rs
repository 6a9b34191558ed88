//! Imports into a hub that holds silos of its own, and reverts to revisions from before them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use serde_json::{Value, json};
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::Reverted;
use silo_hub::internals::transfer::ImportError;

use crate::common::{TestHub, revision};
use crate::revert::revert;
use crate::transfer::{exported, import};

async fn records(hub: &TestHub, silo: &str) -> Value {
    hub.get(&format!("/silos/{silo}")).await.json()["dnsrecords"].clone()
}

/// A hub whose silo `office` has three states behind it, with its export.
async fn source() -> (TestHub, String) {
    let (source, from) = TestHub::start_in_parts().await;
    for ip in ["10.1.0.1", "10.1.0.2", "10.1.0.3"] {
        source.put_silo("office", &[("db", ip)]).await;
    }
    source
        .put_silo("office", &[("db", "10.1.0.3"), ("web", "10.1.0.4")])
        .await;
    let text = exported(&from, false).await;
    (source, text)
}

/// A hub in use whose revisions are above the source's: an hour later; else they lie among them.
async fn target(is_later: bool) -> (TestHub, Arc<OpenHub>) {
    let (target, to) = TestHub::start_in_parts().await;
    if is_later {
        target.pass(3600);
        let empty = "{\"format\":\"silo-export\",\"version\":1}\n\
            {\"end\":{\"silos\":0,\"history\":0,\"tokens\":0}}";
        import(&to, empty).await.unwrap();
    }
    target.put_silo("own", &[("a", "10.2.0.1")]).await;
    (target, to)
}

/// Reads in the beginning of an export.
async fn cut_short(to: &OpenHub, text: &str) {
    let error = import(to, text).await.unwrap_err();
    assert!(matches!(error, ImportError::CutShort(_)), "{error}");
}

fn via(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["via"].as_str()).collect()
}

#[tokio::test]
async fn a_silo_that_is_or_was_here_gets_none_of_the_exports_history() {
    let (source, text) = source().await;
    let wanted = records(&source, "office").await;
    type State = (
        &'static str,
        &'static [(&'static str, &'static str)],
        bool,
        usize,
    );
    let states: [State; 4] = [
        (
            "another state",
            &[("db", "10.2.0.2"), ("nas", "10.2.0.3")],
            false,
            3,
        ),
        (
            "the same state",
            &[("db", "10.1.0.3"), ("web", "10.1.0.4")],
            false,
            0,
        ),
        ("empty", &[], false, 2),
        ("deleted", &[("db", "10.2.0.2")], true, 2),
    ];
    for ((name, state, deleted, changes), is_later) in states
        .into_iter()
        .flat_map(|state| [(state, false), (state, true)])
    {
        let (target, to) = target(is_later).await;
        let before = target.put_silo("office", state).await.json();
        if deleted {
            target.delete("/silos/office").await;
        }
        let own = target.history("office").await;
        let imported = import(&to, &text).await.unwrap();
        assert_eq!(
            (imported.history, imported.history_left_out),
            (0, 4),
            "{name}"
        );
        assert_eq!(records(&target, "office").await, wanted, "{name}");
        let rows = target.history("office").await;
        assert_eq!(rows.len(), own.len() + changes, "{name}: {rows:?}");
        assert_eq!(&rows[changes..], own, "{name}");
        assert_eq!(via(&rows[..changes]), vec!["import"; changes], "{name}");
        let again = import(&to, &text).await.unwrap();
        assert_eq!((again.silos_changed, again.history), (0, 0), "{name}");
        assert_eq!(target.history("office").await, rows, "{name}");
        // And the way back leads to what was here.
        let back = revert(&to, "office", revision(&before)).await.unwrap();
        if own.is_empty() {
            // To make an empty silo leaves no row.
            assert!(matches!(back, Reverted::Unknown { .. }), "{name}: {back:?}");
            continue;
        }
        assert_eq!(
            records(&target, "office").await,
            before["dnsrecords"],
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_silo_deleted_in_the_export_keeps_its_records_and_history_here() {
    let (source, from) = TestHub::start_in_parts().await;
    source.put_silo("office", &[("db", "10.1.0.1")]).await;
    source.delete("/silos/office").await;
    let text = exported(&from, false).await;
    let (target, to) = target(true).await;
    let state = target
        .put_silo("office", &[("db", "10.2.0.2")])
        .await
        .json();
    let rows = target.history("office").await;
    let imported = import(&to, &text).await.unwrap();
    assert_eq!((imported.history, imported.history_left_out), (0, 2));
    assert_eq!(target.get("/silos/office").await.json(), state);
    assert_eq!(target.history("office").await, rows);
}

#[tokio::test]
async fn a_new_silo_is_imported_with_its_history_in_any_parts() {
    let (source, text) = source().await;
    let wanted = source.history("office").await;
    let lines: Vec<&str> = text.lines().collect();
    for cut in 1..=lines.len() {
        let (target, to) = target(true).await;
        if cut < lines.len() {
            cut_short(&to, &lines[..cut].join("\n")).await;
            target.put_silo("own", &[("a", "10.2.0.9")]).await;
        }
        import(&to, &text).await.unwrap();
        assert_eq!(target.history("office").await, wanted, "cut after {cut}");
        let all = exported(&to, false).await;
        let again = import(&to, &text).await.unwrap();
        assert_eq!((again.silos_changed, again.history), (0, 0));
        assert_eq!(again.history_left_out, 0, "it is there already");
        assert_eq!(exported(&to, false).await, all);
        for row in &wanted {
            revert(&to, "office", revision(row)).await.unwrap();
        }
        assert_eq!(
            records(&target, "office").await,
            json!([{"hostname": "db", "ip": "10.1.0.1"}])
        );
    }
}

#[tokio::test]
async fn a_silo_that_is_changed_between_two_tries_keeps_a_history_without_gaps() {
    let (_source, text) = source().await;
    let lines: Vec<&str> = text.lines().collect();
    for cut in 2..lines.len() {
        let (target, to) = target(true).await;
        cut_short(&to, &lines[..cut].join("\n")).await;
        let own = target
            .put_silo("office", &[("db", "10.2.0.7")])
            .await
            .json();
        import(&to, &text).await.unwrap();
        let rows = target.history("office").await;
        let foreign = rows.iter().filter(|row| row["via"] == "rest").count();
        // Four rows of the export, and two of the change here.
        assert_eq!(foreign, 4 + 2, "cut after {cut}: {rows:?}");
        for row in &rows {
            let back = revert(&to, "office", revision(row)).await.unwrap();
            assert!(
                matches!(back, Reverted::Changed { .. } | Reverted::Unchanged { .. }),
                "{back:?}"
            );
        }
        revert(&to, "office", revision(&own)).await.unwrap();
        assert_eq!(records(&target, "office").await, own["dnsrecords"]);
    }
}

#[tokio::test]
async fn a_revert_behind_an_import_that_ended_early_is_refused() {
    let (source, text) = source().await;
    let rows = source.history("office").await;
    let lines: Vec<&str> = text.lines().collect();
    let (target, to) = target(true).await;
    // The silo, and the oldest row of its four.
    cut_short(&to, &lines[..3].join("\n")).await;
    let own = target
        .put_silo("office", &[("db", "10.2.0.7")])
        .await
        .json();
    let (before, history) = (own.clone(), target.history("office").await);
    let oldest = revision(&rows[3]);
    let refused = revert(&to, "office", oldest).await.unwrap();
    let newest = revision(&rows[0]);
    assert_eq!(
        refused,
        Reverted::Importing {
            whole_from: newest.into()
        }
    );
    assert_eq!(target.get("/silos/office").await.json(), before);
    assert_eq!(target.history("office").await, history);
    // What was changed here is known.
    target.put_silo("office", &[]).await;
    revert(&to, "office", revision(&own)).await.unwrap();
    assert_eq!(records(&target, "office").await, own["dnsrecords"]);
    import(&to, &text).await.unwrap();
    let back = revert(&to, "office", oldest).await.unwrap();
    assert!(matches!(back, Reverted::Changed { .. }), "{back:?}");
}

#[tokio::test]
async fn an_export_imported_in_between_changes_no_history_gap() {
    let (source, text) = source().await;
    let wanted = source.history("office").await;
    let lines: Vec<&str> = text.lines().collect();
    // Another hub's silo of the same name.
    let (other, from) = target(true).await;
    other.put_silo("office", &[("nas", "10.3.0.1")]).await;
    other.put_silo("office", &[("nas", "10.3.0.2")]).await;
    let others = exported(&from, false).await;
    let (target, to) = target(true).await;
    cut_short(&to, &lines[..3].join("\n")).await;
    let imported = import(&to, &others).await.unwrap();
    assert_eq!((imported.history, imported.history_left_out), (0, 2));
    import(&to, &text).await.unwrap();
    let rows = target.history("office").await;
    let brought: Vec<_> = rows.iter().filter(|row| row["via"] == "rest").collect();
    assert_eq!(brought, wanted.iter().collect::<Vec<_>>());
    for row in &rows {
        let back = revert(&to, "office", revision(row)).await.unwrap();
        assert!(!matches!(back, Reverted::Unfitting(_)), "{back:?}");
    }
}

#[tokio::test]
async fn a_silo_whose_tombstone_is_gone_was_here_as_long_as_its_history_is() {
    use sqlx::{Connection, Executor};
    let (_source, text) = source().await;
    let (target, to) = target(true).await;
    let own = target
        .put_silo("office", &[("nas", "10.2.0.1")])
        .await
        .json();
    target.delete("/silos/office").await;
    let mut connection = target.home.connect().await;
    let gone = "DELETE FROM silos WHERE id = 'office'";
    connection.execute(gone).await.unwrap();
    connection.close().await.unwrap();
    let imported = import(&to, &text).await.unwrap();
    assert_eq!((imported.history, imported.history_left_out), (0, 4));
    revert(&to, "office", revision(&own)).await.unwrap();
    assert_eq!(records(&target, "office").await, own["dnsrecords"]);
}

#[tokio::test]
async fn a_silo_that_another_client_makes_between_two_parts_is_here() {
    let (source, text) = source().await;
    let lines: Vec<&str> = text.lines().collect();
    let (target, to) = target(true).await;
    cut_short(&to, lines[0]).await;
    let own = target
        .put_silo("office", &[("nas", "10.2.0.7")])
        .await
        .json();
    import(&to, &text).await.unwrap();
    assert_eq!(
        records(&target, "office").await,
        records(&source, "office").await
    );
    let rows = target.history("office").await;
    assert_eq!(via(&rows), ["import", "import", "import", "rest"]);
    revert(&to, "office", revision(&own)).await.unwrap();
    assert_eq!(records(&target, "office").await, own["dnsrecords"]);
}

#[tokio::test]
async fn revisions_far_ahead_of_the_clock_are_refused() {
    const DAY: i64 = 86_400_000_000;
    let now = crate::common::START_MS * 1000;
    let text = |revision: i64, kind: &str| {
        let at = crate::common::START;
        let line = match kind {
            "silo" => {
                json!({"silo": {"id": "office", "revision": revision, "updated_at": at, "records": []}})
            }
            _ => {
                json!({"history": {"at": at, "revision": revision, "silo": "office", "hostname": "db",
                "old_ip": null, "new_ip": "10.0.0.1", "via": "rest", "token": null, "client_ip": null}})
            }
        };
        let end = match kind {
            "silo" => json!({"end": {"silos": 1, "history": 0, "tokens": 0}}),
            _ => json!({"end": {"silos": 0, "history": 1, "tokens": 0}}),
        };
        format!("{{\"format\":\"silo-export\",\"version\":1}}\n{line}\n{end}\n")
    };
    for kind in ["silo", "history"] {
        for revision in [now + DAY + 1, (1 << 53) - 1, 1 << 53, i64::MAX, 0, -1] {
            let (target, to) = TestHub::start_in_parts().await;
            let error = import(&to, &text(revision, kind)).await;
            let error = error.expect_err("it is refused").to_string();
            assert!(error.starts_with("line 2: "), "{error}");
            target.put_silo("own", &[]).await;
            // What is here now can be read in elsewhere.
            let (_other, elsewhere) = TestHub::start_in_parts().await;
            import(&elsewhere, &exported(&to, false).await)
                .await
                .unwrap();
        }
        let (_target, to) = TestHub::start_in_parts().await;
        import(&to, &text(now + DAY, kind)).await.unwrap();
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_history_that_does_not_fit_together_is_not_replayed() {
    use sqlx::{Connection, Executor};
    // What was merged into a living silo: revision as a place between the silo's own, hostname, old, new.
    type Row = (
        i64,
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
    );
    let cases: [(&str, &[Row], Option<&str>); 6] = [
        ("nothing", &[], None),
        // As if another program had added db after it existed.
        (
            "added again",
            &[(1, "db", None, Some("10.1.0.1"))],
            Some("db"),
        ),
        (
            "a change of nothing",
            &[
                (2, "new", Some("10.1.0.1"), None),
                (3, "new", Some("10.1.0.2"), None),
            ],
            Some("new"),
        ),
        (
            "added and never removed",
            &[(2, "new", None, Some("10.1.0.2"))],
            Some("new"),
        ),
        (
            "at the end",
            &[(5, "db", Some("10.2.0.9"), Some("10.2.0.3"))],
            Some("db"),
        ),
        (
            "in itself whole",
            &[
                (2, "new", None, Some("10.1.0.2")),
                (3, "new", Some("10.1.0.2"), None),
            ],
            None,
        ),
    ];
    for (name, rows, broken) in cases {
        let (hub, open) = TestHub::start_in_parts().await;
        let mut states = Vec::new();
        for ip in ["10.2.0.1", "10.2.0.2", "10.2.0.3"] {
            states.push(hub.put_silo("office", &[("db", ip)]).await.json());
            // Free revisions between.
            hub.put_silo("other", &[("x", ip)]).await;
            hub.put_silo("other", &[]).await;
        }
        let first = revision(&states[0]);
        let mut connection = hub.home.connect().await;
        let text = |ip: Option<&str>| ip.map_or("NULL".to_owned(), |ip| format!("'{ip}'"));
        for (place, hostname, old, new) in rows {
            let row = format!(
                "INSERT INTO history (revision, silo, hostname, family, changed_at, old_ip, new_ip, via) \
                 VALUES ({}, 'office', '{hostname}', 4, 0, {}, {}, 'rest')",
                first + place,
                text(*old),
                text(*new)
            );
            connection.execute(sqlx::AssertSqlSafe(row)).await.unwrap();
        }
        connection.close().await.unwrap();
        let (before, history) = (hub.get("/silos/office").await, hub.history("office").await);
        let done = revert(&open, "office", first).await.unwrap();
        match broken {
            None => {
                assert!(matches!(done, Reverted::Changed { .. }), "{name}: {done:?}");
                assert_eq!(
                    records(&hub, "office").await,
                    states[0]["dnsrecords"],
                    "{name}"
                );
            }
            Some(hostname) => {
                assert!(
                    !matches!(done, Reverted::Changed { .. } | Reverted::Unchanged { .. }),
                    "{name}: {done:?}"
                );
                assert!(format!("{done:?}").contains(hostname), "{name}: {done:?}");
                assert_eq!(hub.get("/silos/office").await.body, before.body, "{name}");
                assert_eq!(hub.history("office").await, history, "{name}");
            }
        }
    }
}
