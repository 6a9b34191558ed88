//! `/audit`, for admins: the actions on tokens, and the counts of refused credentials by address.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::page::{Page, respond, rows_to_read};
use super::request::Query;
use crate::domain::time::Time;
use crate::store::{AuditRow, IdCursor};

#[derive(Debug, Serialize)]
struct Row {
    at: Time,
    event: String,
    token: Option<String>,
    by: Option<String>,
    via: Option<String>,
    client_ip: Option<IpAddr>,
    count: i64,
}

/// `GET /audit`: newest entries first.
pub(super) async fn list(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    query: Query,
) -> Result<Response, ApiError> {
    caller.require_admin()?;
    let limit = query.limit(100)?;
    let before = query.id_cursor()?;
    let rows = hub.store.audit(before, rows_to_read(limit)).await?;
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
        count: row.times,
    }
}
