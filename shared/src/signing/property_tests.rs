//! Signed messages verify, and no others do.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::answer;
use super::component::RequestHead;
use super::request::{self, RequestSignature};
use super::{CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT, SignatureError, SigningKey};
use crate::credential::Credential;

const KEYID: &str = "abcdefgh12";
const CREATED: i64 = 1_767_323_045;

fn key(secret: char) -> SigningKey {
    let text = format!("silo_{KEYID}_{}", String::from(secret).repeat(43));
    SigningKey::of(&Credential::parse(&text).unwrap())
}

/// A field that must be signed if it is present.
fn signed_field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "content-type",
        "if-match",
        "if-none-match",
        "prefer",
        "silo-applied",
        "silo-agent",
    ])
}

prop_compose! {
    fn any_request()(
        method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::PUT, Method::DELETE]),
        authority in "[a-z0-9.:-]{1,20}",
        path in "/[!-~&&[^#?]]{0,30}",
        query in prop::option::of("[!-~&&[^#]]{0,20}"),
        fields in prop::collection::btree_map(signed_field(), "[!-~]{1}[ -~]{0,20}", 0..4),
        content in prop::collection::vec(any::<u8>(), 0..40),
    ) -> (RequestHead, Vec<u8>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(name, HeaderValue::from_str(&value).unwrap());
        }
        (RequestHead { method, authority, path, query, headers }, content)
    }
}

fn signed((mut head, content): (RequestHead, Vec<u8>)) -> (RequestHead, Vec<u8>) {
    request::sign(&mut head, &content, &key('a'), KEYID, CREATED, "n0nce").unwrap();
    (head, content)
}

/// All checks of the hub.
fn accept(head: &RequestHead, content: &[u8], key: &SigningKey) -> Result<(), SignatureError> {
    let signature = RequestSignature::read(head, !content.is_empty())?
        .ok_or(SignatureError::NoParameter("a signature"))?;
    signature.verify(head, key)?;
    signature.check_content(head, content)
}

/// Changes that an attacker on the way may make to a request.
fn tamper(head: &mut RequestHead, content: &mut Vec<u8>, how: u8, field: &'static str) {
    let insert = |headers: &mut HeaderMap, name, value: &str| {
        headers.insert(HeaderName::from_static(name), value.parse().unwrap());
    };
    match how {
        0 => head.method = Method::POST,
        1 => head.authority.push('x'),
        2 => head.path.push('x'),
        3 => head.query = Some(format!("{}&x", head.query.clone().unwrap_or_default())),
        4 => content.push(b'x'),
        5 if content.is_empty() => head.path = "/other".to_owned(),
        5 => content[0] ^= 1,
        6 => insert(&mut head.headers, field, "changed on the way ~~~~~~"),
        7 if head.headers.remove(field).is_none() => insert(&mut head.headers, field, "added"),
        7 => {}
        8 => {
            head.headers
                .append(HeaderName::from_static(field), "twice".parse().unwrap());
        }
        9 => {
            content.push(b'x');
            head.headers
                .insert(CONTENT_DIGEST, super::digest::content_digest(content));
        }
        _ => {
            let signature = head.headers[&SIGNATURE].to_str().unwrap().to_owned();
            let other = if signature.contains('A') { "B" } else { "A" };
            let changed = format!("silo=:{other}{}", &signature[7..]);
            head.headers.insert(SIGNATURE, changed.parse().unwrap());
        }
    }
}

