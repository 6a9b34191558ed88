//! The pages with a form of their own, as they are: of tokens, of a new machine, and those that ask before something is done.

use silo_shared::api::FieldError;
use silo_shared::credential::Credential;
use silo_shared::invitation::Invitation as Line;
use silo_shared::silo::{Addresses, Hostname, SiloId};

use super::golden::{NOW, assert_golden, chrome};
use super::golden_lists::token;
use super::{add_machine, delete, revert, tokens};
use crate::dashboard::field_errors::FieldErrors;
use crate::dashboard::token_form::{TokenErrors, TokenForm};
use crate::dashboard::when::When;
use crate::domain::invitation::Invitation;
use crate::domain::revision::Revision;
use crate::domain::token::{Role, TokenSpec};

fn office() -> SiloId {
    SiloId::parse("office").unwrap()
}

/// What the pages show of a token with markup in its name.
fn facts(is_own: bool) -> tokens::Facts {
    let mut shown = token("bbbbbbbb12", "<b>nas</b>", Role::Write);
    shown.spec.hostnames = Some(vec!["nas".to_owned()]);
    shown.spec.expires_at = Some(NOW.plus_seconds(86_400));
    let own = token("abcdefgh12", "first admin", Role::Admin);
    tokens::Facts::of(&shown, if is_own { &shown } else { &own }, NOW)
}

/// A credential that is none.
fn credential() -> Credential {
    Credential::parse(&format!("silo_bbbbbbbb12_{}", "x".repeat(43))).unwrap()
}

fn typed() -> TokenForm {
    TokenForm {
        name: "<b>nas</b>".to_owned(),
        role: "write".to_owned(),
        silos: "office\n<b>".to_owned(),
        hostnames: "nas".to_owned(),
        expires_at: "tomorrow".to_owned(),
    }
}

#[test]
fn a_token_is_shown_with_the_form_that_changes_it() {
    let page = tokens::TokenPage {
        chrome: chrome("<b>nas</b>", true),
        token: facts(false),
        form: Some(tokens::Form {
            values: typed(),
            errors: TokenErrors {
                silos: Some("not a silo: <b>".to_owned()),
                expires_at: Some("not a time".to_owned()),
                other: Some("another error".to_owned()),
                ..TokenErrors::default()
            },
        }),
        may_rotate: true,
        may_revoke: true,
    };
    assert_golden("token.html", &page);
    let own = tokens::TokenPage {
        chrome: chrome("<b>nas</b>", false),
        token: facts(true),
        form: None,
        ..page
    };
    assert_golden("token_own.html", &own);
}

#[test]
fn a_token_is_made() {
    let page = tokens::NewTokenPage {
        chrome: chrome("New token", true),
        form: tokens::Form {
            values: typed(),
            errors: TokenErrors {
                name: Some("is too long".to_owned()),
                role: Some("choose one".to_owned()),
                hostnames: Some("not a hostname".to_owned()),
                ..TokenErrors::default()
            },
        },
    };
    assert_golden("token_new.html", &page);
}

#[test]
fn a_secret_is_renewed_and_a_token_revoked_after_a_question() {
    for (is_own, rotate, revoke) in [
        (false, "token_rotate.html", "token_revoke.html"),
        (true, "token_rotate_own.html", "token_revoke_own.html"),
    ] {
        let page = tokens::RotatePage {
            chrome: chrome("New secret", true),
            token: facts(is_own),
            error: is_own.then(|| "choose one of these".to_owned()),
        };
        assert_golden(rotate, &page);
        let page = tokens::RevokePage {
            chrome: chrome("Revoke", true),
            token: facts(is_own),
        };
        assert_golden(revoke, &page);
    }
}

#[test]
fn a_secret_is_shown_once() {
    for (is_own, name) in [
        (false, "token_secret.html"),
        (true, "token_secret_renewed.html"),
    ] {
        let page = tokens::SecretPage {
            chrome: chrome("Secret", true),
            token: facts(is_own),
            credential: credential(),
            former_ends: is_own.then(|| When::new(NOW.plus_seconds(86_400), NOW)),
            is_readable: is_own,
        };
        assert_golden(name, &page);
    }
}

