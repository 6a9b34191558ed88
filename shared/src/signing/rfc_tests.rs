//! The examples of RFC 9421 and RFC 9530.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::base::signature_base;
use super::component::{Component, Message, RequestHead};
use super::digest::{check_content, content_digest};
use super::input::{Parameters, SignatureInput, read};
use super::key::{sign_with, verifies_with};
use super::{CONTENT_DIGEST, SignatureError};

/// `test-shared-secret` of appendix B.1.5.
const SHARED_SECRET: &str =
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
const DIGEST_512: &str = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

/// The request of appendix B.2.
fn request() -> RequestHead {
    RequestHead {
        method: Method::POST,
        authority: "example.com".to_owned(),
        path: "/foo".to_owned(),
        query: Some("param=Value&Pet=dog".to_owned()),
        headers: headers(&[
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("content-type", "application/json"),
            ("content-digest", DIGEST_512),
            ("content-length", "18"),
        ]),
    }
}

fn input(components: &[&'static str], created: i64, keyid: &str) -> SignatureInput {
    let components = components
        .iter()
        .map(|name| match name.strip_suffix(";req") {
            Some(name) => Component::of_request(name),
            None => Component::new(*name),
        })
        .collect();
    let parameters = Parameters {
        created: Some(created),
        keyid: Some(keyid.to_owned()),
        ..Parameters::default()
    };
    SignatureInput::new(components, parameters)
}

#[test]
fn the_shared_secret_example_of_b_2_5_verifies() {
    let input = input(
        &["date", "@authority", "content-type"],
        1_618_884_473,
        "test-shared-secret",
    );
    let base = signature_base(Message::Request(&request()), &input).unwrap();
    assert_eq!(
        base,
        "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\
         \"@authority\": example.com\n\
         \"content-type\": application/json\n\
         \"@signature-params\": (\"date\" \"@authority\" \"content-type\")\
         ;created=1618884473;keyid=\"test-shared-secret\""
    );
    let key = STANDARD.decode(SHARED_SECRET).unwrap();
    let signature = sign_with(&key, &base);
    assert_eq!(
        STANDARD.encode(&signature),
        "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="
    );
    assert!(verifies_with(&key, &base, &signature));
    assert!(!verifies_with(&key, &format!("{base} "), &signature));
    assert!(!verifies_with(&key[1..], &base, &signature));
}

#[test]
fn the_signature_base_of_section_2_5() {
    let input = input(
        &[
            "@method",
            "@authority",
            "@path",
            "content-digest",
            "content-length",
            "content-type",
        ],
        1_618_884_473,
        "test-key-rsa-pss",
    );
    let base = signature_base(Message::Request(&request()), &input).unwrap();
    assert_eq!(
        base,
        format!(
            "\"@method\": POST\n\"@authority\": example.com\n\"@path\": /foo\n\
             \"content-digest\": {DIGEST_512}\n\"content-length\": 18\n\
             \"content-type\": application/json\n\
             \"@signature-params\": (\"@method\" \"@authority\" \"@path\" \"content-digest\" \
             \"content-length\" \"content-type\");created=1618884473;keyid=\"test-key-rsa-pss\""
        )
    );
}

#[test]
fn the_signature_base_of_an_answer_of_section_2_4() {
    const DIGEST: &str = "sha-512=:0Y6iCBzGg5rZtoXS95Ijz03mslf6KAMCloESHObfwnHJDbkkWWQz6PhhU9kxsTbARtY2PTBOzq24uJFpHsMuAg==:";
    let answer = headers(&[
        ("content-type", "application/json"),
        ("content-digest", DIGEST),
    ]);
    let input = input(
        &[
            "@status",
            "content-digest",
            "content-type",
            "@authority;req",
            "@method;req",
            "@path;req",
            "content-digest;req",
        ],
        1_618_884_479,
        "test-key-ecc-p256",
    );
    let message = Message::Answer {
        status: 503,
        headers: &answer,
        request: &request(),
    };
    assert_eq!(
        signature_base(message, &input).unwrap(),
        format!(
            "\"@status\": 503\n\"content-digest\": {DIGEST}\n\
             \"content-type\": application/json\n\"@authority\";req: example.com\n\
             \"@method\";req: POST\n\"@path\";req: /foo\n\"content-digest\";req: {DIGEST_512}\n\
             \"@signature-params\": (\"@status\" \"content-digest\" \"content-type\" \
             \"@authority\";req \"@method\";req \"@path\";req \"content-digest\";req)\
             ;created=1618884479;keyid=\"test-key-ecc-p256\""
        )
    );
}

/// Sections 2.1 (lines are stripped and joined) and 2.2.7 (an absent query is `?`).
#[test]
fn fields_are_joined_and_an_absent_query_is_a_question_mark() {
    let mut request = request();
    request.query = None;
    request.headers = headers(&[
        ("cache-control", "max-age=60 "),
        ("cache-control", "   must-revalidate"),
        ("x-empty", ""),
    ]);
    let input = input(&["cache-control", "x-empty", "@query"], 1, "k");
    let base = signature_base(Message::Request(&request), &input).unwrap();
    assert!(
        base.starts_with(
            "\"cache-control\": max-age=60, must-revalidate\n\"x-empty\": \n\"@query\": ?\n"
        ),
        "{base}"
    );
}

#[test]
fn a_component_that_a_request_cannot_have_is_told_from_one_that_it_lacks() {
    for (name, error) in [
        (
            "@status",
            SignatureError::UnknownComponent("\"@status\"".to_owned()),
        ),
        (
            "x-none",
            SignatureError::AbsentComponent("\"x-none\"".to_owned()),
        ),
    ] {
        let base = signature_base(Message::Request(&request()), &input(&[name], 1, "k"));
        assert_eq!(base, Err(error));
    }
}

/// RFC 9530 appendix B.1: the SHA-256 of `{"hello": "world"}` and a line feed.
#[test]
fn the_digest_example_of_rfc_9530() {
    let mut fields = HeaderMap::new();
    let content = b"{\"hello\": \"world\"}\n";
    let value = content_digest(content);
    assert_eq!(
        value,
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    );
    let both = format!("{DIGEST_512}, {}", value.to_str().unwrap());
    fields.insert(CONTENT_DIGEST, both.parse().unwrap());
    assert_eq!(check_content(&fields, content), Ok(()));
    assert_eq!(
        check_content(&fields, &content[1..]),
        Err(SignatureError::Content)
    );
}

/// Malformed variants of both fields.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn fields_of_another_form_are_refused() {
    let good = "silo=(\"@method\" \"date\";req);created=1;keyid=\"k\"";
    let read = |inputs: &[&str], signatures: &[&str]| {
        let mut fields = HeaderMap::new();
        for input in inputs {
            fields.append("signature-input", input.parse().unwrap());
        }
        for signature in signatures {
            fields.append("signature", signature.parse().unwrap());
        }
        read(&fields).map(|read| read.map(|(input, bytes)| (input.as_str().to_owned(), bytes)))
    };
    assert_eq!(read(&[], &[]), Ok(None));
    assert_eq!(
        read(&[good], &["silo=:AQI=:"]),
        Ok(Some((good["silo=".len()..].to_owned(), vec![1, 2])))
    );
    for (inputs, signatures, said) in [
        (&[good][..], &[][..], "Signature: is missing"),
        (&[], &["silo=:AQI=:"], "Signature-Input: is missing"),
        (&[good, good], &["silo=:AQI=:"], "duplicate signature-input"),
        (
            &[good],
            &["silo=:AQI=:", "silo=:AQI=:"],
            "duplicate signature",
        ),
        (
            &[&format!("{good}, b=()")],
            &["silo=:AQI=:"],
            "Signature-Input: must contain exactly one signature",
        ),
        (
            &[&format!("{good}, {good}")],
            &["silo=:AQI=:"],
            "Signature-Input: is not written in the form",
        ),
        (
            &[good],
            &["silo=:AQI=:, b=:AQI=:"],
            "Signature: must contain exactly one signature",
        ),
        (
            &[good],
            &["silo=:AQI:"],
            "Signature: is not written in the form",
        ),
        (&[good], &["silo=:A===:"], "Signature: is not a dictionary"),
        (&[good], &["silo=\"AQI=\""], "Signature: must be a byte"),
        (&[good], &["silo=:AQI=:;a"], "Signature: must be a byte"),
        (
            &[good],
            &["sig1=:AQI=:"],
            "Signature: the signature must be labelled silo",
        ),
        (
            &["sig1=();created=1"],
            &["silo=:AQI=:"],
            "Signature-Input: the signature must be labelled silo",
        ),
        (
            &["silo=\"@method\""],
            &["silo=:AQI=:"],
            "Signature-Input: must be an inner list",
        ),
        (
            &["silo"],
            &["silo=:AQI=:"],
            "Signature-Input: must be an inner list",
        ),
        (
            &[""],
            &["silo=:AQI=:"],
            "Signature-Input: is not written in the form",
        ),
        (
            &["silo=(\"@method\"  \"@path\");created=1"],
            &["silo=:AQI=:"],
            "Signature-Input: is not written in the form",
        ),
        (
            &["silo=();created=1;created=2"],
            &["silo=:AQI=:"],
            "Signature-Input: is not written in the form",
        ),
        (
            &["silo=();created=\"1\""],
            &["silo=:AQI=:"],
            "Signature-Input: a parameter is of the wrong type",
        ),
        (
            &["silo=();nonce=1"],
            &["silo=:AQI=:"],
            "Signature-Input: a parameter is of the wrong type",
        ),
        (
            &["silo=(\"@method\" \"@method\")"],
            &["silo=:AQI=:"],
            "duplicate \"@method\"",
        ),
        (
            &["silo=(\"date\";sf)"],
            &["silo=:AQI=:"],
            "unknown component \"date\"",
        ),
        (
            &["silo=(\"@query-param\";name=\"a\")"],
            &["silo=:AQI=:"],
            "unknown component \"@query-param\"",
        ),
        (
            &["silo=(\"Date\")"],
            &["silo=:AQI=:"],
            "unknown component \"Date\"",
        ),
        (
            &["silo=(\"a: b\")"],
            &["silo=:AQI=:"],
            "unknown component \"a: b\"",
        ),
        (&["silo=(date)"], &["silo=:AQI=:"], "unknown component \"\""),
    ] {
        let error = read(inputs, signatures).unwrap_err().to_string();
        assert!(
            error.starts_with(said),
            "{inputs:?} {signatures:?}: {error}"
        );
    }
}

/// Each component is compared with the others before the signer is authenticated.
#[test]
fn a_signature_covers_64_components_at_most() {
    let read = |number: usize| {
        let names: Vec<_> = (0..number).map(|n| format!("\"{n:x}\"")).collect();
        let input = format!("silo=({});created=1;keyid=\"k\"", names.join(" "));
        assert!(input.len() < 64 * 1024);
        let fields = headers(&[("signature-input", &input), ("signature", "silo=:AQI=:")]);
        read(&fields).map(|read| read.is_some())
    };
    assert_eq!(read(64), Ok(true));
    for number in [65, 9000] {
        let said = read(number).unwrap_err().to_string();
        assert_eq!(said, "Signature-Input: covers more than 64 components");
    }
}
