//! Argon2 for dynahost's secids, which people choose: guessing them must cost time and memory. The whole secid is
//! hashed, regardless of its length.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use silo_shared::credential::Secret;

use super::{NoRandomness, random};
use crate::domain::dynahost::SecidHash;

/// The maximum length of a stored hash, in bytes.
const MAX_HASH: usize = 255;

/// Hashes a secid with a salt of its own: some 20 ms and 19 MiB (Argon2id, RFC 9106, with the library's
/// parameters, which are those of the OWASP Password Storage Cheat Sheet).
pub fn hash_secid(secid: &Secret) -> Result<SecidHash, NoRandomness> {
    let salt = random::<16>()?;
    let hash = Argon2::default()
        .hash_password_with_salt(secid.expose().as_bytes(), &salt)
        .expect("the parameters are the library's own, and a secid is short");
    Ok(SecidHash(hash.to_string()))
}

/// Whether a secid matches a hash; takes as long as [`hash_secid`].
pub fn is_secid_of(secid: &Secret, hash: &SecidHash) -> bool {
    let Ok(hash) = PasswordHash::new(&hash.0) else {
        tracing::error!("the database holds an unreadable hash of a secid");
        return false;
    };
    Argon2::default()
        .verify_password(secid.expose().as_bytes(), &hash)
        .is_ok()
}

/// Accepts a hash made elsewhere, if checking it costs no more than a hash of [`hash_secid`].
pub fn parse_secid_hash(text: &str) -> Option<SecidHash> {
    let hash = PasswordHash::new(text).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let is_ours = text.len() <= MAX_HASH
        && hash.algorithm == Algorithm::Argon2id.ident()
        && hash.version == Some(Version::V0x13.into())
        && hash.salt.is_some()
        && hash.hash.is_some();
    let is_cheap = params.m_cost() <= Params::DEFAULT_M_COST
        && params.t_cost() <= Params::DEFAULT_T_COST
        && params.p_cost() <= Params::DEFAULT_P_COST;
    (is_ours && is_cheap).then(|| SecidHash(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_secid_counts() {
        let long = "s".repeat(72);
        let (one, other) = (
            Secret::new(format!("{long}1")),
            Secret::new(format!("{long}2")),
        );
        let hash = hash_secid(&one).unwrap();
        assert!(
            hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.0
        );
        assert!(hash.0.len() <= MAX_HASH);
        assert_eq!(parse_secid_hash(&hash.0), Some(hash.clone()));
        for (ours, other) in [
            ("$m=19456,", "$m=19457,"),
            ("t=2,", "t=3,"),
            ("p=1$", "p=2$"),
            ("$argon2id$", "$argon2i$"),
            ("$v=19$", "$v=16$"),
            ("$v=19$", "$"),
            ("$m=", "$n="),
        ] {
            let other = hash.0.replacen(ours, other, 1);
            assert_ne!(other, hash.0);
            assert_eq!(parse_secid_hash(&other), None, "{other}");
        }
        let (without, _) = hash.0.rsplit_once('$').unwrap();
        assert_eq!(parse_secid_hash(without), None);
        assert_eq!(
            parse_secid_hash(&format!("{}{}", hash.0, "A".repeat(200))),
            None
        );
        assert!(is_secid_of(&one, &hash));
        assert!(!is_secid_of(&other, &hash));
        assert!(!is_secid_of(&Secret::new(long), &hash));
        assert_ne!(hash, hash_secid(&one).unwrap());
        assert!(!is_secid_of(&one, &SecidHash("nonsense".to_owned())));
    }
}
