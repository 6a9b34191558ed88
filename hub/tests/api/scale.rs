//! What a request may cost the database, in statements and rows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_util::FutureExt;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::{BeginImport, EndImport, ImportPart};
use silo_hub::internals::store::{Reads, SiloHead, TransferredSilo};
use silo_hub::internals::token_cache::LookupPriority;
use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;

use crate::common::{DEADLINE, TestHub, text};

/// What a call read of the database.
async fn cost<T>(open: &OpenHub, call: impl IntoFuture<Output = T>) -> (T, Reads) {
    let before = open.store.reads();
    let answer = call.await;
    let after = open.store.reads();
    let read = Reads {
        statements: after.statements - before.statements,
        rows: after.rows - before.rows,
    };
    (answer, read)
}

/// Adds empty silos.
async fn add_silos(open: &OpenHub, ids: impl Iterator<Item = String>) {
    let silos: Vec<_> = ids
        .map(|id| TransferredSilo {
            id: SiloId::parse(&id).unwrap(),
            head: SiloHead {
                revision: 1.into(),
                updated_at: open.clock.now(),
                deleted: false,
            },
            records: Vec::new(),
        })
        .collect();
    open.registry.apply(BeginImport).await.unwrap();
    let part = ImportPart {
        silos,
        ..ImportPart::default()
    };
    open.registry.apply(part).await.unwrap();
    open.registry.apply(EndImport).await.unwrap();
}

fn ids(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap();
    list.iter().map(|item| text(&item["id"])).collect()
}

#[tokio::test]
async fn the_list_of_silos_reads_what_the_token_may_see() {
    let (hub, open) = TestHub::start_in_parts().await;
    let names = (0..3000).map(|number| format!("s{number:04}"));
    let odd = [
        "a", "a-b", "a.b", "a0", "a_b", "ab", "b-lab", "x_lab", "xalab",
    ];
    add_silos(&open, names.chain(odd.map(str::to_owned))).await;
    let table: &[(&[&str], &str, &[&str], Reads)] = &[
        // patterns, query, what is listed, what may be read
        (&["s1500"], "", &["s1500"], reads(1, 1)),
        (&["none"], "", &[], reads(1, 0)),
        (&["none*"], "", &[], reads(1, 0)),
        (&["none*-lab"], "", &[], reads(1, 0)),
        (&["s9999", "b-lab", "a"], "", &["a", "b-lab"], reads(1, 2)),
        (&["a", "a"], "", &["a"], reads(1, 1)),
        (
            &["a*"],
            "",
            &["a", "a-b", "a.b", "a0", "a_b", "ab"],
            reads(1, 6),
        ),
        (&["a*", "a0", "a-*"], "?limit=2", &["a", "a-b"], reads(1, 3)),
        (&["a*"], "?after=a.b", &["a0", "a_b", "ab"], reads(1, 3)),
        (&["a*"], "?after=b", &[], reads(1, 0)),
        (&["a_*"], "", &["a_b"], reads(1, 1)),
        (&["a*b"], "", &["a-b", "a.b", "a_b", "ab"], reads(1, 4)),
        (
            &["s150*"],
            "?limit=3",
            &["s1500", "s1501", "s1502"],
            reads(1, 4),
        ),
        (&["s1*7"], "?limit=2", &["s1007", "s1017"], reads(1, 3)),
        (&["*-lab"], "", &["b-lab"], reads(1, 1)),
        (&["*_lab"], "", &["x_lab"], reads(1, 1)),
        (&["*-none"], "", &[], reads(1, 0)),
        (&["*-none", "s0007"], "", &["s0007"], reads(1, 1)),
        (
            &["b*", "a", "s0001", "s299*"],
            "?limit=4",
            &["a", "b-lab", "s0001", "s2990"],
            reads(4, 6),
        ),
        (
            &["*"],
            "?limit=2&after=s2997",
            &["s2998", "s2999"],
            reads(1, 3),
        ),
    ];
    for (patterns, query, expected, most) in table {
        let credential = hub.credential("read", patterns, &[]).await;
        let list = || {
            hub.open_call(Method::GET, &format!("/silos{query}"))
                .bearer(&credential)
        };
        // The token is known from here on.
        assert_eq!(list().await.status, 200);
        let (answer, read) = cost(&open, list()).await;
        assert_eq!(ids(&answer.json()), *expected, "{patterns:?} {query}");
        assert!(
            read.statements <= most.statements && read.rows <= most.rows,
            "{patterns:?} {query}: {read:?}"
        );
        let all = hub.walk_as(&credential, "/silos").await.concat();
        if all.len() > 200 {
            continue;
        }
        for limit in [1, 2, 1000] {
            let path = format!("/silos?limit={limit}");
            let pages = hub.walk_as(&credential, &path).await;
            assert_eq!(pages.concat(), all, "{patterns:?} limit {limit}");
        }
    }
}

