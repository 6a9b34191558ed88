use std::path::Path;
use std::sync::{Arc, Mutex};

#[cfg(unix)]
use silo_e2e::http_server::Identity;
use silo_e2e::http_server::{HttpServer, Response};
use silo_e2e::provider::{PASSWORD, Provider as FakeProvider, USERNAME};
use silo_shared::silo::SiloId;

use super::*;
use crate::deliver::test_sinks::{addresses, blocks, open, write_secret};
use crate::domain::delivery::UncertainFamilies;

/// A sink with these keys and the provider's login.
fn sink(folder: &Path, keys: &str) -> Box<dyn StateSink> {
    write_secret(folder, "password", &format!("{PASSWORD}\n"));
    let yaml = format!(
        "sinks:\n- {{name: p, kind: dyndns2, username: {USERNAME}, password_file: password, \
         domain: example.net, {keys}}}\n"
    );
    match open(folder, &yaml).unwrap().remove(0).sink {
        Sink::State(sink) => sink,
        Sink::Event(_) => panic!("dyndns2 is a state sink"),
    }
}

struct Home {
    provider: FakeProvider,
    sink: Box<dyn StateSink>,
    _folder: tempfile::TempDir,
}

impl Home {
    fn new(more_keys: &str) -> Self {
        let provider = FakeProvider::start(&["db.example.net", "web.example.net"]);
        let folder = tempfile::tempdir().unwrap();
        let keys = format!("url: {:?}, {more_keys}", provider.url());
        Self {
            sink: sink(folder.path(), &keys),
            provider,
            _folder: folder,
        }
    }

    async fn publish(&self, hostname: &str, wanted: &str, standing: ReceiverState) -> Outcome {
        publish(self.sink.as_ref(), hostname, wanted, standing).await
    }

    /// The updates the provider received for its host, in order: the addresses, and whether it had
    /// them already.
    fn updates(&self) -> Vec<(String, bool)> {
        let text = |list: &[std::net::IpAddr]| {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            list.join(" ")
        };
        let updates = self.provider.updates();
        let of = |update: &silo_e2e::provider::Update| (text(&update.addresses), update.is_repeat);
        updates.iter().map(of).collect()
    }
}

async fn publish(
    sink: &dyn StateSink,
    hostname: &str,
    wanted: &str,
    standing: ReceiverState,
) -> Outcome {
    let hostname = Hostname::parse(hostname).unwrap();
    let publication = Publication {
        login: None,
        silo: SiloId::parse("office").unwrap(),
        name: sink.published_name(&hostname).unwrap(),
        hostname,
        wanted: addresses(wanted),
        standing,
    };
    sink.publish(&publication).await
}

fn claimed(text: &str) -> ReceiverState {
    ReceiverState::Claimed(addresses(text))
}

fn published(text: &str) -> ReceiverState {
    ReceiverState::Published(addresses(text))
}

