//! `GET /openapi.json`: the description of this interface (OpenAPI 3.1). It is made from the attributes of the handlers
//! and from the types that they answer with, so that what is not described does not exist: routes are added with
//! `routes!`, and the tests of the REST interface compare every answer with the document.
//!
//! This module has what the attributes name: tags here, parameters, headers and problems in the modules below. The
//! document is put together in `compat`, which knows all routes.

pub(crate) mod bodies;
pub(super) mod invitation_bodies;
pub(crate) mod names;
pub(crate) mod problem_sets;
pub(crate) mod tags;
pub(crate) mod values;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};
use utoipa::openapi::OpenApi;

use self::values::EntityTags;
use super::Hub;
use super::error::ApiError;
use super::request::tag_list;

/// The description of the interface, as it is sent.
#[derive(Debug)]
pub struct Document {
    json: Bytes,
    /// A hash of the content, without quotes.
    tag: String,
}

impl Document {
    /// Renders the description.
    pub(crate) fn new(api: &OpenApi) -> Self {
        let mut json = serde_json::to_vec_pretty(api).expect("it has string keys only");
        json.push(b'\n');
        let hash = digest(&SHA256, &json);
        let tag = hash.as_ref().iter().take(8);
        Self {
            tag: tag.map(|byte| format!("{byte:02x}")).collect(),
            json: json.into(),
        }
    }

    /// The description as JSON.
    pub fn json(&self) -> &[u8] {
        &self.json
    }
}

/// Describes this interface
///
/// The OpenAPI document of this version of the hub, which `silo-hub openapi` prints too.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "readDescription",
    tag = tags::OPEN,
    security(()),
    params(("If-None-Match" = Option<EntityTags>, Header)),
    responses(
        (status = 200, description = "The document.", body = Object, headers(("ETag" = String), ("Cache-Control" = String))),
        (status = 304, description = "Not modified: `If-None-Match` has the present entity tag.", headers(("ETag" = String), ("Cache-Control" = String))),
        problem_sets::OpenRead,
    ),
)]
pub(super) async fn read(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let document = (hub.openapi)();
    let etag = HeaderValue::try_from(format!("\"{}\"", document.tag));
    let common = [
        (ETAG, etag.map_err(|_| ApiError::Internal)?),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    let known = tag_list(&headers, IF_NONE_MATCH)?;
    if known.is_some_and(|known| known.matches_weakly(Some(&document.tag))) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((common, kind, document.json.clone()).into_response())
}
