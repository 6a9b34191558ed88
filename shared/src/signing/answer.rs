//! Responses: the hub signs those to requests whose signature verified, and the agent verifies them. The signature
//! covers that of the request, so that a response is valid for only one request.

use http::{HeaderMap, HeaderName, header};

use super::base::signature_base;
use super::component::{Component, Message, RequestHead, only};
use super::digest::{check_content, content_digest};
use super::input::{self, Parameters, SignatureInput};
use super::{CONTENT_DIGEST, SignatureError, SigningKey};

/// The id of the hub's database. Every response has it, except those of hubs before 0.2.0.
pub const SILO_DATABASE: HeaderName = HeaderName::from_static("silo-database");
/// The components of the request that every signature of a response covers.
const OF_REQUEST: [&str; 5] = ["@method", "@authority", "@path", "@query", "signature"];

/// Signs a response: adds `Content-Digest` if there is content, `Signature-Input` and `Signature`. `created` is in Unix
/// seconds.
///
/// Fails if the entity tag or the database's id is duplicate or not printable ASCII.
pub fn sign(
    status: u16,
    headers: &mut HeaderMap,
    content: &[u8],
    request: &RequestHead,
    key: &SigningKey,
    keyid: &str,
    created: i64,
) -> Result<(), SignatureError> {
    if !content.is_empty() {
        headers.insert(CONTENT_DIGEST, content_digest(content));
    }
    let parameters = Parameters {
        created: Some(created),
        keyid: Some(keyid.to_owned()),
        ..Parameters::default()
    };
    let input = SignatureInput::new(required(headers, content)?, parameters);
    let message = Message::Answer {
        status,
        headers,
        request,
    };
    let base = signature_base(message, &input)?;
    input::write(headers, &input, &key.sign(&base));
    Ok(())
}

/// The components that a response's signature must cover.
fn required(headers: &HeaderMap, content: &[u8]) -> Result<Vec<Component>, SignatureError> {
    let mut components = vec![Component::new("@status")];
    let digest = only(headers, &CONTENT_DIGEST)?;
    if !content.is_empty() || digest.is_some() {
        components.push(Component::new(CONTENT_DIGEST.as_str().to_owned()));
    }
    if only(headers, &header::ETAG)?.is_some() {
        components.push(Component::new("etag"));
    }
    if only(headers, &SILO_DATABASE)?.is_some() {
        components.push(Component::new(SILO_DATABASE.as_str().to_owned()));
    }
    components.extend(OF_REQUEST.into_iter().map(Component::of_request));
    Ok(components)
}

/// Verifies the response to one's own request; `Ok(None)`: it is not signed. Else returns when the hub signed it, in
/// Unix seconds: authentic, but not checked for its age, since the response is valid for only this request.
pub fn verify(
    status: u16,
    headers: &HeaderMap,
    content: &[u8],
    request: &RequestHead,
    key: &SigningKey,
    keyid: &str,
) -> Result<Option<i64>, SignatureError> {
    let Some((input, signature)) = input::read(headers)? else {
        return Ok(None);
    };
    let components = required(headers, content)?;
    for component in &components {
        input.require(component)?;
    }
    let parameters = input.parameters();
    let missing = SignatureError::NoParameter;
    let created = parameters.created.ok_or(missing("created"))?;
    if parameters.keyid.as_deref().ok_or(missing("keyid"))? != keyid {
        return Err(SignatureError::Wrong);
    }
    let message = Message::Answer {
        status,
        headers,
        request,
    };
    let base = signature_base(message, &input)?;
    if !key.verifies(&base, &signature) {
        return Err(SignatureError::Wrong);
    }
    if headers.contains_key(CONTENT_DIGEST) {
        check_content(headers, content)?;
    }
    Ok(Some(created))
}
