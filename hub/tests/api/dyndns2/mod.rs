//! dyndns2: every word of the protocol, which silo and which hosts a token may write, and addresses in
//! every shape that clients send.

mod addresses;
mod requests;
mod rights;
mod words;

use reqwest::Method;
use serde_json::Value;

use crate::common::{Answer, Call, TestHub};

const NAS: &str = "/silos/office/records/nas";

/// A call by Basic, as every client makes it.
fn basic(hub: &TestHub, method: Method, path: &str, user: &str, password: &str) -> Call {
    hub.open_call(method, path)
        .login(user, password)
        .header("user-agent", "ddclient/3.10.0")
        .in_words()
}

/// A hub with a token that writes all of `office`.
struct WorkerContext {
    hub: TestHub,
    token: String,
}

impl WorkerContext {
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
