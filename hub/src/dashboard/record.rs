//! `/dashboard/silos/{id}/{hostname}`: one record.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use silo_shared::silo::{Hostname, SiloId};

use super::error::{PageError, html};
use super::field_errors::FieldErrors;
use super::form::PostedForm;
use super::history::changes;
use super::layout::{Notice, Section};
use super::numbers::counted;
use super::pages::record::{Present, RecordPage, Settings};
use super::paths::{RecordOf, record_page};
use super::records::{refused, set};
use super::session::{Session, see_other};
use super::silence::Reports;
use super::timeline::{Range, Timeline};
use super::when::When;
use crate::domain::precondition::{EntityTag, Precondition, TagList, record_tag};
use crate::domain::time::Time;
use crate::http::Hub;
use crate::http::error::ApiError;
use crate::http::request::Query;
use crate::registry::Refusal;
use crate::store::{HistoryRow, StoredRecord};

/// How many rows of the history are read for the picture.
const READ: usize = 1000;
/// How many of them the list has.
const LISTED: usize = 50;
const MONTH_SECONDS: i64 = 30 * 86_400;

/// The values of the form with the attributes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    comment: String,
    expires: String,
    unit: String,
    notify: String,
    tag: String,
}

/// The page.
pub(super) async fn page(
    session: Session,
    State(hub): State<Arc<Hub>>,
    RecordOf(id, hostname): RecordOf,
    query: Query,
) -> Result<Response, PageError> {
    let range = Range::parse(query.get("range").unwrap_or_default());
    let page = fill(&hub, &session, id, hostname, range, None).await?;
    Ok(html(StatusCode::OK, &page))
}

/// Changes the attributes.
pub(super) async fn change(
    State(hub): State<Arc<Hub>>,
    RecordOf(id, hostname): RecordOf,
    form: PostedForm<Typed>,
) -> Result<Response, PageError> {
    let session = &form.session;
    let known = EntityTag {
        weak: false,
        opaque: form.values.tag.as_str().into(),
    };
    let precondition = Precondition {
        if_match: Some(TagList::Tags(vec![known])),
        ..Precondition::default()
    };
    session.caller().require_write(&id, &hostname)?;
    let changed = match form.values.body() {
        Ok(body) => set(&hub, session, &id, &hostname, &body, precondition).await,
        Err(error) => Err(error),
    };
    let (status, errors) = match changed {
        Ok(()) => {
            let to = record_page(&id, &hostname).with("notice", Notice::RecordSaved.key());
            return Ok(see_other(&to.to_string(), None));
        }
        Err(error @ ApiError::Precondition { .. }) => {
            let why = "this record was changed by somebody else meanwhile. Save once more to replace that";
            (error.status(), FieldErrors::one("", why))
        }
        Err(error) => refused(error)?,
    };
    let Typed {
        comment,
        expires,
        unit,
        notify,
        tag,
    } = form.values;
    let again = Settings {
        comment,
        expires,
        unit,
        notify,
        tag,
        errors,
    };
    let page = fill(&hub, session, id, hostname, Range::default(), Some(again)).await?;
    Ok(html(status, &page))
}

async fn fill(
    hub: &Hub,
    session: &Session,
    id: SiloId,
    hostname: Hostname,
    range: Range,
    typed: Option<Settings>,
) -> Result<RecordPage, PageError> {
    let caller = session.caller();
    caller.require_read(&id)?;
    let chrome = session.chrome(hostname.as_str(), Section::Silos);
    let path = record_page(&id, &hostname).with("range", range.key());
    let chrome = chrome.live_at(hub, path.to_string());
    let record = hub.store.record(&id, &hostname).await?;
    let read = READ as i64;
    let mut rows = hub.store.history(&id, Some(&hostname), None, read).await?;
    if record.is_none() && rows.is_empty() {
        return Err(ApiError::from(Refusal::NoRecord).into());
    }
    let now = hub.clock.now();
    let addresses: [Option<IpAddr>; 2] = record.as_ref().map_or([None, None], |record| {
        let addresses = record.addresses;
        [addresses.v4.map(Into::into), addresses.v6.map(Into::into)]
    });
    let timeline = Timeline::new(range, &rows, addresses, now);
    let often = often(&rows, now);
    let has_more = rows.len() > LISTED;
    rows.truncate(LISTED);
    let may_write = caller.token().may_write_record(&id, &hostname);
    let settings = record.as_ref().filter(|_| may_write);
    let settings = settings.map(|record| settings_of(record, typed));
    Ok(RecordPage {
        chrome,
        present: record.map(|record| present(hub, &id, record, now)),
        range,
        timeline,
        often,
        changes: changes(hub, caller, rows).await?,
        has_more,
        settings,
        id,
        hostname,
    })
}

