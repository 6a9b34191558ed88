//! The line of an invitation: where machines find this hub. The dashboard makes such lines too.

use silo_shared::credential::{Credential, Secret};
use silo_shared::invitation::Invitation;
use silo_shared::pin::Pin;
use silo_shared::stay::local_addresses;

use super::Hub;
use super::error::ApiError;
use crate::domain::hub_url::{candidates, is_for_others};

/// An invitation without its key.
#[derive(Debug)]
pub(crate) struct InvitationLine {
    urls: Vec<String>,
    pin: Option<Pin>,
}

impl InvitationLine {
    /// With these URLs of the hub; without any: `public_url` of the configuration, else the address that the hub listens
    /// at, if it is one that other machines reach. The hub's pin belongs to URLs with TLS.
    pub(crate) fn of(hub: &Hub, urls: Vec<String>) -> Result<Self, ApiError> {
        let listening = hub.monitor.listening();
        let urls = if urls.is_empty() {
            let own = listening.and_then(|listening| listening.urls.first());
            let known = hub.sites.public_origin();
            let known = known.or_else(|| own.filter(|url| is_for_others(url)).cloned());
            vec![known.ok_or_else(|| no_url(own.map(String::as_str)))?]
        } else {
            urls
        };
        let is_tls = urls.iter().all(|url| url.starts_with("https:"));
        let pin = listening.and_then(|listening| listening.pin.as_deref());
        let pin = pin.filter(|_| is_tls).and_then(|pin| pin.parse().ok());
        Ok(Self { urls, pin })
    }

    /// The line with this key.
    pub(crate) fn with_key(self, key: Credential) -> Result<Secret, ApiError> {
        let invitation = Invitation::new(self.urls, self.pin, key);
        let invitation = invitation.map_err(|error| ApiError::invalid("/urls", error))?;
        Ok(invitation.encode())
    }
}

fn no_url(listening: Option<&str>) -> ApiError {
    let addresses = local_addresses().unwrap_or_default();
    let addresses: Vec<_> = addresses.iter().map(|address| address.ip).collect();
    let found = listening.map_or_else(Vec::new, |url| candidates(url, &addresses));
    let mut detail = "name the URL at which the machine reaches this hub, or set public_url in the hub's configuration".to_owned();
    if !found.is_empty() {
        detail += &format!("; candidates: {}", found.join(", "));
    }
    ApiError::invalid("/urls", detail)
}
