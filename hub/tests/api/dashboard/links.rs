//! Links that sign in once.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use silo_e2e::clock::STEPS;
use silo_e2e::logs::is_secret;
use silo_hub::internals::domain::token::{Role, TokenSpec};
use silo_hub::internals::registry::new_token::NewToken;
use silo_hub::internals::registry::{Actor, AddLink, Audited};
use silo_hub::internals::secrets::LinkCode;
use silo_hub::internals::store::Via;

use super::{Browser, beside};
use crate::common::{Kind, START_MS, TestHub};
use crate::expiry::upkeep;
use crate::several_hubs::two_hubs;

const LINK: &str = "/dashboard/link";

/// What `silo-hub dashboard link` prints.
async fn printed(hub: &TestHub, arguments: &[&str]) -> String {
    let mut program = hub.home.program(&hub.settings);
    let output = program.args(["dashboard", "link"]).args(arguments);
    let output = output.output().await.expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let url = String::from_utf8(output.stdout).expect("a URL is ASCII");
    url.trim().to_owned()
}

fn code(url: &str) -> String {
    let (_, code) = url.split_once('#').expect("the code is behind the #");
    is_secret(code);
    code.to_owned()
}

/// A link, by the clock of the hub: its code and the id of its token.
pub(super) async fn link(hub: &TestHub) -> (String, String) {
    let open = beside(hub).await;
    let now = open.clock.now();
    let spec = TokenSpec {
        name: "dashboard link".to_owned(),
        role: Role::Admin,
        silos: Vec::new(),
        hostnames: None,
        expires_at: Some(now.plus_seconds(300)),
    };
    let key = open.key().await.expect("there is a key");
    let new = NewToken::make(spec, &key, now).expect("there is randomness");
    let code = LinkCode::new().expect("there is randomness");
    let command = AddLink {
        token: new.command,
        code: code.hash(),
        ends_at: now.plus_seconds(300),
    };
    let actor = Actor {
        via: Via::Cli,
        token: None,
        client_ip: None,
    };
    let added = open.registry.apply(Audited { actor, command }).await;
    added.expect("the link is added");
    open.close().await;
    is_secret(code.expose());
    (code.expose().to_owned(), new.token.id.to_string())
}

/// Sets the wall clock of a hub to the present, which the programs that it runs beside have.
#[expect(
    clippy::disallowed_methods,
    reason = "it is what the other programs go by"
)]
fn to_the_present(hub: &TestHub) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(now.expect("it is later").as_secs()).expect("it is a time");
    hub.step(now - START_MS / 1000);
}

/// Lets the upkeep end what is over, after ten minutes: before, the clock could be wrong.
pub(super) async fn end_sessions(hub: &TestHub) {
    let open = Arc::new(beside(hub).await);
    let upkeep = upkeep(&open, 0);
    for passes in [601, 601, 601, 0] {
        upkeep.end_sessions().await.expect("the database answers");
        hub.pass(passes);
    }
    drop(upkeep);
    let open = Arc::into_inner(open).expect("nothing else has it");
    open.close().await;
}

async fn audit(hub: &TestHub, token: &str) -> Vec<(String, String)> {
    let rows = hub.walk("/audit").await.concat();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rows.iter()
        .rev()
        .filter(|row| row["token"] == token)
        .map(|row| (text(&row["event"]), text(&row["via"])))
        .collect()
}

fn rows(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = rows.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    owned.collect()
}

