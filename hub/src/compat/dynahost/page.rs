//! A host's history as an HTML page. Pure.

use std::fmt::Write;
use std::net::IpAddr;

use silo_shared::silo::Hostname;

use crate::domain::html::html_escaped;
use crate::store::HistoryRow;

/// A table of a host's changes, newest first, below the error, if any. `is_cut`: there were more changes.
pub(super) fn page(
    host: &Hostname,
    wrong: Option<&str>,
    rows: &[HistoryRow],
    is_cut: bool,
) -> String {
    let host = html_escaped(host.as_str());
    let wrong = wrong.map(|wrong| format!("<p><strong>{}</strong></p>\n", html_escaped(wrong)));
    let wrong = wrong.unwrap_or_default();
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{host}</title></head>\n\
         <body>\n<h1>{host}</h1>\n{wrong}<table>\n\
         <thead><tr><th>At</th><th>Before</th><th>After</th><th>By</th></tr></thead>\n<tbody>\n"
    );
    for row in rows {
        let cells = [
            row.at.to_string(),
            address(row.old),
            address(row.new),
            row.via.clone(),
        ];
        html += "<tr>";
        for cell in cells {
            write!(html, "<td>{}</td>", html_escaped(&cell))
                .expect("writing to a String never fails");
        }
        html += "</tr>\n";
    }
    html += "</tbody>\n</table>\n";
    if is_cut {
        html += "<p>Older changes are not shown.</p>\n";
    }
    html + "</body>\n</html>\n"
}

fn address(ip: Option<IpAddr>) -> String {
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
            revision: 1,
            hostname: Hostname::parse("nas").unwrap(),
            family: 4,
            old: None,
            new: Some("192.0.2.7".parse().unwrap()),
            via: "<b>&\"'</b>".to_owned(),
            token: None,
            client_ip: None,
        };
        let html = page(
            &row.hostname,
            Some("a < b"),
            std::slice::from_ref(&row),
            true,
        );
        let cells = "<tr><td>1970-01-01T00:00:00.000Z</td><td>-</td><td>192.0.2.7</td>\
                     <td>&lt;b&gt;&amp;&quot;&#39;&lt;/b&gt;</td></tr>";
        assert!(html.contains(cells), "{html}");
        assert!(html.contains("<p><strong>a &lt; b</strong></p>"), "{html}");
        assert!(
            html.contains("<h1>nas</h1>") && html.contains("Older"),
            "{html}"
        );
        let empty = page(&row.hostname, None, &[], false);
        assert!(
            !empty.contains("Older") && !empty.contains("<p>"),
            "{empty}"
        );
    }
}
