//! A delivery that failed, and the button that tries it again.

use silo_e2e::http_server::Response;
use silo_e2e::webhook_receiver::{Receiver, SECRET};
use silo_hub::internals::sinks::SinkSettings;

use super::browser::{Browser, Shown};
use crate::common::{PAUSE, TestHub};

/// The page, once it has these words.
async fn with(browser: &Browser, path: &str, words: &str) -> Shown {
    for _ in 0..600 {
        let shown = browser.get(path).await;
        assert_eq!(shown.status(), 200, "{shown:?}");
        if shown.text().contains(words) {
            return shown;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{path} never says {words:?}");
}

#[tokio::test]
async fn a_failed_delivery_comes_first_and_is_tried_again() {
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let keys = format!(
        "{{name: hook, kind: webhook, url: {:?}, secret_file: secret, max_attempts: 1}}",
        receiver.url()
    );
    let list = vec![serde_yaml::from_str(&keys).unwrap()];
    let sinks = SinkSettings::read_list(list, folder.path()).unwrap();
    let hub = TestHub::start_with(|settings| settings.sinks = sinks).await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let empty = browser.read("/dashboard/deliveries").await;
    assert!(empty.contains("Nothing was delivered yet"), "{empty}");
    receiver.answer_next(Response::text(400, "no"));
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    with(&browser, "/dashboard/deliveries", "Failed 1").await;
    hub.put_silo("home", &[("nas", "10.0.0.6")]).await;
    let shown = with(&browser, "/dashboard/deliveries", "delivered hook home nas").await;
    let text = shown.text();
    assert!(
        text.contains("the receiver rejected the message: 400"),
        "{text}"
    );
    assert!(
        text.find("failed hook office db") < text.find("delivered hook home nas"),
        "{text}"
    );
    assert_eq!(shown.html().matches("Try again").count(), 1, "{text}");
    let action = format!(
        "/dashboard/deliveries/{}",
        shown.after("action=\"/dashboard/deliveries/")
    );
    let fields = [("state", "failed"), ("sink", "hook")];
    let to = browser.submit(&action, &fields).await;
    assert_eq!(
        to,
        "/dashboard/deliveries?state=failed&sink=hook&notice=retried"
    );
    with(
        &browser,
        "/dashboard/deliveries?state=done",
        "delivered hook office db",
    )
    .await;
    let text = browser
        .read("/dashboard/deliveries?state=failed&sink=hook")
        .await;
    assert!(text.contains("No delivery matches"), "{text}");
    for missing in ["99", "x"] {
        let path = format!("/dashboard/deliveries/{missing}/retry");
        assert_eq!(browser.post(&path, &[]).await.status(), 404, "{missing}");
    }
    let system = browser.read("/dashboard/system").await;
    assert!(system.contains("hook webhook up to date"), "{system}");
}