proptest! {
    #[test]
    fn a_signed_request_verifies(request in any_request()) {
        let (head, content) = signed(request);
        prop_assert_eq!(accept(&head, &content, &key('a')), Ok(()));
        prop_assert_eq!(accept(&head, &content, &key('b')), Err(SignatureError::Wrong));
        let signature = RequestSignature::read(&head, false).unwrap().unwrap();
        prop_assert_eq!(signature.created, CREATED);
        prop_assert_eq!((&*signature.keyid, &*signature.nonce), (KEYID, "n0nce"));
    }

    #[test]
    fn any_changed_part_fails(request in any_request(), how in 0_u8..11, field in signed_field()) {
        let (mut head, mut content) = signed(request);
        let before = (format!("{head:?}"), content.clone());
        tamper(&mut head, &mut content, how, field);
        prop_assume!(before != (format!("{head:?}"), content.clone()));
        prop_assert!(accept(&head, &content, &key('a')).is_err(), "{:?}", head);
    }

    #[test]
    fn a_signed_response_verifies_only_for_its_request(
        request in any_request(),
        status in 200_u16..600,
        etag in prop::option::of("[!-~]{1,10}"),
        database in prop::option::of("[!-~]{1,10}"),
        content in prop::collection::vec(any::<u8>(), 0..40),
        how in 0_u8..11,
    ) {
        let (head, _) = signed(request);
        let mut headers = HeaderMap::new();
        if let Some(etag) = &etag {
            headers.insert("etag", etag.parse().unwrap());
        }
        if let Some(database) = &database {
            headers.insert("silo-database", database.parse().unwrap());
        }
        answer::sign(status, &mut headers, &content, &head, &key('a'), KEYID, 7).unwrap();
        let verify = |status, headers: &HeaderMap, content: &[u8], head: &RequestHead| {
            answer::verify(status, headers, content, head, &key('a'), KEYID)
        };
        prop_assert_eq!(verify(status, &headers, &content, &head), Ok(Some(7)));
        prop_assert_eq!(
            answer::verify(status, &headers, &content, &head, &key('b'), KEYID),
            Err(SignatureError::Wrong)
        );
        let (mut status, mut content, mut head) = (status, content, head);
        match how {
            0 => status ^= 1,
            1 => content.push(b'x'),
            2 => { headers.insert("etag", "\"forged on the way\"".parse().unwrap()); }
            3 => { headers.append("etag", "\"second\"".parse().unwrap()); headers.append("etag", "\"x\"".parse().unwrap()); }
            4 => head.path.push('x'),
            5 => head.query = Some(format!("{}x", head.query.unwrap_or_default())),
            6 => { head.headers.insert(SIGNATURE, "silo=:AA==:".parse().unwrap()); }
            7 => { content.push(b'x'); headers.insert(CONTENT_DIGEST, super::digest::content_digest(&content)); }
            8 => { headers.insert("silo-database", "\"forged on the way\"".parse().unwrap()); }
            9 if headers.remove("silo-database").is_some() => {}
            _ => { headers.remove(SIGNATURE_INPUT); }
        }
        prop_assert!(verify(status, &headers, &content, &head).is_err());
    }

    #[test]
    fn hostile_fields_are_refused_without_a_panic(
        input in "[ -~]{0,80}",
        signature in "[ -~]{0,80}",
        digest in "[ -~]{0,80}",
        raw in prop::collection::vec(any::<u8>(), 0..80),
        structured in "silo=\\((\"[ -~]{0,9}\"(;[a-z]{0,4}(=[ -~]{0,4})?)? ?){0,4}\\)(;[a-z]{0,7}=[ -~]{0,8}){0,4}",
    ) {
        let raw = HeaderValue::from_bytes(&raw).unwrap_or(HeaderValue::from_static(""));
        for input in [HeaderValue::from_str(&input).unwrap(), HeaderValue::from_str(&structured).unwrap(), raw.clone()] {
            for signature in [HeaderValue::from_str(&signature).unwrap(), HeaderValue::from_static("silo=:AA==:"), raw.clone()] {
                let mut headers = HeaderMap::new();
                headers.insert(SIGNATURE_INPUT, input.clone());
                headers.insert(SIGNATURE, signature);
                headers.insert(CONTENT_DIGEST, digest.parse().unwrap());
                let head = RequestHead {
                    method: Method::PUT,
                    authority: String::new(),
                    path: String::new(),
                    query: None,
                    headers: headers.clone(),
                };
                prop_assert!(accept(&head, b"x", &key('a')).is_err());
                prop_assert!(answer::verify(200, &headers, b"x", &head, &key('a'), KEYID).is_err());
            }
        }
    }
}

