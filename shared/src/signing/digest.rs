//! `Content-Digest` (RFC 9530 section 2), only with SHA-256.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use ring::digest;
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::component::only;
use super::{CONTENT_DIGEST, SignatureError};

/// The field's value for this content.
pub fn content_digest(content: &[u8]) -> HeaderValue {
    let encoded = STANDARD.encode(digest::digest(&digest::SHA256, content));
    HeaderValue::try_from(format!("sha-256=:{encoded}:")).expect("base64 is ASCII")
}

/// Checks content against the field, which must contain its SHA-256; other digests in it are ignored.
pub fn check_content(headers: &HeaderMap, content: &[u8]) -> Result<(), SignatureError> {
    const FIELD: &str = "Content-Digest";
    let text =
        only(headers, &CONTENT_DIGEST)?.ok_or(SignatureError::malformed(FIELD, "is missing"))?;
    let dictionary: Dictionary = Parser::new(text)
        .parse()
        .map_err(|_| SignatureError::malformed(FIELD, "is not a dictionary (RFC 9651)"))?;
    let Some(ListEntry::Item(Item {
        bare_item: BareItem::ByteSequence(bytes),
        ..
    })) = dictionary.get("sha-256")
    else {
        return Err(SignatureError::malformed(FIELD, "must hold sha-256"));
    };
    // Not secret: it is sent with the content.
    if digest::digest(&digest::SHA256, content).as_ref() == bytes.as_slice() {
        Ok(())
    } else {
        Err(SignatureError::Content)
    }
}
