//! What an agent sends and leaves when it joins, with all that its hub stores, leads to no credential.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use silo_shared::invitation::Invitation;
use silo_shared::signing::SigningKey;

use super::{Site, said};

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The secret of a token as docs/invitations.md derives it, for one result of X25519.
fn derived(shared: &[u8], key: &SigningKey, info: &[&[u8]]) -> [u8; 32] {
    let extracted = hmac(b"silo join v1", &[shared, key.expose()]);
    let first_block: &[&[u8]] = &[&[1]];
    hmac(&extracted, &[info, first_block].concat())
}

/// Every run of 32 bytes, also where it is written in base64.
fn runs(texts: &[Vec<u8>]) -> BTreeSet<[u8; 32]> {
    let mut found = BTreeSet::new();
    let mut add = |bytes: &[u8]| {
        let runs = bytes
            .windows(32)
            .map(|run| <[u8; 32]>::try_from(run).unwrap());
        found.extend(runs);
    };
    for bytes in texts {
        add(bytes);
        let of_text = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_+/".contains(byte);
        for word in bytes.split(|byte| !of_text(byte)) {
            for from in 0..word.len().min(4) {
                for length in [43, word.len() - from] {
                    let Some(word) = word[from..].get(..length) else {
                        continue;
                    };
                    for decoded in [URL_SAFE_NO_PAD.decode(word), STANDARD.decode(word)] {
                        add(&decoded.unwrap_or_default());
                    }
                }
            }
        }
    }
    found
}

/// The contents of all files in a folder and below, but for one.
fn files(folder: &Path, except: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path, except));
        } else if path != except {
            all.push(fs::read(path).unwrap());
        }
    }
    all
}

/// The text of a member of a JSON object in a message.
fn member(message: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(message);
    let start = format!("\"{name}\":\"");
    let (_, rest) = text.split_once(&start).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[test]
fn the_derivation_of_this_search_is_the_documented_one() {
    let bytes = |hex: &str| -> Vec<u8> {
        let digits = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
        digits.collect()
    };
    let key = format!("silo_abcdefgh12_{}", "x".repeat(43));
    let key = silo_shared::credential::Credential::parse(&key).unwrap();
    let client = bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    let hub = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    let shared = bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    let info: [&[u8]; 4] = [b"abcdefgh12", b"zyxwvuts98", &client, &hub];
    let found = derived(&shared, &SigningKey::of(&key), &info);
    assert_eq!(
        URL_SAFE_NO_PAD.encode(found),
        "j1bnGbqAGj29FpdP-yN5VoIVohjunj8K91KBtw_LUBA"
    );
    let text = format!("a {} b", URL_SAFE_NO_PAD.encode(&shared));
    assert!(runs(&[text.into_bytes()]).contains(&shared[..]));
}

#[test]
fn a_recorded_join_of_an_agent_with_all_that_is_stored_leads_to_no_credential() {
    let site = Site::new();
    let line = site.invite_nas();
    let nas = site.machine("nas", "silo-upstream");
    said(&nas.join(&line, &[]));
    let credential = nas.credential();
    let secret = URL_SAFE_NO_PAD.decode(&credential[16..]).unwrap();

    let passed = site.front.take();
    let redeemed = passed.iter().find(|one| one.line().ends_with("/redeem"));
    let redeemed = redeemed.unwrap().clone();
    let public = |message: &[u8]| {
        URL_SAFE_NO_PAD
            .decode(member(message, "public_key"))
            .unwrap()
    };
    let (client, hub) = (public(&redeemed.request), public(&redeemed.answer));
    let invitation = Invitation::parse(&line).unwrap();
    let id = invitation.key().id();
    let info: [&[u8]; 4] = [
        id.as_str().as_bytes(),
        &credential.as_bytes()[5..15],
        &client,
        &hub,
    ];

    let mut known = vec![line.into_bytes()];
    for exchange in passed {
        known.extend([exchange.request, exchange.answer]);
    }
    known.extend(files(site.hub.data_dir(), Path::new("")));
    known.extend(files(&nas.folder, &nas.path("etc/silo.token")));
    let runs = runs(&known);
    assert!(
        runs.contains(&client[..]) && runs.contains(&hub[..]),
        "the search sees what is there"
    );
    let key = SigningKey::of(invitation.key());
    for run in &runs {
        assert_ne!(run[..], secret[..], "the secret itself is there");
        assert_ne!(
            derived(run, &key, &info)[..],
            secret[..],
            "a shared secret is there"
        );
    }
    println!("{} candidates", runs.len());
}
