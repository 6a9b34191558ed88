//! Compares pages with the files in `goldens/`. `UPDATE_GOLDENS=1` writes these files: read the difference.

use std::path::Path;

use askama::Template;

use crate::dashboard::layout::{Chrome, Look, Section, SignedIn, Theme};
use crate::domain::time::Time;

/// The time of the tests.
pub(in crate::dashboard) const NOW: Time = Time::from_millis(1_767_323_045_678);

/// The frame of a page, for an admin or somebody else.
pub(in crate::dashboard) fn chrome(title: &str, is_admin: bool) -> Chrome {
    Chrome {
        title: title.to_owned(),
        section: Section::Silos,
        signed_in: Some(SignedIn {
            name: "<b>Anna's laptop</b>".to_owned(),
            role: if is_admin { "admin" } else { "read" }.to_owned(),
            is_admin,
            csrf: "csrf-of-the-session".to_owned(),
        }),
        look: Look {
            theme: Theme::System,
            notice: None,
            path: "/dashboard/".to_owned(),
            live: None,
        },
    }
}

/// The frame of a page that needs no session.
pub(in crate::dashboard) fn chrome_without_session(title: &str) -> Chrome {
    Chrome {
        section: Section::None,
        signed_in: None,
        ..chrome(title, false)
    }
}

/// Compares what a page shows in its frame.
pub(in crate::dashboard) fn assert_golden(name: &str, page: &impl Template) {
    let html = page.render().unwrap();
    let begin = html.find("<main").unwrap();
    let end = html.find("</main>").unwrap();
    compare(name, &html[begin..end]);
    assert!(!html.contains("<b>"), "markup of a name: {html}");
    assert!(
        !html.contains("style=\""),
        "the policy refuses inline styles"
    );
}

/// Compares a text.
pub(in crate::dashboard) fn compare(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/pages/goldens");
    let path = folder.join(name);
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let text = lines.join("\n") + "\n";
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        golden.replace("\r\n", "\n"),
        "{name} has changed; UPDATE_GOLDENS=1 writes it"
    );
}
