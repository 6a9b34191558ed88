//! `/silos/{id}/history`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LINK};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use silo_shared::silo::Hostname;

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;
use super::request::{Query, SiloPath};
use super::silos::{PRIVATE, header_value};
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
            ApiError::invalid("/cursor", "no cursor of this hub: follow the Link header")
        })?),
    };
    // One row more than requested shows whether there is a next page.
    let rows_asked = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = hub
        .store
        .history(&id, only.as_ref(), after.as_ref(), rows_asked)
        .await?;
    if rows.is_empty() && hub.store.silo_head(&id).await?.is_none() {
        return Err(Refusal::NoSilo.into());
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let link = rows.last().filter(|_| more).map(|last| {
        let filter = only
            .map(|hostname| format!("hostname={hostname}&"))
            .unwrap_or_default();
        let cursor = HistoryCursor::after(last).encode();
        format!("</silos/{id}/history?{filter}limit={limit}&cursor={cursor}>; rel=\"next\"")
    });
    let admin = caller.token().is_admin();
    let rows: Vec<Row> = rows.into_iter().map(|row| document(row, admin)).collect();
    let mut response = ([(CACHE_CONTROL, PRIVATE)], Json(rows)).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(LINK, header_value(&link)?);
    }
    Ok(response)
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
