use super::*;

const NOW: Time = Time::from_millis(1_767_323_045_678);

fn form(kind: &str, name: &str, hostnames: &str) -> MachineForm {
    MachineForm {
        kind: kind.to_owned(),
        name: name.to_owned(),
        hostnames: hostnames.to_owned(),
        url: "https://hub.lan:8053".to_owned(),
    }
}

#[test]
fn a_machine_gets_the_rights_that_it_needs_and_no_more() {
    for (typed, role, name, hostnames) in [
        (
            form("upstream", " NAS ", ""),
            Role::Write,
            "NAS",
            Some(vec!["nas"]),
        ),
        (
            form("upstream", "nas", "nas, Files\nweb"),
            Role::Write,
            "nas",
            Some(vec!["nas", "files", "web"]),
        ),
        (
            form("downstream", "Anna's laptop", "nas"),
            Role::Read,
            "Anna's laptop",
            None,
        ),
    ] {
        let spec = typed.invitation("office", NOW).unwrap().token;
        assert_eq!((spec.name.as_str(), spec.role), (name, role));
        let expected = hostnames.map(|names| names.into_iter().map(str::to_owned).collect());
        assert_eq!(
            (spec.silos, spec.hostnames),
            (vec!["office".to_owned()], expected)
        );
        assert_eq!(spec.expires_at, None);
    }
}

#[test]
fn what_is_wrong_is_beside_its_field() {
    let long = "x".repeat(101);
    for (typed, field, words) in [
        (form("", "nas", ""), "kind", "choose"),
        (
            form("downstream", "  ", ""),
            "name",
            "the name of the machine",
        ),
        (form("downstream", &long, ""), "name", "100"),
        (form("upstream", "a b", ""), "hostnames", "a b: "),
        (form("upstream", "nas", "nas, x!"), "hostnames", "x!: "),
        (form("upstream", "nas", "*"), "hostnames", "*: "),
    ] {
        let errors = typed.invitation("office", NOW).unwrap_err();
        let found = errors.at(field).unwrap_or_else(|| panic!("{errors:?}"));
        assert!(found.contains(words), "{found}");
    }
    let errors = form("", "", "").invitation("office", NOW).unwrap_err();
    assert!(errors.at("kind").is_some() && errors.at("name").is_some());
}

#[test]
fn an_address_that_no_other_machine_reaches_is_not_suggested() {
    let own = "http://192.0.2.1:8053";
    for (known, origin, url) in [
        (Some(own), "http://hub.lan:8053", own),
        (None, "http://10.0.0.1:8053", "http://10.0.0.1:8053"),
        (None, "https://[fd00::1]", "https://[fd00::1]"),
        (None, "http://127.0.0.1:8053", ""),
        (None, "http://localhost:8053", ""),
    ] {
        assert_eq!(hub_url(known.map(str::to_owned), origin), url, "{origin}");
    }
}
