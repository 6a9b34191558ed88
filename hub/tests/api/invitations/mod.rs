//! Invitations: made by admins, and used by machines, whose requests are signed with the invitation's key.

mod command_line;
mod ended;
mod keys;
mod machines;
mod secrecy;
#[cfg(unix)]
mod tls;

use reqwest::Method;
use serde_json::{Value, json};
use silo_shared::credential::{Credential, TokenId};
use silo_shared::invitation::{EphemeralKey, Exchange, Invitation, Proof};
use silo_shared::signing::SigningKey;

use crate::common::{Answer, START, TestHub, text};
use crate::signing::{NOW, Shot, Signer, assert_refused, ip, slug};

/// Where the tests' machines find the hub, as far as the hub knows.
const URL: &str = "http://hub.lan:8053";

/// Makes an invitation with these members: its id and its line.
pub(crate) async fn invite_to(hub: &TestHub, spec: &Value) -> (String, String) {
    let mut spec = spec.clone();
    spec["urls"] = json!([URL]);
    let answer = hub.post("/invitations").json(&spec).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let made = answer.json();
    (text(&made["id"]), text(&made["invitation"]))
}

/// Invites an upstream.
pub(crate) async fn invite(hub: &TestHub) -> (String, String) {
    let spec = json!({"role": "write", "silos": ["home"], "hostnames": ["nas"]});
    invite_to(hub, &spec).await
}

/// A machine that has the line of an invitation.
#[derive(Clone)]
struct Machine {
    key: Credential,
    signer: Signer,
    /// What its clock shows.
    clock: i64,
    /// Where it calls from, at a hub behind a proxy.
    ip: Option<&'static str>,
}

/// A machine that has redeemed, and so knows its credential.
struct Joined {
    credential: Credential,
    machine: Machine,
}

impl Machine {
    fn with(line: &str) -> Self {
        let key = Invitation::parse(line).expect("it is a line").key().clone();
        Self {
            signer: Signer::of(key.expose()),
            key,
            clock: NOW,
            ip: None,
        }
    }

    fn seen_from(&self, ip: &'static str) -> Self {
        Self {
            ip: Some(ip),
            ..self.clone()
        }
    }

    fn id(&self) -> TokenId {
        self.key.id()
    }

    fn path(&self, below: &str) -> String {
        format!("/invitations/{}{below}", self.id())
    }

    /// A signed request.
    fn shot(&self, hub: &TestHub, method: Method, below: &str, body: Option<&Value>) -> Shot {
        let draft = self.signer.draft(method, &self.path(below));
        let draft = draft.created(self.clock);
        let draft = match body {
            Some(body) => draft.json(body),
            None => draft,
        };
        self.signer.sign(hub, draft)
    }

    /// Sends it; the answer is signed, whatever it says.
    async fn send(&self, hub: &TestHub, shot: &Shot) -> Answer {
        let mut call = shot.call(hub);
        if let Some(ip) = self.ip {
            call = call.seen_from(ip);
        }
        let answer = call.await;
        shot.assert_signed(&answer);
        answer
    }

    async fn look(&self, hub: &TestHub) -> Answer {
        let shot = self.shot(hub, Method::GET, "", None);
        self.send(hub, &shot).await
    }

    async fn post(&self, hub: &TestHub, below: &str, body: &Value) -> Answer {
        let shot = self.shot(hub, Method::POST, below, Some(body));
        self.send(hub, &shot).await
    }

    async fn redeem(&self, hub: &TestHub) -> Joined {
        let own = EphemeralKey::generate().expect("there is randomness");
        let body = json!({"public_key": own.public().to_string()});
        let answer = self.post(hub, "/redeem", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.derive(own, &answer.json())
    }

    /// Derives the credential from the answer to a redemption.
    fn derive(&self, own: EphemeralKey, answer: &Value) -> Joined {
        let hub = text(&answer["public_key"]).parse().expect("a public key");
        let exchange = Exchange {
            key: &SigningKey::of(&self.key),
            id: self.id(),
            token: TokenId::parse(&text(&answer["token_id"])).expect("an id"),
            client: own.public(),
            hub,
        };
        let shared = own.agree(&hub).expect("the hub's key is good");
        Joined {
            credential: exchange.credential(&shared),
            machine: self.clone(),
        }
    }
}

impl Joined {
    fn id(&self) -> String {
        self.credential.id().to_string()
    }

    fn body(&self) -> Value {
        let proof = Proof::of(&SigningKey::of(&self.credential));
        json!({"token_id": self.id(), "proof": proof.to_string()})
    }

    async fn confirm(&self, hub: &TestHub) -> Answer {
        self.machine.post(hub, "/confirm", &self.body()).await
    }

