//! Extractors for handlers, each with an error that names the place.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use silo_shared::api::MAX_BODY_BYTES;
use silo_shared::credential::TokenId;
use silo_shared::silo::{Family, Hostname, SiloId};

use super::Hub;
use super::body_budget::{Content, Sender};
use super::error::ApiError;
use super::prefer::prefers_minimal;
use super::signing::Verified;
use crate::domain::precondition::{Precondition, TagList};
use crate::store::IdCursor;

/// `{id}` of the path.
#[derive(Debug)]
pub(crate) struct SiloPath(pub SiloId);

/// `{id}` and `{hostname}` of the path.
#[derive(Debug)]
pub(crate) struct RecordPath(pub SiloId, pub Hostname);

/// `{token}` of the path; `None` if it is not a token id.
#[derive(Debug)]
pub(super) struct TokenPath(pub Option<TokenId>);

/// `{delivery}` of the path; `None` if it is not a delivery id.
#[derive(Debug)]
pub(super) struct DeliveryPath(pub Option<i64>);

async fn path_params(parts: &mut Parts, hub: &Arc<Hub>) -> Result<RawPathParams, ApiError> {
    RawPathParams::from_request_parts(parts, hub)
        .await
        .map_err(|_| ApiError::Malformed("the path is not UTF-8".to_owned()))
}

/// Parses one parameter of the path.
pub(super) fn path_param<T>(params: &RawPathParams, name: &'static str) -> Result<T, ApiError>
where
    T: std::str::FromStr<Err: ToString>,
{
    let (_, text) = params
        .iter()
        .find(|(key, _)| *key == name)
        .ok_or(ApiError::Internal)?;
    text.parse()
        .map_err(|error: T::Err| path_error(name, error))
}

/// The error for an invalid parameter of the path.
pub(super) fn path_error(name: &'static str, error: impl ToString) -> ApiError {
    ApiError::invalid(format!("/{name}"), error)
}

impl FromRequestParts<Arc<Hub>> for SiloPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let params = path_params(parts, hub).await?;
        Ok(Self(path_param(&params, "id")?))
    }
}

impl FromRequestParts<Arc<Hub>> for RecordPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let params = path_params(parts, hub).await?;
        Ok(Self(
            path_param(&params, "id")?,
            path_param(&params, "hostname")?,
        ))
    }
}

impl FromRequestParts<Arc<Hub>> for DeliveryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let params = path_params(parts, hub).await?;
        Ok(Self(
            params.iter().next().and_then(|(_, text)| text.parse().ok()),
        ))
    }
}

impl FromRequestParts<Arc<Hub>> for TokenPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let params = path_params(parts, hub).await?;
        let id = params.iter().next().map(|(_, text)| TokenId::parse(text));
        Ok(Self(id.and_then(Result::ok)))
    }
}

/// The parameters of the query; unknown ones are refused (`parameters`).
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl FromRequestParts<Arc<Hub>> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Hub>) -> Result<Self, ApiError> {
        Ok(Self::parsed(parts.uri.query().unwrap_or("")))
    }
}

impl Query {
    /// Of the part of a URL after the question mark.
    pub(crate) fn parsed(query: &str) -> Self {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// The last value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Parses the value of a parameter.
    pub(crate) fn parse<T>(&self, name: &'static str) -> Result<Option<T>, ApiError>
    where
        T: std::str::FromStr<Err: ToString>,
    {
        self.get(name)
            .map(|text| {
                text.parse()
                    .map_err(|error: T::Err| ApiError::invalid(format!("/{name}"), error))
            })
            .transpose()
    }

    /// `limit`: 1 to 1000.
    pub(super) fn limit(&self, default: usize) -> Result<usize, ApiError> {
        match self.get("limit") {
            None => Ok(default),
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=1000).contains(limit));
                limit.ok_or_else(|| ApiError::invalid("/limit", "a whole number from 1 to 1000"))
            }
        }
    }

    /// `cursor` of lists in descending order of ids; without it, the list starts at the beginning.
    pub(super) fn id_cursor(&self) -> Result<IdCursor, ApiError> {
        match self.get("cursor") {
            None => Ok(IdCursor(i64::MAX)),
            Some(text) => IdCursor::decode(text).ok_or_else(|| {
                ApiError::invalid(
                    "/cursor",
                    "not a cursor of this hub: follow the Link header",
                )
            }),
        }
    }

    /// `family`: 4 or 6.
    pub(super) fn family(&self) -> Result<Option<Family>, ApiError> {
        match self.get("family") {
            None => Ok(None),
            Some("4") => Ok(Some(Family::V4)),
            Some("6") => Ok(Some(Family::V6)),
            Some(_) => Err(ApiError::invalid("/family", "the family is 4 or 6")),
        }
    }
}

