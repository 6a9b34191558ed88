//! The layer around all pages: headers of every response, compression, pages of errors, and a page after a panic.

use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;

use super::compress;
use super::error::{ErrorFacts, refused};
use super::layout::{Chrome, Look, Section};
use super::session::Seen;
use crate::http::error::ApiError;
use crate::http::host;

/// What a page may load and where its forms may go: only from and to this hub, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// With `no-referrer` browsers would send `Origin: null` with the forms of these pages.
const REFERRER: &str = "same-origin";

const ALWAYS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, REFERRER),
    (X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Answers a request to a page.
pub(super) async fn finish(mut request: Request, next: Next) -> Response {
    let look = Look::of(request.uri(), request.headers());
    let may_compress = compress::may_compress(request.headers());
    let seen = Seen::default();
    request.extensions_mut().insert(seen.clone());
    let answer = match host::problem(request.version(), request.headers()) {
        Some(why) => Ok(refused(ApiError::Malformed(format!("Host: {why}")))),
        None => AssertUnwindSafe(next.run(request)).catch_unwind().await,
    };
    // The log has the panic's message.
    let mut answer = answer.unwrap_or_else(|_| {
        tracing::error!("a request for a page panicked; it is answered 500");
        refused(ApiError::Internal)
    });
    if let Some(facts) = answer.extensions_mut().remove::<ErrorFacts>() {
        let chrome = Chrome {
            signed_in: seen.get().filter(|_| !facts.is_signed_out()),
            ..Chrome::without_session(&look, facts.title(), Section::None)
        };
        match facts.render(chrome) {
            Ok(html) => {
                *answer.body_mut() = html.into();
                let kind = HeaderValue::from_static("text/html; charset=utf-8");
                answer.headers_mut().insert(CONTENT_TYPE, kind);
            }
            Err(error) => tracing::error!("cannot render the page of an error: {error}"),
        }
    }
    add_headers(answer.headers_mut());
    if may_compress {
        answer = compress::compress(answer).await;
    }
    answer
}

fn add_headers(headers: &mut HeaderMap) {
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Embedded files, whose names change with their content, say something else.
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(CACHE_CONTROL).or_insert(no_store);
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_with_a_page_that_has_all_headers() {
        async fn panics() -> &'static str {
            panic!("a bug with a secret")
        }
        let router = Router::new()
            .route("/dashboard/x", get(panics))
            .layer(from_fn(finish));
        let request = Request::builder()
            .uri("/dashboard/x")
            .header("host", "hub")
            .header("cookie", "silo_theme=dark")
            .body(Body::empty())
            .unwrap();
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 500);
        for (name, value) in ALWAYS {
            assert_eq!(answer.headers()[&name], value, "{name}");
        }
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        let page = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        assert!(page.contains("<h1>The hub failed</h1>"), "{page}");
        assert!(page.contains("data-theme=\"dark\"") && !page.contains("secret"));
    }
}
