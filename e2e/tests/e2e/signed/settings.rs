//! The setting `auth`, and what `check` reports about signatures.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use silo_e2e::interceptor::Exchange;
use silo_e2e::{binary, write_private};

use super::{Scene, assert_done, text};

#[tokio::test]
async fn auth_is_a_flag_a_variable_and_a_setting_shown_by_check() {
    let scene = Scene::new().await;
    let config = scene.path("own.yaml");
    let sent = |url: &str, auth: &[&str], variable: Option<&str>, setting: &str, program: &str| {
        write_private(&config, setting);
        let mut command = Command::new(binary(program));
        let name = program.replace('-', "_").to_uppercase();
        command.args(["check", "--hub", url, "--silo", "office", "--config"]);
        command
            .arg(&config)
            .arg("--token-file")
            .arg(scene.path("token"))
            .args(auth);
        if program == "silo-downstream" {
            command.arg("--hosts-file").arg(scene.path("hosts"));
            command.arg("--state-dir").arg(scene.path("state"));
        } else {
            command.args(["--hostnames", "nas"]);
        }
        if let Some(variable) = variable {
            command.env(format!("{name}_AUTH"), variable);
        }
        let output = command.output().unwrap();
        assert_done(&output);
        let session = scene.interceptor.take();
        let is_silo = |exchange: &&Exchange| exchange.line().contains("/silos/office");
        let request = text(&session.iter().find(is_silo).unwrap().request).to_lowercase();
        let signed = request.contains("\r\nsignature: ");
        assert_ne!(
            signed,
            request.contains("\r\nauthorization: bearer "),
            "{request}"
        );
        let stdout = text(&output.stdout);
        assert_eq!(
            signed,
            stdout.contains("authentication: requests are signed"),
            "{stdout}"
        );
        assert!(stdout.contains("ok      authentication: "), "{stdout}");
        signed
    };
    let (far, near) = (scene.interceptor.url(), scene.interceptor.loopback_url());
    for program in ["silo-upstream", "silo-downstream"] {
        for (url, flag, variable, setting, signed) in [
            (&far, &[][..], None, "", true),
            (&near, &[], None, "", false),
            (&near, &[], None, "auth: signed\n", true),
            (&far, &[], None, "auth: bearer\n", false),
            (&near, &[], Some("signed"), "auth: bearer\n", true),
            (
                &near,
                &["--auth", "bearer"],
                Some("signed"),
                "auth: signed\n",
                false,
            ),
            (
                &far,
                &["--auth", "auto"],
                Some("bearer"),
                "auth: bearer\n",
                true,
            ),
        ] {
            assert_eq!(
                sent(url, flag, variable, setting, program),
                signed,
                "{program} {url} {flag:?} {variable:?} {setting}"
            );
        }
        let wrong = scene.agent(program, &near, &["--auth", "basic"]);
        assert_eq!(wrong.status.code(), Some(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_a_wrong_token_also_where_requests_are_signed() {
    for program in ["silo-upstream", "silo-downstream"] {
        for auth in ["signed", "bearer"] {
            // Of its own, since a hub answers only a few wrong credentials of one address.
            let scene = Scene::new().await;
            // silo_, 10 characters, _, 43 characters.
            let (key, secret) = (&scene.credential[..15], &scene.credential[16..]);
            let other_secret: String = secret.chars().rev().collect();
            let other_key: String = key[5..].chars().rev().collect();
            for token in [
                format!("{key}_{other_secret}"),
                format!("silo_{other_key}_{secret}"),
            ] {
                write_private(&scene.path("token"), &token);
                let flags = ["check", "--auth", auth];
                let ran = scene.agent(program, &scene.interceptor.loopback_url(), &flags);
                let stdout = text(&ran.stdout);
                let said = format!("{program} {auth}: {stdout}{}", text(&ran.stderr));
                assert_eq!(ran.status.code(), Some(1), "{said}");
                let has = |start: &str| stdout.lines().any(|line| line.starts_with(start));
                assert!(has("FAILED  token"), "{said}");
                assert!(!has("FAILED  hub"), "{said}");
            }
        }
    }
}

/// A hub in this process, whose clock is set; its machine's agents have the system's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_is_named_with_its_offset() {
    use silo_hub::internals::domain::time::Clock;
    use silo_hub::internals::settings::{HubArgs, HubSettings};
    let folder = tempfile::tempdir().unwrap();
    let settings = HubSettings::load(&HubArgs {
        data_dir: Some(folder.path().join("data")),
        ..HubArgs::default()
    })
    .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let system = Clock::System.now().as_millis();
    let clock = Arc::new(AtomicI64::new(system));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(silo_hub::internals::run(
        listener,
        settings,
        Clock::Set(Arc::clone(&clock)),
        async {
            let _ = stopped.await;
        },
    ));
    let token = folder.path().join("data/admin.token");
    let url = format!("http://0.0.0.0:{port}");
    let run = async |program: &str, verb: &str| {
        let mut command = tokio::process::Command::new(binary(program));
        command.args([verb, "--hub", &url, "--silo", "office", "--token-file"]);
        command
            .arg(&token)
            .arg("--state-dir")
            .arg(folder.path().join(program));
        match program {
            "silo-upstream" => command.args(["--hostnames", "db"]),
            _ => command.arg("--hosts-file").arg(folder.path().join("hosts")),
        };
        let output = command.output().await.unwrap();
        text(&output.stderr) + &text(&output.stdout)
    };
    std::fs::write(folder.path().join("hosts"), "").unwrap();
    assert_eq!(healthz(port).await, 200);
    let said = run("silo-downstream", "once").await;
    assert!(said.contains("no such silo"), "{said}");
    for (offset, side) in [(1000, "behind"), (-1000, "ahead of")] {
        let now = Clock::System.now().as_millis();
        clock.store(now + offset * 1000, std::sync::atomic::Ordering::Release);
        for (program, verb) in [
            ("silo-downstream", "once"),
            ("silo-downstream", "check"),
            ("silo-upstream", "once"),
            ("silo-upstream", "check"),
        ] {
            let said = run(program, verb).await;
            assert!(
                said.contains("this machine's clock is ")
                    && said.contains(&format!(" s {side} the hub's")),
                "{program} {verb}: {said}"
            );
            assert!(said.contains("100") || said.contains("99"), "{said}");
            // The token is right.
            assert!(!said.contains("FAILED  token"), "{program} {verb}: {said}");
        }
    }
    drop(stop);
    running.await.unwrap().unwrap();
}

async fn healthz(port: u16) -> u16 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let answer = client
        .get(format!("http://127.0.0.1:{port}/healthz"))
        .send();
    answer.await.unwrap().status().as_u16()
}
