//! Which hubs the agents trust.

use silo_e2e::{binary, write_private};

use super::{Site, run, said, self_signed, text};

#[test]
fn both_agents_take_the_hub_that_they_know_and_no_other() {
    let site = Site::new(&["hub.test", "localhost"]);
    let stranger = site.path("stranger");
    let other_pin = self_signed(&stranger, &["hub.test", "localhost", "127.0.0.1"]);
    let by_name = format!("https://localhost:{}", site.port());
    let (ca, other_ca) = (site.path("cert.pem"), stranger.join("cert.pem"));
    let (ca, other_ca) = (ca.to_str().unwrap(), other_ca.to_str().unwrap());
    let by_ip = site.hub.url().to_owned();
    let refused: [(&str, Vec<&str>, &str); 7] = [
        (&by_name, vec![], "certificate"),
        (&by_name, vec!["--pin-sha256", &other_pin], &site.pin),
        (
            &by_name,
            vec!["--pin-sha256", &other_pin, "--ca-file", ca],
            &site.pin,
        ),
        (&by_name, vec!["--ca-file", other_ca], "certificate"),
        (
            &by_name,
            vec!["--ca-file", other_ca, "--pin-sha256", &site.pin],
            "certificate",
        ),
        (&by_ip, vec!["--ca-file", ca], "not valid for name"),
        (
            &by_ip,
            vec!["--ca-file", ca, "--pin-sha256", &site.pin],
            "not valid for name",
        ),
    ];
    // What a run leaves if it changes nothing, with a record at the hub to be pulled.
    let accepted = [
        (&by_name, vec!["--ca-file", ca]),
        (&by_name, vec!["--pin-sha256", &site.pin]),
        (&by_ip, vec!["--pin-sha256", &site.pin]),
        (&by_name, vec!["--pin-sha256", &site.pin, "--ca-file", ca]),
    ];
    for program in ["silo-upstream", "silo-downstream"] {
        let hosts = {
            site.agent(program, &["check", "--hub", &by_name]);
            site.hosts()
        };
        for (hub, how, why) in &refused {
            let arguments = [&["--hub", *hub], how.as_slice()].concat();
            let output = site.agent(program, &arguments);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{program} {how:?}: {error}");
            assert!(error.contains(why), "{program} {how:?}: {error}");
            assert_eq!(site.hosts(), hosts);
        }
        let url = format!("{by_name}/silos");
        let bearer = format!("Authorization: Bearer {}", site.hub.admin_token());
        if program == "silo-upstream" {
            let silos = run("curl", &["-sS", "--cacert", ca, "-H", &bearer, &url]);
            assert_eq!(said(&silos), "[]", "nothing was written");
        }
        for (hub, how) in &accepted {
            let arguments = [&["--hub", hub.as_str()], how.as_slice()].concat();
            said(&site.agent(program, &arguments));
        }
    }
    assert!(site.hosts().contains("10.0.0.5 db"), "{}", site.hosts());
    let open = site.agent(
        "silo-upstream",
        &["--hub", "http://localhost:1", "--pin-sha256", &site.pin],
    );
    assert_eq!(open.status.code(), Some(2));
    assert!(text(&open.stderr).contains("pin_sha256"), "{open:?}");
    let config = site.path("pinned.yaml");
    write_private(&config, &format!("hub: {by_name}\npin_sha256: [1]\n"));
    let wrong = run(
        binary("silo-downstream").to_str().unwrap(),
        &["--config", config.to_str().unwrap()],
    );
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("pin_sha256"), "{wrong:?}");
}
