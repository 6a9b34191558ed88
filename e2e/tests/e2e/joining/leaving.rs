//! `leave`: everything that `join` made goes, here and at the hub.

use std::fs;

use super::{HOSTS, JOINED, Site, complaint, said, text};

#[tokio::test]
async fn leaving_removes_record_block_token_and_files() {
    let site = Site::new();
    let nas = site.machine("nas", "silo-upstream");
    said(&nas.join(&site.invite_nas(), &[]));
    let laptop = site.machine("laptop", "silo-downstream");
    said(&laptop.join(&site.invite(&["--read"]), &[]));
    let credentials = [nas.credential(), laptop.credential()];
    assert!(laptop.text("hosts").contains("10.0.0.7 nas"));

    let left = said(&nas.run(&["leave"]));
    for words in [
        "nas removed (10.0.0.7)",
        "revoked token ",
        "silo.token",
        "silo.yaml",
    ] {
        assert!(left.contains(words), "{words}: {left}");
    }
    assert_eq!(site.record("nas").await.0, 404);
    said(&laptop.run(&["leave"]));
    assert_eq!(laptop.text("hosts"), HOSTS);
    for machine in [&nas, &laptop] {
        assert!(!machine.path("etc").exists());
        // There is nothing left to do, which is no failure.
        said(&machine.run(&["leave"]));
    }
    assert_eq!(site.tokens().await.len(), 0);
    for credential in credentials {
        assert_eq!(site.admin().with(&credential).get("/token").await.0, 401);
    }
}

#[tokio::test]
async fn records_are_kept_if_that_is_asked_for() {
    let site = Site::new();
    let nas = site.machine("nas", "silo-upstream");
    said(&nas.join(&site.invite_nas(), &[]));
    said(&nas.run(&["leave", "--keep-records"]));
    assert_eq!(site.record("nas").await.0, 200);
    assert_eq!(site.tokens().await.len(), 0);
    assert_eq!(nas.files(), [""; 0]);
}

#[tokio::test]
async fn with_the_hub_away_all_is_cleaned_here_and_the_command_for_there_is_named() {
    let site = Site::new();
    let nas = site.machine("nas", "silo-upstream");
    said(&nas.join(&site.invite_nas(), &[]));
    let laptop = site.machine("laptop", "silo-downstream");
    said(&laptop.join(&site.invite(&["--read"]), &[]));
    let Site { folder, hub, front } = site;
    let credentials = [nas.credential(), laptop.credential()];
    drop(front);
    for (machine, credential) in [&nas, &laptop].into_iter().zip(&credentials) {
        let id = &credential[5..15];
        let complaint = complaint(&machine.run(&["leave"]), 1);
        let command = format!("`silo-hub token revoke {id}`");
        assert!(complaint.contains(&command), "{complaint}");
        assert!(!machine.path("etc").exists());
        assert!(!complaint.contains(&credential[16..]));
    }
    assert_eq!(laptop.text("hosts"), HOSTS);
    // That command does it.
    for credential in &credentials {
        said(&hub.cli(&["token", "revoke", &credential[5..15]]));
    }
    drop((folder, hub));
}

#[tokio::test]
async fn what_join_did_not_make_stays() {
    let site = Site::new();
    site.admin().put_ip("home", "db", "10.0.0.5").await.unwrap();
    // A configuration that was edited since.
    let laptop = site.machine("laptop", "silo-downstream");
    said(&laptop.join(&site.invite(&["--read"]), &[]));
    let edited = laptop.text("etc/silo.yaml") + "# mine\n";
    fs::write(laptop.path("etc/silo.yaml"), &edited).unwrap();
    let left = laptop.run(&["leave"]);
    said(&left);
    assert!(
        text(&left.stderr).contains("was edited since and is kept"),
        "{left:?}"
    );
    assert_eq!(laptop.files(), ["silo.yaml"]);
    assert_eq!(laptop.text("etc/silo.yaml"), edited);

    // A token and a configuration of the administrator.
    let other = site.machine("other", "silo-downstream");
    fs::create_dir(other.path("etc")).unwrap();
    let read = ["--name", "r", "--role", "read", "--silo", "home"];
    let credential = site.hub.token(&read);
    silo_e2e::write_private(&other.path("etc/silo.token"), &credential);
    fs::write(other.path("etc/silo.yaml"), &edited).unwrap();
    said(&other.run(&["once"]));
    assert!(other.text("hosts").contains("10.0.0.5 db"));
    said(&other.run(&["leave"]));
    assert_eq!(other.text("hosts"), HOSTS);
    assert_eq!(other.files(), ["silo.token", "silo.yaml"]);
    assert_eq!(site.admin().with(&credential).get("/token").await.0, 200);
}

#[tokio::test]
async fn a_token_that_was_revoked_before_is_no_failure() {
    let site = Site::new();
    site.admin().put_ip("home", "db", "10.0.0.5").await.unwrap();
    let laptop = site.machine("laptop", "silo-downstream");
    said(&laptop.join(&site.invite(&["--read"]), &[]));
    assert_eq!(laptop.files(), JOINED);
    said(
        &site
            .hub
            .cli(&["token", "revoke", &laptop.credential()[5..15]]),
    );
    let admin = site.admin();
    silo_e2e::until("the hub knows that the token is revoked", async || {
        let (status, _) = admin.with(&laptop.credential()).get("/token").await;
        (status == 401).then_some(())
    })
    .await;
    let left = said(&laptop.run(&["leave"]));
    assert!(left.contains("there is nothing to revoke"), "{left}");
    assert_eq!(laptop.files(), [""; 0]);
}