fn reads(statements: u64, rows: u64) -> Reads {
    Reads { statements, rows }
}

#[tokio::test]
async fn unknown_tokens_share_lookups() {
    let (_hub, open) = TestHub::start_in_parts().await;
    let made_up = (0..500).map(|number| TokenId::parse(&format!("madeup{number:04}")).unwrap());
    let (found, read) = cost(&open, join_all(made_up.map(|id| open.tokens.get(id)))).await;
    assert!(found.iter().all(|found| found.as_ref().unwrap().is_none()));
    assert!(read.statements <= 20, "{read:?}");
}

#[tokio::test]
async fn a_new_token_makes_no_other_one_forgotten() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (_, reader) = hub
        .token(json!({"name": "r", "role": "read", "silos": ["a"]}))
        .await;
    let (id, _) = hub
        .token(json!({"name": "r", "role": "read", "silos": ["a"]}))
        .await;
    let known = || hub.open_call(Method::GET, "/silos/a").bearer(&reader);
    assert_eq!(known().await.status, 404);
    for (method, path, status) in [
        (Method::POST, "/tokens".to_owned(), 201),
        (Method::POST, format!("/tokens/{id}/rotate"), 201),
        (Method::DELETE, format!("/tokens/{id}"), 204),
    ] {
        let body = if path.ends_with("rotate") {
            json!({"overlap": 60})
        } else {
            json!({"name": "n", "role": "read", "silos": ["b"]})
        };
        let answer = if method == Method::DELETE {
            hub.call(method, &path).await
        } else {
            hub.call(method, &path).json(&body).await
        };
        assert_eq!(answer.status, status, "{path}");
        let (answer, read) = cost(&open, known()).await;
        assert_eq!(answer.status, 404);
        assert_eq!(
            read.statements, 0,
            "after {path} the reader's token is looked up again"
        );
    }
}

