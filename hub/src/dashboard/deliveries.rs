//! `/dashboard/deliveries`, for admins: the deliveries, failed ones first, and a button that tries one again.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::error::{PageError, html};
use super::form::PostedForm;
use super::href::href;
use super::layout::{Notice, Section};
use super::pages::deliveries::{DeliveriesPage, Row};
use super::session::{Session, see_other};
use crate::domain::sink::SinkName;
use crate::http::Hub;
use crate::http::deliveries::{document, known_sinks};
use crate::http::error::ApiError;
use crate::registry::{Refusal, RetryDelivery};
use crate::store::{DeliveryRow, DeliveryState, IdCursor, WriteScope};

/// The number of deliveries on a page.
const PAGE: usize = 50;
/// The order of the list.
const ORDER: [DeliveryState; 3] = [
    DeliveryState::Failed,
    DeliveryState::Pending,
    DeliveryState::Done,
];

/// The parameters of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    state: String,
    sink: String,
    after: String,
}

/// A place in the list: the deliveries of this state before this id follow, and those of later states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    state: DeliveryState,
    before: i64,
}

impl Place {
    fn encode(self) -> String {
        format!("{}-{}", self.state.as_str(), self.before)
    }

    fn decode(text: &str) -> Option<Self> {
        let (state, before) = text.split_once('-')?;
        Some(Self {
            state: state.parse().ok()?,
            before: before.parse().ok()?,
        })
    }
}

/// The list.
pub(super) async fn list(
    session: Session,
    State(hub): State<Arc<Hub>>,
    Query(asked): Query<Parameters>,
) -> Result<Response, PageError> {
    session.caller().require_admin()?;
    let chrome = session.chrome("Deliveries", Section::Deliveries).live(&hub);
    let state: Option<DeliveryState> = asked.state.parse().ok();
    let sink = SinkName::parse(&asked.sink).ok();
    let after = Place::decode(&asked.after);
    let (rows, next) = rows(&hub, state, sink.as_ref(), after).await?;
    let known = known_sinks(&hub).await?;
    let mut sinks: Vec<String> = known.keys().map(ToString::to_string).collect();
    sinks.sort();
    let open = hub.store.open_deliveries().await?;
    let count = |state: DeliveryState| {
        let counts = open.iter().filter(|count| count.state == state);
        let counts = counts.filter(|count| sink.as_ref().is_none_or(|sink| *sink == count.sink));
        counts.map(|count| count.deliveries).sum()
    };
    let (failed, pending) = (count(DeliveryState::Failed), count(DeliveryState::Pending));
    let now = hub.clock.now();
    let rows = rows.into_iter();
    let page = DeliveriesPage {
        chrome,
        state,
        sink: sink.map_or(String::new(), |sink| sink.to_string()),
        sinks,
        failed,
        pending,
        rows: rows
            .map(|row| Row::of(document(row, &known), now))
            .collect(),
        is_first: after.is_none(),
        next: next.map(Place::encode),
    };
    Ok(html(StatusCode::OK, &page))
}

/// The deliveries of a page, and where the next one begins.
async fn rows(
    hub: &Hub,
    state: Option<DeliveryState>,
    sink: Option<&SinkName>,
    after: Option<Place>,
) -> Result<(Vec<DeliveryRow>, Option<Place>), ApiError> {
    let first = after.map(|after| after.state);
    let states = ORDER
        .into_iter()
        .filter(|of| state.is_none_or(|state| state == *of));
    let states = states.skip_while(|of| first.is_some_and(|first| first != *of));
    let mut rows: Vec<DeliveryRow> = Vec::new();
    for of in states {
        let before = after.filter(|after| after.state == of);
        let before = before.map_or(i64::MAX, |after| after.before);
        // One more than the page has shows that there is a next one.
        let wanted = i64::try_from(PAGE + 1 - rows.len()).unwrap_or(1);
        let found = hub
            .store
            .deliveries(Some(of), sink, IdCursor(before), wanted);
        let found = found.await?;
        // One that left its former state between two reads is shown once, in the present one.
        rows.retain(|row| found.iter().all(|newer| newer.id != row.id));
        rows.extend(found);
        if rows.len() > PAGE {
            break;
        }
    }
    let has_more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let next = rows.last().filter(|_| has_more).map(|last| Place {
        state: last.state,
        before: last.id,
    });
    Ok((rows, next))
}

/// What the button sends: the list to return to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Retry {
    state: String,
    sink: String,
}

/// Tries a delivery again at once.
pub(super) async fn retry(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    form: PostedForm<Retry>,
) -> Result<Response, PageError> {
    let caller = form.session.caller();
    caller.require_admin()?;
    let id: i64 = id
        .parse()
        .map_err(|_| ApiError::from(Refusal::NoDelivery))?;
    caller
        .apply(&hub, WriteScope::Unscoped, RetryDelivery(id))
        .await?;
    let back = href("/dashboard/deliveries")
        .with("state", &form.values.state)
        .with("sink", &form.values.sink)
        .with("notice", Notice::Retried.key());
    Ok(see_other(&back.to_string(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back() {
        let place = Place {
            state: DeliveryState::Pending,
            before: 41,
        };
        assert_eq!(Place::decode(&place.encode()), Some(place));
        for wrong in ["", "pending", "lost-1", "done-x"] {
            assert_eq!(Place::decode(wrong), None, "{wrong}");
        }
    }
}
