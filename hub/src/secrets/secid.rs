//! Argon2 over dynahost's secids, which people choose: trying them out shall cost time and memory. The
//! whole secid counts, however long.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use silo_shared::credential::Secret;

use super::{NoRandomness, random};
use crate::domain::dynahost::SecidHash;

/// Hashes a secid with a salt of its own: some 20 ms and 19 MiB (Argon2id, RFC 9106, with the library's
/// parameters, which are those of the OWASP Password Storage Cheat Sheet).
pub fn hash_secid(secid: &Secret) -> Result<SecidHash, NoRandomness> {
    let salt = random::<16>()?;
    let hash = Argon2::default()
        .hash_password_with_salt(secid.expose().as_bytes(), &salt)
        .expect("the parameters are the library's own, and a secid is short");
    Ok(SecidHash(hash.to_string()))
}

/// Whether a secid is the one that was hashed; takes as long as [`hash_secid`].
pub fn is_secid_of(secid: &Secret, hash: &SecidHash) -> bool {
    let Ok(hash) = PasswordHash::new(&hash.0) else {
        tracing::error!("the database holds an unreadable hash of a secid");
        return false;
    };
    Argon2::default()
        .verify_password(secid.expose().as_bytes(), &hash)
        .is_ok()
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
        assert!(hash.0.len() <= 255);
        assert!(is_secid_of(&one, &hash));
        assert!(!is_secid_of(&other, &hash));
        assert!(!is_secid_of(&Secret::new(long), &hash));
        assert_ne!(hash, hash_secid(&one).unwrap());
        assert!(!is_secid_of(&one, &SecidHash("nonsense".to_owned())));
    }
}