fn why(outcome: Outcome) -> String {
    match outcome {
        Outcome::Retry(trouble) | Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
            trouble.why
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_record_is_sent_with_both_its_addresses() {
    let home = Home::new("");
    let (first, second) = ("192.0.2.1 2001:db8::1", "192.0.2.2 2001:db8::1");
    assert_eq!(
        home.publish("db", first, claimed(first)).await,
        Outcome::Done
    );
    let replacing = ReceiverState::Replacing {
        published: addresses(first),
        sent: addresses(second),
        unsure: UncertainFamilies {
            v4: true,
            v6: false,
        },
    };
    assert_eq!(home.publish("db", second, replacing).await, Outcome::Done);
    let expected = [(first.to_owned(), false), (second.to_owned(), false)];
    assert_eq!(home.updates(), expected);
    let held = home.provider.addresses("db.example.net");
    assert_eq!(held, addresses(second).iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn nothing_is_sent_twice_but_once_more_after_a_crash() {
    let home = Home::new("");
    let ip = "192.0.2.1";
    home.provider.hang_up_after_next();
    let lost = home.publish("db", ip, claimed(ip)).await;
    assert!(
        matches!(&lost, Outcome::Retry(trouble) if trouble.reach == Reach::Sink),
        "{lost:?}"
    );
    assert_eq!(home.updates(), [(ip.to_owned(), false)]);

    assert_eq!(home.publish("db", ip, claimed(ip)).await, Outcome::Done);
    let twice = [(ip.to_owned(), false), (ip.to_owned(), true)];
    assert_eq!(home.updates(), twice);

    assert_eq!(home.publish("db", ip, published(ip)).await, Outcome::Done);
    assert_eq!(home.provider.requests(), 2);
}

#[tokio::test]
async fn what_may_have_been_replaced_is_put_back() {
    let home = Home::new("");
    let (old, new) = ("192.0.2.1", "192.0.2.2");
    assert_eq!(home.publish("db", old, claimed(old)).await, Outcome::Done);
    let replacing = ReceiverState::Replacing {
        published: addresses(old),
        sent: addresses(new),
        unsure: UncertainFamilies {
            v4: true,
            v6: false,
        },
    };
    home.provider.hang_up_after_next();
    let lost = home.publish("db", new, replacing).await;
    assert!(matches!(lost, Outcome::Retry(_)), "{lost:?}");
    assert_eq!(home.publish("db", old, replacing).await, Outcome::Done);
    let held = home.provider.addresses("db.example.net");
    assert_eq!(held, addresses(old).iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_removed_record_is_not_sent() {
    let home = Home::new("");
    for standing in [
        ReceiverState::Nothing,
        published("192.0.2.1"),
        claimed("192.0.2.1"),
    ] {
        assert_eq!(home.publish("db", "", standing).await, Outcome::Done);
    }
    assert_eq!(home.provider.requests(), 0);
}

#[tokio::test]
async fn a_wrong_login_is_refused_for_the_whole_sink() {
    let provider = FakeProvider::start(&["db.example.net"]);
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), "wrong", "not-the-password");
    let keys = format!("url: {:?}, username: silo", provider.url());
    let yaml = format!(
        "sinks:\n- {{name: p, kind: dyndns2, password_file: wrong, domain: example.net, {keys}}}\n"
    );
    let Sink::State(sink) = open(folder.path(), &yaml).unwrap().remove(0).sink else {
        panic!("dyndns2 is a state sink");
    };
    let outcome = publish(sink.as_ref(), "db", "192.0.2.1", ReceiverState::Nothing).await;
    assert!(
        matches!(&outcome, Outcome::Refused(trouble) if trouble.reach == Reach::Sink),
        "{outcome:?}"
    );
    assert_eq!(provider.updates(), []);
}

#[tokio::test]
async fn an_unknown_host_is_refused_for_itself() {
    let home = Home::new("");
    let outcome = home
        .publish("nas", "192.0.2.1", ReceiverState::Nothing)
        .await;
    let expected = Trouble::of_name("the account has no such host (nohost)");
    assert_eq!(outcome, Outcome::Refused(expected));
    let outcome = home
        .publish("web", "192.0.2.1", ReceiverState::Nothing)
        .await;
    assert_eq!(outcome, Outcome::Done);
}

#[tokio::test]
async fn one_address_does_not_keep_the_other_back() {
    let home = Home::new("ipv6: separate");
    let both = "192.0.2.1 2001:db8::1";
    home.provider.answer_next(Response::text(200, "nohost"));
    let outcome = home.publish("db", both, claimed(both)).await;
    let expected = "192.0.2.1: the account has no such host (nohost)";
    assert_eq!(outcome, Outcome::Refused(Trouble::of_name(expected)));
    assert_eq!(home.updates(), [("2001:db8::1".to_owned(), false)]);

    // An error of the provider as a whole does hold it back.
    home.provider.answer_next(Response::text(200, "911"));
    let outcome = home.publish("web", both, claimed(both)).await;
    assert!(why(outcome).contains("911"));
    assert_eq!(home.provider.requests(), 3);
}

#[tokio::test]
async fn no_redirect_is_followed_and_no_secret_repeated() {
    let home = Home::new("");
    let elsewhere = home.provider.url() + "/elsewhere";
    let redirect = Response::text(302, "").with_header("Location", &elsewhere);
    home.provider.answer_next(redirect);
    let outcome = home
        .publish("db", "192.0.2.1", ReceiverState::Nothing)
        .await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    assert!(why(outcome).contains("redirect"));
    assert_eq!(home.provider.requests(), 1);

    let echo = format!("unknown user {USERNAME} with {PASSWORD}");
    home.provider.answer_next(Response::text(200, echo));
    let why = why(home
        .publish("db", "192.0.2.1", ReceiverState::Nothing)
        .await);
    assert!(why.contains("unknown user *** with ***"), "{why}");
}

#[tokio::test]
async fn a_provider_that_is_away_is_tried_again() {
    let home = Home::new("");
    let Home {
        provider,
        sink,
        _folder,
    } = home;
    drop(provider);
    let outcome = publish(sink.as_ref(), "db", "192.0.2.1", ReceiverState::Nothing).await;
    assert!(
        matches!(&outcome, Outcome::Retry(trouble) if trouble.reach == Reach::Sink),
        "{outcome:?}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_check_sends_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::make(folder.path());
    let provider = FakeProvider::start_tls(&identity, &["db.example.net"]);
    let keys = format!("url: {:?}, ca_file: ca.pem", provider.url());
    let sink = sink(folder.path(), &keys);
    let words = sink.check().await.unwrap();
    assert!(words.contains("nothing was sent"), "{words}");
    provider.wait_for_ended_connections(1);
    assert_eq!(provider.requests(), 0);

    let outcome = publish(sink.as_ref(), "db", "192.0.2.1", ReceiverState::Nothing).await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(sink.observe("db.example.net").await, None);
}

#[tokio::test]
async fn a_contact_is_named_to_the_provider() {
    let agents = Arc::<Mutex<Vec<String>>>::default();
    let server = HttpServer::start({
        let agents = Arc::clone(&agents);
        move |request| {
            let agent = request.header("user-agent").to_owned();
            agents.lock().unwrap().push(agent);
            Response::text(200, "good")
        }
    });
    let folder = tempfile::tempdir().unwrap();
    for contact in ["", ", contact: admin@example.net"] {
        let sink = sink(
            folder.path(),
            &format!("url: {:?}{contact}", server.url("/")),
        );
        let outcome = publish(sink.as_ref(), "db", "192.0.2.1", ReceiverState::Nothing).await;
        assert_eq!(outcome, Outcome::Done);
    }
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        format!("silo-hub/{version}"),
        format!("silo-hub/{version} admin@example.net"),
    ];
    assert_eq!(*agents.lock().unwrap(), expected);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn wrong_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), "password", "hush\n");
    write_secret(folder.path(), "lines", "hush\nhush\n");
    let url = "url: https://h/nic/update";
    let login = "username: silo, password_file: password";
    let error = |keys: &str| {
        let yaml = format!("sinks:\n- {{name: p, kind: dyndns2, {keys}}}\n");
        let error = open(folder.path(), &yaml).unwrap_err();
        assert!(
            error.starts_with("sinks: p: ") && !error.contains("hush"),
            "{error}"
        );
        error
    };
    for (keys, word) in [
        (format!("{login}, domain: a.b"), "preset: ovh"),
        (
            format!("{url}, preset: ovh, {login}, domain: a.b"),
            "both given",
        ),
        (format!("preset: dyn, {login}, domain: a.b"), "`ovh`"),
        (format!("{url}?myip=1, {login}, domain: a.b"), "`myip`"),
        (
            format!("url: 'https://u:hush@h/', {login}, domain: a.b"),
            "user name",
        ),
        (format!("{url}, {login}"), "domain: example.net"),
        (format!("{url}, {login}, hosts: {{}}"), "hosts: {db"),
        (
            format!("{url}, {login}, hosts: {{a: x.y, b: x.y}}"),
            "both x.y",
        ),
        (format!("{url}, {login}, hosts: {{a b: x.y}}"), "labels"),
        (
            format!("{url}, {login}, domain: a.b, ipv6: maybe"),
            "`maybe`",
        ),
        (
            format!("{url}, {login}, domain: a.b, contact: a b"),
            "contact",
        ),
        (
            format!("{url}, {login}, domain: a.b, contact: \"a\\r\\nb\""),
            "contact",
        ),
        (
            format!("{url}, {login}, domain: a.b, contact: ''"),
            "contact",
        ),
        (
            format!("{url}, {login}, domain: a.b, colour: red"),
            "`colour`",
        ),
        (
            format!("{url}, password_file: password, domain: a.b"),
            "`username`",
        ),
        (
            format!("{url}, username: 'a:b', password_file: password, domain: a.b"),
            "username",
        ),
        (
            format!("{url}, username: '', password_file: password, domain: a.b"),
            "username",
        ),
        (
            format!("{url}, username: a, domain: a.b"),
            "`password_file`",
        ),
        (
            format!("{url}, username: a, password_file: lines, domain: a.b"),
            "password_file",
        ),
        (
            format!("{url}, username: a, password_file: none, domain: a.b"),
            "password_file",
        ),
        (
            format!("{url}, {login}, domain: a.b, ca_file: password"),
            "ca_file",
        ),
        (
            format!("{url}, {login}, logins: dynahost"),
            "leave out username and password_file",
        ),
        (
            format!("{url}, username: a, logins: dynahost"),
            "leave out username and password_file",
        ),
        (format!("{url}, logins: anybody"), "logins"),
        (
            format!("{url}, logins: dynahost, hosts: {{a: x.y, b: x.y}}"),
            "a and b are both x.y",
        ),
    ] {
        let error = error(&keys);
        assert!(error.contains(word), "{keys}: {error}");
    }
}

#[test]
fn the_pages_stanzas_are_valid_and_name_every_setting() {
    let page = include_str!("../../../docs/ddns-provider.md");
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), "ovh.password", "hush");
    write_secret(folder.path(), "provider.password", "hush");
    let stanzas = blocks(page, "yaml");
    assert_eq!(stanzas.len(), 2);
    for stanza in stanzas {
        let sinks = open(folder.path(), stanza).unwrap();
        assert!(matches!(sinks[0].sink, Sink::State(_)));
    }
    for key in [
        "preset",
        "url",
        "username",
        "password_file",
        "logins",
        "domain",
        "hosts",
        "ipv6",
        "contact",
        "ca_file",
    ] {
        assert!(page.contains(&format!("`{key}`")), "{key}");
    }
}