    /// The status of a read of its silo with the credential, signed.
    async fn status(&self, hub: &TestHub) -> u16 {
        let signer = Signer::of(self.credential.expose());
        let draft = signer.draft(Method::GET, "/silos/home");
        let draft = draft.created(self.machine.clock);
        signer.sign(hub, draft).send(hub).await.status
    }
}

/// The only invitation in the list.
async fn listed(hub: &TestHub) -> Value {
    let list = hub.walk("/invitations").await.concat();
    assert_eq!(list.len(), 1, "{list:?}");
    list[0].clone()
}

async fn home() -> TestHub {
    let hub = TestHub::start_behind_a_proxy().await;
    hub.put_silo("home", &[("nas", "10.0.0.5"), ("other", "10.0.0.6")])
        .await;
    hub
}

#[tokio::test]
async fn a_machine_gets_its_token_by_an_invitation() {
    let hub = home().await;
    let spec = json!({
        "role": "write", "silos": ["Home"], "hostnames": ["NAS"], "name": "the nas",
        "expires_after": 300, "token_expires_at": "2027-01-01T00:00:00Z",
    });
    let (id, line) = invite_to(&hub, &spec).await;
    let invitation = Invitation::parse(&line).unwrap();
    assert_eq!(invitation.hubs(), [URL]);
    assert_eq!(
        (invitation.pin(), invitation.key().id().as_str()),
        (None, &*id)
    );
    let admin = hub.admin.split('_').nth(1).unwrap();
    let mut expected = json!({
        "id": id, "state": "open", "name": "the nas", "role": "write", "silos": ["home"],
        "hostnames": ["nas"], "token_expires_at": "2027-01-01T00:00:00.000Z", "created_at": START,
        "made_by": admin, "expires_at": "2026-01-02T03:09:05.678Z", "used_at": null,
        "address": null, "token": null,
    });
    assert_eq!(listed(&hub).await, expected);

    let machine = Machine::with(&line).seen_from("192.0.2.7");
    let grant = machine.look(&hub).await;
    assert_eq!(grant.status, 200, "{grant:?}");
    assert_eq!(
        grant.json(),
        json!({
            "id": id, "state": "open", "name": "the nas", "role": "write", "silos": ["home"],
            "hostnames": ["nas"], "expires_at": "2026-01-02T03:09:05.678Z",
            "token_expires_at": "2027-01-01T00:00:00.000Z",
        })
    );
    assert_eq!(listed(&hub).await, expected, "a look changes nothing");

    let joined = machine.redeem(&hub).await;
    assert_eq!(joined.status(&hub).await, 401, "the token is not made yet");
    expected["state"] = json!("pending");
    expected["address"] = json!("192.0.2.7");
    assert_eq!(listed(&hub).await, expected);
    assert_eq!(machine.look(&hub).await.json()["state"], "pending");

    let answer = joined.confirm(&hub).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let confirmed = json!({"token_id": joined.id(), "expires_at": "2027-01-01T00:00:00.000Z"});
    assert_eq!(answer.json(), confirmed);
    expected["state"] = json!("used");
    expected["used_at"] = json!(START);
    expected["token"] = json!(joined.id());
    assert_eq!(listed(&hub).await, expected);

    // The credential is one like any other.
    let signer = Signer::of(joined.credential.expose());
    for (name, status) in [("nas", 200), ("other", 403)] {
        let path = format!("/silos/home/records/{name}");
        let answer = signer.put(&hub, &path, &ip("10.0.0.9")).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
    }
    let own = hub.open_call(Method::GET, "/token");
    let own = own.bearer(joined.credential.expose()).await.json();
    assert_eq!(
        (&own["name"], &own["role"]),
        (&json!("the nas"), &json!("write"))
    );

    // The answer may be lost: the same proof again is answered in the same way, and makes nothing.
    let again = joined.confirm(&hub).await;
    assert_eq!((again.status, again.json()), (200, confirmed));
    let tokens = hub.walk("/tokens").await.concat();
    assert_eq!(tokens.len(), 2, "{tokens:?}");
    let rows = hub.walk("/audit").await.concat();
    let of = |row: &Value| {
        let member = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        ["event", "invitation", "token", "by", "client_ip"]
            .map(member)
            .join(" ")
    };
    let rows: Vec<_> = rows.iter().map(of).collect();
    assert_eq!(rows[0], format!("created {id} {} - 192.0.2.7", joined.id()));
    assert_eq!(rows[1], format!("invited {id} - {admin} 127.0.0.1"));
    assert_eq!(rows.len(), 3, "{rows:?}");
}

#[tokio::test]
async fn a_reader_is_invited_to_several_silos() {
    let hub = home().await;
    let spec = json!({"role": "read", "silos": ["home", "lab"]});
    let (_, line) = invite_to(&hub, &spec).await;
    let joined = Machine::with(&line).redeem(&hub).await;
    assert_eq!(
        joined.confirm(&hub).await.json(),
        json!({"token_id": joined.id()})
    );
    assert_eq!(joined.status(&hub).await, 200);
    let signer = Signer::of(joined.credential.expose());
    let address = ip("10.0.0.9");
    let written = signer.put(&hub, "/silos/home/records/nas", &address);
    assert_eq!(written.await.status, 403);
    let one = listed(&hub).await;
    assert_eq!((&one["name"], one.get("hostnames")), (&json!("home"), None));
}

#[tokio::test]
async fn wrong_invitations_and_wrong_urls_are_refused() {
    let hub = TestHub::start().await;
    let good = json!({"role": "write", "silos": ["home"], "hostnames": ["nas"], "urls": [URL]});
    for (member, value, pointer) in [
        ("role", json!("admin"), "/role"),
        ("role", json!("nonsense"), "/role"),
        ("role", json!("read"), "/hostnames"),
        ("silos", json!([]), "/silos"),
        ("silos", json!(["home", "lab"]), "/silos"),
        ("silos", json!(["h*"]), "/silos/0"),
        ("hostnames", json!(null), "/hostnames"),
        ("hostnames", json!(["nas", "*"]), "/hostnames/1"),
        ("name", json!("a\nb"), "/name"),
        ("expires_after", json!(299), "/expires_after"),
        ("expires_after", json!(604_801), "/expires_after"),
        ("expires_after", json!("1h"), "/expires_after"),
        ("token_expires_at", json!("soon"), "/token_expires_at"),
        ("token_expires_at", json!(START), "/token_expires_at"),
        ("urls", json!(["ftp://hub"]), "/urls/0"),
        (
            "urls",
            json!([format!("http://{}", "a".repeat(1000))]),
            "/urls",
        ),
        // It listens on the loopback.
        ("urls", json!([]), "/urls"),
        ("expires_in", json!(300), "/expires_in"),
    ] {
        let mut spec = good.clone();
        spec[member] = value;
        let answer = hub.post("/invitations").json(&spec).await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (422, vec![pointer.to_owned()]),
            "{spec}: {answer:?}"
        );
    }
    let reader = hub.credential("read", &["*"], &[]).await;
    for (method, path) in [
        (Method::POST, "/invitations"),
        (Method::GET, "/invitations"),
        (Method::DELETE, "/invitations/aaaaaaaaaa"),
    ] {
        let call = hub.open_call(method.clone(), path).bearer(&reader);
        assert_refused(&call.json(&good).await, 403, "forbidden");
    }
    assert_eq!(hub.walk("/invitations").await.concat().len(), 0);
}

