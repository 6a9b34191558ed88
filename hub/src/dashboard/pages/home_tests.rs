use super::*;
use crate::dashboard::pages::golden::{NOW, assert_golden, chrome, compare};

const LONG: &str = "a-silo-whose-name-is-as-long-as-names-of-silos-may-be-0123456789";

fn home() -> HomePage {
    HomePage {
        chrome: chrome("Silos", true),
        needs: Vec::new(),
        q: String::new(),
        results: None,
        silos: Vec::new(),
        next: None,
        is_first: true,
        new_silo: Some(NewSilo {
            is_open: true,
            ..NewSilo::default()
        }),
        steps: None,
    }
}

fn silo(id: &str, records: i64, ago: i64, all: usize, current: usize) -> SiloRow {
    SiloRow {
        id: SiloId::parse(id).unwrap(),
        revision: "41".to_owned(),
        records,
        changed: When::new(NOW.plus_seconds(-ago), NOW),
        agents: Agents { all, current },
    }
}

#[test]
fn a_new_hub_leads_to_the_first_name() {
    let page = HomePage {
        steps: Some(Steps {
            hub: "http://hub.lan:8053".to_owned(),
            silo: None,
            has_record: false,
            makes_tokens: true,
        }),
        ..home()
    };
    assert_golden("home_new.html", &page);
}

#[test]
fn silos_are_listed_after_what_needs_a_hand() {
    let page = HomePage {
        needs: vec![Finding {
            what: "sink <b>dns</b>".to_owned(),
            why: "2 deliveries failed: the server refused the update".to_owned(),
        }],
        silos: vec![
            silo(&LONG[..63], 10_000, 10, 5, 4),
            silo("home", 12, 200, 4, 4),
            silo("office", 1, 86_400 * 70, 0, 0),
        ],
        next: Some(SiloId::parse("office").unwrap()),
        new_silo: Some(NewSilo::default()),
        ..home()
    };
    assert_golden("home.html", &page);
}

#[test]
fn a_refused_silo_keeps_its_name() {
    let page = HomePage {
        new_silo: Some(NewSilo {
            id: "<b>no silo</b>".to_owned(),
            errors: FieldErrors::one("id", "has other characters"),
            is_open: true,
        }),
        ..home()
    };
    assert_golden("home_refused.html", &page);
}

#[test]
fn a_search_shows_records_of_all_silos() {
    let page = HomePage {
        q: "<b>".to_owned(),
        results: Some(Results {
            rows: vec![FoundRow {
                silo: SiloId::parse("office").unwrap(),
                hostname: Hostname::parse("history").unwrap(),
                addresses: vec![[10, 0, 0, 5].into(), "fd00::5".parse().unwrap()],
                comment: "<b>\"Rack 3\"</b>".to_owned(),
            }],
            next: Some("office/history".to_owned()),
        }),
        ..home()
    };
    assert_golden("home_found.html", &page);
    let none = HomePage {
        results: Some(Results {
            rows: Vec::new(),
            next: None,
        }),
        chrome: chrome("Silos", false),
        new_silo: None,
        ..page
    };
    assert_golden("home_not_found.html", &none);
}

#[test]
fn the_frame_is_the_same_for_all_pages() {
    for (name, is_admin) in [("frame_admin.html", true), ("frame_reader.html", false)] {
        let page = HomePage {
            chrome: chrome("<b>Silos</b>", is_admin),
            ..home()
        };
        let mut html = page.render().unwrap();
        for asset in ["dashboard", "icon", "live"] {
            let begin = format!("assets/{asset}.");
            while let Some(at) = html.find(&begin) {
                let from = at + begin.len();
                html.replace_range(at..from + 12, &format!("assets/({asset})"));
            }
        }
        html = html.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let begin = html.find("<main").unwrap();
        let end = html.find("</main>").unwrap();
        html.replace_range(begin..end, "<main>");
        compare(name, &html);
        assert!(!html.contains("<b>"), "{html}");
    }
}
