//! Writes and removes one record with its attributes.

use std::net::IpAddr;

use reqwest::Method;
use reqwest::header::IF_MATCH;
use serde::Serialize;

use super::endpoint::Call;
use super::{Attempt, ClientError, HubClient, record_path};
use crate::api::RecordDocument;
use crate::silo::{Addresses, Hostname, SiloId};

/// What a PUT of a record sets. The hub keeps what is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordUpdate {
    /// The addresses; families without one stay as they are.
    pub addresses: Addresses,
    /// A free-form comment.
    pub comment: Option<String>,
    /// Seconds without a write after which the hub deletes the record.
    pub expires_after: Option<i64>,
}

#[derive(Serialize)]
struct Body<'a> {
    ips: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_after: Option<i64>,
}

impl HubClient {
    /// `PUT /silos/{id}/records/{hostname}`; returns the record and its entity tag.
    pub async fn set_record(
        &self,
        id: &SiloId,
        hostname: &Hostname,
        update: &RecordUpdate,
    ) -> Result<(RecordDocument, Option<String>), ClientError> {
        let body = serde_json::to_value(Body {
            ips: update.addresses.iter().collect(),
            comment: update.comment.as_deref(),
            expires_after: update.expires_after,
        });
        let body = body.map_err(|error| ClientError::Setup(error.to_string()))?;
        let call = Call::new(Method::PUT, &record_path(id, hostname)).json(body);
        let answer = self.send(&call).await?;
        Ok((self.parse(&answer)?, answer.tag))
    }

    /// `DELETE /silos/{id}/records/{hostname}`: removes the record if it has this entity tag. Returns `false` if its tag
    /// differs by now, or it does not exist; `true` if another hub has removed it in this call, whose answer was lost.
    pub async fn remove_record(
        &self,
        id: &SiloId,
        hostname: &Hostname,
        tag: &str,
    ) -> Result<bool, ClientError> {
        let call = Call::new(Method::DELETE, &record_path(id, hostname)).header(IF_MATCH, tag)?;
        match self.send_noting(&call).await {
            (Ok(_), _) => Ok(true),
            (Err(ClientError::Status { status: 404, .. }), Attempt::Repeated) => Ok(true),
            (
                Err(ClientError::Status {
                    status: 404 | 412, ..
                }),
                _,
            ) => Ok(false),
            (Err(error), _) => Err(error),
        }
    }
}
