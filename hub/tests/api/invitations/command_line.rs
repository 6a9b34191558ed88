//! `silo-hub invite`.

use std::process::Output;

use silo_shared::invitation::Invitation;

use super::{Machine, home, listed};
use crate::common::TestHub;
use crate::signing::assert_refused;

async fn invite(hub: &TestHub, arguments: &[&str]) -> Output {
    let mut program = hub.home.program(&hub.settings);
    let program = program.arg("invite").args(arguments);
    program.output().await.expect("the program runs")
}

async fn printed(hub: &TestHub, arguments: &[&str]) -> Vec<String> {
    let output = invite(hub, arguments).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("it prints UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// The line in a command.
fn line(command: &str) -> &str {
    let from = command.find("silo-invite:").expect("it has a line");
    let rest = &command[from..];
    &rest[..rest.find('\'').expect("it is quoted")]
}

#[tokio::test]
async fn invite_prints_commands_for_the_machine() {
    let hub = home().await;
    let lines = printed(
        &hub,
        &[
            "--silo",
            "home",
            "--hostname",
            "nas",
            "--read",
            "--url",
            "http://hub.lan:8053",
        ],
    )
    .await;
    let [upstream, on_windows, downstream, _] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert!(
        upstream.starts_with("printf %s 'silo-invite:1:"),
        "{upstream}"
    );
    assert!(
        upstream.ends_with("' | sudo silo-upstream join -"),
        "{upstream}"
    );
    assert!(
        downstream.ends_with("' | sudo silo-downstream join -"),
        "{downstream}"
    );
    assert_eq!(
        *on_windows,
        format!(
            "'{}' | & \"C:\\Program Files\\Silo\\silo-upstream.exe\" join -",
            line(upstream)
        )
    );
    let invitation = Invitation::parse(line(upstream)).expect("it is a line");
    assert_eq!(invitation.hubs(), ["http://hub.lan:8053"]);
    assert_ne!(line(upstream), line(downstream));
    let shown = printed(&hub, &["list"]).await;
    assert_eq!(shown.len(), 2, "{shown:?}");
    let id = invitation.key().id().to_string();
    let of_upstream = shown.iter().find(|shown| shown.starts_with(&id));
    let of_upstream = of_upstream.expect("it is listed");
    assert!(
        of_upstream.contains("  open     to write nas in home  until "),
        "{of_upstream}"
    );
    assert!(
        of_upstream.ends_with("  address -  token -  nas"),
        "{of_upstream}"
    );
    let revoked = printed(&hub, &["revoke", &id]).await;
    assert_eq!(revoked, [format!("invitation {id} is revoked")]);
    assert_refused(
        &Machine::with(line(upstream)).look(&hub).await,
        410,
        "invitation-revoked",
    );
    let again = invite(&hub, &["revoke", &id]).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}

#[tokio::test]
async fn a_wrong_command_line_makes_nothing() {
    let hub = home().await;
    let url = ["--url", "http://hub.lan:8053"];
    for (arguments, words) in [
        (&["--silo", "home"][..], "--hostname NAME for an upstream"),
        (&["--read"], "--silo SILO"),
        (
            &["--silo", "h*", "--read"],
            "--silo: an invitation has plain names",
        ),
        (
            &["--silo", "home", "--hostname", "n*"],
            "--hostname: an invitation has plain names",
        ),
        (
            &["--silo", "home", "--read", "--expires", "4m"],
            "--expires: an invitation lasts",
        ),
        (
            &["--silo", "home", "--read", "--expires", "8d"],
            "--expires: an invitation lasts",
        ),
        (
            &["--silo", "home", "--read", "--expires", "1w"],
            "30m, 1h or 7d",
        ),
        (
            &[
                "--silo",
                "home",
                "--read",
                "--token-expires",
                "2001-01-01T00:00:00Z",
            ],
            "--token-expires: this time has passed",
        ),
        // The good one and the wrong one are checked before either is made.
        (
            &[
                "--silo",
                "home",
                "--silo",
                "lab",
                "--hostname",
                "nas",
                "--read",
            ],
            "--silo: a token that writes is for one silo",
        ),
    ] {
        let output = invite(&hub, &[arguments, &url[..]].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
    // Without a URL that others reach, there are candidates.
    let output = invite(&hub, &["--silo", "home", "--read"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let port = hub.address.port();
    assert!(
        said.contains(&format!("listens at http://127.0.0.1:{port}")),
        "{said}"
    );
    assert!(
        said.contains("--url URL") && said.contains("public_url"),
        "{said}"
    );
    assert_eq!(hub.walk("/invitations").await.concat().len(), 0);
    let made = printed(
        &hub,
        &[&["--silo", "home", "--read"][..], &url[..]].concat(),
    )
    .await;
    assert_eq!(made.len(), 2);
    assert_eq!(listed(&hub).await["role"], "read");
}