#[tokio::test]
async fn the_url_of_the_configuration_is_in_the_line() {
    let hub = TestHub::start_with(|settings| {
        settings.public_url = Some("https://silo.lan".parse().expect("an origin"));
    })
    .await;
    let spec = json!({"role": "read", "silos": ["home"]});
    let made = hub.post("/invitations").json(&spec).await.json();
    let line = Invitation::parse(&text(&made["invitation"])).expect("it is a line");
    assert_eq!(line.hubs(), ["https://silo.lan"]);
}

#[tokio::test]
async fn at_most_a_hundred_invitations_are_open() {
    let hub = TestHub::start().await;
    let mut last = String::new();
    for _ in 0..100 {
        last = invite(&hub).await.0;
    }
    let spec = json!({"role": "read", "silos": ["home"], "urls": [URL]});
    let refused = hub.post("/invitations").json(&spec).await;
    assert_refused(&refused, 409, "too-many-invitations");
    assert_eq!(
        hub.delete(&format!("/invitations/{last}")).await.status,
        204
    );
    invite(&hub).await;
    assert_eq!(hub.post("/invitations").json(&spec).await.status, 409);
    let pages = hub.walk("/invitations?limit=40").await;
    let sizes: Vec<_> = pages.iter().map(Vec::len).collect();
    assert_eq!(sizes, [40, 40, 21]);
    hub.pass(3600);
    invite(&hub).await;
}

#[tokio::test]
async fn wrong_bodies_of_the_exchange_are_refused() {
    let hub = home().await;
    let (_, line) = invite(&hub).await;
    let machine = Machine::with(&line);
    let weak = "A".repeat(43);
    let joined = machine.redeem(&hub).await;
    let good = joined.body();
    let mut proof = text(&good["proof"]);
    proof.replace_range(..1, if proof.starts_with('A') { "B" } else { "A" });
    for (below, body, pointer) in [
        ("/redeem", json!({}), "/public_key"),
        ("/redeem", json!({"public_key": 1}), "/public_key"),
        ("/redeem", json!({"public_key": "short"}), "/public_key"),
        ("/redeem", json!({"public_key": weak}), "/public_key"),
        (
            "/redeem",
            json!({"public_key": good["proof"], "x": 1}),
            "/x",
        ),
        ("/confirm", json!({"proof": good["proof"]}), "/token_id"),
        (
            "/confirm",
            json!({"token_id": "-", "proof": good["proof"]}),
            "/token_id",
        ),
        ("/confirm", json!({"token_id": good["token_id"]}), "/proof"),
        (
            "/confirm",
            json!({"token_id": good["token_id"], "proof": proof}),
            "/proof",
        ),
    ] {
        let answer = machine.post(&hub, below, &body).await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (422, vec![pointer.to_owned()]),
            "{body}: {answer:?}"
        );
    }
    // None of these replaced what was redeemed.
    assert_eq!(joined.confirm(&hub).await.status, 200);
    let wrong = json!({"token_id": joined.id(), "proof": proof});
    let wrong = machine.post(&hub, "/confirm", &wrong).await;
    assert_eq!((wrong.status, &*slug(&wrong)), (422, "invalid"));
}
