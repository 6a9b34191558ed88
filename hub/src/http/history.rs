//! `/silos/{id}/history`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use silo_shared::silo::Hostname;

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::page::{Page, respond, rows_to_read};
use super::request::{Query, SiloPath};
use crate::domain::time::Time;
use crate::registry::Refusal;
use crate::store::{HistoryCursor, HistoryRow};

#[derive(Debug, Serialize)]
struct Row {
    at: Time,
    revision: i64,
    hostname: Hostname,
    old_ip: Option<IpAddr>,
    new_ip: Option<IpAddr>,
    via: String,
    #[serde(flatten)]
    origin: Option<Origin>,
}

/// The author of a change, for admins only.
#[derive(Debug, Serialize)]
struct Origin {
    token: Option<String>,
    client_ip: Option<IpAddr>,
}

/// `GET /silos/{id}/history`: newest first.
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
        origin: admin.then_some(Origin {
            token: row.token,
            client_ip: row.client_ip,
        }),
    }
}
