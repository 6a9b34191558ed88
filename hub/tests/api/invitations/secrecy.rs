//! Who has recorded a join, and later gets the invitation, the database and the hub's key, can't derive the credential.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Method;
use ring::hkdf::{HKDF_SHA256, Salt};
use serde_json::{Value, json};
use silo_hub::internals::domain::time::Clock;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::secrets::{HubKey, credential_hash};
use silo_hub::internals::store::Queries;
use silo_shared::credential::{Credential, TokenId};
use silo_shared::invitation::{EphemeralKey, Invitation};
use silo_shared::signing::SigningKey;

use super::{Machine, home, invite};
use crate::common::text;

/// What the contract says, with another library's hands: the credential by what both sides know and a shared secret.
fn derived(
    shared: &[u8; 32],
    key: &SigningKey,
    id: TokenId,
    token: &str,
    [client, hub]: [&[u8]; 2],
) -> Credential {
    let mut secret = [0; 32];
    Salt::new(HKDF_SHA256, b"silo join v1")
        .extract(&[*shared, *key.expose()].concat())
        .expand(
            &[id.as_str().as_bytes(), token.as_bytes(), client, hub],
            HKDF_SHA256,
        )
        .and_then(|output| output.fill(&mut secret))
        .expect("32 bytes can be derived");
    let secret = URL_SAFE_NO_PAD.encode(secret);
    Credential::parse(&format!("silo_{token}_{secret}")).expect("it has this form")
}

/// Every run of 32 bytes in these, also where they are written as hexadecimal digits or base64.
fn runs(texts: &[Vec<u8>]) -> BTreeSet<[u8; 32]> {
    let mut found = BTreeSet::new();
    let mut add = |bytes: &[u8]| {
        found.extend(
            bytes
                .windows(32)
                .filter_map(|run| <[u8; 32]>::try_from(run).ok()),
        )
    };
    for bytes in texts {
        add(bytes);
        let of_text = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_+/=".contains(byte);
        for word in bytes.split(|byte| !of_text(byte)) {
            add(word);
            for from in 0..word.len().min(4) {
                let word = &word[from..];
                for length in [43, word.len()] {
                    let Some(word) = word.get(..length) else {
                        continue;
                    };
                    if let Ok(bytes) = URL_SAFE_NO_PAD.decode(word) {
                        add(&bytes);
                    }
                    if let Ok(bytes) = STANDARD.decode(word) {
                        add(&bytes);
                    }
                }
            }
            let digits = std::str::from_utf8(word).unwrap_or_default();
            let pairs: Option<Vec<u8>> = (0..digits.len() / 2)
                .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok())
                .collect();
            add(&pairs.unwrap_or_default());
        }
    }
    found
}

#[test]
fn the_search_finds_what_is_there() {
    let secret = [7_u8; 32];
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    for text in [
        secret.to_vec(),
        [b"x".as_slice(), &secret, b"y"].concat(),
        hex.into_bytes(),
        format!("{{\"key\":\"{}\"}}", URL_SAFE_NO_PAD.encode(secret)).into_bytes(),
        STANDARD
            .encode([b"nonce".as_slice(), &secret].concat())
            .into_bytes(),
    ] {
        assert!(
            runs(std::slice::from_ref(&text)).contains(&secret),
            "{text:?}"
        );
    }
}

/// The keys of RFC 7748 section 6.1, and the vector of docs/invitations.md.
#[test]
fn the_derivation_here_is_the_documented_one() {
    let bytes = |hex: &str| -> [u8; 32] {
        let bytes: Vec<u8> = (0..32)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("digits"))
            .collect();
        bytes.try_into().expect("32 bytes")
    };
    let key = Credential::parse(&format!("silo_abcdefgh12_{}", "x".repeat(43)));
    let key = SigningKey::of(&key.expect("it is one"));
    let found = derived(
        &bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"),
        &key,
        TokenId::parse("abcdefgh12").expect("an id"),
        "zyxwvuts98",
        [
            &bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"),
            &bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"),
        ],
    );
    let expected = "silo_zyxwvuts98_j1bnGbqAGj29FpdP-yN5VoIVohjunj8K91KBtw_LUBA";
    assert_eq!(found.expose(), expected);
}

