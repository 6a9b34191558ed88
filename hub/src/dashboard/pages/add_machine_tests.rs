use super::*;

const NOW: Time = Time::from_millis(1_767_323_045_678);

fn form(kind: &str, name: &str, hostnames: &str) -> MachineForm {
    MachineForm {
        kind: kind.to_owned(),
        name: name.to_owned(),
        hostnames: hostnames.to_owned(),
    }
}

fn hub() -> HubAddress {
    HubAddress::of("https://hub.lan:8053", false, None)
}

#[test]
fn a_machine_gets_the_rights_that_it_needs_and_no_more() {
    let upstream = form("upstream", " NAS ", "").machine("office").unwrap();
    let spec = upstream.token(NOW).unwrap();
    assert_eq!((spec.name.as_str(), spec.role), ("NAS", Role::Write));
    assert_eq!(
        (spec.silos, spec.hostnames),
        (vec!["office".to_owned()], Some(vec!["nas".to_owned()]))
    );
    let downstream = form("downstream", "Anna's laptop", "nas")
        .machine("office")
        .unwrap();
    let spec = downstream.token(NOW).unwrap();
    assert_eq!((spec.role, spec.hostnames), (Role::Read, None));
    assert_eq!(spec.silos, ["office"]);
}

#[test]
fn what_is_wrong_is_beside_its_field() {
    let errors = form("", "", "").machine("office").unwrap_err();
    assert!(errors.kind.is_some() && errors.name.is_some());
    let errors = form("upstream", "a b", "").machine("office").unwrap_err();
    assert!(errors.hostnames.unwrap().starts_with("a b: "));
    let errors = form("upstream", "nas", "nas, x!")
        .machine("office")
        .unwrap_err();
    assert!(errors.hostnames.unwrap().starts_with("x!: "));
    let long = form("downstream", &"x".repeat(101), "")
        .machine("office")
        .unwrap();
    assert!(long.token(NOW).unwrap_err().name.unwrap().contains("100"));
}

#[test]
fn the_commands_are_those_of_the_documentation_and_have_no_token() {
    let upstream = form("upstream", "nas", "nas, files")
        .machine("office")
        .unwrap();
    let steps = upstream.set_up(System::Linux, &hub());
    assert_eq!(
        steps[1].command,
        "sudo silo-upstream install --watch --hub https://hub.lan:8053 --token-file /etc/silo/upstream.token --silo office --hostnames nas,files"
    );
    assert_eq!(steps[0].id, "linux-try");
    let downstream = form("downstream", "laptop", "").machine("office").unwrap();
    let steps = downstream.set_up(System::Windows, &hub());
    let of_docs = include_str!("../../../../docs/windows.md")
        .replace("http://10.0.0.1:8053", "https://hub.lan:8053")
        .replace("--silo home", "--silo office");
    for step in &steps {
        assert!(of_docs.contains(&step.command), "{}", step.command);
    }
    for line in downstream.file_command(System::Windows).lines() {
        assert!(of_docs.contains(line), "{line}");
    }
    for line in upstream.file_command(System::Windows).lines() {
        assert!(of_docs.contains(line), "{line}");
    }
}

#[test]
fn an_address_that_no_other_machine_reaches_is_not_shown_as_one() {
    for (origin, is_here, url, is_for_others) in [
        ("http://10.0.0.1:8053", false, "http://10.0.0.1:8053", true),
        (
            "http://[fd00::1]:8053",
            false,
            "http://[fd00::1]:8053",
            true,
        ),
        ("http://127.0.0.1:8053", true, "http://HUB:8053", false),
        ("http://$(reboot).test", false, "http://HUB:8053", false),
    ] {
        let found = HubAddress::of(origin, is_here, Some("sha256//x".to_owned()));
        assert_eq!(
            (found.url.as_str(), found.is_for_others),
            (url, is_for_others)
        );
        assert_eq!(found.pin, None);
    }
    let pinned = HubAddress::of("https://hub.lan", false, Some("sha256//x".to_owned()));
    assert_eq!(pinned.pin.as_deref(), Some("sha256//x"));
}
