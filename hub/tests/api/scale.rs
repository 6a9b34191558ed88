//! What a request may cost the database, in statements and rows.

use reqwest::Method;
use serde_json::Value;
use silo_hub::open_hub::OpenHub;
use silo_hub::registry::{BeginImport, EndImport, ImportPart};
use silo_hub::store::{Reads, SiloHead, TransferredSilo};
use silo_shared::silo::SiloId;

use crate::common::{TestHub, text};

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
                revision: 1,
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
async fn the_history_of_a_hostname_is_looked_through_in_windows() {
    let (hub, open) = TestHub::start_in_parts().await;
    let names: Vec<String> = (0..3000).map(|number| format!("h{number}")).collect();
    for round in 1..=5 {
        let ip = format!("10.0.0.{round}");
        let mut rows: Vec<_> = names.iter().map(|name| (name.as_str(), &*ip)).collect();
        if round != 3 {
            rows.extend([("db", &*ip), ("db", "fd00::5")]);
        }
        hub.put_silo("office", &rows).await;
    }
    // Made twice and removed once: three rows of IPv6, and of IPv4 one a round.
    let path = "/silos/office/history?hostname=db";
    let (answer, read) = cost(&open, hub.get(path)).await;
    let all = answer.json();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 8, "{all:?}");
    assert!(
        read.statements >= 4,
        "15 000 rows are looked through at once: {read:?}"
    );
    for limit in 1..=9 {
        let pages = hub.walk(&format!("{path}&limit={limit}")).await;
        assert_eq!(pages.concat(), *all, "limit {limit}");
        assert_eq!(pages.len(), 8_usize.div_ceil(limit), "limit {limit}");
    }
    let none = hub.get("/silos/office/history?hostname=none").await;
    assert_eq!((none.status, none.text()), (200, "[]"));
    // The newest are found in the first window.
    let (_, read) = cost(&open, hub.get(&format!("{path}&limit=1"))).await;
    assert!(read.statements <= 2 && read.rows <= 3, "{read:?}");
}
