//! `/dashboard/silos/{id}/history`: who changed what, when and by what way.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use silo_shared::silo::{Hostname, SiloId};

use super::error::{PageError, html};
use super::layout::Section;
use super::pages::changes::{Change, HistoryPage};
use super::paths::SiloOf;
use super::session::Session;
use super::when::When;
use super::who;
use crate::domain::time::Time;
use crate::http::Hub;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::request::Query;
use crate::registry::Refusal;
use crate::store::{HistoryCursor, HistoryRow};

/// How many rows a page has.
const PAGE: usize = 100;
/// How many rows are read at once to look for those of a token.
const READ_AT_ONCE: i64 = 1000;
/// How many rows are read for a page at most; then it ends, however few rows it has.
const READ_AT_MOST: usize = 10_000;

/// The rows of a page, and where the next one begins.
struct Found {
    rows: Vec<HistoryRow>,
    next: Option<HistoryCursor>,
}

/// The page.
pub(super) async fn page(
    session: Session,
    State(hub): State<Arc<Hub>>,
    SiloOf(id): SiloOf,
    query: Query,
) -> Result<Response, PageError> {
    let caller = session.caller();
    caller.require_read(&id)?;
    let get = |name| query.get(name).unwrap_or_default().trim().to_owned();
    let is_admin = caller.token().is_admin();
    let chrome = session.chrome(format!("History of {id}"), Section::Silos);
    // Further pages stay as they are.
    let is_first = query.get("cursor").is_none();
    let chrome = if is_first { chrome.live(&hub) } else { chrome };
    let hostname = get("hostname");
    let token = if is_admin {
        get("token")
    } else {
        String::new()
    };
    let (only, hostname_error) = match Hostname::parse(&hostname) {
        _ if hostname.is_empty() => (None, None),
        Ok(only) => (Some(only), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let after = query.get("cursor").and_then(HistoryCursor::decode);
    let found = if hostname_error.is_some() {
        Found {
            rows: Vec::new(),
            next: None,
        }
    } else {
        find(&hub, &id, only.as_ref(), &token, after).await?
    };
    if found.rows.is_empty() && hub.store.silo_head(&id).await?.is_none() {
        return Err(ApiError::from(Refusal::NoSilo).into());
    }
    let page = HistoryPage {
        chrome,
        hostname,
        hostname_error,
        token,
        is_admin,
        may_revert: caller.token().may_replace(&id),
        rows: changes(&hub, caller, found.rows).await?,
        next: found.next.as_ref().map(HistoryCursor::encode),
        is_first,
        id,
    };
    let status = if page.hostname_error.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    Ok(html(status, &page))
}

/// A page of rows, of a hostname and of a token, if they are given.
async fn find(
    hub: &Hub,
    id: &SiloId,
    only: Option<&Hostname>,
    token: &str,
    mut after: Option<HistoryCursor>,
) -> Result<Found, ApiError> {
    let at_once = if token.is_empty() {
        PAGE as i64 + 1
    } else {
        READ_AT_ONCE
    };
    let mut names = HashMap::new();
    let mut rows = Vec::new();
    let mut read = 0;
    loop {
        let page = hub.store.history(id, only, after.as_ref(), at_once).await?;
        let is_end = i64::try_from(page.len()).is_ok_and(|rows| rows < at_once);
        read += page.len();
        for row in page {
            after = Some(HistoryCursor::after(&row));
            if !token.is_empty() && !is_of_token(hub, &row, token, &mut names).await? {
                continue;
            }
            if rows.len() == PAGE {
                let next = rows.last().map(HistoryCursor::after);
                return Ok(Found { rows, next });
            }
            rows.push(row);
        }
        if is_end || read >= READ_AT_MOST {
            let next = after.filter(|_| !is_end);
            return Ok(Found { rows, next });
        }
    }
}

/// Whether a row is of a token of this id or name.
async fn is_of_token(
    hub: &Hub,
    row: &HistoryRow,
    wanted: &str,
    names: &mut HashMap<String, Option<String>>,
) -> Result<bool, ApiError> {
    let Some(id) = &row.token else {
        return Ok(false);
    };
    if id == wanted {
        return Ok(true);
    }
    if !names.contains_key(id) {
        let name = who::name_of(hub, id).await?;
        names.insert(id.clone(), name);
    }
    let name = names.get(id).and_then(Option::as_deref);
    Ok(name.is_some_and(|name| name.eq_ignore_ascii_case(wanted)))
}

/// The rows as pages show them.
pub(super) async fn changes(
    hub: &Hub,
    caller: &Caller,
    rows: Vec<HistoryRow>,
) -> Result<Vec<Change>, ApiError> {
    let now = hub.clock.now();
    let is_admin = caller.token().is_admin();
    let mut names = HashMap::new();
    let mut changes: Vec<Change> = Vec::with_capacity(rows.len());
    for row in rows {
        let token = match row.token.as_ref().filter(|_| is_admin) {
            None => None,
            Some(id) => {
                if !names.contains_key(id) {
                    let name = who::name_of(hub, id).await?;
                    names.insert(id.clone(), name.unwrap_or_else(|| id.clone()));
                }
                names.get(id).cloned()
            }
        };
        let change = change(row, token, is_admin, now);
        if let Some(last) = changes.last_mut() {
            last.ends_revision = last.revision != change.revision;
        }
        changes.push(change);
    }
    Ok(changes)
}

fn change(row: HistoryRow, token: Option<String>, is_admin: bool, now: Time) -> Change {
    Change {
        at: When::new(row.at, now),
        revision: row.revision.to_string(),
        way: who::way(&row.via).to_owned(),
        hostname: row.hostname,
        family: row.family,
        old: row.old,
        new: row.new,
        token,
        client_ip: row.client_ip.filter(|_| is_admin),
        ends_revision: true,
    }
}
