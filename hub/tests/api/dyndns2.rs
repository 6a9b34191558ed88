//! dyndns2: every word of the protocol, which silo and which hosts a token may write, and addresses in
//! every shape that clients send.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use silo_hub::open_hub::OpenHub;

use crate::common::{Answer, Call, TestHub, revision, text};

const NAS: &str = "/silos/office/records/nas";

/// A call by Basic, as every client makes it.
fn basic(hub: &TestHub, method: Method, path: &str, user: &str, password: &str) -> Call {
    let pair = STANDARD.encode(format!("{user}:{password}"));
    hub.open_call(method, path)
        .header("authorization", &format!("Basic {pair}"))
        .header("user-agent", "ddclient/3.10.0")
        .in_words()
}

/// A hub with a token that writes all of `office`.
struct Office {
    hub: TestHub,
    token: String,
}

impl Office {
    async fn start() -> Self {
        Self::on(TestHub::start().await).await
    }

    async fn on(hub: TestHub) -> Self {
        let token = hub.credential("write", &["office"], &[]).await;
        Self { hub, token }
    }

    fn call(&self, query: &str) -> Call {
        let path = format!("/nic/update?{query}");
        basic(&self.hub, Method::GET, &path, "any", &self.token)
    }

    /// The lines of a 200.
    async fn said(&self, query: &str) -> String {
        let answer = self.call(query).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        lines(&answer)
    }

    async fn ips(&self, hostname: &str) -> Value {
        ips(&self.hub, "office", hostname).await
    }

    async fn set(&self, hostname: &str, body: Value) {
        let path = format!("/silos/office/records/{hostname}");
        let answer = self.hub.put(&path).json(&body).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }
}

/// Each line ends; shown with `|` between them.
fn lines(answer: &Answer) -> String {
    let text = answer.text().strip_suffix('\n');
    text.unwrap_or_else(|| panic!("the last line does not end: {answer:?}"))
        .replace('\n', "|")
}