#[test]
fn each_thing_that_is_left_out_is_named() {
    let request = |input: &str, content_digest: bool| {
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE_INPUT, input.parse().unwrap());
        headers.insert(SIGNATURE, "silo=:AA==:".parse().unwrap());
        headers.insert("if-match", "\"1\"".parse().unwrap());
        if content_digest {
            headers.insert(CONTENT_DIGEST, "sha-256=:AA==:".parse().unwrap());
        }
        RequestHead {
            method: Method::PUT,
            authority: "h".to_owned(),
            path: "/".to_owned(),
            query: None,
            headers,
        }
    };
    let all = "\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\" \"if-match\"";
    let end = ";created=1;nonce=\"n\";keyid=\"k\";alg=\"hmac-sha256\"";
    let read = |input: &str| {
        RequestSignature::read(&request(input, true), true)
            .map(|signature| signature.is_some())
            .map_err(|error| error.to_string())
    };
    assert_eq!(read(&format!("silo=({all}){end}")), Ok(true));
    for name in all.split(' ') {
        let list = all
            .replace(&format!("{name} "), "")
            .replace(&format!(" {name}"), "");
        assert_eq!(
            read(&format!("silo=({list}){end}")),
            Err(format!("{name} is not signed but must be"))
        );
    }
    for (parameter, without) in [
        ("created", end.replace(";created=1", "")),
        ("nonce", end.replace(";nonce=\"n\"", "")),
        ("keyid", end.replace(";keyid=\"k\"", "")),
        ("alg", end.replace(";alg=\"hmac-sha256\"", "")),
    ] {
        assert_eq!(
            read(&format!("silo=({all}){without}")),
            Err(format!(
                "Signature-Input: the parameter {parameter} is missing"
            ))
        );
    }
    let longest = end.replace("\"n\"", &format!("\"{}\"", "n".repeat(64)));
    assert_eq!(read(&format!("silo=({all}){longest}")), Ok(true));
    for (wrong, said) in [
        (
            end.replace("hmac-sha256", "rsa-pss-sha512"),
            "Signature-Input: alg must be \"hmac-sha256\"",
        ),
        (
            end.replace("\"n\"", &format!("\"{}\"", "n".repeat(65))),
            "Signature-Input: nonce must have 1 to 64 characters",
        ),
        (
            end.replace("\"n\"", "\"\""),
            "Signature-Input: nonce must have 1 to 64 characters",
        ),
    ] {
        assert_eq!(read(&format!("silo=({all}){wrong}")), Err(said.to_owned()));
    }
    // Content without a digest at all.
    let error = RequestSignature::read(&request(&format!("silo=({all}){end}"), false), false);
    assert!(
        error.is_ok(),
        "a digest that is covered but absent fails when it is computed"
    );
    let list = all.replace(" \"content-digest\"", "");
    let error = RequestSignature::read(&request(&format!("silo=({list}){end}"), false), true);
    assert_eq!(
        error.unwrap_err(),
        SignatureError::Uncovered("\"content-digest\"".to_owned())
    );
}

/// A request without fields.
fn plain() -> RequestHead {
    RequestHead {
        method: Method::GET,
        authority: "h".to_owned(),
        path: "/".to_owned(),
        query: None,
        headers: HeaderMap::new(),
    }
}

#[test]
fn content_must_match_a_digest_that_is_signed() {
    let unsigned = || SignatureError::Uncovered("\"content-digest\"".to_owned());
    for (sent, received, expected) in [
        ("", "", Ok(())),
        ("", "b", Err(unsigned())),
        ("a", "a", Ok(())),
        ("a", "b", Err(SignatureError::Content)),
        ("a", "", Err(SignatureError::Content)),
    ] {
        let (head, _) = signed((plain(), sent.as_bytes().to_vec()));
        // Whether there is content may be unknown while the signature is read.
        let signature = RequestSignature::read(&head, false).unwrap().unwrap();
        let checked = signature.check_content(&head, received.as_bytes());
        assert_eq!(checked, expected, "{sent:?} {received:?}");
    }
}

#[test]
fn a_signature_is_valid_until_it_expires() {
    let mut head = plain();
    let input = "silo=(\"@method\" \"@authority\" \"@path\" \"@query\")\
                 ;created=1;expires=10;nonce=\"n\";keyid=\"k\";alg=\"hmac-sha256\"";
    head.headers.insert(SIGNATURE_INPUT, input.parse().unwrap());
    head.headers
        .insert(SIGNATURE, "silo=:AA==:".parse().unwrap());
    let signature = RequestSignature::read(&head, false).unwrap().unwrap();
    for (now_ms, expected) in [
        (0, Ok(())),
        (10_000, Ok(())),
        (10_001, Err(SignatureError::Expired)),
        (i64::MAX, Err(SignatureError::Expired)),
    ] {
        assert_eq!(signature.check_end(now_ms), expected, "{now_ms}");
    }
}

#[test]
fn clocks_may_be_five_minutes_apart() {
    let (head, _) = signed((plain(), Vec::new()));
    let signature = RequestSignature::read(&head, false).unwrap().unwrap();
    for (offset_ms, refused) in [
        (0, false),
        (300_000, false),
        (-300_000, false),
        (300_001, true),
        (-300_001, true),
        (i64::MAX - CREATED * 1000, true),
    ] {
        let refusal = signature.clock_offset(CREATED * 1000 + offset_ms);
        assert_eq!(refusal, refused.then_some(offset_ms));
    }
}

#[test]
fn a_key_does_not_print_its_secret() {
    assert_eq!(format!("{:?}", key('a')), "<signing key>");
    assert_eq!(SigningKey::from_bytes(key('a').expose()), Some(key('a')));
    assert_eq!(SigningKey::from_bytes(b"short"), None);
}
