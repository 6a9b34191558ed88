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
    /// With these URLs of the hub; without any: [`own_url`]. With TLS, the pin of a self-signed certificate is in it.
    pub(crate) fn of(hub: &Hub, urls: Vec<String>) -> Result<Self, ApiError> {
        let listening = hub.monitor.listening();
        let urls = if urls.is_empty() {
            let own = listening.and_then(|listening| listening.urls.first());
            vec![own_url(hub).ok_or_else(|| no_url(own.map(String::as_str)))?]
        } else {
            urls
        };
        let is_tls = urls.iter().all(|url| url.starts_with("https:"));
        let pin = listening.and_then(|listening| listening.invitation_pin);
        let pin = pin.filter(|_| is_tls);
        Ok(Self { urls, pin })
    }

    /// The line with this key.
    pub(crate) fn with_key(self, key: Credential) -> Result<Secret, ApiError> {
        let invitation = Invitation::new(self.urls, self.pin, key);
        let invitation = invitation.map_err(|error| ApiError::invalid("/urls", error))?;
        Ok(invitation.encode())
    }
}

/// Where other machines find this hub, as far as it knows: `public_url` of the configuration, else the address that it
/// listens at, if others can reach that.
pub(crate) fn own_url(hub: &Hub) -> Option<String> {
    let own = || {
        let listening = hub.monitor.listening()?;
        listening
            .urls
            .first()
            .filter(|url| is_for_others(url))
            .cloned()
    };
    hub.sites.public_origin().or_else(own)
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
