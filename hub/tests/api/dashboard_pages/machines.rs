//! "Add a machine": a token with the rights of one agent, and the commands.

use reqwest::Method;
use serde_json::json;

use super::browser::Browser;
use crate::common::TestHub;
use crate::dashboard::Browser as Plain;

#[tokio::test]
async fn a_machine_gets_a_token_of_its_own_and_the_commands_without_it() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let plain = Plain::at(&hub, "http://hub.test:8053");
    let browser = Browser::sign_in_with(plain, &hub.admin).await;
    let path = "/dashboard/silos/office/add-machine";
    assert!(browser.read(path).await.contains("Add a machine to office"));
    let fields = [("kind", "upstream"), ("name", "NAS"), ("hostnames", "")];
    let shown = browser.post(path, &fields).await;
    assert_eq!(shown.status(), 201, "{shown:?}");
    let secret = shown.after("id=\"linux-token\">").to_owned();
    let token = hub.open_call(Method::GET, "/token").bearer(&secret).await;
    let token = token.json();
    let rights = [
        &token["name"],
        &token["role"],
        &token["silos"],
        &token["hostnames"],
    ];
    assert_eq!(json!(rights), json!(["NAS", "write", ["office"], ["nas"]]));
    let install = "silo-upstream install --watch --hub http://hub.test:8053 --token-file /etc/silo/upstream.token --silo office --hostnames nas";
    assert!(shown.text().contains(install), "{}", shown.text());
    let commands = shown.html().lines().filter(|line| line.contains("sudo "));
    assert!(commands.clone().count() >= 2);
    assert!(!commands.clone().any(|line| line.contains(&secret)));
    assert!(
        shown.text().contains("This page came over plain HTTP"),
        "{}",
        shown.text()
    );
    let fields = [("kind", "downstream"), ("name", "laptop")];
    let shown = browser.post(path, &fields).await;
    let secret = shown.after("id=\"windows-token\">").to_owned();
    let answer = hub
        .open_call(Method::GET, "/silos/office")
        .bearer(&secret)
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_wrong_machine_is_refused_beside_the_field() {
    let hub = TestHub::start().await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let path = "/dashboard/silos/office/add-machine";
    let fields = [
        ("kind", "upstream"),
        ("name", "nas"),
        ("hostnames", "x!<b>"),
    ];
    let shown = browser.post(path, &fields).await;
    assert_eq!(shown.status(), 422, "{shown:?}");
    assert!(shown.html().contains("x!&#60;b&#62;: "), "{shown:?}");
    assert_eq!(hub.get("/tokens").await.json().as_array().unwrap().len(), 1);
    assert_eq!(
        browser.get("/dashboard/silos/-/add-machine").await.status(),
        422
    );
}
