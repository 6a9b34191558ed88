//! A host's history as an HTML page. Pure.

use std::net::IpAddr;

use askama::Template;
use silo_shared::silo::Hostname;

use crate::store::HistoryRow;

/// A table of a host's changes, newest first, below the error, if any.
#[derive(Template)]
#[template(path = "dynahost_log.html")]
pub(super) struct LogPage<'a> {
    pub(super) host: &'a Hostname,
    pub(super) wrong: Option<&'a str>,
    pub(super) rows: &'a [HistoryRow],
    /// There were more changes.
    pub(super) is_cut: bool,
}

fn address(ip: &Option<IpAddr>) -> String {
    ip.map_or("-".to_owned(), |ip| ip.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Time;

    #[test]
    fn every_value_is_escaped() {
        let row = HistoryRow {
            at: Time::from_millis(0),
            revision: 1.into(),
            hostname: Hostname::parse("nas").unwrap(),
            family: 4,
            old: None,
            new: Some("192.0.2.7".parse().unwrap()),
            via: "<b>&\"'</b>".to_owned(),
            token: None,
            client_ip: None,
        };
        let page = LogPage {
            host: &row.hostname,
            wrong: Some("a < b"),
            rows: std::slice::from_ref(&row),
            is_cut: true,
        };
        let html = page.render().unwrap();
        let cells = "<tr><td>1970-01-01T00:00:00.000Z</td><td>-</td><td>192.0.2.7</td>\
                     <td>&#60;b&#62;&#38;&#34;&#39;&#60;/b&#62;</td></tr>";
        assert!(html.contains(cells), "{html}");
        assert!(html.contains("<p><strong>a &#60; b</strong></p>"), "{html}");
        assert!(
            html.contains("<h1>nas</h1>") && html.contains("Older"),
            "{html}"
        );
        let empty = LogPage {
            host: &row.hostname,
            wrong: None,
            rows: &[],
            is_cut: false,
        };
        let empty = empty.render().unwrap();
        assert!(
            !empty.contains("Older") && !empty.contains("<p>"),
            "{empty}"
        );
    }
}
