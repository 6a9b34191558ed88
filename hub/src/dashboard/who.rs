//! Who changed something, in words: the interface, and for admins the token and where it called from.

use silo_shared::credential::TokenId;

use crate::http::Hub;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::{HistoryRow, Via};

/// The interface of a change, in words.
pub(super) fn way(via: &str) -> &str {
    const WORDS: [(Via, &str); 9] = [
        (Via::Rest, "REST"),
        (Via::Cli, "the command line"),
        (Via::Dyndns2, "dyndns2"),
        (Via::Sftdyn, "an update key"),
        (Via::Dynahost, "dynahost"),
        (Via::Expiry, "expiry"),
        (Via::Import, "an import"),
        (Via::Revert, "a revert"),
        (Via::Dashboard, "the dashboard"),
    ];
    let found = WORDS.iter().find(|(known, _)| known.as_str() == via);
    // A newer hub may have stored another one.
    found.map_or(via, |(_, words)| words)
}

/// The name of a token; `None`: it is no longer known.
pub(super) async fn name_of(hub: &Hub, id: &str) -> Result<Option<String>, ApiError> {
    let Ok(id) = TokenId::parse(id) else {
        return Ok(None);
    };
    let cached = hub.tokens.get(id).await?;
    Ok(cached.map(|cached| cached.known.token.spec.name.clone()))
}

/// Who made a change, such as `by REST, token laptop`.
pub(super) async fn in_words(
    hub: &Hub,
    caller: &Caller,
    row: &HistoryRow,
) -> Result<String, ApiError> {
    let way = way(&row.via);
    let Some(id) = row.token.as_ref().filter(|_| caller.token().is_admin()) else {
        return Ok(format!("by {way}"));
    };
    let name = name_of(hub, id).await?;
    Ok(format!("by {way}, token {}", name.as_ref().unwrap_or(id)))
}
