//! Looks up each host name on a thread of its own, so that a failure to create a thread is an ordinary error. The async
//! runtime's own lookup panics then.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

/// The addresses of a name, in the system's order. The thread continues when the future is dropped, until the system's
/// own timeout.
pub async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (send, receive) = oneshot::channel();
    let asked = (host.to_owned(), port);
    let look = move || {
        let found = asked.to_socket_addrs().map(Iterator::collect);
        // The receiver may be dropped.
        let _: Result<(), io::Result<Vec<SocketAddr>>> = send.send(found);
    };
    std::thread::Builder::new()
        .name("lookup".to_owned())
        .spawn(look)
        .map_err(|cause| {
            io::Error::new(
                cause.kind(),
                format!("cannot start a thread to look up {host}: {cause}"),
            )
        })?;
    receive
        .await
        .map_err(|_| io::Error::other(format!("the lookup of {host} ended without a result")))?
}

/// The same, for the HTTP client.
#[derive(Debug)]
pub(crate) struct Lookup;

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = look_up(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