#[tokio::test]
async fn a_printed_link_signs_in_once_with_its_role() {
    let hub = TestHub::start().await;
    to_the_present(&hub);
    for (arguments, role) in [
        (&[][..], "admin"),
        (&["--role", "read"], "read"),
        (&["--role", "write"], "write"),
        (&["--role", "admin"], "admin"),
    ] {
        let url = printed(&hub, arguments).await;
        let start = format!("http://{}{LINK}#", hub.address);
        assert!(url.starts_with(&start), "{url}");
        let code = code(&url);
        let browser = Browser::of(&hub);
        let page = browser.get(LINK).await;
        assert!(page.text.contains("src=\"/dashboard/link.js\""));
        assert!(page.text.contains("name=\"code\""));
        let page = browser.post(LINK, &[("code", &format!(" {code}\n"))]).await;
        assert_eq!((page.status, page.location()), (303, "/dashboard/"));
        assert!(browser.is_signed_in().await);
        let tokens = hub.get("/tokens").await.json();
        let tokens = tokens.as_array().expect("a list");
        let own = tokens.iter().find(|one| one["name"] == "dashboard link");
        assert_eq!(own.expect("it is listed")["role"], role);
        let again = Browser::of(&hub);
        let page = again.post(LINK, &[("code", &code)]).await;
        assert_eq!(page.status, 422);
        assert!(page.text.contains("used already, or has expired"));
        assert!(!page.text.contains(&code));
        assert!(again.session().is_none() && browser.is_signed_in().await);
        let page = browser.submit("/dashboard/sign-out", &[]).await;
        assert_eq!(page.status, 303);
    }
    let tokens = hub.get("/tokens").await;
    assert!(!tokens.text().contains("dashboard link"), "{tokens:?}");
}

