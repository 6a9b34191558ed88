//! Wrong signatures are wrong credentials.

use reqwest::Method;

use super::{NOW, Shot, assert_refused, office};

#[tokio::test]
async fn after_ten_wrong_signatures_a_minute_the_answer_is_429() {
    let (hub, admin) = office().await;
    let good = || admin.sign(&hub, admin.draft(Method::GET, "/silos/office"));
    let replayed = good();
    assert_eq!(replayed.send(&hub).await.status, 200);
    let wrong = || {
        let mut shot = good();
        shot.set("signature", "silo=:AA==:");
        shot
    };
    let unread = || {
        let mut shot = good();
        shot.set("signature", "");
        shot
    };
    let late = || admin.sign(&hub, admin.draft(Method::GET, "/silos").created(NOW - 900));
    let unknown = || {
        let other = admin.posing_as("aaaaaaaaaa");
        other.sign(&hub, other.draft(Method::GET, "/silos"))
    };
    let kinds: [&dyn Fn() -> Shot; 5] = [&wrong, &unread, &late, &unknown, &|| replayed.clone()];
    for (number, kind) in kinds.iter().enumerate() {
        let ip = format!("192.0.2.{number}");
        for _ in 0..10 {
            let answer = kind().call(&hub).seen_from(&ip).await;
            assert_eq!(answer.status, 401, "{answer:?}");
        }
        let answer = kind().call(&hub).seen_from(&ip).await;
        assert_refused(&answer, 429, "too-many-failures");
        // A valid one is still accepted.
        let shot = good();
        let answer = shot.call(&hub).seen_from(&ip).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        shot.assert_signed(&answer);
    }
}
