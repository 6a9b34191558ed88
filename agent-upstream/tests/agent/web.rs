//! Web pages as the source of addresses, over HTTP; `web_tls` has those over TLS.

use crate::hub::{Answer, Hub};
use crate::run::{Agent, TOKEN};

pub(crate) fn hub() -> Hub {
    Hub::start(|request| {
        if request.line.starts_with("PUT") {
            Answer::record("db", &["192.0.2.5"], "x")
        } else {
            Answer::problem(404, "no such record")
        }
    })
}

/// A page that answers this.
fn page(answer: Answer) -> Hub {
    Hub::start(move |_| answer.clone())
}

fn text(body: impl Into<String>) -> Hub {
    page(Answer::status(200, "text/plain", body))
}

pub(crate) fn agent(hub: &Hub, pages: &[&str], within: &str) -> Agent {
    Agent::with_file(&format!(
        "hub: {}\ntoken: {TOKEN}\nsilo: office\nhostnames: [db]\naddresses: {{web: {pages:?}}}\n{within}",
        hub.url()
    ))
}

const WITHIN: &str = "within: [192.0.2.0/24]\n";
pub(crate) const REPORTED: &str = "office: db set to 192.0.2.5, revision 42\n";

#[test]
fn the_first_address_in_the_page_is_reported() {
    let hub = hub();
    for body in [
        "192.0.2.5\n",
        r#"{"ip":"192.0.2.5","seen":"192.0.2.6"}"#,
        "<html>Current IP Address: 192.0.2.5</html>",
    ] {
        let page = text(body);
        agent(&hub, &[&page.url()], WITHIN).run().says(REPORTED);
        // No credential is sent there.
        let requests = page.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(
            (requests[0].line.as_str(), &requests[0].authorization),
            ("GET /", &None)
        );
    }
}

#[test]
fn a_page_that_gives_no_address_is_an_error_that_changes_nothing() {
    let hub = hub();
    let redirect =
        Answer::status(302, "text/plain", "192.0.2.5").header("Location: http://127.0.0.1:1/");
    for (page, words) in [
        (text("none of your business"), &["contains no address"][..]),
        (text("x".repeat(4097)), &["more than 4096 bytes"]),
        (
            text(format!("{}192.0.2.5", " ".repeat(4096))),
            &["more than 4096 bytes"],
        ),
        (page(redirect), &["answered 302", "redirect"]),
        (
            page(Answer::status(404, "text/plain", "192.0.2.5")),
            &["answered 404"],
        ),
        (text("203.0.113.5"), &["203.0.113.5 is outside `within`"]),
        (text("127.0.0.1"), &["127.0.0.1 is"]),
        (text("2001:db8::5"), &["asked over IPv4", "2001:db8::5"]),
    ] {
        agent(&hub, &[&page.url()], WITHIN)
            .run()
            .complains(1, words);
    }
    agent(&hub, &["http://127.0.0.1:1/?key=hush"], WITHIN)
        .run()
        .complains(1, &["the page at http://127.0.0.1:1 cannot be reached"]);
    assert_eq!(hub.lines(), [""; 0]);
}

#[test]
fn the_next_page_is_asked_if_one_gives_no_address() {
    let hub = hub();
    let (broken, good, unused) = (text("-"), text("192.0.2.5"), text("192.0.2.6"));
    agent(
        &hub,
        &[
            "http://127.0.0.1:1",
            &broken.url(),
            &good.url(),
            &unused.url(),
        ],
        WITHIN,
    )
    .run()
    .says(REPORTED);
    assert_eq!(broken.lines().len(), 1);
    assert_eq!(unused.lines(), [""; 0]);
}

#[test]
fn plain_http_requires_within() {
    let hub = hub();
    let page = text("192.0.2.5");
    agent(&hub, &[&page.url()], "")
        .run()
        .complains(2, &["`web`", "`within`", "https://"]);
    assert_eq!(page.lines(), [""; 0]);
}

#[cfg(target_os = "linux")]
#[test]
fn families_are_asked_apart() {
    let setup = "
        hosts=$(mktemp)
        printf '127.0.0.1 page.test\\n::1 page.test\\n' > $hosts
        mount --bind $hosts /etc/hosts
        rm $hosts";
    crate::namespace::in_namespace("web::families_are_asked_apart", setup, || {
        let hub = Hub::start(|request| {
            if request.line.starts_with("PUT") {
                Answer::record("db", &["192.0.2.5", "2001:db8::5"], "x")
            } else {
                Answer::problem(404, "no such record")
            }
        });
        // Port 0 on `::` listens for both families.
        let page = Hub::start_at("[::]:0", |request| {
            let ip = if request.peer.is_ipv4() {
                "192.0.2.5"
            } else {
                "2001:db8::5"
            };
            Answer::status(200, "text/plain", ip)
        });
        let within = "within: [192.0.2.0/24, '2001:db8::/32']\n";
        let url = format!("http://page.test:{}", page.port());
        agent(&hub, &[&url], within)
            .run()
            .says("office: db set to 192.0.2.5 2001:db8::5, revision 42\n");
        let requests = hub.requests();
        let put = requests.last().expect("a report");
        assert_eq!(put.body, r#"{"ips":["192.0.2.5","2001:db8::5"]}"#);
    });
}