#[tokio::test]
async fn a_link_of_a_stopped_hub_is_valid_once_it_runs() {
    let hub = TestHub::start().await;
    let (home, settings) = hub.stop().await;
    let mut program = home.program(&settings);
    let output = program.args(["dashboard", "link", "--role", "read"]);
    let output = output.output().await.expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let url = String::from_utf8(output.stdout).expect("a URL is ASCII");
    assert!(
        url.starts_with("http://127.0.0.1:8053/dashboard/link#"),
        "{url}"
    );
    let hub = TestHub::start_in(home, settings).await;
    to_the_present(&hub);
    let browser = Browser::of(&hub);
    let page = browser
        .post(LINK, &[("code", code(url.trim()).as_str())])
        .await;
    assert_eq!(page.status, 303, "{}", page.text);
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn a_link_expires_after_five_minutes_and_its_token_with_it() {
    let hub = TestHub::start().await;
    let (code, token) = link(&hub).await;
    hub.pass(299);
    let (in_time, _) = link(&hub).await;
    hub.pass(1);
    let browser = Browser::of(&hub);
    let page = browser.post(LINK, &[("code", &code)]).await;
    assert_eq!(page.status, 422);
    assert!(browser.session().is_none());
    let page = browser.post(LINK, &[("code", &in_time)]).await;
    assert_eq!(page.status, 303);
    end_sessions(&hub).await;
    assert!(browser.is_signed_in().await);
    assert_eq!(
        audit(&hub, &token).await,
        rows(&[("created", "cli"), ("revoked", "expiry")])
    );
}

#[tokio::test]
async fn of_two_browsers_at_once_one_gets_in_by_a_link() {
    let hub = TestHub::start().await;
    for _ in 0..5 {
        let (code, _) = link(&hub).await;
        let (a, b) = (Browser::of(&hub), Browser::of(&hub));
        let fields = [("code", code.as_str())];
        let (first, second) = tokio::join!(a.post(LINK, &fields), b.post(LINK, &fields));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [303, 422]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hubs_at_once_one_lets_in_by_a_link() {
    let Some((a, b)) = two_hubs().await else {
        assert_eq!(Kind::chosen(), Kind::Sqlite);
        return;
    };
    // As behind a balancer: the browsers see one host.
    let at = |hub: &TestHub| Browser::at(hub, "http://silo.lan");
    for _ in 0..5 {
        let (code, _) = link(&a).await;
        let (first, second) = (at(&a), at(&b));
        let fields = [("code", code.as_str())];
        let pages = tokio::join!(first.post(LINK, &fields), second.post(LINK, &fields));
        let (inside, outside) = match (pages.0.status, pages.1.status) {
            (303, 422) => (first, second),
            (422, 303) => (second, first),
            statuses => panic!("{statuses:?}"),
        };
        assert_eq!(outside.session(), None);
        let (name, value) = inside.session().expect("it is signed in");
        for hub in [&a, &b] {
            let browser = at(hub);
            browser.set_cookie(&name, &value);
            assert!(browser.is_signed_in().await);
        }
    }
}

#[tokio::test]
async fn the_session_of_a_link_is_in_the_audit_and_its_token_ends_with_it() {
    let hub = TestHub::start().await;
    let (code, token) = link(&hub).await;
    let browser = Browser::of(&hub);
    assert_eq!(browser.post(LINK, &[("code", &code)]).await.status, 303);
    let listed = hub.get("/tokens").await.json();
    let listed = listed.as_array().unwrap();
    let own = listed.iter().find(|row| row["id"] == token.as_str());
    let own = own.expect("the token is listed");
    assert_eq!(own["name"], "dashboard link");
    assert_eq!(own["expires_at"], json!("2026-01-09T03:04:05.678Z"));
    // Idle, the session ends, and the token with it.
    hub.pass(12 * 3600);
    assert!(!browser.is_signed_in().await);
    // Another hub's clock may be behind: not before a day has passed.
    end_sessions(&hub).await;
    assert_eq!(audit(&hub, &token).await.len(), 2);
    hub.pass(24 * 3600);
    end_sessions(&hub).await;
    assert_eq!(
        audit(&hub, &token).await,
        rows(&[
            ("created", "cli"),
            ("changed", "dashboard"),
            ("revoked", "expiry")
        ])
    );
    // An admin may end it before that, as any token.
    let (code, token) = link(&hub).await;
    let browser = Browser::of(&hub);
    assert_eq!(browser.post(LINK, &[("code", &code)]).await.status, 303);
    assert_eq!(hub.delete(&format!("/tokens/{token}")).await.status, 204);
    assert!(!browser.is_signed_in().await);
    let (code, token) = link(&hub).await;
    assert_eq!(hub.delete(&format!("/tokens/{token}")).await.status, 204);
    assert_eq!(browser.post(LINK, &[("code", &code)]).await.status, 422);
}

#[tokio::test]
async fn a_restore_ends_links_that_were_not_used() {
    let hub = TestHub::start().await;
    let (code, _) = link(&hub).await;
    let open = beside(&hub).await;
    let restored = silo_hub::internals::registry::NoteRestored::after(Default::default());
    let restored = restored.expect("there is randomness");
    open.registry.apply(restored).await.expect("it is noted");
    open.close().await;
    let page = Browser::of(&hub).post(LINK, &[("code", &code)]).await;
    assert_eq!(page.status, 422);
}

#[tokio::test]
async fn without_a_dashboard_no_link_is_printed() {
    let hub = TestHub::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hub.yaml");
    std::fs::write(&file, "dashboard: false\n").expect("it can be written");
    let mut program = hub.home.program(&hub.settings);
    let output = program
        .arg("--config")
        .arg(&file)
        .args(["dashboard", "link"])
        .output()
        .await
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("dashboard: false"), "{said}");
}

#[tokio::test]
async fn a_link_of_a_wrong_clock_is_of_no_use_and_its_token_is_revoked() {
    for step in STEPS {
        let hub = TestHub::start().await;
        hub.step(step);
        let (code, token) = link(&hub).await;
        hub.step(-step);
        let page = Browser::of(&hub).post(LINK, &[("code", &code)]).await;
        assert_eq!(page.status, 422, "{step}");
        end_sessions(&hub).await;
        let revoked = ("revoked".to_owned(), "expiry".to_owned());
        assert_eq!(audit(&hub, &token).await.last(), Some(&revoked), "{step}");
    }
}

#[tokio::test]
async fn the_token_of_a_link_is_in_no_export() {
    let hub = TestHub::start().await;
    let (unused, _) = link(&hub).await;
    let (code, token) = link(&hub).await;
    let browser = Browser::of(&hub);
    assert_eq!(browser.post(LINK, &[("code", &code)]).await.status, 303);
    let (reader, _) = hub
        .token(json!({"name": "tv", "role": "read", "silos": ["office"]}))
        .await;
    let open = beside(&hub).await;
    let text = crate::transfer::exported(&open, true).await;
    open.close().await;
    assert!(text.contains(&reader), "{text}");
    for secret in ["dashboard link", token.as_str(), &unused] {
        assert!(!text.contains(secret), "{text}");
    }
}
