//! The connection that a request came by, as far as a handler has to do with it. The listeners put it into the request.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What a handler may ask of the connection that a request came by.
pub(crate) trait ConnectionControl: fmt::Debug + Send + Sync {
    /// Returns once the client sends nothing more, as one that has closed its half of the connection behind its
    /// request: what is known is all that it waits for.
    fn client_ended(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Lets the connection give way to others until the answer is dropped.
    fn give_way_while_reading(self: Arc<Self>) -> Box<dyn Send>;
}

/// The connection that a request came by, among the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionHandle(Arc<dyn ConnectionControl>);

impl ConnectionHandle {
    /// A handle of this connection.
    pub(crate) fn new(connection: Arc<dyn ConnectionControl>) -> Self {
        Self(connection)
    }

    /// Returns once the client sends nothing more.
    pub(crate) async fn client_ended(&self) {
        Arc::clone(&self.0).client_ended().await;
    }

    /// Lets the connection give way to others until this is dropped: the request's content is waited for, under a
    /// deadline, from a sender without a credential.
    pub(crate) fn give_way_while_reading(&self) -> impl Send + use<> {
        Arc::clone(&self.0).give_way_while_reading()
    }
}
