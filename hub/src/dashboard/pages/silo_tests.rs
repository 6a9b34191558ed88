use super::*;
use crate::dashboard::pages::golden::{NOW, assert_golden, chrome};

fn when(ago: i64) -> When {
    When::new(NOW.plus_seconds(-ago), NOW)
}

fn row(hostname: &str, v4: &str, v6: &str, comment: &str) -> Row {
    Row {
        hostname: Hostname::parse(hostname).unwrap(),
        v4: v4.parse().ok(),
        v6: v6.parse().ok(),
        comment: comment.to_owned(),
        last_seen: when(60),
        changed: when(86_400),
        silence: None,
        tag: format!("41-{hostname}"),
        may_edit: true,
        form: None,
    }
}

fn page(rows: Vec<Row>) -> SiloPage {
    SiloPage {
        chrome: chrome("office", true),
        id: SiloId::parse("office").unwrap(),
        view: ListView {
            page: 1,
            ..ListView::default()
        },
        all: rows.len(),
        found: rows.len(),
        rows,
        last_change: None,
        rights: Rights {
            writes: true,
            replaces: true,
            is_admin: true,
        },
        add: RecordForm::default(),
        undo_refused: None,
    }
}

fn last_change(old: &str, new: &str, is_undoable: bool) -> Option<LastChange> {
    Some(LastChange {
        at: when(180),
        revision: "41".to_owned(),
        hostname: Hostname::parse("nas").unwrap(),
        old: old.parse().ok(),
        new: new.parse().ok(),
        has_more: false,
        by: "by REST, token <b>laptop</b>".to_owned(),
        is_undoable,
    })
}

#[test]
fn records_are_listed_with_their_last_change() {
    let long = [
        "a".repeat(63),
        "b".repeat(63),
        "c".repeat(63),
        "d".repeat(61),
    ]
    .join(".");
    let mut silent = row(
        "printer.lan",
        "",
        "2001:db8::7334",
        "<b>not bold</b> \"quoted\"",
    );
    silent.silence = Some(Tag {
        class: "warn",
        words: "silent, removed in 3 h".to_owned(),
    });
    let rows = vec![
        row(&long, "192.168.100.200", "", ""),
        row("history", "10.0.0.5", "fd00::5", ""),
        silent,
    ];
    let page = SiloPage {
        last_change: last_change("10.0.0.5", "10.0.0.6", true),
        ..page(rows)
    };
    assert_golden("silo.html", &page);
}

#[test]
fn a_reader_sees_no_forms() {
    let mut only = row("db", "10.0.0.5", "", "");
    only.may_edit = false;
    let page = SiloPage {
        chrome: chrome("office", false),
        last_change: last_change("", "10.0.0.6", false),
        rights: Rights::default(),
        ..page(vec![only])
    };
    assert_golden("silo_reader.html", &page);
    let html = page.render().unwrap();
    let main = &html[html.find("<main").unwrap()..];
    assert!(!main.contains("method=\"post\""), "{main}");
}

#[test]
fn refused_forms_keep_what_was_typed() {
    let mut edited = row("nas", "10.0.0.6", "", "");
    edited.form = Some(RecordForm {
        hostname: "nas".to_owned(),
        ip4: "10.0.0.<b>6".to_owned(),
        tag: "41-nas".to_owned(),
        errors: FieldErrors::one("ip4", "not an address: <b>"),
        ..RecordForm::default()
    });
    let page = SiloPage {
        add: RecordForm {
            hostname: "<b>a name</b>".to_owned(),
            ip4: "10.0.0.7".to_owned(),
            errors: FieldErrors::one("hostname", "has other characters"),
            ..RecordForm::default()
        },
        undo_refused: Some("Not undone."),
        ..page(vec![edited])
    };
    assert_golden("silo_refused.html", &page);
}

#[test]
fn an_empty_silo_says_what_to_do_next() {
    assert_golden("silo_empty.html", &page(Vec::new()));
}

#[test]
fn the_extent_of_the_list_is_told() {
    let rows = |number: usize| {
        let row = |index| row(&format!("h{index}"), "10.0.0.5", "", "");
        (0..number).map(row).collect::<Vec<_>>()
    };
    for (shown, found, all, number, q, extent, has_next) in [
        (3, 3, 3, 1, "", "3 records", false),
        (1, 1, 1, 1, "", "1 record", false),
        (2, 2, 250, 1, "x", "2 of 250 records", false),
        (100, 250, 250, 1, "", "1–100 of 250 records", true),
        (50, 250, 250, 3, "", "201–250 of 250 records", false),
        (
            100,
            10_000,
            10_000,
            100,
            "",
            "9901–10\u{202f}000 of 10\u{202f}000 records",
            false,
        ),
    ] {
        let page = SiloPage {
            found,
            all,
            view: ListView {
                page: number,
                q: q.to_owned(),
                ..ListView::default()
            },
            ..page(rows(shown))
        };
        assert_eq!(page.extent(), extent);
        assert_eq!(page.next().is_some(), has_next, "{extent}");
        assert_eq!(page.previous().is_some(), number > 1, "{extent}");
    }
}
