//! Signs requests and verifies the hub's responses (RFC 9421).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Request;
use reqwest::header::HeaderMap;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use url::Position;

use crate::credential::{Credential, TokenId};
use crate::signing::component::RequestHead;
use crate::signing::{
    CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT, SignatureError, SigningKey, answer, request,
};

/// The signer for one token.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    key: SigningKey,
    keyid: TokenId,
}

/// A signed request, for verifying its response.
#[derive(Debug)]
pub(super) struct Sent {
    head: RequestHead,
    created: i64,
}

/// A response that is not verified as the hub's.
#[derive(Debug, Error)]
pub(super) enum Distrust {
    /// It has no signature.
    #[error("unsigned")]
    Unsigned,
    /// Its signature does not match.
    #[error(transparent)]
    Wrong(#[from] SignatureError),
}

impl Signer {
    pub(super) fn new(credential: &Credential) -> Self {
        Self {
            key: SigningKey::of(credential),
            keyid: credential.id(),
        }
    }

    /// Signs a complete request; each attempt is signed separately.
    pub(super) fn sign(&self, request: &mut Request) -> Result<Sent, String> {
        let url = request.url();
        // As in the `Host` field: with the port only if it is not the scheme's default.
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        let mut head = RequestHead {
            method: request.method().clone(),
            authority: authority.to_owned(),
            path: url.path().to_owned(),
            query: url.query().map(ToOwned::to_owned),
            headers: request.headers().clone(),
        };
        let content = match request.body() {
            None => &[][..],
            Some(body) => body.as_bytes().ok_or("a streamed body can't be signed")?,
        };
        let created = now();
        request::sign(
            &mut head,
            content,
            &self.key,
            self.keyid.as_str(),
            created,
            &nonce()?,
        )
        .map_err(|error| error.to_string())?;
        for name in [CONTENT_DIGEST, SIGNATURE_INPUT, SIGNATURE] {
            if let Some(value) = head.headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        Ok(Sent { head, created })
    }

    /// Verifies a response. Returns how many seconds this machine's clock was behind the hub's; negative: ahead.
    pub(super) fn verify(
        &self,
        sent: &Sent,
        status: u16,
        headers: &HeaderMap,
        content: &[u8],
    ) -> Result<i64, Distrust> {
        let keyid = self.keyid.as_str();
        let answered = answer::verify(status, headers, content, &sent.head, &self.key, keyid)?
            .ok_or(Distrust::Unsigned)?;
        Ok(answered.saturating_sub(sent.created))
    }
}

/// The current time in Unix seconds.
pub(super) fn now() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a signature is made at the machine's own time, which the hub judges"
    )]
    let now = jiff::Timestamp::now();
    now.as_second()
}

/// 128 random bits in characters of a URL.
fn nonce() -> Result<String, String> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| "the system's random number generator failed".to_owned())?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use reqwest::{Client, Method};

    use super::*;

    fn signer() -> Signer {
        let text = format!("silo_abcdefgh12_{}", "x".repeat(43));
        Signer::new(&Credential::parse(&text).unwrap())
    }

    fn request(url: &str) -> Request {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let request = Client::new().request(Method::PUT, url);
        request.body("{}").build().unwrap()
    }

    #[test]
    fn the_authority_is_what_the_host_field_will_say() {
        for (url, authority) in [
            ("http://Hub.LAN/", "hub.lan"),
            ("http://hub:80/", "hub"),
            ("http://hub:8053/", "hub:8053"),
            ("https://hub:443/a?b", "hub"),
            ("https://hub:80/a?b", "hub:80"),
            ("http://[FD00::5]:8053/", "[fd00::5]:8053"),
        ] {
            let sent = signer().sign(&mut request(url)).unwrap();
            assert_eq!(sent.head.authority, authority, "{url}");
        }
    }

    #[test]
    fn each_attempt_gets_a_new_signature() {
        let mut first = request("http://hub/silos/a?b=c");
        let mut second = request("http://hub/silos/a?b=c");
        let sent = signer().sign(&mut first).unwrap();
        signer().sign(&mut second).unwrap();
        assert_ne!(first.headers()[SIGNATURE], second.headers()[SIGNATURE]);
        assert_eq!(sent.head.path, "/silos/a");
        assert_eq!(sent.head.query.as_deref(), Some("b=c"));
        for name in [CONTENT_DIGEST, SIGNATURE_INPUT, SIGNATURE] {
            assert!(first.headers().contains_key(&name), "{name}");
        }
        let unsigned = signer().verify(&sent, 200, &HeaderMap::new(), b"");
        assert!(matches!(unsigned, Err(Distrust::Unsigned)));
    }
}