async fn ips(hub: &TestHub, silo: &str, hostname: &str) -> Value {
    let answer = hub.get(&format!("/silos/{silo}/records/{hostname}")).await;
    match answer.status {
        200 => answer.json()["ips"].clone(),
        404 => Value::Null,
        _ => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn good_and_nochg_name_the_addresses_of_each_host_in_request_order() {
    let office = Office::start().await;
    for (query, said) in [
        ("hostname=nas&myip=192.0.2.1", "good 192.0.2.1"),
        ("hostname=nas&myip=192.0.2.1", "nochg 192.0.2.1"),
        ("hostname=nas&myip=192.0.2.2", "good 192.0.2.2"),
        ("hostname=nas&myip=2001:db8::1", "good 2001:db8::1"),
        (
            "hostname=nas&myip=192.0.2.2,2001:db8::1",
            "nochg 192.0.2.2,2001:db8::1",
        ),
        (
            "hostname=nas&myip=2001:db8::2,192.0.2.2",
            "good 192.0.2.2,2001:db8::2",
        ),
        (
            "hostname=nas&myip=192.0.2.2&myipv6=2001:db8::3",
            "good 192.0.2.2,2001:db8::3",
        ),
        ("hostname=nas&myip6=2001:db8::3", "nochg 2001:db8::3"),
        // What old clients send besides.
        (
            "system=dyndns&hostname=zoo,nas,db&myip=192.0.2.2&wildcard=ON&mx=a.b&backmx=NO&offline=NO",
            "good 192.0.2.2|nochg 192.0.2.2|good 192.0.2.2",
        ),
        (
            "hostname=db,zoo,a.b.lan&myip=192.0.2.3",
            "good 192.0.2.3|good 192.0.2.3|good 192.0.2.3",
        ),
        (
            "hostname=twin,twin&myip=192.0.2.3",
            "good 192.0.2.3|nochg 192.0.2.3",
        ),
        ("hostname=NAS.&myip=192.0.2.2", "nochg 192.0.2.2"),
    ] {
        assert_eq!(office.said(query).await, said, "{query}");
    }
    assert_eq!(office.ips("nas").await, json!(["192.0.2.2", "2001:db8::3"]));
    assert_eq!(office.ips("db").await, json!(["192.0.2.3"]));
    assert_eq!(office.ips("a.b.lan").await, json!(["192.0.2.3"]));
}

#[tokio::test]
async fn words_of_wrong_hosts_and_addresses_stand_in_the_hosts_line() {
    let office = Office::start().await;
    office.hub.put_silo("office", &[("nas", "192.0.2.9")]).await;
    let limited = office.hub.credential("write", &["office"], &["nas*"]).await;
    let twenty = |name: &str| vec![name; 20].join(",");
    for (query, said) in [
        ("", "notfqdn"),
        ("hostname=", "notfqdn"),
        ("hostname=,&myip=192.0.2.1", "notfqdn"),
        ("myip=192.0.2.1", "notfqdn"),
        (
            "hostname=a..b,localhost,-x,10.0.0.1&myip=192.0.2.9",
            "notfqdn|notfqdn|notfqdn|notfqdn",
        ),
        (
            "hostname=n%C3%B6_%00,nas&myip=192.0.2.9",
            "notfqdn|nochg 192.0.2.9",
        ),
        (
            "hostname=db,nas,%20,nasty..x,home&myip=192.0.2.9",
            "nohost|nochg 192.0.2.9|notfqdn|nohost",
        ),
        ("hostname=nas,db&myip=nonsense", "dnserr|nohost"),
        ("hostname=nas&myip=0.0.0.0", "dnserr"),
        ("hostname=nas&myip=192.0.2.1,192.0.2.2", "dnserr"),
        ("hostname=nas&ip6lanprefix=2001:db8::/64", "dnserr"),
        (
            &format!("hostname={}&myip=192.0.2.9", twenty("nas")),
            &vec!["nochg 192.0.2.9"; 20].join("|"),
        ),
        (
            &format!("hostname={},nas&myip=192.0.2.9", twenty("nas")),
            "numhost",
        ),
        (
            &format!("hostname={}&hostname=db&myip=192.0.2.9", twenty("nas")),
            "numhost",
        ),
    ] {
        let path = format!("/nic/update?{query}");
        let answer = basic(&office.hub, Method::GET, &path, "", &limited).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        assert_eq!(lines(&answer), said, "{query}");
    }
    assert_eq!(
        office.hub.history("office").await.len(),
        1,
        "nothing was changed"
    );
}

#[tokio::test]
async fn badauth_is_401_and_asks_for_basic() {
    let office = Office::start().await;
    let query = "/nic/update?hostname=nas&myip=192.0.2.1";
    let (id, revoked) = office
        .hub
        .token(json!({"name": "r", "role": "write", "silos": ["office"]}))
        .await;
    office.hub.delete(&format!("/tokens/{id}")).await;
    let bare = || office.hub.open_call(Method::GET, query).in_words();
    let by = |password: &str| basic(&office.hub, Method::GET, query, "office", password);
    for (name, call) in [
        ("none", bare()),
        ("browser", bare().header("sec-fetch-mode", "cors")),
        ("wrong", by(&format!("silo_aaaaaaaaaa_{}", "x".repeat(43)))),
        ("revoked", by(&revoked)),
        ("empty", by("")),
        ("bearer", bare().bearer("silo_aaaaaaaaaa_x")),
        // An admin does not say which silo by Bearer.
        ("no silo", bare().bearer(&office.hub.admin)),
    ] {
        let answer = call.await;
        assert_eq!(answer.status, 401, "{name}: {answer:?}");
        assert_eq!(answer.text(), "badauth\n", "{name}");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Basic realm=\"silo\""),
            "{name}"
        );
    }
    // In the URL it is no credential.
    let path = format!("{query}&username=x&password={}", office.token);
    let answer = office.hub.open_call(Method::GET, &path).in_words().await;
    assert_eq!(answer.status, 401);
    assert_eq!(office.hub.get("/silos/office").await.status, 404);
}

