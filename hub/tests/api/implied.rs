//! An address that is not stated, on every route that takes the caller's: only one that is known and that others can
//! reach is stored.

use reqwest::Method;
use serde_json::{Value, json};
use silo_e2e::logs;

use crate::common::{Call, TestHub};
use crate::dynahost::{self, compat};
use crate::update_keys::add;

const KEY: &str = "0123456789abcdef";
const SECID: &str = "secid-0123456789";
/// Where the records are before.
const BEFORE: &str = "192.0.2.1";
const FORM: &str = "application/x-www-form-urlencoded";

/// The routes that take the caller's address where a request names none.
#[derive(Clone, Copy, Debug)]
enum Route {
    /// `PUT` of a record without body.
    NoBody,
    /// `PUT` of a record with `{"ip":"caller"}`.
    Caller,
    NicUpdate,
    NicUpdateForm,
    V3Update,
    BelowU,
    SftdynRoot,
    Dynahost,
    DynahostForm,
}

const ROUTES: [Route; 9] = [
    Route::NoBody,
    Route::Caller,
    Route::NicUpdate,
    Route::NicUpdateForm,
    Route::V3Update,
    Route::BelowU,
    Route::SftdynRoot,
    Route::Dynahost,
    Route::DynahostForm,
];

impl Route {
    fn call(self, hub: &TestHub) -> Call {
        let record = self.record();
        let get = |target: &str| hub.open_call(Method::GET, target);
        let form = |target: &str, body: String| {
            let call = hub.open_call(Method::POST, target).body(body);
            call.header("content-type", FORM)
        };
        let dyndns2 = |call: Call| call.login("office", &hub.admin).in_words();
        let secid = format!("secid={SECID}&host=nas");
        match self {
            Self::NoBody => hub.put(record),
            Self::Caller => hub.put(record).json(&json!({"ip": "caller"})),
            Self::NicUpdate => dyndns2(get("/nic/update?hostname=db&myip=")),
            Self::NicUpdateForm => dyndns2(form("/nic/update", "hostname=db".to_owned())),
            Self::V3Update => dyndns2(get("/v3/update?hostname=db")),
            Self::BelowU => get(&format!("/u/{KEY}")).in_words_of(&[200, 500]),
            Self::SftdynRoot => get(&format!("/{KEY}")).in_words_of(&[200, 500]),
            Self::Dynahost => get(&format!("/update?{secid}")).in_words_of(dynahost::STATUSES),
            Self::DynahostForm => form("/update", secid).in_words_of(dynahost::STATUSES),
        }
    }

    /// Status and words of a refusal for this reason.
    fn refusal(self, why: &str) -> (u16, String) {
        match self {
            Self::NoBody | Self::Caller => (422, why.to_owned()),
            Self::NicUpdate | Self::NicUpdateForm | Self::V3Update => (503, "911\n".to_owned()),
            Self::BelowU | Self::SftdynRoot => (500, "FAIL".to_owned()),
            Self::Dynahost | Self::DynahostForm => (400, format!("your address: {why}\n")),
        }
    }

    /// What the route says that has set its record to another address.
    fn success(self, address: &str) -> String {
        match self {
            Self::NoBody | Self::Caller => "?1".to_owned(),
            Self::NicUpdate | Self::NicUpdateForm | Self::V3Update => format!("good {address}\n"),
            Self::BelowU | Self::SftdynRoot | Self::Dynahost | Self::DynahostForm => {
                "OK".to_owned()
            }
        }
    }

    fn record(self) -> &'static str {
        match self {
            Self::Dynahost | Self::DynahostForm => "/silos/office/records/nas",
            _ => "/silos/office/records/db",
        }
    }
}

/// A hub that speaks everything, behind proxies: the tests, and those of 10.0.0.0/8.
async fn start() -> TestHub {
    let (hub, open) = TestHub::start_in_parts_with(|settings| {
        settings.trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]
            .map(|network| network.parse().expect("a network"))
            .into();
        settings.compat = compat("{sftdyn: true, dynahost: {silo: office, hostnames: [nas]}}");
    })
    .await;
    add(&open, KEY, "db").await.expect("a key");
    for route in [Route::NoBody, Route::Dynahost] {
        let answer = route.call(&hub).seen_from(BEFORE).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }
    hub
}

async fn records(hub: &TestHub) -> [Value; 2] {
    let db = hub.get("/silos/office/records/db").await.json();
    [db, hub.get("/silos/office/records/nas").await.json()]
}

fn with(call: Call, headers: &[(&str, &str)]) -> Call {
    let add = |call: Call, (name, value): &(&str, &str)| call.header(name, value);
    headers.iter().fold(call, add)
}

const UNNAMED: &str = "the trusted proxy 127.0.0.1 names no valid client: have it set \
    X-Forwarded-For (or Forwarded) to the address of its peer, or take it out of trusted_proxies";
const FOR: &str = "x-forwarded-for";