#[test]
fn a_machine_is_added() {
    let page = add_machine::AddMachinePage {
        chrome: chrome("Add a machine to office", true),
        silo: "office".to_owned(),
        values: add_machine::MachineForm {
            kind: "upstream".to_owned(),
            name: "<b>nas</b>".to_owned(),
            hostnames: "nas, <b>".to_owned(),
            url: "<b>".to_owned(),
        },
        errors: FieldErrors::new(
            [
                ("/kind", "choose what the machine does"),
                ("/name", "is too long"),
                ("/hostnames/1", "<b>: not a hostname"),
                ("/url", "where the machine reaches this hub"),
                ("/silos", "<b> is no silo"),
            ]
            .map(|(pointer, detail)| FieldError {
                pointer: pointer.to_owned(),
                detail: detail.to_owned(),
            })
            .into(),
        ),
    };
    assert_golden("add_machine.html", &page);
    for (role, is_readable, name) in [
        (Role::Write, false, "add_machine_upstream.html"),
        (Role::Read, true, "add_machine_downstream.html"),
    ] {
        let spec = token("bbbbbbbb12", "<b>nas</b>", role).spec;
        let expires_at = NOW.plus_seconds(3600);
        let page = add_machine::MachineInvitedPage {
            chrome: chrome("Add a machine to office", true),
            silo: "office".to_owned(),
            until: When::new(expires_at, NOW),
            invitation: Invitation {
                id: credential().id(),
                spec: TokenSpec {
                    hostnames: (role == Role::Write)
                        .then(|| vec!["nas".to_owned(), "files".to_owned()]),
                    ..spec
                },
                made_by: None,
                created_at: NOW,
                expires_at,
                revoked_at: None,
                used_at: None,
                redeemed: None,
            },
            line: Line::new(vec!["https://hub.lan".to_owned()], None, credential())
                .unwrap()
                .encode(),
            is_readable,
        };
        assert_golden(name, &page);
    }
}

#[test]
fn a_silo_is_deleted_after_a_question() {
    let page = delete::DeletePage {
        chrome: chrome("Delete office", true),
        id: office(),
        records: 12_345,
        revision: Revision::from(41),
    };
    assert_golden("delete.html", &page);
}

fn addresses(ips: &[&str]) -> Addresses {
    let mut addresses = Addresses::default();
    for ip in ips {
        addresses.set(ip.parse().unwrap());
    }
    addresses
}

fn revert_page(preview: revert::Preview) -> revert::RevertPage {
    revert::RevertPage {
        chrome: chrome("Revert office", true),
        id: office(),
        revision: Revision::from(39),
        at: Some(When::new(NOW.plus_seconds(-600), NOW)),
        preview,
        refused: None,
    }
}

#[test]
fn a_silo_is_reverted_after_a_preview() {
    let rows = |shown: &[(&str, &[&str], &[&str])]| {
        let row = |(hostname, before, after): &(&str, &[&str], &[&str])| revert::Difference {
            hostname: Hostname::parse(hostname).unwrap(),
            before: addresses(before),
            after: addresses(after),
        };
        shown.iter().map(row).collect::<Vec<_>>()
    };
    let shown: [(&str, &[&str], &[&str]); 3] = [
        ("db", &["10.0.0.5", "fd00::5"], &["10.0.0.6", "fd00::5"]),
        ("nas", &[], &["10.0.0.7", "fd00::7"]),
        ("tv", &["10.0.0.8"], &[]),
    ];
    let page = revert::RevertPage {
        refused: Some("Not reverted: <b>".to_owned()),
        ..revert_page(revert::Preview::Known {
            present: Revision::from(41),
            rows: rows(&shown),
            all: "700 records".to_owned(),
            is_cut: true,
        })
    };
    assert_golden("revert.html", &page);
    let nothing = revert_page(revert::Preview::Known {
        present: Revision::from(41),
        rows: Vec::new(),
        all: "0 records".to_owned(),
        is_cut: false,
    });
    assert_golden("revert_nothing.html", &nothing);
    let why = "the history of this silo is not complete".to_owned();
    let unknown = revert_page(revert::Preview::Unknown(why));
    assert_golden("revert_unknown.html", &unknown);
}
