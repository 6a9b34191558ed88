//! Requests: signed by the caller, verified by the hub.

use http::{HeaderName, header};

use super::base::signature_base;
use super::component::{Component, Message, RequestHead, only};
use super::digest::{check_content, content_digest};
use super::input::{self, Parameters, SignatureInput};
use super::{ALGORITHM, CONTENT_DIGEST, MAX_CLOCK_OFFSET, MAX_NONCE, SignatureError, SigningKey};

/// The components that every signature of a request covers.
const ALWAYS: [&str; 4] = ["@method", "@authority", "@path", "@query"];
/// The components that it also covers if the request has them.
const WHERE_PRESENT: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("prefer"),
    HeaderName::from_static("silo-applied"),
    HeaderName::from_static("silo-agent"),
];

/// Signs a request: adds `Content-Digest` if there is content, `Signature-Input` and `Signature`. Everything else must
/// be set before. `created` is in Unix seconds; `nonce` is printable ASCII without `"` and `\`, and new for every
/// request.
///
/// Fails if a signed field is duplicate or not printable ASCII.
pub fn sign(
    request: &mut RequestHead,
    content: &[u8],
    key: &SigningKey,
    keyid: &str,
    created: i64,
    nonce: &str,
) -> Result<(), SignatureError> {
    if !content.is_empty() {
        request
            .headers
            .insert(CONTENT_DIGEST, content_digest(content));
    }
    let parameters = Parameters {
        created: Some(created),
        expires: None,
        nonce: Some(nonce.to_owned()),
        keyid: Some(keyid.to_owned()),
        alg: Some(ALGORITHM.to_owned()),
    };
    let input = SignatureInput::new(required(request, !content.is_empty())?, parameters);
    let base = signature_base(Message::Request(request), &input)?;
    input::write(&mut request.headers, &input, &key.sign(&base));
    Ok(())
}

/// The components that a request's signature must cover.
fn required(request: &RequestHead, has_content: bool) -> Result<Vec<Component>, SignatureError> {
    let mut components: Vec<_> = ALWAYS.into_iter().map(Component::new).collect();
    let digest = only(&request.headers, &CONTENT_DIGEST)?;
    if has_content || digest.is_some() {
        components.push(Component::new(CONTENT_DIGEST.as_str().to_owned()));
    }
    for name in WHERE_PRESENT {
        if only(&request.headers, &name)?.is_some() {
            components.push(Component::new(name.as_str().to_owned()));
        }
    }
    Ok(components)
}

/// The signature of a request, parsed and complete, not yet verified.
#[derive(Clone, Debug)]
pub struct RequestSignature {
    input: SignatureInput,
    signature: Vec<u8>,
    /// The id of the claimed key.
    pub keyid: String,
    /// When it was made, in Unix seconds.
    pub created: i64,
    /// Makes the request unique.
    pub nonce: String,
}

impl RequestSignature {
    /// Reads the signature of a request; `None`: it has none. Refuses one that omits a required component.
    /// `has_content`: whether content follows, or may follow.
    pub fn read(request: &RequestHead, has_content: bool) -> Result<Option<Self>, SignatureError> {
        let Some((input, signature)) = input::read(&request.headers)? else {
            return Ok(None);
        };
        for component in required(request, has_content)? {
            input.require(&component)?;
        }
        let Parameters {
            created,
            nonce,
            keyid,
            alg,
            ..
        } = input.parameters().clone();
        let missing = SignatureError::NoParameter;
        if alg.ok_or(missing("alg"))? != ALGORITHM {
            return Err(SignatureError::Algorithm);
        }
        let nonce = nonce.ok_or(missing("nonce"))?;
        if nonce.is_empty() || nonce.len() > MAX_NONCE {
            return Err(SignatureError::Nonce);
        }
        Ok(Some(Self {
            keyid: keyid.ok_or(missing("keyid"))?,
            created: created.ok_or(missing("created"))?,
            nonce,
            input,
            signature,
        }))
    }

    /// Verifies that the key made this signature of this request.
    pub fn verify(&self, request: &RequestHead, key: &SigningKey) -> Result<(), SignatureError> {
        let base = signature_base(Message::Request(request), &self.input)?;
        if key.verifies(&base, &self.signature) {
            Ok(())
        } else {
            Err(SignatureError::Wrong)
        }
    }

    /// How many milliseconds the signer's clock is behind (negative: ahead), if that is more than [`MAX_CLOCK_OFFSET`].
    pub fn clock_offset(&self, now_ms: i64) -> Option<i64> {
        let offset = now_ms.saturating_sub(self.created.saturating_mul(1000));
        (offset.unsigned_abs() > MAX_CLOCK_OFFSET.unsigned_abs() * 1000).then_some(offset)
    }

    /// Refuses a signature that has expired.
    pub fn check_end(&self, now_ms: i64) -> Result<(), SignatureError> {
        match self.input.parameters().expires {
            Some(expires) if expires.saturating_mul(1000) < now_ms => Err(SignatureError::Expired),
            _ => Ok(()),
        }
    }

    /// Checks the content that came with the request.
    pub fn check_content(
        &self,
        request: &RequestHead,
        content: &[u8],
    ) -> Result<(), SignatureError> {
        let digest = Component::new(CONTENT_DIGEST.as_str().to_owned());
        if content.is_empty() && self.input.require(&digest).is_err() {
            return Ok(());
        }
        self.input.require(&digest)?;
        check_content(&request.headers, content)
    }
}
