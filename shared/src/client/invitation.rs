//! The calls of a machine that uses an invitation, and those by which a token finds out about itself and ends.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::Method;
use serde::de::DeserializeOwned;

use super::endpoint::{Call, Endpoint};
use super::signer::now;
use super::{CALL_TIMEOUT_OF_SEVERAL, ClientError, HubClient, Route, use_ring};
use crate::agent_name::AgentKind;
use crate::connection::Connection;
use crate::credential::TokenId;
use crate::invitation::documents::{
    ConfirmRequest, Confirmed, InvitationGrant, RedeemRequest, Redeemed,
};
use crate::signing::MAX_CLOCK_OFFSET;

/// A client of the hub that made an invitation. All calls but the first are signed with the invitation's key, and the
/// answers must be.
#[derive(Clone, Debug)]
pub struct InvitationClient {
    hub: Endpoint,
    id: TokenId,
}

impl InvitationClient {
    /// The client of the first hub that answers. `connection` has the invitation's key as its credential, and `id` is the
    /// id of that key.
    ///
    /// Fails with [`ClientError::Clock`] if the hub shows another time than this machine: its signatures would be
    /// refused. That answer is not signed, and nothing else depends on it.
    pub async fn find(
        connection: &Connection,
        kind: AgentKind,
        id: TokenId,
    ) -> Result<Self, ClientError> {
        use_ring();
        let agent = connection.agent_name.header(kind);
        let mut failures = Vec::new();
        for address in connection.hubs() {
            let hub = Endpoint::new(connection, address, &Route::default(), &agent)?;
            match hub.date(CALL_TIMEOUT_OF_SEVERAL).await {
                Ok(date) => {
                    let client = Self { hub, id };
                    return client.check_clock(date.as_deref()).map(|()| client);
                }
                Err(error) if error.is_unavailable() => failures.push(error),
                Err(error) => return Err(error),
            }
        }
        Err(match failures.len() {
            1 => failures.remove(0),
            _ => ClientError::AllHubs(failures),
        })
    }

    /// Scheme, host and port of the hub.
    pub fn hub(&self) -> &str {
        self.hub.name()
    }

    /// `GET /invitations/{id}`: what the invitation grants.
    pub async fn grant(&self) -> Result<InvitationGrant, ClientError> {
        let id = self.id;
        self.call(Call::new(Method::GET, &["invitations", id.as_str()]))
            .await
    }

    /// `POST /invitations/{id}/redeem`.
    pub async fn redeem(&self, request: &RedeemRequest) -> Result<Redeemed, ClientError> {
        self.post("redeem", request).await
    }

    /// `POST /invitations/{id}/confirm`.
    pub async fn confirm(&self, request: &ConfirmRequest) -> Result<Confirmed, ClientError> {
        self.post("confirm", request).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        verb: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, ClientError> {
        let body =
            serde_json::to_value(body).map_err(|error| ClientError::Setup(error.to_string()))?;
        let path = ["invitations", self.id.as_str(), verb];
        self.call(Call::new(Method::POST, &path).json(body)).await
    }

    async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ClientError> {
        let outcome = self.hub.send(&call, CALL_TIMEOUT_OF_SEVERAL).await;
        self.hub.parse(&outcome.result?.body)
    }

    fn check_clock(&self, date: Option<&str>) -> Result<(), ClientError> {
        let Some(behind_seconds) = date.and_then(parse_date).map(|at| at.as_second() - now())
        else {
            return Ok(());
        };
        if behind_seconds.abs() <= MAX_CLOCK_OFFSET {
            return Ok(());
        }
        Err(ClientError::Clock {
            hub: self.hub().to_owned(),
            behind_seconds,
        })
    }
}

/// The time in a field `Date` (RFC 9110 section 5.6.7).
fn parse_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

impl HubClient {
    /// `GET /token`: whether the hub knows this credential.
    pub async fn check_token(&self) -> Result<(), ClientError> {
        self.send(&Call::new(Method::GET, &["token"]))
            .await
            .map(drop)
    }

    /// `DELETE /tokens/{id}`, which is allowed to the token itself.
    pub async fn revoke_token(&self, id: TokenId) -> Result<(), ClientError> {
        let call = Call::new(Method::DELETE, &["tokens", id.as_str()]);
        self.send(&call).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_date_is_read() {
        let at = parse_date("Mon, 30 Nov 2026 18:07:30 GMT").unwrap();
        assert_eq!(at.to_string(), "2026-11-30T18:07:30Z");
        assert_eq!(parse_date("now"), None);
    }
}
