//! Explains why there is no response, and what to do. Replaces known errors of libraries by our own messages.

use std::error::Error;

use reqwest::StatusCode;
use rustls::{CertificateError, Error as TlsError, InvalidMessage, OtherError};
use url::Url;

use crate::hub_tls::OtherKey;
use crate::output::one_line;

/// Why the hub at `hub` can't be reached.
pub(super) fn unreachable(error: &reqwest::Error, hub: &Url) -> String {
    if let Some(words) = causes(error).find_map(of_tls).and_then(tls) {
        return words;
    }
    let is_https = hub.scheme() == "https";
    if !is_https && causes(error).any(is_no_http) {
        return "the server there does not speak plain HTTP: if the hub uses TLS, write https:// in `hub`"
            .to_owned();
    }
    // A server that expects the other protocol may also close the connection silently.
    if causes(error).any(is_closed) {
        let (when, other, scheme) = if is_https {
            (
                "during the TLS handshake or the answer",
                "plain HTTP",
                "http",
            )
        } else {
            ("before the end of the answer", "TLS", "https")
        };
        return format!(
            "the connection ended {when}: if the hub uses {other}, write {scheme}:// in `hub`"
        );
    }
    if causes(error).any(is_refused) {
        return "connection refused: check that the hub runs, that it listens on this address (`listen`), and the port in `hub`".to_owned();
    }
    chain(error)
}

/// Whether the other side was refused for its certificate or key.
pub(super) fn is_untrusted(error: &reqwest::Error) -> bool {
    let is_refusal = |error: &TlsError| match error {
        TlsError::InvalidCertificate(_) => true,
        TlsError::Other(OtherError(inner)) => inner.is::<OtherKey>(),
        _ => false,
    };
    causes(error).filter_map(of_tls).any(is_refusal)
}

/// Why a client can't be created; `judges_by_system`: it uses the certificates that the system trusts.
pub(super) fn setup(error: &reqwest::Error, judges_by_system: bool) -> String {
    let has_no_roots = |error: &TlsError| matches!(error, TlsError::General(_));
    if judges_by_system && causes(error).filter_map(of_tls).any(has_no_roots) {
        return "this system has no certificates to trust (no CA store): install `ca-certificates`, or set `ca_file` or `pin_sha256`"
            .to_owned();
    }
    chain(error)
}

/// The likely sender of a response that is not from a hub, if known.
pub(super) fn foreign_answer(
    status: StatusCode,
    is_html: bool,
    body: &[u8],
    hub: &Url,
) -> Option<&'static str> {
    // The messages of nginx, Apache, Go and Caddy.
    let names_https = || {
        let text = String::from_utf8_lossy(body).to_ascii_lowercase();
        ["https port", "https server", "ssl-enabled server port"]
            .iter()
            .any(|words| text.contains(words))
    };
    if status == StatusCode::BAD_REQUEST && hub.scheme() == "http" && names_https() {
        Some("this port expects TLS: write https:// in `hub`")
    } else if status.is_success() && is_html {
        Some(
            "a web page, such as the login page of a network (captive portal): log in to the network, or correct `hub`",
        )
    } else if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        Some(
            "a redirect, which is not followed: log in to the network (captive portal), or write the hub's own URL in `hub`",
        )
    } else {
        None
    }
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

/// An error's causes without the outermost, which for reqwest only repeats the URL.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut words = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push(one_line(&cause.to_string()));
        source = cause.source();
    }
    words.dedup();
    if words.is_empty() {
        one_line(&error.to_string())
    } else {
        words.join(": ")
    }
}

/// The TLS error that a cause is or contains: an [`std::io::Error`] does not return its content as its source.
fn of_tls<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    cause.downcast_ref().or_else(|| {
        let content = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
        of_tls(content)
    })
}

fn tls(error: &TlsError) -> Option<String> {
    let words = match error {
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server there does not speak TLS: if the hub uses plain HTTP, write http:// in `hub`"
        }
        TlsError::Other(OtherError(inner)) => {
            return inner.downcast_ref::<OtherKey>().map(ToString::to_string);
        }
        TlsError::InvalidCertificate(why) => match why {
            CertificateError::NotValidForNameContext { expected, .. } => {
                return Some(format!(
                    "its certificate is not valid for name {}: use a name that it contains in `hub`, or trust it by `pin_sha256` only",
                    expected.to_str()
                ));
            }
            CertificateError::NotValidForName => {
                "its certificate is not valid for name or address in `hub`: use a name that it contains, or trust it by `pin_sha256` only"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: renew it, or correct this machine's clock"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: check this machine's clock"
            }
            CertificateError::Revoked => "its certificate is revoked: renew it",
            _ => {
                "this machine does not trust its certificate: if it was made by `silo-hub tls self-signed`, set `pin_sha256` to the printed pin, else set `ca_file` to its issuer's certificate"
            }
        },
        _ => return None,
    };
    Some(words.to_owned())
}

/// Whether the response is not HTTP, such as the alert of a server that expects TLS.
fn is_no_http(cause: &(dyn Error + 'static)) -> bool {
    cause
        .downcast_ref::<hyper::Error>()
        .is_some_and(hyper::Error::is_parse)
}

/// Whether nothing listens there, or a firewall says so.
fn is_refused(cause: &(dyn Error + 'static)) -> bool {
    cause
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// Whether the other side closed the connection.
fn is_closed(cause: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        return error.is_incomplete_message();
    }
    let Some(error) = cause.downcast_ref::<std::io::Error>() else {
        return false;
    };
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
        || error.get_ref().is_some_and(|content| is_closed(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_other_servers_are_recognised() {
        let http = Url::parse("http://hub").unwrap();
        let https = Url::parse("https://hub").unwrap();
        let nginx = "<h1>400 Bad Request</h1>The plain HTTP request was sent to HTTPS port";
        let go = "Client sent an HTTP request to an HTTPS server.\n";
        for (status, is_html, body, hub, words) in [
            (400, true, nginx, &http, Some("write https://")),
            (400, false, go, &http, Some("write https://")),
            (400, false, go, &https, None),
            (400, true, "<h1>Bad Request</h1>", &http, None),
            (200, true, "<html>", &http, Some("captive portal")),
            (200, false, "{}", &http, None),
            (302, true, "", &https, Some("captive portal")),
            (304, false, "", &https, None),
            (404, true, "", &https, None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let said = foreign_answer(status, is_html, body.as_bytes(), hub);
            assert_eq!(said.is_some(), words.is_some(), "{status} {body}");
            let contains = |words| said.is_some_and(|said| said.contains(words));
            assert!(words.is_none_or(contains), "{status} {body}: {said:?}");
        }
    }

    #[test]
    fn refused_certificates_are_explained_in_own_words() {
        for (why, words) in [
            (CertificateError::UnknownIssuer, "`pin_sha256`"),
            (CertificateError::BadSignature, "`ca_file`"),
            (CertificateError::NotValidForName, "not valid for name"),
            (CertificateError::Expired, "expired"),
            (CertificateError::NotValidYet, "clock"),
        ] {
            let said = tls(&TlsError::InvalidCertificate(why)).unwrap();
            assert!(
                said.contains(words) && !said.contains("invalid peer"),
                "{said}"
            );
        }
    }
}
