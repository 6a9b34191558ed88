//! The page at each problem's `type`: `GET /problems/{slug}`.

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::openapi::values::Slug;
use super::openapi::{self, tags};
use super::problems::ALL;
use super::site::accepts_html;

/// Explains a type of problem
///
/// The `type` of each error leads here.
#[utoipa::path(
    get,
    path = "/problems/{slug}",
    operation_id = "readProblem",
    tag = tags::OPEN,
    security(()),
    params(("slug" = Slug, Path)),
    responses(
        (status = 200, description = "What the problem means and what to do; HTML with `Accept: text/html`.", content((String = "text/plain"), (String = "text/html")), headers(("Vary" = String), ("Content-Security-Policy" = String))),
        openapi::problem_sets::OpenReadOfOne,
    ),
)]
pub(super) async fn page(uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    // Slugs contain no character that would be percent-encoded.
    let slug = uri.path().strip_prefix("/problems/");
    let kind = ALL
        .iter()
        .find(|kind| Some(kind.slug) == slug)
        .ok_or(ApiError::NotFound("there is no such problem type"))?;
    let vary = [(VARY, "Accept")];
    Ok(if accepts_html(&headers) {
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (
                CONTENT_SECURITY_POLICY,
                "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
        ];
        (vary, headers, kind.html()).into_response()
    } else {
        let content_type = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
        (vary, content_type, kind.text()).into_response()
    })
}
