//! Sessions over TLS.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use silo_hub::internals::domain::time::Clock;
use tokio::sync::oneshot;

use super::browser::client;
use super::{Browser, SIGN_IN};
use crate::common::{Home, START_MS, listener};

#[tokio::test]
async fn over_tls_the_cookie_is_secure_and_has_the_prefix() {
    let home = Home::new();
    let certified = rcgen::generate_simple_self_signed(["silo.lan".to_owned()]).unwrap();
    let (cert, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let mut permissions = std::fs::metadata(&key).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(&key, permissions).unwrap();
    let args = silo_hub::internals::settings::HubArgs {
        data_dir: Some(home.path().join("data")),
        tls_cert: Some(cert),
        tls_key: Some(key),
        ..Default::default()
    };
    let mut settings = home.settings();
    settings.tls = silo_hub::internals::settings::HubSettings::load(&args)
        .unwrap()
        .tls;
    let listener = listener();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel::<()>();
    let clock = Clock::Set(Arc::new(AtomicI64::new(START_MS)));
    let data_dir = settings.data_dir.clone();
    let running = tokio::spawn(silo_hub::internals::run(listener, settings, clock, async {
        let _ = stopped.await;
    }));
    let client = client()
        .tls_danger_accept_invalid_certs(true)
        .resolve("silo.lan", ([127, 0, 0, 1], port).into())
        .build()
        .unwrap();
    let origin = format!("https://silo.lan:{port}");
    let plain = client.clone();
    let browser = Browser::with(client, &origin, &origin);
    let page = browser.get(SIGN_IN).await;
    assert_eq!(page.status, 200);
    assert!(!page.text.contains("not encrypted"));
    let admin = std::fs::read_to_string(data_dir.join("admin.token")).unwrap();
    let page = browser.post(SIGN_IN, &[("token", admin.trim())]).await;
    assert_eq!(page.status, 303, "{}", page.text);
    let (name, value) = browser.session().expect("it is signed in");
    assert!(name.starts_with("__Secure-silo_"), "{name}");
    assert!(name.ends_with(&format!("_{port}")), "{name}");
    assert_eq!(
        page.cookies(),
        [format!(
            "{name}={value}; Path=/dashboard; Max-Age=604800; HttpOnly; SameSite=Lax; Secure"
        )]
    );
    assert!(browser.is_signed_in().await);
    // HTTP/2 names the host in `:authority`, without `Host`.
    for (sent_by, status) in [(origin.as_str(), 422), ("https://evil.test", 403)] {
        let form = plain
            .post(format!("{origin}{SIGN_IN}"))
            .header("origin", sent_by);
        let form = form.header("content-type", "application/x-www-form-urlencoded");
        let answer = form.body("token=x").send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        assert_eq!(answer.status(), status, "{sent_by}");
    }
    drop(stop);
    running.await.unwrap().unwrap();
}
