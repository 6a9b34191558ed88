//! `/audit`, for admins: the actions on tokens, and the counts of refused credentials by address.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LINK};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::request::Query;
use super::silos::{PRIVATE, header_value};
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
    // One row more than requested shows whether there is a next page.
    let rows_asked = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = hub.store.audit(before, rows_asked).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let link = rows.last().filter(|_| more).map(|last| {
        let cursor = IdCursor(last.id).encode();
        format!("</audit?limit={limit}&cursor={cursor}>; rel=\"next\"")
    });
    let documents: Vec<_> = rows.into_iter().map(document).collect();
    let mut response = ([(CACHE_CONTROL, PRIVATE)], Json(documents)).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(LINK, header_value(&link)?);
    }
    Ok(response)
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