fn present(hub: &Hub, id: &SiloId, record: StoredRecord, now: Time) -> Present {
    let seen = hub.registry.seen();
    let last_seen = seen.latest(id, &record.hostname, record.last_seen);
    let expires_after = record.attributes.expires_after;
    let reports = Reports {
        last_seen,
        updated_at: record.updated_at,
        expires_after,
    };
    Present {
        v4: record.addresses.v4.map(Into::into),
        v6: record.addresses.v6.map(Into::into),
        comment: record.attributes.comment.unwrap_or_default(),
        last_seen: When::new(last_seen, now),
        changed: When::new(record.updated_at, now),
        silence: reports.silence(now),
        expires: match expires_after.map(in_units) {
            None => "never".to_owned(),
            Some((1, unit)) => format!("after 1 {} of silence", unit.trim_end_matches('s')),
            Some((number, unit)) => format!("after {number} {unit} of silence"),
        },
    }
}

/// The form with what is stored; of a refused one, what was typed.
fn settings_of(record: &StoredRecord, typed: Option<Settings>) -> Settings {
    let tag = record_tag(record.revision, &record.hostname);
    if let Some(typed) = typed {
        return Settings { tag, ..typed };
    }
    let attributes = record.attributes.clone();
    let (expires, unit) = match attributes.expires_after.map(in_units) {
        None => (String::new(), "days"),
        Some((number, unit)) => (number.to_string(), unit),
    };
    Settings {
        comment: attributes.comment.unwrap_or_default(),
        expires,
        unit: unit.to_owned(),
        notify: attributes.notify.unwrap_or_default(),
        tag,
        errors: FieldErrors::default(),
    }
}

/// A number of seconds in the largest unit that divides it.
fn in_units(seconds: i64) -> (i64, &'static str) {
    let mut units = Settings::UNITS.into_iter();
    let unit = units.find(|(_, size)| seconds % size == 0);
    let (name, size) = unit.unwrap_or(("seconds", 1));
    (seconds / size, name)
}

/// How often the addresses changed lately, in words.
fn often(rows: &[HistoryRow], now: Time) -> String {
    let since = now.plus_seconds(-MONTH_SECONDS);
    let mut revisions: Vec<_> = rows
        .iter()
        .filter(|row| row.at > since)
        .map(|row| row.revision)
        .collect();
    revisions.dedup();
    let is_all = rows.len() < READ || rows.last().is_none_or(|row| row.at <= since);
    match revisions.len() {
        0 => "not at all".to_owned(),
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        number if is_all => counted(number, "time", "times"),
        number => format!("at least {}", counted(number, "time", "times")),
    }
}

impl Typed {
    /// The body that sets these attributes.
    fn body(&self) -> Result<Value, ApiError> {
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let mut body = Map::new();
        body.insert("comment".to_owned(), text(&self.comment).into());
        body.insert("notify".to_owned(), text(&self.notify).into());
        let seconds = match text(&self.expires) {
            None => Value::Null,
            Some(number) => {
                let size = Settings::UNITS
                    .into_iter()
                    .find(|(name, _)| *name == self.unit);
                let seconds = number
                    .parse::<i64>()
                    .ok()
                    .zip(size)
                    .and_then(|(number, (_, size))| number.checked_mul(size));
                let why = "must be a whole number, or empty: then the record stays";
                seconds
                    .ok_or_else(|| ApiError::invalid("/expires_after", why))?
                    .into()
            }
        };
        body.insert("expires_after".to_owned(), seconds);
        Ok(body.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_are_told_in_the_largest_unit_that_fits() {
        for (seconds, told) in [
            (86_400, (1, "days")),
            (7200, (2, "hours")),
            (5400, (90, "minutes")),
            (1801, (1801, "seconds")),
        ] {
            assert_eq!(in_units(seconds), told);
        }
    }

    #[test]
    fn settings_are_a_body_of_the_interface() {
        let typed = |expires: &str, unit: &str| Typed {
            comment: " in the cellar ".to_owned(),
            expires: expires.to_owned(),
            unit: unit.to_owned(),
            ..Typed::default()
        };
        let body = typed("2", "hours").body().unwrap();
        assert_eq!(
            body.to_string(),
            r#"{"comment":"in the cellar","expires_after":7200,"notify":null}"#
        );
        assert_eq!(
            typed("", "days").body().unwrap()["expires_after"],
            Value::Null
        );
        for (expires, unit) in [
            ("2.5", "days"),
            ("x", "days"),
            ("2", "weeks"),
            ("9223372036854775807", "days"),
        ] {
            assert!(typed(expires, unit).body().is_err(), "{expires} {unit}");
        }
    }
}
