//! What `scripts/bench` compares the hub's reads with: axum and hyper as they come, with a handler that answers
//! the same headers and body as the hub for every caller. It has the hub's allocator and runtime.
//!
//! `bare-handler ROUTE HEADERS BODY`: the route that it answers, the head of an answer of the hub as `curl -D` writes
//! it, and a file with the body. It says on stdout where it listens.

use std::io::Write;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use axum::routing::get;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves until it is killed.
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [route, head, body] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: bare-handler ROUTE HEADERS BODY")?;
    let headers = headers(&std::fs::read_to_string(head)?)?;
    let body = Bytes::from(std::fs::read(body)?);
    let answer = async move || {
        let mut response = Response::new(Body::from(body));
        for (name, value) in &headers {
            response.headers_mut().insert(*name, value.clone());
        }
        response
    };
    let app = Router::new().route(&route, get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    axum::serve(listener, app).await?;
    Ok(())
}

/// The headers of an answer that hyper does not add by itself.
fn headers(
    head: &str,
) -> Result<Vec<(&'static HeaderName, HeaderValue)>, Box<dyn std::error::Error>> {
    let mut headers = HeaderMap::new();
    for line in head.lines().skip(1) {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        if !matches!(name, "date" | "content-length") {
            headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
    }
    let names = headers.into_iter().filter_map(|(name, value)| {
        // One that lives as long as the program is not copied for each answer.
        let name: &'static HeaderName = Box::leak(Box::new(name?));
        Some((name, value))
    });
    Ok(names.collect())
}
