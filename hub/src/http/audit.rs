//! `/audit`, for admins: the actions on tokens, and the counts of refused credentials by address.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::openapi::values::{Cursor, Limit};
use super::openapi::{self, tags};
use super::page::{Page, respond, rows_to_read};
use super::request::Query;
use crate::domain::time::Time;
use crate::store::{AuditEvent, AuditPart, AuditRow, IdCursor, Via};
use silo_shared::credential::TokenId;
use silo_shared::openapi::Address;
use utoipa::ToSchema;

/// What was done with a token, or how often credentials were refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct Row {
    /// When; of refused credentials, the start of the minute.
    at: Time,
    #[schema(value_type = AuditEvent)]
    event: String,
    /// The token.
    #[schema(value_type = Option<TokenId>, required = true)]
    token: Option<String>,
    /// The token that did it.
    #[schema(value_type = Option<TokenId>, required = true)]
    by: Option<String>,
    #[schema(value_type = Option<Via>, required = true)]
    via: Option<String>,
    /// Where the request came from.
    #[schema(value_type = Option<Address>, required = true)]
    client_ip: Option<IpAddr>,
    /// The invitation that was made, revoked or used, or that made the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TokenId, required = false)]
    invitation: Option<String>,
    /// Where the machine redeemed the invitation from that did so later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Address, required = false)]
    other_ip: Option<IpAddr>,
    /// How often.
    #[schema(minimum = 1, example = 1)]
    count: i64,
}

/// Lists what was done with tokens, and refused credentials
///
/// Newest first; refused credentials are counted by minute and address. `limit` is 100 unless given. For admins.
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "listAudit",
    tag = tags::TOKENS,
    params(("limit" = Option<Limit>, Query), ("cursor" = Option<Cursor>, Query)),
    responses(
        (status = 200, description = "A page of entries.", body = Vec<Row>, headers(("Link" = String), ("Cache-Control" = String))),
        openapi::problem_sets::ReadByRight,
    ),
)]
pub(super) async fn list(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    query: Query,
) -> Result<Response, ApiError> {
    caller.require_admin()?;
    let limit = query.limit(100)?;
    let before = query.id_cursor()?;
    let rows = hub.store.audit(AuditPart::All, before, rows_to_read(limit));
    let rows = rows.await?;
    let page = Page::of(rows, limit);
    let next = page.next("/audit", |last| {
        format!("cursor={}", IdCursor(last.id).encode())
    });
    respond(page.rows.into_iter().map(document).collect(), next)
}

fn document(row: AuditRow) -> Row {
    Row {
        at: row.at,
        event: row.event,
        token: row.token,
        by: row.by,
        via: row.via,
        client_ip: row.client_ip,
        invitation: row.invitation,
        other_ip: row.other_ip,
        count: row.times,
    }
}
