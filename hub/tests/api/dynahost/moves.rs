//! What an export carries to another hub.

use std::path::Path;
use std::sync::Arc;

use silo_hub::internals::domain::dynahost::{Binding, SealedLogin};
use silo_hub::internals::domain::sink::SinkName;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::secrets::LoginOwner;

use super::bindings::add;
use super::{home, name, ok, speak, update, wrong};
use crate::common::TestHub;
use crate::transfer::{exported, import};

/// A provider that is not called in these tests.
const OVH: &str =
    "- {name: ovh, kind: dyndns2, url: 'http://127.0.0.1:9/nic/update', logins: dynahost}\n";

/// A hub that keeps its key in a file of another's.
pub(crate) async fn start(file: &Path) -> (TestHub, Arc<OpenHub>) {
    TestHub::start_in_parts_with(|settings| {
        settings.key_file = Some(file.to_owned());
        speak(settings, OVH);
    })
    .await
}

async fn bindings(open: &OpenHub) -> Vec<Binding> {
    open.store.dynahosts().await.expect("a list")
}

/// The one login that is stored.
async fn sealed(open: &OpenHub) -> SealedLogin {
    let mut snapshot = open.store.snapshot().await.expect("a snapshot");
    let all = snapshot.dynahosts("", 9).await.expect("a page");
    let mut logins = all.into_iter().filter_map(|one| one.login);
    logins.next().expect("a login")
}

#[tokio::test]
async fn dynahosts_hosts_go_on_where_the_key_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.key");
    let (source, from) = start(&file).await;
    let login = "&backend=ovh&login=user-quite7f3asecret&pass=pass-quite7f3asecret";
    let nas = format!("secid=one-quite7f3asecret&host=nas.example.net{login}");
    for query in [
        &*nas,
        "secid=two-quite7f3asecret&host=h1",
        "secid=theirs-quite7f3asecret&host=h2",
    ] {
        assert_eq!(update(&source, query).await, ok(), "{query}");
    }
    add(&from, "h1").await;
    add(&from, "h3").await;
    let text = exported(&from, true).await;
    assert_eq!(text.matches("{\"dynahost\":{").count(), 4);
    assert!(
        !text.contains("quite7f3asecret"),
        "an export shows a secret: {text}"
    );
    assert!(!exported(&from, false).await.contains("dynahost\":{"));

    let (target, to) = start(&file).await;
    assert_eq!(
        update(&target, "secid=ours-quite7f3asecret&host=h2").await,
        ok()
    );
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| line.contains("dynahost\":{"));
    // Cut short behind the first of them, and read in whole over it.
    let cut = lines[..=first.unwrap()].join("\n");
    import(&to, &cut).await.unwrap_err();
    assert_eq!(import(&to, &text).await.unwrap().read.dynahosts, 4);
    let again = import(&to, &text).await.unwrap();
    assert_eq!((again.silos_changed, again.dynahosts), (0, 0));

    let is_own = |binding: &Binding| binding.hostname == name("h2");
    let (own, came): (Vec<_>, Vec<_>) = bindings(&to).await.into_iter().partition(is_own);
    let (theirs, all) = bindings(&from)
        .await
        .into_iter()
        .partition::<Vec<_>, _>(is_own);
    assert_eq!(came, all);
    assert_eq!(own.len(), 1);
    assert_ne!(own[0].id, theirs[0].id, "the one that was here stays");
    assert_eq!(sealed(&to).await, sealed(&from).await);

    // Each continues with its own secid only.
    for (query, answer) in [
        ("secid=two-quite7f3asecret&host=nas.example.net", wrong()),
        (&*nas, ok()),
        ("secid=two-quite7f3asecret&host=h1", ok()),
        ("secid=theirs-quite7f3asecret&host=h2", wrong()),
        ("secid=ours-quite7f3asecret&host=h2", ok()),
        ("secid=new-quite7f3asecret&host=h3", ok()),
        ("secid=newer-quite7f3asecret&host=h3", wrong()),
    ] {
        assert_eq!(update(&target, query).await, answer, "{query}");
    }
    // The same login is no other one.
    assert_eq!(sealed(&to).await, sealed(&from).await);
    let owner = LoginOwner {
        sink: &SinkName::parse("ovh").unwrap(),
        silo: &home(),
        hostname: &name("nas.example.net"),
    };
    let opened = to
        .key()
        .await
        .unwrap()
        .open_login(owner, &sealed(&to).await);
    assert_eq!(opened.unwrap().password(), "pass-quite7f3asecret");
}
