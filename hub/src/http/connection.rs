//! The connection of a request, as far as handlers need it. The listeners add it to the request's extensions.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What a handler may do with the connection of its request.
pub(crate) trait ConnectionControl: fmt::Debug + Send + Sync {
    /// Returns once the client will send nothing more. A client that closes its half of the connection after its
    /// request waits only for what is known now.
    fn client_ended(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Lets the connection be closed in favor of new ones until the returned value is dropped.
    fn give_way_while_reading(self: Arc<Self>) -> Box<dyn Send>;
}

/// The connection of a request, stored in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionHandle(Arc<dyn ConnectionControl>);

impl ConnectionHandle {
    /// A handle of this connection.
    pub(crate) fn new(connection: Arc<dyn ConnectionControl>) -> Self {
        Self(connection)
    }

    /// Returns once the client will send nothing more.
    pub(crate) async fn client_ended(&self) {
        Arc::clone(&self.0).client_ended().await;
    }

    /// Lets the connection be closed in favor of new ones until the returned value is dropped: the hub is waiting,
    /// under a deadline, for the content of a sender without a credential.
    pub(crate) fn give_way_while_reading(&self) -> impl Send + use<> {
        Arc::clone(&self.0).give_way_while_reading()
    }
}