/// The failures are those of REST: the same limit counts both.
#[tokio::test]
async fn too_many_failures_are_911_and_never_429() {
    let office = Office::on(TestHub::start_behind_a_proxy().await).await;
    let path = "/nic/update?hostname=nas&myip=192.0.2.1";
    let wrong = format!("silo_aaaaaaaaaa_{}", "x".repeat(43));
    let fail = |from: &'static str| {
        basic(&office.hub, Method::GET, path, "office", &wrong).seen_from(from)
    };
    for _ in 0..5 {
        assert_eq!(fail("198.51.100.1").await.status, 401);
        let rest = office.hub.open_call(Method::GET, "/silos").bearer(&wrong);
        assert_eq!(rest.seen_from("198.51.100.1").await.status, 401);
    }
    let limited = fail("198.51.100.1").await;
    assert_eq!((limited.status, limited.text()), (503, "911\n"));
    let seconds: i64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{limited:?}");
    let rest = office.hub.open_call(Method::GET, "/silos").bearer(&wrong);
    assert_eq!(rest.seen_from("198.51.100.1").await.status, 429);
    // A valid token is always honoured, a missing one no failure, another address another matter.
    let answer = office
        .call("hostname=nas&myip=192.0.2.1")
        .seen_from("198.51.100.1")
        .await;
    assert_eq!(lines(&answer), "good 192.0.2.1");
    let bare = office.hub.open_call(Method::GET, path).in_words();
    assert_eq!(bare.seen_from("198.51.100.1").await.status, 401);
    assert_eq!(fail("198.51.100.2").await.status, 401);
    office.hub.pass(seconds);
    assert_eq!(fail("198.51.100.1").await.status, 401);
}

