//! `GET /deliveries` and `POST /deliveries/{id}/retry`.

use serde_json::json;
use silo_hub::internals::deliver::sink::{Outcome, Trouble};
use silo_hub::internals::deliver::worker::Round;
use sqlx::Row;

use super::scripted::{Desk, Manner, counts, deliveries, event_sink, state_sink};
use crate::common::TestHub;

#[tokio::test]
async fn deliveries_are_only_shown_to_admins() {
    let hub = TestHub::start().await;
    for role in ["read", "write"] {
        let credential = hub.credential(role, &["*"], &[]).await;
        let get = hub.get("/deliveries").bearer(&credential).await;
        assert_eq!(get.status, 403, "{role}");
        let post = hub.post("/deliveries/1/retry").bearer(&credential).await;
        assert_eq!(post.status, 403, "{role}");
    }
    assert_eq!(hub.get("/deliveries").await.json(), json!([]));
    for id in ["1", "nothing", "-1", "99999999999999999999"] {
        assert_eq!(
            hub.post(&format!("/deliveries/{id}/retry")).await.status,
            404,
            "{id}"
        );
    }
    for wrong in [
        "state=open",
        "sink=No%20Sink",
        "limit=0",
        "limit=1001",
        "cursor=x",
    ] {
        let answer = hub.get(&format!("/deliveries?{wrong}")).await;
        assert_eq!(answer.status, 422, "{wrong}");
        let place = format!("/{}", wrong.split('=').next().unwrap());
        assert_eq!(answer.json()["errors"][0]["pointer"], place);
    }
}

#[tokio::test]
async fn they_come_newest_first_by_state_and_sink_page_by_page() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (dns, _) = state_sink("dns");
    let (hook, _) = event_sink("hook", Manner::default());
    let desk = Desk::begin(&open, "a", vec![dns, hook]).await;
    for last in 1..6 {
        hub.put_silo("office", &[("db", &format!("10.0.0.{last}"))])
            .await;
    }
    assert_eq!(deliveries(&hub, "sink=dns").await.len(), 1);
    while deliveries(&hub, "sink=dns&state=done").await.is_empty() {
        assert_eq!(desk.workers[0].round().await.unwrap(), Round::Again);
    }
    assert_eq!(deliveries(&hub, "sink=hook&state=pending").await.len(), 5);
    let metrics = hub.get("/metrics").await;
    let gauge = "\nsilo_deliveries{sink=\"hook\",state=\"pending\"} 5\n";
    assert!(metrics.text().contains(gauge), "{}", metrics.text());
    let pages = hub.walk("/deliveries?limit=3&sink=hook").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
    let ids: Vec<_> = pages
        .concat()
        .iter()
        .map(|row| row["id"].as_i64().unwrap())
        .collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    let done = &deliveries(&hub, "sink=dns").await[0];
    let revision = hub.get("/silos/office").await.json()["revision"].clone();
    let id = done["id"].clone();
    assert_eq!(
        *done,
        json!({
            "id": id, "sink": "dns", "event": "change", "silo": "office", "revision": revision,
            "at": crate::common::START, "state": "done", "done_at": crate::common::START,
            "attempts": 0, "failing_since": null, "why": null, "next_try": null,
            "hostnames": [{
                "hostname": "db", "state": "done", "attempts": 0, "failing_since": null,
                "why": null, "next_try": null,
            }],
        })
    );
    let again = hub.post(&format!("/deliveries/{id}/retry")).await;
    assert_eq!(
        (again.status, again.json()),
        (200, done.clone()),
        "what is done stays so"
    );
}

#[tokio::test]
async fn done_deliveries_are_purged_and_pending_ones_kept() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (dns, script) = state_sink("dns");
    let (hook, told) = event_sink("hook", Manner::default());
    let desk = Desk::begin(&open, "a", vec![dns, hook]).await;
    let name = |text| Outcome::Refused(Trouble::of_name(text));
    // Of each sink: done, given up or refused for good, and pending.
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    desk.work().await;
    script.will([name("nohost")]);
    told.will([name("no such address")]);
    hub.put_silo("home", &[("nas", "10.0.0.6")]).await;
    desk.work().await;
    hub.put_silo("barn", &[("cam", "10.0.0.7")]).await;
    assert_eq!(counts(&hub).await, [2, 2, 2]);
    // The retention of this upkeep is 30 days.
    let upkeep = crate::expiry::upkeep(&open, 0);
    hub.pass(30 * 86_400);
    upkeep.purge().await.unwrap();
    assert_eq!(counts(&hub).await, [2, 2, 2], "not before");
    hub.pass(1);
    hub.put_silo("shed", &[("pi", "10.0.0.8")]).await;
    upkeep.purge().await.unwrap();
    let left = deliveries(&hub, "").await;
    let mut left: Vec<String> = left
        .iter()
        .map(|row| [&row["sink"], &row["silo"], &row["state"]].map(|v| v.as_str().unwrap()))
        .map(|row| row.join(" "))
        .collect();
    left.sort();
    assert_eq!(
        left,
        [
            "dns barn pending",
            // A refused delivery of a state sink is kept: without its row it would be sent again.
            "dns home failed",
            "dns shed pending",
            "hook barn pending",
            "hook shed pending",
        ]
    );
    // The names of those that went are gone with them.
    let mut connection = hub.home.connect().await;
    let names = sqlx::query("SELECT count(*) FROM delivery_names")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(names.get::<i64, _>(0), 5);
}
