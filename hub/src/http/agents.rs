//! `/silos/{id}/agents`: which agents use a silo, and what they have applied.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use silo_shared::credential::TokenId;
use silo_shared::openapi::Address;

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::openapi::values::{Cursor, GivenSiloId, Limit};
use super::openapi::{self, tags};
use super::page::{Page, respond, rows_to_read};
use super::request::{Query, SiloPath};
use crate::domain::agents::{Agent, AgentKey, AgentKind, AgentName, first_of_both};
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::read::render::Format;
use crate::registry::Refusal;
use utoipa::ToSchema;

/// An agent of a silo.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Agent)]
struct Document {
    /// The name that it gives itself.
    #[schema(min_length = 1, max_length = 64, example = "laptop-7")]
    name: String,
    #[schema(value_type = Option<AgentKind>, required = true)]
    kind: Option<&'static str>,
    #[schema(required = true, max_length = 32, example = "0.2.0")]
    version: Option<String>,
    /// What it has applied, as far as it says so.
    #[schema(required = true)]
    revision: Option<Revision>,
    /// Whether the silo has another revision.
    #[schema(required = true)]
    behind: Option<bool>,
    last_seen: Time,
    /// Where it calls from; for admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Address, required = false)]
    address: Option<IpAddr>,
    /// With which token; for admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TokenId, required = false)]
    token: Option<String>,
}

/// Lists the agents that use a silo
///
/// By name. `limit` is 1000 unless given.
#[utoipa::path(
    get,
    path = "/silos/{id}/agents",
    operation_id = "listAgents",
    tag = tags::SILOS,
    params(("id" = GivenSiloId, Path), ("limit" = Option<Limit>, Query), ("cursor" = Option<Cursor>, Query)),
    responses(
        (status = 200, description = "A page of agents.", body = Vec<Document>, headers(("Link" = String), ("Cache-Control" = String))),
        openapi::problem_sets::ReadOfOne,
    ),
)]
pub(super) async fn list(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    SiloPath(id): SiloPath,
    query: Query,
) -> Result<Response, ApiError> {
    caller.require_read(&id)?;
    let limit = query.limit(1000)?;
    let after = match query.get("cursor") {
        None => None,
        Some(text) => Some(decode(text).ok_or_else(|| {
            ApiError::invalid(
                "/cursor",
                "not a cursor of this hub: follow the Link header",
            )
        })?),
    };
    let silo = hub.view.get(id.clone(), Format::Json).await?;
    let revision = silo.ok_or(Refusal::NoSilo)?.revision;
    let after = after.as_ref().map(|(name, token)| (name, *token));
    let stored = hub.store.agents(&id, after, rows_to_read(limit)).await?;
    let noted = hub.registry.agents().of_silo(&id, after, limit + 1);
    let noted = of_valid_tokens(&hub, noted).await?;
    let page = Page::of(
        first_of_both(stored, noted, limit + 1, hub.clock.now()),
        limit,
    );
    let next = page.next(&format!("/silos/{id}/agents"), |last| {
        format!("cursor={}", encode(&last.key))
    });
    let admin = caller.token().is_admin();
    let rows = page.rows.into_iter();
    respond(
        rows.map(|agent| document(agent, revision, admin)).collect(),
        next,
    )
}

/// Without the agents whose tokens were revoked since they were noted; those that are stored are removed by then.
pub(crate) async fn of_valid_tokens(hub: &Hub, noted: Vec<Agent>) -> Result<Vec<Agent>, ApiError> {
    let now = hub.clock.now();
    let mut valid = Vec::with_capacity(noted.len());
    for agent in noted {
        let token = hub.tokens.get(agent.key.token).await?;
        if token.is_some_and(|token| token.known.token.is_valid_at(now)) {
            valid.push(agent);
        }
    }
    Ok(valid)
}

fn document(agent: Agent, revision: Revision, admin: bool) -> Document {
    Document {
        name: agent.key.name.as_str().to_owned(),
        kind: agent.kind.map(AgentKind::as_str),
        version: agent.version.map(|version| version.as_str().to_owned()),
        revision: agent.applied,
        // After a restored copy, what was applied may have a higher revision.
        behind: agent.applied.map(|applied| applied != revision),
        last_seen: agent.last_seen,
        address: admin.then_some(agent.address),
        token: admin.then(|| agent.key.token.to_string()),
    }
}

/// The position after an agent, as an opaque text.
fn encode(key: &AgentKey) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {}", key.token, key.name.as_str()))
}

fn decode(text: &str) -> Option<(AgentName, TokenId)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (token, name) = text.split_once(' ')?;
    Some((AgentName::parse(name).ok()?, TokenId::parse(token).ok()?))
}