#[tokio::test]
async fn the_list_of_tokens_has_pages() {
    let (hub, open) = TestHub::start_in_parts().await;
    let mut all = Vec::new();
    for number in 0..6 {
        let spec = json!({"name": format!("t{number}"), "role": "read", "silos": ["a"]});
        all.push(hub.token(spec).await.0);
    }
    let gone = all.remove(3);
    assert_eq!(hub.delete(&format!("/tokens/{gone}")).await.status, 204);
    all.push(hub.admin.split('_').nth(1).unwrap().to_owned());
    all.sort_unstable();
    for limit in [1, 2, 5, 6, 7, 1000] {
        let pages = hub.walk(&format!("/tokens?limit={limit}")).await;
        assert_eq!(pages.len(), 6_usize.div_ceil(limit), "limit {limit}");
        assert_eq!(ids(&json!(pages.concat())), all, "limit {limit}");
    }
    let (answer, read) = cost(&open, hub.get("/tokens?limit=2")).await;
    assert_eq!(ids(&answer.json()), all[..2]);
    assert_eq!(
        answer.header("link"),
        Some(&*format!(
            "</tokens?limit=2&after={}>; rel=\"next\"",
            all[1]
        ))
    );
    assert_eq!(read.rows, 3);
    let after = hub.get(&format!("/tokens?after={}", all[3])).await.json();
    assert_eq!(ids(&after), all[4..]);
    // What `after` names need not be there.
    let before_all = hub.get("/tokens?after=0000000000").await.json();
    assert_eq!(ids(&before_all), all);
    for wrong in ["limit=0", "limit=1001", "limit=x", "after=x", "after="] {
        assert_eq!(
            hub.get(&format!("/tokens?{wrong}")).await.status,
            422,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_page_of_a_hostnames_history_reads_the_rows_of_the_page() {
    let (hub, open) = TestHub::start_in_parts().await;
    let names: Vec<String> = (0..3000).map(|number| format!("h{number}")).collect();
    let gone = ["gone", "again", "last"];
    for round in 1..=5 {
        let ip = format!("10.0.0.{round}");
        let mut rows: Vec<_> = names.iter().map(|name| (name.as_str(), &*ip)).collect();
        if round != 3 {
            rows.extend([("db", &*ip), ("db", "fd00::5")]);
        }
        if round < 4 {
            rows.extend(gone.map(|name| (name, &*ip)));
        }
        hub.put_silo("office", &rows).await;
    }
    let comment = json!({"ip": "10.0.0.5", "comment": "x"});
    for path in ["db", "h7", "again"] {
        let path = format!("/silos/office/records/{path}");
        hub.put(&path).json(&comment).await;
        let other = json!({"comment": path});
        assert_eq!(hub.put(&path).json(&other).await.status, 200);
    }
    let all = hub.history("office").await;
    // Made twice and removed once: three rows of IPv6, and of IPv4 one a round.
    for (name, expected) in [
        ("db", 8),
        ("h7", 5),
        ("gone", 4),
        ("again", 5),
        ("last", 4),
        ("none", 0),
    ] {
        let path = format!("/silos/office/history?hostname={name}");
        let rows: Vec<_> = all
            .iter()
            .filter(|row| row["hostname"] == name)
            .cloned()
            .collect();
        assert_eq!(rows.len(), expected, "{name}");
        for limit in [1, 2, 3, 5, 100] {
            let mut next = Some(format!("{path}&limit={limit}"));
            let mut found = Vec::new();
            while let Some(page) = next {
                let (answer, read) = cost(&open, hub.get(&page)).await;
                let most = reads(2, 2 * (limit + 2) + 1);
                assert!(
                    read.statements <= most.statements && read.rows <= most.rows,
                    "{page}: {read:?}"
                );
                found.extend(answer.json().as_array().unwrap().clone());
                next = answer.next_link();
            }
            assert_eq!(found, rows, "{name} limit {limit}");
        }
    }
    // A silo that is deleted, and one that is made again.
    hub.delete("/silos/office").await;
    let path = "/silos/office/history?hostname=db&limit=1";
    for rows in [3, 4] {
        let (answer, read) = cost(&open, hub.get(path)).await;
        assert_eq!(answer.json().as_array().unwrap().len(), 1);
        assert!(read.statements <= 2 && read.rows <= 5, "{rows}: {read:?}");
        hub.put_silo("office", &[("db", "10.0.0.9")]).await;
    }
}

#[tokio::test]
async fn guesses_share_lookups_and_a_valid_token_is_found() {
    let (hub, open) = TestHub::start_in_parts().await;
    let known = TokenId::parse(hub.admin.split('_').nth(1).unwrap()).unwrap();
    let made_up = (0..500).map(|number| TokenId::parse(&format!("madeup{number:04}")).unwrap());
    let all = made_up.chain([known]);
    let look_ups = join_all(all.map(|id| open.tokens.look_up(id, LookupPriority::Low)));
    let (found, read) = cost(&open, look_ups).await;
    let found: Vec<_> = found.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].known.token.id, known);
    assert!(read.statements <= 20, "{read:?}");
}

#[tokio::test]
async fn a_cancelled_lookup_is_taken_over_by_the_next_caller() {
    let (hub, open) = TestHub::start_in_parts().await;
    let known = TokenId::parse(hub.admin.split('_').nth(1).unwrap()).unwrap();
    for priority in [LookupPriority::Normal, LookupPriority::Low] {
        let [mut first, mut second, third] =
            [(); 3].map(|()| Box::pin(open.tokens.look_up(known, priority)));
        // The first runs its lookup, the second waits.
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        for call in [second, third] {
            let found = tokio::time::timeout(DEADLINE, call).await;
            assert!(found.expect("it is answered").unwrap().is_some());
        }
    }
}
