//! "Add a machine": an invitation with the rights of one agent, and the command that uses it.

use reqwest::Method;
use serde_json::{Value, json};
use silo_shared::invitation::Invitation;

use super::browser::{Browser, Shown};
use crate::common::TestHub;
use crate::dashboard::Browser as Plain;

const PATH: &str = "/dashboard/silos/office/add-machine";

/// The line in the commands of a page, which are for this agent.
fn line(shown: &Shown, agent: &str) -> Invitation {
    let text = shown.text();
    let text = text.replace("&#39;", "'").replace("&#34;", "\"");
    let text = text.replace("&#38;", "&");
    let linux = format!("' | sudo silo-{agent} join -");
    assert!(text.contains(&linux), "{text}");
    let windows = format!("' | & \"C:\\Program Files\\Silo\\silo-{agent}.exe\" join -");
    assert!(text.contains(&windows), "{text}");
    let (_, rest) = text.split_once("printf %s '").expect("the command");
    let (line, _) = rest.split_once('\'').expect("its end");
    Invitation::parse(line).expect("an invitation")
}

async fn invitations(hub: &TestHub) -> Vec<Value> {
    let found = hub.get("/invitations").await.json();
    found.as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_machine_is_invited_with_the_rights_that_it_needs() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let plain = Plain::at(&hub, "http://hub.test:8053");
    let browser = Browser::sign_in_with(plain, &hub.admin).await;
    let form = browser.get(PATH).await;
    let suggested = "value=\"http://hub.test:8053\"";
    assert!(form.html().contains(suggested), "{form:?}");
    for (kind, name, rights) in [
        (
            "upstream",
            "NAS",
            json!(["NAS", "write", ["office"], ["nas"]]),
        ),
        (
            "downstream",
            "laptop",
            json!(["laptop", "read", ["office"], null]),
        ),
    ] {
        let url = "http://hub.test:8053";
        let fields = [
            ("kind", kind),
            ("name", name),
            ("hostnames", ""),
            ("url", url),
        ];
        let shown = browser.post(PATH, &fields).await;
        assert_eq!(shown.status(), 201, "{shown:?}");
        let line = line(&shown, kind);
        assert_eq!(line.hubs(), [url]);
        assert_eq!(line.pin(), None);
        assert!(
            shown.text().contains("This page came over plain HTTP"),
            "{shown:?}"
        );
        let id = line.key().id().to_string();
        let made = invitations(&hub).await;
        let made = made.iter().find(|made| made["id"] == id).expect("it");
        let found = ["name", "role", "silos", "hostnames"].map(|member| &made[member]);
        assert_eq!(json!(found), rights);
        assert_eq!(made["state"], "open");
        // No token was made.
        let key = line.key().expose();
        let answer = hub.open_call(Method::GET, "/token").bearer(key).await;
        assert_eq!(answer.status, 401);
    }
    let audit = hub.get("/audit").await.json();
    let invited = |row: &&Value| row["event"] == "invited" && row["via"] == "dashboard";
    let rows = audit.as_array().expect("a list");
    assert_eq!(rows.iter().filter(invited).count(), 2, "{audit}");
}

#[tokio::test]
async fn an_open_invitation_is_listed_with_the_tokens_and_revoked_there() {
    let hub = TestHub::start().await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let url = "http://hub.test:8053";
    let fields = [("kind", "downstream"), ("name", "<b>laptop"), ("url", url)];
    let shown = browser.post(PATH, &fields).await;
    let id = line(&shown, "downstream").key().id().to_string();
    let revoke = format!("/dashboard/invitations/{id}/revoke");
    assert!(shown.html().contains(&revoke), "{shown:?}");
    let listed = browser.get("/dashboard/tokens").await;
    for words in ["Open invitations", &revoke, "&#60;b&#62;laptop"] {
        assert!(listed.html().contains(words), "{words}: {listed:?}");
    }
    assert_eq!(browser.post(&revoke, &[]).await.status(), 303);
    assert_eq!(invitations(&hub).await[0]["state"], "revoked");
    let listed = browser.read("/dashboard/tokens").await;
    assert!(!listed.contains("Open invitations"), "{listed}");
    for gone in [&*revoke, "/dashboard/invitations/none/revoke"] {
        assert_eq!(browser.post(gone, &[]).await.status(), 404, "{gone}");
    }
}

#[tokio::test]
async fn a_wrong_machine_is_refused_beside_the_field() {
    let hub = TestHub::start().await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let right = [
        ("kind", "upstream"),
        ("name", "nas"),
        ("hostnames", "nas"),
        ("url", "http://hub.test"),
    ];
    let long = "x".repeat(900);
    let long = format!("http://{long}.test");
    for (field, typed, words) in [
        ("kind", "router", "choose what the machine does"),
        ("name", " ", "the name of the machine"),
        ("hostnames", "x!<b>", "x!&#60;b&#62;: "),
        ("url", "hub.test", "where the machine reaches this hub"),
        ("url", "", "where the machine reaches this hub"),
        ("url", &long, "id=\"url-error\""),
    ] {
        let fields = right.map(|(name, value)| (name, if name == field { typed } else { value }));
        let shown = browser.post(PATH, &fields).await;
        assert_eq!(shown.status(), 422, "{shown:?}");
        assert!(shown.html().contains(words), "{words}: {shown:?}");
    }
    assert!(invitations(&hub).await.is_empty());
    assert_eq!(
        browser.get("/dashboard/silos/-/add-machine").await.status(),
        422
    );
}