/// What a token may not do is no wrong credential.
#[tokio::test]
async fn nohost_and_an_unnamed_silo_are_no_failures() {
    let office = Office::start().await;
    let reader = office.hub.credential("read", &["office"], &[]).await;
    let admin = office.hub.admin.clone();
    let path = "/nic/update?hostname=nas&myip=192.0.2.1";
    for _ in 0..15 {
        let answer = basic(&office.hub, Method::GET, path, "office", &reader).await;
        assert_eq!(lines(&answer), "nohost");
        let answer = basic(&office.hub, Method::GET, path, "nowhere", &admin).await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
}

#[tokio::test]
async fn trouble_with_the_database_is_911_and_the_next_try_succeeds() {
    let office = Office::start().await;
    office.said("hostname=nas&myip=192.0.2.1").await;
    let other = OpenHub::open(&office.hub.settings, office.hub.clock())
        .await
        .unwrap();
    let held = other.store.begin_write().await.unwrap();
    let answer = office.call("hostname=nas,db&myip=192.0.2.2").await;
    assert_eq!((answer.status, answer.text()), (503, "911\n"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds > 0);
    drop(held);
    other.close().await;
    assert_eq!(
        office.said("hostname=nas,db&myip=192.0.2.2").await,
        "good 192.0.2.2|good 192.0.2.2"
    );
}

#[tokio::test]
async fn a_full_silo_is_dnserr() {
    let office = Office::start().await;
    let records: Vec<_> = (0..10_000)
        .map(|number| json!({"hostname": format!("h{number}"), "ip": "10.0.0.1"}))
        .collect();
    let made = office
        .hub
        .put("/silos/office")
        .json(&json!({"dnsrecords": records}))
        .await;
    assert_eq!(made.status, 201);
    assert_eq!(
        office.said("hostname=h0,new&myip=192.0.2.1").await,
        "good 192.0.2.1|dnserr"
    );
}

#[tokio::test]
async fn the_callers_address_is_meant_where_none_is_sent() {
    let office = Office::on(TestHub::start_behind_a_proxy().await).await;
    for (query, from, said) in [
        ("hostname=nas", "198.51.100.1", "good 198.51.100.1"),
        ("hostname=nas&myip=", "198.51.100.1", "nochg 198.51.100.1"),
        ("hostname=nas&myip=", "2001:db8::9", "good 2001:db8::9"),
        (
            "hostname=nas&myip=&myipv6=&ip6lanprefix=",
            "::ffff:198.51.100.2",
            "good 198.51.100.2",
        ),
        // The device says that it has no IPv4: the address of its provider's gateway is not its own.
        (
            "hostname=nas&myip=&myipv6=2001:db8::9",
            "198.51.100.3",
            "nochg 2001:db8::9",
        ),
    ] {
        let answer = office.call(query).seen_from(from).await;
        assert_eq!(lines(&answer), said, "{query} from {from}");
    }
    assert_eq!(
        office.ips("nas").await,
        json!(["198.51.100.2", "2001:db8::9"])
    );
    // Nobody believes a stranger what he says of himself.
    let plain = Office::start().await;
    let answer = plain.call("hostname=nas").seen_from("198.51.100.1").await;
    assert_eq!(lines(&answer), "good 127.0.0.1");
}

#[tokio::test]
async fn the_prefix_is_put_before_the_records_suffix() {
    let office = Office::start().await;
    office
        .set("nas", json!({"ip": "10.0.0.5", "ipv6_suffix": "::5"}))
        .await;
    office
        .set(
            "cam",
            json!({"ip": "10.0.0.6", "ipv6_suffix": "::2:0:0:0:6"}),
        )
        .await;
    let router = "myip=192.0.2.1&myipv6=2001:db8:ff::1";
    for (query, said) in [
        (
            format!("hostname=router,nas&{router}&ip6lanprefix=2001:db8:1:2::/64"),
            "good 192.0.2.1,2001:db8:ff::1|good 192.0.2.1,2001:db8:1:2::5",
        ),
        (
            format!("hostname=router,nas&{router}&ip6lanprefix=2001:db8:1:2::/64"),
            "nochg 192.0.2.1,2001:db8:ff::1|nochg 192.0.2.1,2001:db8:1:2::5",
        ),
        (
            "hostname=cam&ip6lanprefix=2001:db8:1::/48".to_owned(),
            "good 2001:db8:1:2::6",
        ),
        (
            "hostname=cam&ip6lanprefix=2001:db8:1:ff00::/56".to_owned(),
            "good 2001:db8:1:ff02::6",
        ),
        (
            "hostname=cam&ip6lanprefix=2001:db8:1:fff0::/60".to_owned(),
            "good 2001:db8:1:fff2::6",
        ),
        (
            "hostname=new&ip6lanprefix=2001:db8:1:2::/64&suffix=::7".to_owned(),
            "good 2001:db8:1:2::7",
        ),
        (
            "hostname=nas&ip6lanprefix=2001:db8:1:3::/64&suffix=::8".to_owned(),
            "good 2001:db8:1:3::8",
        ),
        // Without IPv6 at the moment nothing is guessed.
        (
            format!("hostname=nas&{router}&ip6lanprefix="),
            "nochg 192.0.2.1",
        ),
    ] {
        assert_eq!(office.said(&query).await, said, "{query}");
    }
    assert_eq!(
        office.ips("nas").await,
        json!(["192.0.2.1", "2001:db8:1:3::8"])
    );
    assert_eq!(
        office.ips("cam").await,
        json!(["10.0.0.6", "2001:db8:1:fff2::6"])
    );
    let nas = office.hub.get(NAS).await.json();
    assert_eq!(nas["ipv6_suffix"], "::5", "suffix= is for one request");
}

#[tokio::test]
async fn the_token_or_the_user_name_tells_the_silo() {
    let hub = TestHub::start().await;
    hub.put_silo("home", &[]).await;
    hub.put_silo("gone", &[]).await;
    hub.delete("/silos/gone").await;
    let one = hub.credential("write", &["office"], &[]).await;
    let two = hub.credential("write", &["office", "lab"], &[]).await;
    let globs = hub.credential("write", &["h*", "g*", "lab"], &[]).await;
    let reader = hub.credential("read", &["home", "lab"], &[]).await;
    let admin = hub.admin.clone();
    for (number, (token, user, silo)) in [
        (&one, "", Some("office")),
        (&one, "home", Some("office")),
        (&one, "ü, no silo", Some("office")),
        (&two, "lab", Some("lab")),
        (&two, "Office", Some("office")),
        (&two, "home", None),
        (&two, "", None),
        (&globs, "home", Some("home")),
        (&globs, "lab", Some("lab")),
        (&globs, "house", None),
        (&globs, "gone", None),
        (&globs, "h*", None),
        (&globs, "*", None),
        (&reader, "home", None),
        (&admin, "home", Some("home")),
        (&admin, "mistyped", None),
        (&admin, "", None),
    ]
    .into_iter()
    .enumerate()
    {
        let case = format!("{number}: {user}");
        let hostname = format!("h{number}");
        let path = format!("/v3/update?hostname={hostname}&myip=192.0.2.1");
        let answer = basic(&hub, Method::GET, &path, user, token).await;
        match silo {
            Some(silo) => {
                assert_eq!(answer.status, 200, "{case}: {answer:?}");
                assert_eq!(lines(&answer), "good 192.0.2.1", "{case}");
                assert_eq!(
                    ips(&hub, silo, &hostname).await,
                    json!(["192.0.2.1"]),
                    "{case}"
                );
            }
            None => assert_eq!((answer.status, answer.text()), (401, "badauth\n"), "{case}"),
        }
    }
    let ids: Vec<_> = hub
        .walk("/silos")
        .await
        .concat()
        .iter()
        .map(|silo| text(&silo["id"]))
        .collect();
    assert_eq!(
        ids,
        ["home", "lab", "office"],
        "a refused user name makes no silo"
    );
}

/// Whatever a token may not do by REST, it may not do here.
#[tokio::test]
async fn no_right_is_more_than_the_tokens_own() {
    let hub = TestHub::start().await;
    for silo in ["office", "home"] {
        hub.put_silo(silo, &[("db", "10.0.0.1"), ("nas-1", "10.0.0.1")])
            .await;
    }
    let tokens = [
        hub.credential("read", &["office"], &[]).await,
        hub.credential("read", &["*"], &[]).await,
        hub.credential("write", &["office"], &[]).await,
        hub.credential("write", &["office"], &["nas-*"]).await,
        hub.credential("write", &["home"], &[]).await,
        hub.credential("write", &["o*"], &["db"]).await,
        hub.credential("write", &["office", "home"], &["nas-1"])
            .await,
        hub.credential("write", &["*"], &[]).await,
        hub.admin.clone(),
    ];
    let (mut allowed, mut refused) = (0, 0);
    for (number, token) in tokens.iter().enumerate() {
        for silo in ["office", "home", "none"] {
            for hostname in ["db", "nas-1", "nas-2"] {
                let case = format!("token {number}, {silo}, {hostname}");
                // REST's own word on it: an impossible precondition is judged after the right.
                let rest = hub
                    .open_call(Method::PUT, &format!("/silos/{silo}/records/{hostname}"))
                    .bearer(token)
                    .header("if-match", "\"never\"")
                    .json(&json!({"ip": "10.0.0.1"}))
                    .await;
                let may = match rest.status {
                    412 => true,
                    403 => false,
                    _ => panic!("{case}: {rest:?}"),
                };
                let before = hub.walk("/silos").await;
                let ip = format!("192.0.2.{}", 1 + (allowed + refused) % 250);
                let path = format!("/nic/update?hostname={hostname}&myip={ip}");
                let answer = basic(&hub, Method::GET, &path, silo, token).await;
                if answer.status == 200 && answer.text().starts_with("good") {
                    allowed += 1;
                    // A token of one silo writes there whatever the user name.
                    let written = [silo, "office", "home"];
                    let after = hub.walk("/silos").await;
                    assert_ne!(before, after, "{case}");
                    let changed = written.iter().find(|silo| {
                        let find = |pages: &[Vec<Value>]| {
                            pages.concat().into_iter().find(|row| row["id"] == **silo)
                        };
                        find(&before) != find(&after)
                    });
                    let silo = changed.unwrap_or_else(|| panic!("{case}: nothing changed"));
                    let right = hub
                        .open_call(Method::PUT, &format!("/silos/{silo}/records/{hostname}"))
                        .bearer(token)
                        .header("if-match", "\"never\"")
                        .json(&json!({"ip": "10.0.0.1"}))
                        .await;
                    assert_eq!(right.status, 412, "{case}: written in {silo}");
                } else {
                    refused += 1;
                    assert!(
                        matches!(answer.text(), "nohost\n" | "badauth\n"),
                        "{case}: {answer:?}"
                    );
                    assert_eq!(before, hub.walk("/silos").await, "{case}");
                    // Refused though the token may: only where the user name would make a new silo.
                    assert!(!may || silo == "none", "{case}: {answer:?}");
                }
            }
        }
    }
    assert!(
        allowed >= 20 && refused >= 20,
        "{allowed} allowed, {refused} refused"
    );
}

#[tokio::test]
async fn a_change_has_the_history_revision_and_tag_of_any_other() {
    let office = Office::on(TestHub::start_behind_a_proxy().await).await;
    let before = office.hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let answer = office
        .call("hostname=nas&myip=192.0.2.1,2001:db8::1")
        .seen_from("198.51.100.1")
        .await;
    assert_eq!(lines(&answer), "good 192.0.2.1,2001:db8::1");
    let after = office.hub.get("/silos/office").await;
    assert!(revision(&after.json()) > revision(&before.json()));
    let rows = office.hub.history("office").await;
    assert_eq!(rows.len(), 3, "{rows:?}");
    let id = office.token.split('_').nth(1).unwrap();
    for (row, ip) in rows.iter().zip(["192.0.2.1", "2001:db8::1"]) {
        assert_eq!(row["via"], "dyndns2");
        assert_eq!(row["new_ip"], ip);
        assert_eq!(row["old_ip"], Value::Null);
        assert_eq!(row["token"], id);
        assert_eq!(row["client_ip"], "198.51.100.1");
    }
    // Unchanged: only last_seen moves.
    let seen = text(&office.hub.get(NAS).await.json()["last_seen"]);
    office.hub.pass(60);
    office.said("hostname=nas&myip=192.0.2.1").await;
    assert_eq!(office.hub.get("/silos/office").await.etag(), after.etag());
    assert_eq!(office.hub.history("office").await, rows);
    assert_ne!(office.hub.get(NAS).await.json()["last_seen"], seen);
}

#[tokio::test]
async fn attributes_and_the_other_family_stay() {
    let office = Office::start().await;
    office
        .set(
            "nas",
            json!({"ips": ["10.0.0.5", "fd00::5"], "comment": "rack 3", "expires_after": 3600}),
        )
        .await;
    office.said("hostname=nas&myip=192.0.2.1").await;
    let nas = office.hub.get(NAS).await.json();
    assert_eq!(nas["ips"], json!(["192.0.2.1", "fd00::5"]));
    assert_eq!(nas["comment"], "rack 3");
    assert_eq!(nas["expires_after"], 3600);
}

#[tokio::test]
async fn a_post_is_as_good_by_query_or_by_form() {
    let office = Office::start().await;
    let post = |path: &str| basic(&office.hub, Method::POST, path, "", &office.token);
    let form = |call: Call| call.header("content-type", "application/x-www-form-urlencoded");
    let by_query = post("/nic/update?hostname=nas&myip=192.0.2.1").await;
    assert_eq!(lines(&by_query), "good 192.0.2.1");
    let by_form = form(post("/v3/update"))
        .body("hostname=nas,db&myip=192.0.2.2")
        .await;
    assert_eq!(lines(&by_form), "good 192.0.2.2|good 192.0.2.2");
    let by_both = form(post("/nic/update?hostname=nas"))
        .body("myip=192.0.2.3")
        .await;
    assert_eq!(lines(&by_both), "good 192.0.2.3");
    // Another body is not looked at.
    let other = post("/nic/update?hostname=nas&myip=192.0.2.3")
        .json(&json!({"myip": "192.0.2.4"}))
        .await;
    assert_eq!(lines(&other), "nochg 192.0.2.3");
    // Who may not write is told so before his body is read.
    let big = office
        .hub
        .raw(
            "POST /nic/update HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 99999999\r\n\r\n",
        )
        .await;
    assert!(big.starts_with("HTTP/1.1 401 "), "{big}");
}

#[tokio::test]
async fn other_methods_are_405_and_change_nothing() {
    let office = Office::start().await;
    let pair = STANDARD.encode(format!("any:{}", office.token));
    for path in ["/nic/update", "/v3/update"] {
        let path = format!("{path}?hostname=nas&myip=192.0.2.1");
        for method in [
            Method::HEAD,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
        ] {
            let answer = office
                .hub
                .open_call(method.clone(), &path)
                .header("authorization", &format!("Basic {pair}"))
                .await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.allowed(), ["GET", "POST"], "{method} {path}");
        }
    }
    assert_eq!(office.hub.get("/silos/office").await.status, 404);
    for path in ["/nic/update/", "/nic", "/nic/status", "/v3/update/x"] {
        assert_eq!(office.hub.get(path).await.status, 404, "{path}");
    }
}

/// `GET` changes something here, and browsers keep passwords of Basic.
#[tokio::test]
async fn other_sites_pages_are_refused() {
    let office = Office::start().await;
    let pair = STANDARD.encode(format!("any:{}", office.token));
    for method in [Method::GET, Method::POST] {
        for (header, value) in [
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://evil.example"),
            ("origin", "null"),
        ] {
            let answer = office
                .hub
                .open_call(method.clone(), "/nic/update?hostname=nas&myip=192.0.2.1")
                .header("authorization", &format!("Basic {pair}"))
                .header(header, value)
                .await;
            assert_eq!(answer.status, 403, "{method} {header}: {value}");
        }
    }
    assert_eq!(office.hub.get("/silos/office").await.status, 404);
}

/// The requests byte for byte, as ddclient 3.10, inadyn 2.10 and a FRITZ!Box send them.
#[tokio::test]
async fn old_clients_bytes_are_understood() {
    let office = Office::start().await;
    office
        .set("nas", json!({"ip": "10.0.0.5", "ipv6_suffix": "::5"}))
        .await;
    let basic = STANDARD.encode(format!("office:{}", office.token));
    let lines = |request: &str, version: &str, host: &str| {
        format!(
            "GET {request} HTTP/{version}\r\nHost: {host}\r\nAuthorization: Basic {basic}\r\n\
             User-Agent: test\r\nConnection: close\r\n\r\n"
        )
    };
    let fritz = "/nic/update?hostname=nas,router&myip=192.0.2.7&myipv6=2001:db8:ff::1\
                 &ip6lanprefix=2001:db8:1:2::/64";
    for (request, status, body) in [
        (
            lines(
                "/nic/update?system=dyndns&hostname=a,b&myip=192.0.2.1",
                "1.1",
                "10.0.0.1:8053",
            ),
            "HTTP/1.1 200 OK",
            "good 192.0.2.1\ngood 192.0.2.1\n",
        ),
        (
            lines("/nic/update?hostname=a&myip=192.0.2.2", "1.0", "10.0.0.1"),
            "HTTP/1.0 200 OK",
            "good 192.0.2.2\n",
        ),
        (
            lines(fritz, "1.1", "hub"),
            "HTTP/1.1 200 OK",
            "good 192.0.2.7,2001:db8:1:2::5\ngood 192.0.2.7,2001:db8:ff::1\n",
        ),
        // What it has no value for stays empty; what people typed goes out as it is.
        (
            lines(
                "/nic/update?hostname=b\u{fc}ro&myip=192.0.2.8&myipv6=&ip6lanprefix=",
                "1.1",
                "hub",
            ),
            "HTTP/1.1 200 OK",
            "good 192.0.2.8\n",
        ),
        (
            lines("/nic/update?hostname=|{nas}|&myip=192.0.2.8", "1.1", "hub"),
            "HTTP/1.1 200 OK",
            "notfqdn\n",
        ),
        (
            lines("/nic/update?hostname=&myip=192.0.2.8", "1.1", "hub"),
            "HTTP/1.1 200 OK",
            "notfqdn\n",
        ),
        (
            lines("/nic/update?hostname=50%&myip=192.0.2.8", "1.1", "hub"),
            "HTTP/1.1 200 OK",
            "notfqdn\n",
        ),
        (
            "GET /nic/update?hostname=a HTTP/1.0\r\n\r\n".to_owned(),
            "HTTP/1.0 401 Unauthorized",
            "badauth\n",
        ),
    ] {
        let answer = office.hub.raw(&request).await;
        let (head, content) = answer.split_once("\r\n\r\n").expect("a head ends");
        assert_eq!(head.lines().next(), Some(status), "{request}");
        assert_eq!(content, body, "{request}");
        let head = head.to_ascii_lowercase();
        let length = format!("content-length: {}", body.len());
        assert!(head.contains(&length), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
    }
    assert_eq!(office.ips("xn--bro-hoa").await, json!(["192.0.2.8"]));
}
