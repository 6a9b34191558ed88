//! Logins at DDNS providers, sealed under the hub's key.

use silo_shared::credential::Secret;
use silo_shared::silo::{Hostname, SiloId};

use super::{HubKey, NoRandomness};
use crate::domain::dynahost::{ProviderLogin, SealedLogin};
use crate::domain::sink::SinkName;

/// The separator of user name and password; neither can contain it.
const SEPARATOR: char = '\0';

/// The owner of a login: it is sealed with it, so that the login is not valid in another row of the database.
#[derive(Clone, Copy, Debug)]
pub struct LoginOwner<'a> {
    /// The sink of the provider.
    pub sink: &'a SinkName,
    /// The silo of the record.
    pub silo: &'a SiloId,
    /// The record.
    pub hostname: &'a Hostname,
}

impl LoginOwner<'_> {
    /// None of the parts can contain a newline.
    fn context(&self) -> String {
        format!(
            "silo provider login v1\n{}\n{}\n{}",
            self.sink, self.silo, self.hostname
        )
    }
}

fn text(login: &ProviderLogin) -> String {
    format!("{}{SEPARATOR}{}", login.username(), login.password())
}

impl HubKey {
    /// Seals a login.
    pub fn seal_login(
        &self,
        owner: LoginOwner<'_>,
        login: &ProviderLogin,
    ) -> Result<SealedLogin, NoRandomness> {
        self.seal(owner.context().as_bytes(), text(login).into_bytes())
            .map(SealedLogin)
    }

    /// Opens a login; `None`: sealed with another key, or for another owner.
    pub fn open_login(&self, owner: LoginOwner<'_>, sealed: &SealedLogin) -> Option<ProviderLogin> {
        let bytes = self.open(owner.context().as_bytes(), &sealed.0)?;
        let text = String::from_utf8(bytes).ok()?;
        let (username, password) = text.split_once(SEPARATOR)?;
        ProviderLogin::new(Secret::new(username), Secret::new(password)).ok()
    }

    /// The hash that identifies a login (see [`HubKey::keyed_hash`]).
    pub fn login_hash(&self, owner: LoginOwner<'_>, login: &ProviderLogin) -> String {
        self.keyed_hash(&owner.context(), &text(login))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_opens_only_with_its_key_and_for_its_owner() {
        let (sink, silo) = (
            SinkName::parse("ovh").unwrap(),
            SiloId::parse("home").unwrap(),
        );
        let name = |text| Hostname::parse(text).unwrap();
        let (nas, db) = (name("nas.example.net"), name("db.example.net"));
        let owner = |hostname| LoginOwner {
            sink: &sink,
            silo: &silo,
            hostname,
        };
        let login = ProviderLogin::new(Secret::new("example.net-nas"), Secret::new("hush: \u{e4}"))
            .unwrap();
        let (key, other) = (HubKey::generate().unwrap(), HubKey::generate().unwrap());
        let sealed = key.seal_login(owner(&nas), &login).unwrap();
        assert_ne!(sealed, key.seal_login(owner(&nas), &login).unwrap());
        assert_eq!(key.open_login(owner(&nas), &sealed), Some(login.clone()));
        assert_eq!(key.open_login(owner(&db), &sealed), None);
        assert_eq!(other.open_login(owner(&nas), &sealed), None);
        for broken in ["", "AAAA", "not base64!", &sealed.0[4..]] {
            let broken = SealedLogin(broken.to_owned());
            assert_eq!(key.open_login(owner(&nas), &broken), None, "{broken:?}");
        }
        let hash = key.login_hash(owner(&nas), &login);
        assert_eq!(hash, key.login_hash(owner(&nas), &login));
        assert_ne!(hash, other.login_hash(owner(&nas), &login));
        assert_eq!(hash.len(), 64);
    }
}