/// Headers of proxies that name no client.
const NO_CLIENT: [&[(&str, &str)]; 10] = [
    &[],
    &[("x-real-ip", "198.51.100.1")],
    &[(FOR, "")],
    &[(FOR, "unknown")],
    &[(FOR, "198.51.100.1,")],
    &[(FOR, "fe80::1%eth0")],
    &[(FOR, "nas.lan")],
    &[("forwarded", "for=unknown")],
    &[("forwarded", "proto=https")],
    &[("forwarded", "for=198.51.100.1"), (FOR, "198.51.100.2")],
];

/// Addresses that are no other machine's.
const IMPLAUSIBLE: [(&str, &str); 7] = [
    ("127.0.0.1", "a loopback address"),
    ("::ffff:127.0.0.1", "a loopback address"),
    ("::1", "a loopback address"),
    ("169.254.1.1", "a link-local address"),
    ("fe80::1", "a link-local address"),
    ("0.0.0.0", "the unspecified address"),
    ("::", "the unspecified address"),
];

#[tokio::test]
async fn no_route_stores_an_address_that_is_implausible_or_that_a_proxy_does_not_name() {
    let hub = start().await;
    let before = records(&hub).await;
    hub.pass(100);
    let unnamed = NO_CLIENT.map(|headers| (headers.to_vec(), UNNAMED.to_owned()));
    let implausible = IMPLAUSIBLE.map(|(ip, what)| {
        let shown = ip.trim_start_matches("::ffff:");
        let why = format!(
            "{shown} is {what}, which other machines can't reach: send the address itself, or, if this request \
             comes from a proxy, add the proxy to trusted_proxies"
        );
        (vec![(FOR, ip)], why)
    });
    for (headers, why) in unnamed.into_iter().chain(implausible) {
        for route in ROUTES {
            let answer = with(route.call(&hub), &headers).await;
            let words = match answer.status {
                422 => {
                    let error = &answer.json()["errors"][0];
                    assert_eq!(error["pointer"], "/ip", "{route:?} {headers:?}");
                    error["detail"].as_str().unwrap_or_default().to_owned()
                }
                _ => answer.text().to_owned(),
            };
            let refusal = route.refusal(&why);
            assert_eq!((answer.status, words), refusal, "{route:?} {headers:?}");
        }
    }
    // Neither changed nor seen.
    assert_eq!(records(&hub).await, before);
}

/// The empty key, which tells the caller's address.
#[tokio::test]
async fn an_empty_key_tells_no_address_that_a_proxy_does_not_name() {
    let hub = start().await;
    for target in ["/u/", "/"] {
        let call = || hub.open_call(Method::GET, target).in_words_of(&[200, 500]);
        for headers in NO_CLIENT {
            let answer = with(call(), headers).await;
            let said = (answer.status, answer.text());
            assert_eq!(said, (500, "FAIL"), "{target} {headers:?}");
        }
        let answer = call().seen_from("10.0.0.9").await;
        assert_eq!((answer.status, answer.text()), (200, "10.0.0.9"));
    }
}

#[tokio::test]
async fn an_address_that_a_trusted_proxy_names_is_stored_though_it_is_within_trusted_proxies() {
    let hub = start().await;
    for (at, route) in ROUTES.into_iter().enumerate() {
        // Within trusted_proxies, and not.
        for address in [
            format!("10.0.{at}.9"),
            format!("192.168.{at}.2"),
            format!("2001:db8::1{at}"),
        ] {
            let answer = route.call(&hub).seen_from(&address).await;
            let said = match answer.header("silo-changed") {
                Some(changed) => changed,
                None => answer.text(),
            };
            let expected = (200, &*route.success(&address));
            assert_eq!((answer.status, said), expected, "{route:?} {address}");
            let record = hub.get(route.record()).await.json();
            let ips = record["ips"].as_array().expect("a list");
            assert!(
                ips.contains(&json!(address)),
                "{route:?} {address}: {record}"
            );
        }
    }
}

#[tokio::test]
async fn each_route_logs_once_a_minute_that_trusted_proxies_must_be_set() {
    logs::keep();
    let hub = start().await;
    let ip = || hub.open_call(Method::GET, "/ip");
    let empty = || hub.open_call(Method::GET, "/u/").in_words_of(&[500]);
    let mut minutes = 0;
    let logged = || {
        logs::kept(&[
            " WARN ",
            "the trusted proxy 10.71.72.73 names no valid client",
            "take it out of trusted_proxies (logged at most once a minute)",
        ])
        .len()
    };
    for at in 0..ROUTES.len() + 2 {
        hub.pass(60);
        minutes += 1;
        for _ in 0..3 {
            let call = match ROUTES.get(at) {
                // A refusal of REST says it itself.
                Some(route) => route.call(&hub),
                None if at == ROUTES.len() => ip(),
                None => empty(),
            };
            let answer = call.seen_from("unknown, 10.71.72.73").await;
            assert!(answer.status >= 400, "{answer:?}");
            assert_eq!(logged(), minutes, "{at}");
        }
    }
}
