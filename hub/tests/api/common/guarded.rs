//! A silo that refused requests must leave as it is.

use serde_json::Value;

use super::{Answer, Call, TestHub};

/// A silo whose state must stay as it is.
pub(crate) struct Guarded {
    /// Its hub.
    pub(crate) hub: TestHub,
    silo: Vec<u8>,
    history: Vec<Value>,
}

impl Guarded {
    /// A new hub with a silo `office`.
    pub(crate) async fn start() -> Self {
        let hub = TestHub::start().await;
        let silo = hub
            .put_silo("office", &[("db", "10.0.0.5"), ("nas", "fd00::7")])
            .await
            .body;
        let history = hub.history("office").await;
        Self { hub, silo, history }
    }

    /// Sends what is to be refused, and looks whether it changed anything.
    pub(crate) async fn refused(&self, call: Call, status: u16) -> Answer {
        let answer = call.await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(
            self.hub.get("/silos/office").await.body,
            self.silo,
            "{answer:?}"
        );
        answer
    }

    /// At the end nothing else has changed either.
    pub(crate) async fn check(self) {
        assert_eq!(self.hub.history("office").await, self.history);
        let list = self.hub.get("/silos").await;
        assert_eq!(
            list.text(),
            format!("[{}]", String::from_utf8_lossy(&self.silo))
        );
    }
}
