//! `/dashboard/audit`, for admins: what was done with tokens, and refused credentials.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use silo_shared::credential::TokenId;

use super::error::{PageError, html};
use super::layout::Section;
use super::pages::audit::{AuditPage, Row, part_key};
use super::session::Session;
use crate::http::Hub;
use crate::http::error::ApiError;
use crate::store::{AuditPart, AuditRow, IdCursor};

/// The number of rows on a page.
const PAGE: usize = 100;

/// The parameters of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    part: String,
    before: String,
}

/// The list.
pub(super) async fn list(
    session: Session,
    State(hub): State<Arc<Hub>>,
    Query(asked): Query<Parameters>,
) -> Result<Response, PageError> {
    session.caller().require_admin()?;
    let parts = [AuditPart::Tokens, AuditPart::Refused];
    let part = parts.into_iter().find(|part| part_key(*part) == asked.part);
    let part = part.unwrap_or(AuditPart::All);
    let before = IdCursor::decode(&asked.before);
    // One more than the page has shows that there is a next one.
    let wanted = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut rows = hub
        .store
        .audit(part, before.unwrap_or(IdCursor(i64::MAX)), wanted)
        .await?;
    let has_more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let next = rows
        .last()
        .filter(|_| has_more)
        .map(|last| IdCursor(last.id));
    let names = names(&hub, &rows).await?;
    let now = hub.clock.now();
    let rows = rows.into_iter().map(|row| Row::of(row, &names, now));
    let page = AuditPage {
        chrome: session.chrome("Audit", Section::Audit),
        part,
        rows: rows.collect(),
        is_first: before.is_none(),
        next,
    };
    Ok(html(StatusCode::OK, &page))
}

/// The names of the tokens in these rows, also of revoked ones until they are purged.
async fn names(hub: &Hub, rows: &[AuditRow]) -> Result<HashMap<String, String>, ApiError> {
    let ids = rows.iter().flat_map(|row| [&row.token, &row.by]).flatten();
    let ids: BTreeSet<TokenId> = ids.filter_map(|id| TokenId::parse(id).ok()).collect();
    let ids: Vec<TokenId> = ids.into_iter().collect();
    let known = hub.store.known_tokens(&ids).await?.into_iter();
    // A purged token has no name of its own, and was created at no time.
    let known = known.filter(|known| known.token.created_at.as_millis() > 0);
    let named = known.map(|known| (known.token.id.to_string(), known.token.spec.name));
    Ok(named.collect())
}
