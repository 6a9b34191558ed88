//! `GET /openapi.json`, and whether the hub does what it says.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Answer, DOCUMENT, TestHub, properties, resolve, text};

/// The methods of a path's operations, as `Allow` lists them.
fn described_methods(item: &Value) -> BTreeSet<String> {
    let described = item.as_object().expect("a path item").keys();
    let mut methods: BTreeSet<_> = described.map(|method| method.to_uppercase()).collect();
    // Every read answers `HEAD` too; the foreign protocols, which write on `GET`, do not.
    let tag = &item["get"]["tags"][0];
    if methods.contains("GET") && tag != "DDNS clients" {
        methods.insert("HEAD".to_owned());
    }
    methods
}

#[tokio::test]
async fn the_document_is_served_from_memory_with_a_tag() {
    let hub = TestHub::start().await;
    let answer = hub.open_call(Method::GET, "/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let tag = answer.etag();
    let again = hub.open_call(Method::GET, "/openapi.json");
    let again = again.header("if-none-match", &tag).await;
    assert_eq!((again.status, again.text()), (304, ""));
    assert_eq!(again.etag(), tag);
    let head = hub.open_call(Method::HEAD, "/openapi.json").await;
    assert_eq!((head.status, head.etag()), (200, tag));
    assert_eq!(
        head.header("content-length"),
        answer.header("content-length")
    );
}

#[tokio::test]
async fn every_path_has_the_described_methods_and_no_others() {
    let compat = "{sftdyn: true, dynahost: {silo: home, hostnames: [nas]}}";
    let compat: silo_hub::internals::compat_settings::Compat =
        serde_yaml::from_str(compat).expect("this is a setting");
    let plain = TestHub::start().await;
    let hub = TestHub::start_with(|settings| settings.compat = compat).await;
    let document = hub.open_call(Method::GET, "/openapi.json").await.json();
    let unknown: Method = "PROPFIND".parse().expect("this is a method");
    for (path, item) in document["paths"].as_object().expect("there are paths") {
        // The root is that of sftdyn, if that is configured.
        let hub = if path == "/" { &plain } else { &hub };
        let mut target = String::new();
        for piece in path.split(['{', '}']).enumerate() {
            target += if piece.0 % 2 == 0 { piece.1 } else { "1" };
        }
        let call = hub.call(unknown.clone(), &target);
        let answer = match path.as_str() {
            "/update" | "/log" => call.in_words_of(&[405]).await,
            _ => call.await,
        };
        assert_eq!(answer.status, 405, "{path}");
        let allowed: BTreeSet<String> = answer.allowed().into_iter().map(Into::into).collect();
        assert_eq!(allowed, described_methods(item), "{path}");
    }
}

/// They are for browsers, and change with any version: a program would read them in vain.
#[test]
fn the_pages_of_the_dashboard_are_not_described() {
    let paths = DOCUMENT["paths"].as_object().expect("there are paths");
    let found = paths.keys().find(|path| path.starts_with("/dashboard"));
    assert_eq!(found, None);
}

/// The operations of REST: method, path and description. Streams do not end.
fn operations() -> impl Iterator<Item = (Method, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("there are paths");
    paths.iter().flat_map(|(path, item)| {
        let operations = item.as_object().expect("a path item").iter();
        operations
            .filter(|(_, operation)| {
                operation["tags"][0] != "DDNS clients" && operation["tags"][0] != "Events"
            })
            // No token may use an invitation: `invitations` has these.
            .filter(move |(method, _)| {
                !path.starts_with("/invitations/{") || method.as_str() == "delete"
            })
            .map(|(method, operation)| {
                let method = method.to_uppercase().parse().expect("a method");
                (method, path.as_str(), operation)
            })
    })
}

/// The parameters of an operation.
fn parameters(operation: &'static Value) -> impl Iterator<Item = &'static Value> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    all.map(resolve)
}

/// The example of a parameter.
fn example(parameter: &'static Value) -> String {
    let schema = resolve(&parameter["schema"]);
    let example = match &schema["example"] {
        Value::Null => &schema["examples"][0],
        example => example,
    };
    match example {
        Value::String(text) => text.clone(),
        Value::Null => panic!("{parameter} has no example"),
        other => other.to_string(),
    }
}

/// A request as the document shows it: with this optional parameter, and this body.
async fn send(
    hub: &TestHub,
    (method, path, operation): (Method, &'static str, &'static Value),
    optional: Option<&'static Value>,
    body: Option<&Value>,
) -> Answer {
    hub.put_silo("office", &[("db", "10.0.0.5"), ("db", "fd00::5")])
        .await;
    let mut target = path.to_owned();
    let (mut headers, mut separator) = (Vec::new(), '?');
    for parameter in
        parameters(operation).filter(|one| one["required"] == true || Some(*one) == optional)
    {
        let name = text(&parameter["name"]);
        let value = match (name.as_str(), path) {
            ("token", _) => {
                hub.token(json!({"name": "x", "role": "read", "silos": ["x"]}))
                    .await
                    .0
            }
            ("invitation", _) => crate::invitations::invite(hub).await.0,
            _ => example(parameter),
        };
        match parameter["in"].as_str() {
            Some("path") => target = target.replace(&format!("{{{name}}}"), &value),
            Some("query") => {
                target += &format!("{separator}{name}={value}");
                separator = '&';
            }
            _ => headers.push((name, value)),
        }
    }
    let mut call = hub.call(method, &target).seen_from("192.0.2.7");
    for (name, value) in &headers {
        call = call.header(name, value);
    }
    match body {
        Some(body) => call.json(body).await,
        None => call.await,
    }
}

#[tokio::test]
async fn every_example_answers_as_described() {
    let hub = TestHub::start_behind_a_proxy().await;
    let mut bodies = 0;
    for (method, path, operation) in operations() {
        let contents = operation["requestBody"]["content"].as_object();
        let examples: Vec<&Value> = contents
            .into_iter()
            .flatten()
            .flat_map(|(_, content)| content["examples"].as_object().into_iter().flatten())
            .map(|(_, example)| &example["value"])
            .collect();
        let is_needed = operation["requestBody"]["required"] == true;
        assert!(!(is_needed && examples.is_empty()), "{method} {path}");
        bodies += examples.len();
        let whole = (method.clone(), path, operation);
        for example in &examples {
            let answer = send(&hub, whole.clone(), None, Some(example)).await;
            assert!(answer.status < 300, "{method} {path} {example}: {answer:?}");
        }
        let body = examples.first().copied().filter(|_| is_needed);
        let optional = parameters(operation)
            .filter(|one| one["required"] != true)
            .map(Some);
        for parameter in std::iter::once(None).chain(optional) {
            let answer = send(&hub, whole.clone(), parameter, body).await;
            let may_show = method == Method::POST && path.starts_with("/tokens");
            assert!(may_show || !shows_credential(answer.text()), "{answer:?}");
            let name = parameter.map(|parameter| text(&parameter["name"]));
            let allowed: &[u16] = match name.as_deref() {
                // There is no sink.
                _ if path.starts_with("/deliveries/{") => &[404],
                Some("If-Match" | "If-None-Match") => &[200, 201, 204, 304, 412],
                // Only the hub makes them, for one list each.
                Some("cursor") => &[200, 422],
                _ => &[200, 201, 204],
            };
            assert!(
                allowed.contains(&answer.status),
                "{method} {path} {name:?}: {answer:?}"
            );
        }
    }
    assert!(bodies >= 12, "{bodies}");
}

/// What a refusal lists after `only: `.
fn listed(answer: &Answer) -> BTreeSet<String> {
    let detail = text(&answer.json()["errors"][0]["detail"]);
    let Some((_, list)) = detail.split_once("only: ") else {
        assert!(detail.contains("no parameters"), "{detail}");
        return BTreeSet::new();
    };
    list.split(", ").map(str::to_owned).collect()
}

#[tokio::test]
async fn bodies_take_the_described_members_and_no_others() {
    /// Of documents that were read, which can be sent back.
    const OF_THE_HUB: [&str; 3] = ["revision", "updated_at", "last_seen"];
    let hub = TestHub::start().await;
    for (method, path, operation) in operations() {
        let content = &operation["requestBody"]["content"]["application/json"];
        if content.is_null() {
            continue;
        }
        let body = json!({"no such member": 1});
        let whole = (method.clone(), path, operation);
        let answer = send(&hub, whole, None, Some(&body)).await;
        assert_eq!(answer.status, 422, "{method} {path}: {answer:?}");
        let taken = listed(&answer);
        let described: BTreeSet<String> = properties(&content["schema"])
            .into_keys()
            .filter(|name| taken.contains(*name) || !OF_THE_HUB.contains(name))
            .map(str::to_owned)
            .collect();
        assert_eq!(taken, described, "{method} {path}");
    }
}

#[tokio::test]
async fn paths_take_the_described_parameters_and_no_others() {
    let hub = TestHub::start().await;
    for (method, path, operation) in operations() {
        if operation["security"] == json!([{}]) {
            continue;
        }
        let of_query = parameters(operation).filter(|parameter| parameter["in"] == "query");
        let described: BTreeSet<String> =
            of_query.map(|parameter| text(&parameter["name"])).collect();
        let target = path.replace("{id}", "office").replace("{hostname}", "db");
        let target = format!("{target}?no-such-parameter=1");
        let answer = hub.call(method.clone(), &target).await;
        assert_eq!(answer.status, 422, "{method} {path}: {answer:?}");
        assert_eq!(listed(&answer), described, "{method} {path}");
    }
}

#[test]
fn references_lead_somewhere_and_texts_are_whole() {
    fn walk(value: &'static Value, at: &str) {
        if value.get("$ref").is_some_and(Value::is_string) {
            resolve(value);
        }
        match value {
            Value::Object(members) => members
                .iter()
                .for_each(|(name, member)| walk(member, &format!("{at}/{name}"))),
            Value::Array(items) => items.iter().for_each(|item| walk(item, at)),
            _ => {}
        }
    }
    walk(&DOCUMENT, "");
    for (method, path, operation) in operations() {
        for member in ["summary", "operationId"] {
            assert!(operation[member].is_string(), "{method} {path}: {member}");
        }
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            let description = text(&resolve(response)["description"]);
            assert!(!description.is_empty(), "{method} {path} {status}");
        }
    }
}

/// Whether a text has something in it that looks like a whole credential.
fn shows_credential(text: &str) -> bool {
    text.split("silo_").skip(1).any(|rest| {
        let mut parts = rest.splitn(2, '_');
        let (id, secret) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let of_secret = |c: &char| c.is_ascii_alphanumeric() || "-_".contains(*c);
        id.len() == 10 && secret.chars().take_while(of_secret).count() >= 43
    })
}

#[test]
fn the_document_shows_no_credential() {
    let shown = format!("x silo_k3f9a0b2c1_{}", "x".repeat(43));
    assert!(shows_credential(&shown));
    assert!(!shows_credential(&DOCUMENT.to_string()));
}
