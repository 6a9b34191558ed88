use super::*;

const NOW: i64 = 1_000_000;

fn spec(role: Role, silos: &[&str], hostnames: Option<&[&str]>) -> TokenSpec {
    let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    TokenSpec {
        name: "nas".to_owned(),
        role,
        silos: owned(silos),
        hostnames: hostnames.map(owned),
        expires_at: None,
    }
}

fn token(spec: TokenSpec) -> Token {
    Token {
        id: TokenId::parse("abcdefgh12").unwrap(),
        spec: spec.check(Time::from_millis(NOW)).unwrap(),
        created_at: Time::from_millis(NOW),
        revoked_at: None,
        last_used_at: None,
    }
}

#[test]
fn rights_follow_role_silos_and_hostnames() {
    let office = SiloId::parse("office").unwrap();
    let other = SiloId::parse("other").unwrap();
    let nas = Hostname::parse("nas-1").unwrap();
    let db = Hostname::parse("db").unwrap();
    // read, write, write nas-1, write db, replace; then read of another silo
    for (spec, rights) in [
        (
            spec(Role::Read, &["office"], None),
            [true, false, false, false, false, false],
        ),
        (
            spec(Role::Write, &["office"], None),
            [true, true, true, true, true, false],
        ),
        (
            spec(Role::Write, &["Off*"], Some(&["nas-*"])),
            [true, true, true, false, false, false],
        ),
        (
            spec(Role::Write, &["*"], Some(&["DB."])),
            [true, true, false, true, false, true],
        ),
        (spec(Role::Admin, &[], None), [true; 6]),
        (spec(Role::Metrics, &[], None), [false; 6]),
        (
            spec(Role::stored("newer").unwrap(), &["*"], None),
            [false; 6],
        ),
        (spec(Role::stored("newer").unwrap(), &[], None), [false; 6]),
    ] {
        let token = token(spec);
        let seen = [
            token.may_read(&office),
            token.may_write(&office),
            token.may_write_record(&office, &nas),
            token.may_write_record(&office, &db),
            token.may_replace(&office),
            token.may_read(&other),
        ];
        assert_eq!(seen, rights, "{:?}", token.spec);
        assert_eq!(
            token.readable_spans().is_empty(),
            !token.reads_silos(),
            "{:?}",
            token.spec
        );
    }
}

#[test]
fn only_metrics_and_admin_read_metrics_and_an_unknown_role_keeps_its_name() {
    for (role, reads) in [
        ("read", false),
        ("write", false),
        ("metrics", true),
        ("admin", true),
        ("newer", false),
        ("replicate", false),
    ] {
        let Some(stored) = Role::stored(role) else {
            assert_eq!(role, "replicate", "longer than its column");
            continue;
        };
        assert_eq!(stored.as_str(), role);
        let silos: &[&str] = if role == "metrics" || role == "admin" {
            &[]
        } else {
            &["a"]
        };
        let token = token(spec(stored, silos, None));
        assert_eq!(token.may_read_metrics(), reads, "{role}");
        assert_eq!(token.has_known_role(), role != "newer");
    }
    for wrong in ["", "ADMIN", "admin ", "ro\nle", "r\u{f6}le"] {
        assert_eq!(Role::stored(wrong), None, "{wrong:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn wrong_specs_name_the_member() {
    let long = vec!["a"; 101];
    for (spec, member, index, error) in [
        (
            spec(Role::Read, &[], None),
            "silos",
            None,
            InvalidToken::NoSilos,
        ),
        (
            spec(Role::Write, &["a b"], None),
            "silos",
            Some(0),
            InvalidToken::Pattern,
        ),
        (
            spec(Role::Write, &["a", "-a"], None),
            "silos",
            Some(1),
            InvalidToken::Pattern,
        ),
        (
            spec(Role::Write, &long, None),
            "silos",
            None,
            InvalidToken::TooMany,
        ),
        (
            spec(Role::Admin, &["a"], None),
            "silos",
            None,
            InvalidToken::LimitedAdmin,
        ),
        (
            spec(Role::Admin, &[], Some(&["a"])),
            "hostnames",
            None,
            InvalidToken::LimitedAdmin,
        ),
        (
            spec(Role::Metrics, &["a"], None),
            "silos",
            None,
            InvalidToken::LimitedMetrics,
        ),
        (
            spec(Role::Metrics, &[], Some(&["a"])),
            "hostnames",
            None,
            InvalidToken::LimitedMetrics,
        ),
        (
            spec(Role::Write, &["a"], Some(&[])),
            "hostnames",
            None,
            InvalidToken::NoHostnames,
        ),
        (
            spec(Role::Write, &["a"], Some(&["x", "localhost"])),
            "hostnames",
            Some(1),
            InvalidToken::Pattern,
        ),
        (
            TokenSpec {
                name: String::new(),
                ..spec(Role::Admin, &[], None)
            },
            "name",
            None,
            InvalidToken::Name,
        ),
        (
            TokenSpec {
                expires_at: Some(Time::from_millis(NOW)),
                ..spec(Role::Admin, &[], None)
            },
            "expires_at",
            None,
            InvalidToken::Expired,
        ),
    ] {
        let errors = spec.check(Time::from_millis(NOW)).unwrap_err();
        assert_eq!(
            errors,
            [SpecError {
                member,
                index,
                error
            }]
        );
    }
}

#[test]
fn a_token_ends_when_revoked_or_expired() {
    let mut token = token(spec(Role::Read, &["a"], None));
    let now = Time::from_millis(NOW);
    assert!(token.is_valid_at(now));
    token.spec.expires_at = Some(now.plus_seconds(1));
    assert!(token.is_valid_at(now));
    assert!(!token.is_valid_at(now.plus_seconds(1)));
    token.spec.expires_at = None;
    token.revoked_at = Some(now);
    assert!(!token.is_valid_at(now));
}
