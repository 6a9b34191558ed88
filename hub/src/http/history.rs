//! `/silos/{id}/history`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use silo_shared::credential::TokenId;
use silo_shared::openapi::Address;
use silo_shared::silo::Hostname;

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::openapi::values::{Cursor, GivenHostname, GivenSiloId, Limit};
use super::openapi::{self, tags};
use super::page::{Page, respond, rows_to_read};
use super::request::{Query, SiloPath};
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::registry::Refusal;
use crate::store::Via;
use crate::store::{HistoryCursor, HistoryRow};
use utoipa::ToSchema;

/// A change of one address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Change)]
struct Row {
    at: Time,
    revision: Revision,
    hostname: Hostname,
    /// `null`: it was added.
    #[schema(value_type = Option<Address>, required = true)]
    old_ip: Option<IpAddr>,
    /// `null`: it was removed.
    #[schema(value_type = Option<Address>, required = true)]
    new_ip: Option<IpAddr>,
    #[schema(value_type = Via)]
    via: String,
    /// Whose change it was; for admins only. `null`: not that of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TokenId>)]
    token: Option<Option<String>>,
    /// Where it came from; for admins only. `null`: from the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Address>)]
    client_ip: Option<Option<IpAddr>>,
}

/// Lists the changes of a silo
///
/// Newest first, one row for each changed address. The history of a deleted silo stays readable. `limit` is 100 unless given.
#[utoipa::path(
    get,
    path = "/silos/{id}/history",
    operation_id = "listHistory",
    tag = tags::SILOS,
    params(("id" = GivenSiloId, Path), ("hostname" = Option<GivenHostname>, Query), ("limit" = Option<Limit>, Query), ("cursor" = Option<Cursor>, Query)),
    responses(
        (status = 200, description = "A page of changes.", body = Vec<Row>, headers(("Link" = String), ("Cache-Control" = String))),
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
    let limit = query.limit(100)?;
    let only = query.parse::<Hostname>("hostname")?;
    let after = match query.get("cursor") {
        None => None,
        Some(text) => Some(HistoryCursor::decode(text).ok_or_else(|| {
            ApiError::invalid(
                "/cursor",
                "not a cursor of this hub: follow the Link header",
            )
        })?),
    };
    let rows = hub
        .store
        .history(&id, only.as_ref(), after.as_ref(), rows_to_read(limit))
        .await?;
    if rows.is_empty() && hub.store.silo_head(&id).await?.is_none() {
        return Err(Refusal::NoSilo.into());
    }
    let page = Page::of(rows, limit);
    let next = page.next(&format!("/silos/{id}/history"), |last| {
        let filter = only.map_or(String::new(), |hostname| format!("&hostname={hostname}"));
        format!("cursor={}{filter}", HistoryCursor::after(last).encode())
    });
    let admin = caller.token().is_admin();
    let rows = page.rows.into_iter().map(|row| document(row, admin));
    respond(rows.collect(), next)
}

fn document(row: HistoryRow, admin: bool) -> Row {
    Row {
        at: row.at,
        revision: row.revision,
        hostname: row.hostname,
        old_ip: row.old,
        new_ip: row.new,
        via: row.via,
        token: admin.then_some(row.token),
        client_ip: admin.then_some(row.client_ip),
    }
}
