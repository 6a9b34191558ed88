use super::*;

use crate::private_file::tests::temporary as private_file;

fn token() -> String {
    format!("silo_abcdefgh12_{}", "x".repeat(43))
}

#[test]
fn a_token_file_is_read_and_must_be_private() {
    let file = private_file(&format!("{}\n", token()));
    let settings = ConnectionSettings {
        hubs: vec!["https://hub".to_owned()],
        token_file: Some(file.path().to_owned()),
        ..Default::default()
    };
    let connection = settings.resolve(None).unwrap();
    assert_eq!(
        connection.hubs()[0].authentication,
        Authentication::Bearer(Secret::new(token()))
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let permissions = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(file.path(), permissions).unwrap();
        let error = settings.resolve(None).unwrap_err().to_string();
        assert!(
            error.contains("0640") && error.contains("chmod 600"),
            "{error}"
        );
        let any = ConnectionSettings {
            token_file_mode: Some(TokenFileMode::Any),
            ..settings.clone()
        };
        assert!(any.resolve(None).is_ok());
    }
}

#[cfg(unix)]
#[test]
fn other_than_regular_token_files_are_refused_before_reading() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    let large = private_file(&format!("{}{}", token(), " ".repeat(4096)));
    let binary = private_file("");
    std::fs::write(binary.path(), b"\xff\xfd").unwrap();
    for (path, why) in [
        (folder.path(), "not a regular file"),
        (Path::new("/dev/zero"), "not a regular file"),
        (&link, "not a regular file"),
        (&socket, "not a regular file"),
        (&folder.path().join("none"), "there is no such file"),
        (
            large.path(),
            "too large for a token file: it must contain only the token",
        ),
        (binary.path(), "is not text: save it as UTF-8"),
    ] {
        for mode in [TokenFileMode::Private, TokenFileMode::Any] {
            let settings = ConnectionSettings {
                hubs: vec!["http://hub".to_owned()],
                token_file: Some(path.to_owned()),
                token_file_mode: Some(mode),
                ..Default::default()
            };
            let error = settings.resolve(None).unwrap_err().to_string();
            assert_eq!(error, format!("token_file: {}: {why}", path.display()));
        }
    }
}

#[test]
fn a_wrong_token_is_named_without_being_shown() {
    let file = private_file("hunter2");
    let settings = ConnectionSettings {
        hubs: vec!["http://hub".to_owned()],
        token_file: Some(file.path().to_owned()),
        ..Default::default()
    };
    let error = settings.resolve(None).unwrap_err().to_string();
    assert!(
        error.contains(&file.path().display().to_string()),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_stronger_token_replaces_a_weaker_one_of_another_kind() {
    let file = ConnectionSettings {
        hubs: vec!["http://a".to_owned()],
        token: Some(Secret::new(token())),
        ..Default::default()
    };
    let flags = ConnectionSettings {
        token_file: Some("other.token".into()),
        ..Default::default()
    };
    let merged = file.overridden_by(flags);
    assert_eq!(merged.hubs, ["http://a"]);
    assert_eq!(merged.token, None);
    assert_eq!(merged.token_file.as_deref(), Some(Path::new("other.token")));
}

#[test]
fn hub_urls_are_checked() {
    assert_eq!(parse_hub_url("http://h:1").unwrap().as_str(), "http://h:1/");
    assert_eq!(
        parse_hub_url("https://h/silo").unwrap().as_str(),
        "https://h/silo/"
    );
    for wrong in [
        "",
        "h:8053",
        "ftp://h",
        "http://u:p@h",
        "http://h/?q",
        "http://h/#f",
    ] {
        let error = parse_hub_url(wrong).unwrap_err().to_string();
        assert!(
            error.starts_with("hub: ")
                && error.ends_with(
                    "; expected http://HOST:PORT or https://HOST, such as http://hub:8053"
                ),
            "{wrong}: {error}"
        );
    }
}

#[test]
fn auto_signs_over_plain_http_to_another_machine() {
    let file = private_file(&token());
    for (hub, open) in [
        ("http://hub.lan:8053", true),
        ("http://10.0.0.1", true),
        ("http://0.0.0.0:8053", true),
        ("https://hub.lan", false),
        ("http://localhost:8053", false),
        ("http://127.0.0.1:8053", false),
        ("http://[::1]:8053", false),
        ("http://[::ffff:127.0.0.1]", false),
    ] {
        for (auth, signs) in [
            (None, open),
            (Some(AuthMode::Auto), open),
            (Some(AuthMode::Bearer), false),
            (Some(AuthMode::Signed), true),
        ] {
            let settings = ConnectionSettings {
                hubs: vec![hub.to_owned()],
                token_file: Some(file.path().to_owned()),
                auth,
                ..Default::default()
            };
            let connection = settings.resolve(None).unwrap();
            let connected = &connection.hubs()[0];
            assert_eq!(connected.signs(), signs, "{hub} {auth:?}");
            let words = connected.explain_authentication();
            assert_eq!(words.contains("signed"), signs, "{words}");
            assert_eq!(words.contains("unencrypted"), open && !signs, "{words}");
        }
    }
}