impl FromRequestParts<Arc<Hub>> for Precondition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Hub>) -> Result<Self, ApiError> {
        Ok(Self {
            if_match: tag_list(&parts.headers, header::IF_MATCH)?,
            if_none_match: tag_list(&parts.headers, header::IF_NONE_MATCH)?,
            revision: None,
        })
    }
}

/// Whether a write is to be answered without the representation.
#[derive(Clone, Copy, Debug)]
pub(super) struct PrefersMinimal(pub bool);

impl FromRequestParts<Arc<Hub>> for PrefersMinimal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Hub>) -> Result<Self, ApiError> {
        Ok(Self(prefers_minimal(&parts.headers)))
    }
}

/// The entity tags of a header, over all its lines.
pub(super) fn tag_list(headers: &HeaderMap, name: HeaderName) -> Result<Option<TagList>, ApiError> {
    let mut values = headers.get_all(&name).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    fn text<'a>(name: &HeaderName, value: &'a HeaderValue) -> Result<&'a str, ApiError> {
        let text = value.to_str();
        text.map_err(|_| ApiError::Malformed(format!("{name}: not ASCII")))
    }
    let mut list = Cow::from(text(&name, first)?);
    for value in values {
        list += ", ";
        list += text(&name, value)?;
    }
    let list = list.parse();
    list.map(Some)
        .map_err(|error| ApiError::Malformed(format!("{name}: {error}")))
}

/// A body parsed as JSON, unless its type declares something else.
#[derive(Debug)]
pub(super) struct JsonBody(pub Unread);

impl FromRequest<Arc<Hub>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<Hub>) -> Result<Self, ApiError> {
        let kind = content_type(request.headers());
        if kind.is_none_or(|kind| is_json(&kind) || DEFAULT_TYPES.contains(&&*kind)) {
            Ok(Self(Unread(request)))
        } else {
            Err(ApiError::MediaType)
        }
    }
}

/// The default types of programs that set none: curl; `fetch`, aiohttp and .NET; older browsers; others.
const DEFAULT_TYPES: [&str; 4] = [
    "application/x-www-form-urlencoded",
    "text/plain",
    "text/json",
    "application/octet-stream",
];

/// The media type without its parameters, in lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = headers
        .get(header::CONTENT_TYPE)?
        .to_str()
        .unwrap_or("unreadable");
    let kind = text
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    (!kind.is_empty()).then_some(kind)
}

fn is_json(kind: &str) -> bool {
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// A body that is not read yet: the caller's right to send it is checked first.
#[derive(Debug)]
pub(super) struct Unread(Request);

impl Unread {
    /// Whether the request has no body at all: no content and no header that announces it.
    pub(super) fn is_absent(&self) -> bool {
        let fields = [
            header::CONTENT_TYPE,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
        ];
        let headers = self.0.headers();
        self.0.body().is_end_stream() && !fields.iter().any(|field| headers.contains_key(field))
    }

    /// Reads it, up to [`MAX_BODY_BYTES`].
    pub(super) async fn read(self, hub: &Hub) -> Result<Content, ApiError> {
        read(hub, self.0, MAX_BODY_BYTES, Sender::Authenticated).await
    }
}

/// Reads a request's body of at most `limit` bytes, within a deadline; checks the content of a signed request against
/// its signature.
pub(crate) async fn read(
    hub: &Hub,
    request: Request,
    limit: usize,
    sender: Sender,
) -> Result<Content, ApiError> {
    let (parts, body) = request.into_parts();
    if !body.is_end_stream() {
        refuse_coded(&parts.headers)?;
    }
    let content = hub
        .body_budgets
        .receive(&parts.headers, body, limit, sender)
        .await;
    match parts.extensions.get::<Verified>() {
        None => content,
        Some(verified) => verified.check_content(hub, content),
    }
}

/// Refuses content in any coding but `identity`, which means no coding (RFC 9110 section 8.4).
fn refuse_coded(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_identity = |coding: &str| {
        let coding = coding.trim_matches([' ', '\t']);
        coding.is_empty() || coding.eq_ignore_ascii_case("identity")
    };
    let mut fields = headers.get_all(header::CONTENT_ENCODING).iter();
    let is_plain = fields.all(|field| {
        field
            .to_str()
            .is_ok_and(|list| list.split(',').all(is_identity))
    });
    is_plain.then_some(()).ok_or(ApiError::ContentEncoding)
}
