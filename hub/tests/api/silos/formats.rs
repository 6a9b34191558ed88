//! A silo as JSON, as hosts lines and as a zone fragment.

use crate::common::{TestHub, revision};

#[tokio::test]
async fn a_silo_can_be_read_as_hosts_lines_and_as_a_zone_fragment() {
    let hub = TestHub::start().await;
    let made = hub
        .put_silo(
            "office",
            &[
                ("db", "10.0.0.5"),
                ("db", "fd00::5"),
                ("nas.lan", "10.0.0.7"),
            ],
        )
        .await;
    let number = revision(&made.json());
    let hosts = "10.0.0.5 db\nfd00::5 db\n10.0.0.7 nas.lan\n";
    for (path, accept) in [
        ("/silos/office?format=hosts", "*/*"),
        ("/silos/office?format=hosts", "application/json"),
        ("/silos/office", "text/plain"),
        ("/silos/office", "text/plain;charset=utf-8, */*;q=0.1"),
    ] {
        let answer = hub.get(path).header("accept", accept).await;
        assert_eq!(answer.status, 200, "{path} {accept}");
        assert_eq!(answer.text(), hosts, "{path} {accept}");
        assert_eq!(answer.etag(), format!("\"{number}-hosts\""));
        assert_eq!(answer.header("vary"), Some("Accept"));
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
        let kind = answer.header("content-type").unwrap();
        assert!(kind.starts_with("text/plain"), "{kind}");
    }
    let zone = hub.get("/silos/office?format=zone").await;
    assert_eq!(zone.etag(), format!("\"{number}-zone\""));
    let rows: Vec<Vec<&str>> = zone
        .text()
        .lines()
        .map(|line| line.split_ascii_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (rows[0][0], rows[0][3], rows[0][4]),
        ("db", "A", "10.0.0.5")
    );
    assert_eq!(
        (rows[1][0], rows[1][3], rows[1][4]),
        ("db", "AAAA", "fd00::5")
    );
    assert_eq!(
        (rows[2][0], rows[2][3], rows[2][4]),
        ("nas.lan.", "A", "10.0.0.7")
    );
}

#[tokio::test]
async fn any_other_accept_is_answered_in_json() {
    let hub = TestHub::start().await;
    let made = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    for accept in [
        "image/png",
        "text/html",
        "application/xml, */*;q=0.5",
        "nonsense",
        "",
    ] {
        let answer = hub.get("/silos/office").header("accept", accept).await;
        assert_eq!(answer.status, 200, "{accept}");
        assert_eq!(answer.body, made.body, "{accept}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn every_format_follows_a_change() {
    let hub = TestHub::start().await;
    for ip in ["10.0.0.5", "10.0.0.6"] {
        let number = revision(&hub.put_silo("office", &[("db", ip)]).await.json());
        for (format, tag, body) in [
            ("hosts", format!("\"{number}-hosts\""), format!("{ip} db\n")),
            ("json", format!("\"{number}\""), ip.to_owned()),
            ("zone", format!("\"{number}-zone\""), ip.to_owned()),
        ] {
            let answer = hub.get(&format!("/silos/office?format={format}")).await;
            assert_eq!(answer.etag(), tag);
            assert!(answer.text().contains(&body), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_hub_without_room_for_rendered_silos_answers_all_the_same() {
    let hub = TestHub::start_with(|settings| settings.view_bytes = 1).await;
    for ip in ["10.0.0.5", "10.0.0.6"] {
        let made = hub.put_silo("office", &[("db", ip)]).await;
        assert_eq!(hub.get("/silos/office").await.body, made.body);
        assert_eq!(hub.get("/silos/office").await.body, made.body);
    }
}
