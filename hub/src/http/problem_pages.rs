//! The page at each problem's `type`: `GET /problems/{slug}`.

use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::problems::ALL;

/// `GET /problems/{slug}`: HTML for browsers, else text.
pub(super) async fn page(uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    // Slugs contain no character that would be percent-encoded.
    let slug = uri.path().strip_prefix("/problems/");
    let kind = ALL
        .iter()
        .find(|kind| Some(kind.slug) == slug)
        .ok_or(ApiError::NotFound("there is no such problem type"))?;
    let vary = [(VARY, "Accept")];
    Ok(match accepts_html(&headers) {
        true => {
            let headers = [
                (CONTENT_TYPE, "text/html; charset=utf-8"),
                (
                    CONTENT_SECURITY_POLICY,
                    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                ),
            ];
            (vary, headers, kind.html()).into_response()
        }
        false => {
            let content_type = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
            (vary, content_type, kind.text()).into_response()
        }
    })
}

/// Whether the client accepts HTML, as browsers do.
fn accepts_html(headers: &HeaderMap) -> bool {
    let names_html =
        |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("text/html"));
    headers.get_all(ACCEPT).iter().any(names_html)
}
