use super::*;

fn suffix(text: &str, prefix_len: u8) -> Result<Suffix, InvalidSuffix> {
    Suffix::new(text.parse().unwrap(), prefix_len)
}

#[test]
fn a_suffix_is_appended_to_the_found_prefix() {
    for (host, prefix_len, found, expected) in [
        ("::5", 64, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::5"),
        (
            "::3:0:0:0:5",
            56,
            "2001:db8:1:ff02:3:4:5:6",
            "2001:db8:1:ff03::5",
        ),
        ("::1", 127, "2001:db8::4", "2001:db8::5"),
        ("7fff::", 1, "8000::1", "ffff::"),
        ("::5", 60, "2001:db8:1:2f::", "2001:db8:1:20::5"),
    ] {
        let behind = suffix(host, prefix_len)
            .unwrap()
            .behind(found.parse().unwrap());
        assert_eq!(behind.to_string(), expected);
    }
    assert_eq!(suffix("::5", 0), Err(InvalidSuffix::Length(0)));
    assert_eq!(suffix("::5", 128), Err(InvalidSuffix::Length(128)));
    assert!(matches!(
        suffix("::1:0:0:0:5", 64),
        Err(InvalidSuffix::Overlap { .. })
    ));
}

#[test]
fn within_applies_to_the_reported_address_and_not_to_the_found_one() {
    let rules = |within: &str| Rules {
        suffix: Some(suffix("::3:0:0:0:5", 56).unwrap()),
        ..rules(&[within])
    };
    let found = &["2001:db8:1:2::9"];
    assert_eq!(
        select_text(found, &rules("2001:db8:1:3::/64"), Mode::Stated),
        "2001:db8:1:3::5"
    );
    assert_eq!(
        select_text(found, &rules("2001:db8:1:2::/64"), Mode::Stated),
        "error: 2001:db8:1:2::9 is outside `within`"
    );
}

#[test]
fn networks_are_parsed() {
    for text in [
        "10.0.0.0/8",
        "10.1.2.3/8",
        "10.0.0.5",
        "fd00::/8",
        "0.0.0.0/0",
    ] {
        assert!(text.parse::<Network>().is_ok(), "{text}");
    }
    for text in ["", "10.0.0.0/33", "10.0.0/8", "lan", "10.0.0.0/255.0.0.0"] {
        assert!(text.parse::<Network>().is_err(), "{text}");
    }
}
