//! HTTP/2 clients, which control the flow of responses.

use std::time::Duration;

use h2::client::{Builder, ResponseFuture};
use http::Request;
use silo_e2e::{Hub, PATIENCE};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::connection::{Endpoint, self_signed};
use super::{client, honest, hub_with, make_large};

/// One connection of HTTP/2.
struct Client {
    requests: h2::client::SendRequest<std::io::Cursor<Vec<u8>>>,
    /// Ends with the connection.
    connection: JoinHandle<()>,
}

impl Client {
    /// Takes so many bytes of each answer before it says that it takes more.
    async fn connect(endpoint: &Endpoint, window: u32) -> Self {
        let line = endpoint.connect().await.unwrap();
        let mut builder = Builder::new();
        builder.initial_window_size(window);
        let (requests, mut connection) = builder.handshake(line).await.unwrap();
        // Bytes travel all the while.
        let mut pings = connection.ping_pong().unwrap();
        tokio::spawn(async move {
            while pings.ping(h2::Ping::opaque()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self {
            requests,
            connection,
        }
    }

    async fn get(&mut self, hub: &Hub, path: &str, headers: &[(&str, &str)]) -> ResponseFuture {
        let mut request = Request::get(format!("{}{path}", hub.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut ready = self.requests.clone().ready().await.unwrap();
        let request = request.body(()).unwrap();
        ready.send_request(request, true).unwrap().0
    }
}

/// Asks for so many answers, each on a connection of its own, and takes nothing of them.
async fn let_lie(hub: &Hub, endpoint: &Endpoint, count: usize) -> Vec<(Client, h2::RecvStream)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(endpoint, 0).await;
        let answer = client.get(hub, "/silos", &[]).await.await.unwrap();
        assert_eq!(answer.status(), 401);
        all.push((client, answer.into_body()));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_responses_are_dropped_when_the_hub_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let limits = "limits: {connections: 20, stall_seconds: 600, idle_seconds: 600}\n";
    let config = self_signed(folder.path()) + limits;
    let hub = hub_with(folder.path(), &config);
    let endpoint = Endpoint::tls(&hub, folder.path());
    let lying = let_lie(&hub, &endpoint, 50).await;
    honest(&hub, &client()).await;
    for (client, _) in lying.into_iter().take(30) {
        timeout(PATIENCE, client.connection)
            .await
            .expect("the oldest connection was closed")
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_http_2_reader_is_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let config = self_signed(folder.path()) + "limits: {stall_seconds: 1, idle_seconds: 600}\n";
    let hub = hub_with(folder.path(), &config);
    let endpoint = Endpoint::tls(&hub, folder.path());
    for (client, _) in let_lie(&hub, &endpoint, 3).await {
        timeout(PATIENCE, client.connection)
            .await
            .expect("the hub closes the connection in time")
            .unwrap();
    }
    honest(&hub, &client()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_or_waiting_http_2_reader_gets_its_response() {
    let folder = tempfile::tempdir().unwrap();
    let limits = "limits: {idle_seconds: 1, stall_seconds: 2}\n";
    let config = self_signed(folder.path()) + limits;
    let hub = hub_with(folder.path(), &config);
    let endpoint = Endpoint::tls(&hub, folder.path());
    make_large(&hub).await;
    let bearer = format!("Bearer {}", hub.admin_token());
    let bearer = ("authorization", bearer.as_str());
    let url = format!("{}/silos/large", hub.url());
    let whole = client().get(&url).header(bearer.0, bearer.1).send().await;
    let whole = whole.unwrap();
    let tag = whole.headers()["etag"].to_str().unwrap().to_owned();
    let whole = whole.bytes().await.unwrap();

    let slow = async {
        let mut client = Client::connect(&endpoint, 16 * 1024).await;
        let answer = client.get(&hub, "/silos/large", &[bearer]).await;
        let mut body = answer.await.unwrap().into_body();
        let mut taken = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.expect("the hub keeps the connection open");
            taken.extend_from_slice(&piece);
            body.flow_control().release_capacity(piece.len()).unwrap();
            // This is the client's slowness: several times `stall_seconds` in all.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(taken.len(), whole.len());
        assert_eq!(taken, whole);
    };
    let waiting = async {
        let mut client = Client::connect(&endpoint, 16 * 1024).await;
        let headers = [bearer, ("if-none-match", &tag), ("prefer", "wait=4")];
        let answer = client.get(&hub, "/silos/large", &headers).await;
        assert_eq!(answer.await.unwrap().status(), 304);
    };
    tokio::join!(slow, waiting);
}
