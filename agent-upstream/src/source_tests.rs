use std::path::Path;

use silo_shared::config::parse_yaml;

use super::*;

fn interface(name: &str) -> InterfaceSource {
    InterfaceSource {
        name: name.to_owned(),
        ..InterfaceSource::default()
    }
}

#[test]
fn sources_have_a_text_form() {
    let address = |text: &str| Some(text.parse().unwrap());
    for (text, source) in [
        ("hub", AddressSource::Hub),
        ("route", AddressSource::Route(None)),
        ("route:10.0.0.1", AddressSource::Route(address("10.0.0.1"))),
        ("route:fd00::1", AddressSource::Route(address("fd00::1"))),
        (
            "interface:eth0",
            AddressSource::Interface(interface("eth0")),
        ),
        (
            "interface:eth0:1",
            AddressSource::Interface(interface("eth0:1")),
        ),
    ] {
        assert_eq!(text.parse(), Ok(source.clone()));
        assert_eq!(source.to_string(), text);
    }
    for wrong in [
        "",
        "Hub",
        "hub:",
        "route:",
        "route:hub.lan",
        "route:0.0.0.0",
        "route:ff02::1",
        "interface",
        "interface:",
        "command:ip",
        "eth0",
    ] {
        assert!(wrong.parse::<AddressSource>().is_err(), "{wrong:?}");
    }
}

#[derive(Debug, Deserialize)]
struct File {
    addresses: Sources,
}

fn parse(text: &str) -> Result<Sources, String> {
    parse_yaml::<File>(Path::new("u.yaml"), text)
        .map(|file| file.addresses)
        .map_err(|error| error.to_string())
}

#[test]
fn sources_have_a_yaml_form() {
    let six = InterfaceSource {
        family: Families::Only(Family::V6),
        temporary: true,
        ..interface("eth0")
    };
    for (text, source) in [
        ("addresses: hub", AddressSource::Hub),
        (
            "addresses: interface:eth0",
            AddressSource::Interface(interface("eth0")),
        ),
        (
            "addresses:\n  interface: {name: eth0, family: 6, temporary: true}",
            AddressSource::Interface(six),
        ),
        (
            "addresses:\n  interface: {name: eth0, family: both}",
            AddressSource::Interface(interface("eth0")),
        ),
        (
            "addresses: {command: [ip, addr]}",
            AddressSource::Command(vec!["ip".to_owned(), "addr".to_owned()]),
        ),
    ] {
        assert_eq!(parse(text), Ok(source.into()), "{text}");
    }
}

#[test]
fn a_list_keeps_its_order_and_prints_no_path() {
    let text = "addresses: [{web: ['https://ip.example.net/?key=hush', 'http://192.168.1.1:81/x']}, 'interface:eth0', hub]";
    let parsed = parse(text).unwrap();
    assert_eq!(
        parsed.to_string(),
        "web https://ip.example.net http://192.168.1.1:81, else interface:eth0, else hub"
    );
    assert!(!format!("{parsed:?}").contains("hush"));
    assert!(parsed.only().is_none());
    let forgeable: Vec<bool> = parsed.iter().map(AddressSource::is_forgeable).collect();
    assert_eq!(forgeable, [true, false, false]);
}

#[test]
fn a_wrong_source_is_named_with_its_line() {
    for text in [
        "addresses: nowhere",
        "addresses: 5",
        "addresses: {}",
        "addresses: {command: []}",
        "addresses: {command: ip addr}",
        "addresses: {interface: {family: 4}}",
        "addresses: {interface: {name: eth0, family: 5}}",
        "addresses: {interface: {name: eth0, temp: true}}",
        "addresses: {interface: {name: eth0}, command: [ip]}",
        "addresses: {web: []}",
        "addresses: {web: https://ip.example.net}",
        "addresses: {web: [ip.example.net]}",
        "addresses: {web: ['ftp://ip.example.net']}",
        "addresses: {web: ['https://me:hush@ip.example.net']}",
        "addresses: 'web:https://ip.example.net'",
        "addresses: []",
        "addresses: [hub, hub]",
        "addresses: [[hub]]",
    ] {
        let error = parse(&format!("# first\n{text}\n")).unwrap_err();
        assert!(
            error.contains("addresses") && error.contains("line 2"),
            "{error}"
        );
        assert!(!error.contains("hush"), "{error}");
    }
}