#[tokio::test]
async fn a_recorded_join_with_all_that_is_stored_leads_to_no_credential() {
    let hub = home().await;
    let (_, line) = invite(&hub).await;
    let machine = Machine::with(&line);
    let mut record: Vec<Vec<u8>> = vec![line.clone().into_bytes()];
    let mut exchanged = async |method: Method, below: &str, body: Option<&Value>| {
        let shot = machine.shot(&hub, method, below, body);
        let answer = machine.send(&hub, &shot).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let sent = [&shot.head.headers, &answer.headers];
        for value in sent.into_iter().flatten() {
            record.push(value.1.as_bytes().to_vec());
        }
        record.push(shot.content.clone());
        record.push(answer.body.clone());
        answer
    };
    exchanged(Method::GET, "", None).await;
    let own = EphemeralKey::generate().expect("there is randomness");
    let client = own.public().to_string();
    let body = json!({ "public_key": client });
    let redeemed = exchanged(Method::POST, "/redeem", Some(&body)).await.json();
    let joined = machine.derive(own, &redeemed);
    exchanged(Method::POST, "/confirm", Some(&joined.body())).await;
    assert_eq!(joined.status(&hub).await, 200);

    let hub_key = hub.read("hub.key");
    let (home, settings) = hub.stop().await;
    let stored = home.dump().await;
    assert!(stored.iter().any(|value| value == joined.id().as_bytes()));
    record.extend(stored);
    record.push(hub_key.clone().into_bytes());
    // What the hub's key opens: the keys of the invitation and of the token.
    let open = OpenHub::open(&settings, Clock::System)
        .await
        .expect("the database opens");
    let sealed_by = HubKey::parse(&hub_key).expect("it is a key");
    let known = open.store.invitation(machine.id()).await;
    let known = known.expect("it answers").expect("it is kept");
    let opened = sealed_by.open_invitation_key(&known.signing_key, machine.id());
    let invitation_key = opened.expect("it is sealed by this key");
    assert_eq!(
        invitation_key,
        SigningKey::of(Invitation::parse(&line).expect("a line").key())
    );
    let token = open.store.token(joined.credential.id()).await;
    let token = token.expect("it answers").expect("it was made");
    let token_key = sealed_by.open_signing_key(&token.signing_key, token.token.id);
    let token_key = token_key.expect("it is sealed by this key");
    open.close().await;
    record.push(invitation_key.expose().to_vec());
    record.push(token_key.expose().to_vec());

    let secret = &joined.credential.expose()[16..];
    let raw = URL_SAFE_NO_PAD.decode(secret).expect("it is base64url");
    let raw: [u8; 32] = raw.try_into().expect("it has 32 bytes");
    let found = runs(&record);
    assert!(found.contains(invitation_key.expose()), "the search works");
    assert!(
        !found.contains(&raw),
        "the secret itself was sent or stored"
    );
    let contains = |bytes: &[u8]| {
        record
            .iter()
            .any(|text| text.windows(bytes.len()).any(|window| window == bytes))
    };
    assert!(!contains(secret.as_bytes()));
    assert!(contains(joined.id().as_bytes()));
    // No part of it is the shared secret, nor a private key by which it could be computed: see `EphemeralKey`.
    let public = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("it is base64url");
    let keys = [public(&client), public(&text(&redeemed["public_key"]))];
    for shared in &found {
        let guess = derived(
            shared,
            &invitation_key,
            machine.id(),
            &joined.id(),
            [&keys[0], &keys[1]],
        );
        assert_ne!(credential_hash(&guess), token.credential_hash);
    }
    assert_eq!(credential_hash(&joined.credential), token.credential_hash);
}
