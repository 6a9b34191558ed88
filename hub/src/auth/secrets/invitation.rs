//! The signing keys of invitations. They have a context of their own, so that none can be stored as that of a token.

use silo_shared::credential::{Credential, TokenId};
use silo_shared::signing::SigningKey;

use super::{HubKey, NoRandomness};
use crate::store::SealedKey;

fn context(id: TokenId) -> String {
    format!("silo invitation v1\n{id}")
}

impl HubKey {
    /// Derives the signing key of an invitation's credential and seals it, bound to the invitation's id.
    pub fn seal_invitation_key(&self, credential: &Credential) -> Result<SealedKey, NoRandomness> {
        let derived = SigningKey::of(credential).expose().to_vec();
        let context = context(credential.id());
        self.seal(context.as_bytes(), derived).map(SealedKey)
    }

    /// Opens the output of [`HubKey::seal_invitation_key`]; `None` if it was sealed with another key or for another
    /// invitation.
    pub fn open_invitation_key(&self, sealed: &SealedKey, id: TokenId) -> Option<SigningKey> {
        let opened = self.open(context(id).as_bytes(), &sealed.0)?;
        SigningKey::from_bytes(&opened)
    }
}

#[cfg(test)]
mod tests {
    use super::super::new_credential;
    use super::*;

    #[test]
    fn a_sealed_key_opens_for_its_invitation_alone() {
        let key = HubKey::generate().unwrap();
        let credential = new_credential().unwrap();
        let sealed = key.seal_invitation_key(&credential).unwrap();
        let opened = key.open_invitation_key(&sealed, credential.id());
        assert_eq!(opened, Some(SigningKey::of(&credential)));
        let other = TokenId::parse("aaaaaaaaaa").unwrap();
        assert_eq!(key.open_invitation_key(&sealed, other), None);
        assert_eq!(key.open_signing_key(&sealed, credential.id()), None);
        let of_token = key.seal_signing_key(&credential).unwrap();
        assert_eq!(key.open_invitation_key(&of_token, credential.id()), None);
        let other = HubKey::generate().unwrap();
        assert_eq!(other.open_invitation_key(&sealed, credential.id()), None);
    }
}
