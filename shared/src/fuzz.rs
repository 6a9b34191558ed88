//! Fuzz targets: each takes bytes and panics if an invariant is violated. The package `silo-fuzz` runs them under
//! libFuzzer; the tests below run them briefly.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::credential::Credential;
use crate::signing::request::RequestSignature;
use crate::signing::{
    CONTENT_DIGEST, RequestHead, SIGNATURE, SIGNATURE_INPUT, SignatureError, SigningKey, answer,
    request,
};
use crate::silo::Hostname;

const KEYID: &str = "abcdefgh12";
const CREATED: i64 = 1_767_323_045;
const NONCE: &str = "n0nce";

/// A parsed hostname prints in a form that parses to itself and that RFC 1123 allows.
pub fn hostname(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(name) = Hostname::parse(text) else {
        return;
    };
    let printed = name.to_string();
    for same in [
        printed.clone(),
        format!("{printed}."),
        printed.to_ascii_uppercase(),
    ] {
        assert_eq!(Hostname::parse(&same).as_ref(), Ok(&name), "{same:?}");
    }
    assert!(printed.len() <= 253);
    for label in printed.split('.') {
        let bytes = label.as_bytes();
        let is_inner = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        assert!(bytes.len() <= 63 && bytes.iter().all(is_inner), "{label:?}");
        assert!(!matches!(bytes, [] | [b'-', ..] | [.., b'-']), "{label:?}");
    }
    assert!(printed.parse::<std::net::IpAddr>().is_err());
}

/// What verifies was signed, a request's signature is not valid for a response and vice versa, and no field makes the
/// reader panic.
///
/// The input is two messages with a line `====` between them, each `METHOD AUTHORITY PATH?QUERY`, fields, an empty
/// line, content. The first is signed. The second gets the fields of the first's signature that it lacks, as an
/// attacker would do.
pub fn signature(data: &[u8]) {
    let (first, second) = split(data, b"\n====\n");
    let (Some((mut first, content)), Some((mut second, other_content))) =
        (message(first), message(second))
    else {
        return;
    };
    let key = key('a');
    // A signer writes its own, and none without content.
    first.headers.remove(CONTENT_DIGEST);
    if request::sign(&mut first, content, &key, KEYID, CREATED, NONCE).is_err() {
        return;
    }
    assert_eq!(accept(&first, content, &key), Ok(()));
    let wrong = Err(SignatureError::Wrong);
    assert_eq!(accept(&first, content, &self::key('b')), wrong);

    for name in [SIGNATURE_INPUT, SIGNATURE, CONTENT_DIGEST] {
        if let (false, Some(value)) = (second.headers.contains_key(&name), first.headers.get(&name))
        {
            second.headers.insert(name, value.clone());
        }
    }
    if accept(&second, other_content, &key).is_ok() {
        assert_eq!(signed_parts(&first), signed_parts(&second));
        assert_eq!(content, other_content);
    }
    // The second message as the response to the first, which was not signed.
    let judged = answer::verify(200, &second.headers, other_content, &first, &key, KEYID);
    assert!(judged.is_err(), "{second:?}");

    let mut headers = second.headers.clone();
    headers.remove(CONTENT_DIGEST);
    if answer::sign(200, &mut headers, other_content, &first, &key, KEYID, 7).is_ok() {
        let verify = |status, headers: &HeaderMap, content: &[u8], to: &RequestHead| {
            answer::verify(status, headers, content, to, &key, KEYID)
        };
        assert_eq!(verify(200, &headers, other_content, &first), Ok(Some(7)));
        assert!(verify(201, &headers, other_content, &first).is_err());
        let longer = [other_content, b"x"].concat();
        assert!(verify(200, &headers, &longer, &first).is_err());
        second.headers = headers;
        assert!(accept(&second, other_content, &key).is_err(), "{second:?}");
    }
}

fn key(secret: char) -> SigningKey {
    let text = format!("silo_{KEYID}_{}", String::from(secret).repeat(43));
    SigningKey::of(&Credential::parse(&text).expect("it has the form of a credential"))
}

/// All checks of the hub.
fn accept(head: &RequestHead, content: &[u8], key: &SigningKey) -> Result<(), SignatureError> {
    let signature = RequestSignature::read(head, !content.is_empty())?
        .ok_or(SignatureError::NoParameter("a signature"))?;
    signature.verify(head, key)?;
    signature.check_content(head, content)?;
    assert_eq!((&*signature.keyid, &*signature.nonce), (KEYID, NONCE));
    assert_eq!(signature.created, CREATED);
    Ok(())
}

/// The parts of a request that must not be changed on the way: an empty query equals an absent one (RFC 9421 section
/// 2.2.7), and whitespace around a field is not part of its value.
fn signed_parts(head: &RequestHead) -> (&Method, [&str; 3], Vec<Vec<&[u8]>>) {
    let fields = [
        "content-type",
        "if-match",
        "if-none-match",
        "prefer",
        "silo-applied",
        "content-digest",
    ];
    let lines = |name| -> Vec<&[u8]> {
        let values = head.headers.get_all(name).iter();
        values.map(|value| value.as_bytes().trim_ascii()).collect()
    };
    let query = head.query.as_deref().unwrap_or("");
    (
        &head.method,
        [&head.authority, &head.path, query],
        fields.into_iter().map(lines).collect(),
    )
}

fn split<'a>(data: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    match data.windows(at.len()).position(|window| window == at) {
        Some(start) => (&data[..start], &data[start + at.len()..]),
        None => (data, b""),
    }
}

/// Parses a message and its content; `None` if such a message can't arrive.
fn message(data: &[u8]) -> Option<(RequestHead, &[u8])> {
    let (head, content) = split(data, b"\n\n");
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut start = std::str::from_utf8(lines.next()?).ok()?.split(' ');
    let method = Method::from_bytes(start.next()?.as_bytes()).ok()?;
    let authority = start.next()?.to_owned();
    let target = start.next().filter(|_| start.next().is_none())?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = split(line, b":");
        let name = HeaderName::from_bytes(name).ok()?;
        headers.append(name, HeaderValue::from_bytes(value.trim_ascii()).ok()?);
    }
    let head = RequestHead {
        method,
        authority,
        path: path.to_owned(),
        query,
        headers,
    };
    Some((head, content))
}

#[cfg(test)]
mod tests {
    use silo_e2e::fuzz::try_target;

    #[test]
    fn hostnames_print_as_they_parse() {
        try_target("hostname", super::hostname);
    }

    #[test]
    fn what_verifies_was_signed() {
        try_target("signature", super::signature);
    }
}