#[tokio::test]
async fn a_sink_of_others_logins_has_none_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let open = |keys: &str| {
        let yaml = format!(
            "sinks:\n- {{name: p, kind: dyndns2, url: 'http://127.0.0.1:9/', logins: dynahost{keys}}}\n"
        );
        super::super::test_sinks::open(folder.path(), &yaml)
            .unwrap()
            .remove(0)
    };
    let plain = open("");
    assert!(plain.filter.with_login);
    let Sink::State(sink) = plain.sink else {
        panic!("dyndns2 is a state sink");
    };
    let name =
        |sink: &dyn StateSink, text: &str| sink.published_name(&Hostname::parse(text).unwrap());
    assert_eq!(
        name(&*sink, "db.example.net").as_deref(),
        Ok("db.example.net")
    );
    assert!(name(&*sink, "db").is_err());
    let Sink::State(within) = open(", domain: example.net").sink else {
        panic!("dyndns2 is a state sink");
    };
    assert_eq!(name(&*within, "db").as_deref(), Ok("db.example.net"));
    assert!(name(&*within, "db.example.org").is_err());
    let publish = |wanted: &str, login| Publication {
        login,
        silo: SiloId::parse("office").unwrap(),
        hostname: Hostname::parse("db.example.net").unwrap(),
        name: "db.example.net".to_owned(),
        wanted: addresses(wanted),
        standing: claimed(wanted),
    };
    // Without a login, or with one that the hub's key can't decrypt, nothing is sent and only this
    // name waits.
    let sealed = crate::domain::dynahost::SealedLogin("AAAA".to_owned());
    for (login, words) in [
        (None, "no longer has a login"),
        (Some(sealed), "another hub key"),
    ] {
        match sink.publish(&publish("192.0.2.1", login)).await {
            Outcome::Refused(trouble) => {
                assert_eq!(trouble.reach, Reach::Name);
                assert!(trouble.why.contains(words), "{}", trouble.why);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sink.publish(&publish("", None)).await, Outcome::Done);
}
