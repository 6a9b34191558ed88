//! `/dashboard/silos/{id}`: the records of a silo, a page of them at a time, searched and sorted here.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use silo_shared::silo::{Hostname, MAX_RECORDS, SiloId};

use super::error::{PageError, html};
use super::layout::Section;
use super::list_view::{ListView, PAGE, SortBy};
use super::pages::silo::{LastChange, RecordForm, Rights, Row, SiloPage};
use super::paths::SiloOf;
use super::session::Session;
use super::silence::Reports;
use super::when::When;
use super::who;
use crate::domain::precondition::record_tag;
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::http::Hub;
use crate::http::error::ApiError;
use crate::http::record_filter::RecordFilter;
use crate::http::request::Query;
use crate::registry::Refusal;
use crate::store::StoredRecord;

/// What the forms of the page hold, after one of them was refused.
#[derive(Debug, Default)]
pub(super) struct Forms {
    pub(super) add: RecordForm,
    /// Of the record that the view edits.
    pub(super) edit: Option<RecordForm>,
    pub(super) undo_refused: Option<&'static str>,
}

/// The page.
pub(super) async fn page(
    session: Session,
    State(hub): State<Arc<Hub>>,
    SiloOf(id): SiloOf,
    query: Query,
) -> Result<Response, PageError> {
    let page = fill(&hub, &session, id, ListView::of(&query), Forms::default()).await?;
    Ok(html(StatusCode::OK, &page))
}

/// The page with these forms.
pub(super) async fn fill(
    hub: &Hub,
    session: &Session,
    id: SiloId,
    view: ListView,
    forms: Forms,
) -> Result<SiloPage, PageError> {
    let caller = session.caller();
    caller.require_read(&id)?;
    let filter = RecordFilter::of_text(&view.q)?;
    let chrome = session.chrome(id.as_str(), Section::Silos);
    let chrome = chrome.live_at(hub, view.link(&id).to_string());
    let list = list(hub, &id, &filter, view).await?;
    let view = list.view;
    let token = caller.token();
    let rights = Rights {
        writes: token.may_write(&id),
        replaces: token.may_replace(&id),
        is_admin: token.is_admin(),
    };
    let now = hub.clock.now();
    let mut edit = forms.edit;
    let rows = list.rows.into_iter();
    let rows: Vec<Row> = rows
        .map(|(record, last_seen)| {
            let may_edit = token.may_write_record(&id, &record.hostname);
            let is_edited = may_edit && view.edit.as_ref() == Some(&record.hostname);
            let form = is_edited.then(|| of_record(&record, edit.take()));
            row(record, last_seen, may_edit, form, now)
        })
        .collect();
    let add = match edit {
        // Its record is gone, or the list does not show it.
        Some(form) => form,
        None => forms.add,
    };
    Ok(SiloPage {
        last_change: last_change(hub, session, &id, list.revision).await?,
        chrome,
        id,
        view,
        all: list.all,
        found: list.found,
        rows,
        rights,
        add,
        undo_refused: forms.undo_refused,
    })
}

/// A page of the list.
struct List {
    revision: Revision,
    /// How many records the silo has.
    all: usize,
    /// How many of them the filter takes.
    found: usize,
    /// Those of the page, each with the time when it was last seen.
    rows: Vec<(StoredRecord, Time)>,
    /// The view, on a page that exists.
    view: ListView,
}

/// Reads a page of the list: alone, if the database has it in its order.
async fn list(
    hub: &Hub,
    id: &SiloId,
    filter: &RecordFilter,
    view: ListView,
) -> Result<List, ApiError> {
    let on_page = |found: usize| ListView {
        page: view.page.min(found.div_ceil(PAGE).max(1)),
        ..view.clone()
    };
    if !view.is_filtered() && view.sort == SortBy::Hostname {
        let mut summaries = hub.store.silo_summaries(std::slice::from_ref(id)).await?;
        let silo = summaries.pop().ok_or(Refusal::NoSilo)?;
        let all = usize::try_from(silo.records).unwrap_or(0);
        let view = on_page(all);
        let index = (view.page - 1) * PAGE;
        let records = hub.store.records_at(id, index, PAGE, view.is_descending);
        let seen = hub.registry.seen();
        let rows = records.await?.into_iter().map(|record| {
            let last_seen = seen.latest(id, &record.hostname, record.last_seen);
            (record, last_seen)
        });
        return Ok(List {
            revision: silo.revision,
            all,
            found: all,
            rows: rows.collect(),
            view,
        });
    }
    let stored = hub.store.silo_records(id, "", MAX_RECORDS + 1).await?;
    let (revision, records) = stored.ok_or(Refusal::NoSilo)?;
    let all = records.len();
    let shown = shown(hub, id, records, filter, &view, hub.clock.now());
    let found = shown.len();
    let view = on_page(found);
    let rows = shown.into_iter().skip((view.page - 1) * PAGE).take(PAGE);
    Ok(List {
        revision,
        all,
        found,
        rows: rows.collect(),
        view,
    })
}

/// The records that the view shows, in its order, each with the time when it was last seen.
fn shown(
    hub: &Hub,
    id: &SiloId,
    records: Vec<StoredRecord>,
    filter: &RecordFilter,
    view: &ListView,
    now: Time,
) -> Vec<(StoredRecord, Time)> {
    let seen = hub.registry.seen();
    let records = records.into_iter().map(|record| {
        let last_seen = seen.latest(id, &record.hostname, record.last_seen);
        (record, last_seen)
    });
    let mut records: Vec<_> = records
        .filter(|(record, _)| filter.takes_all() || filter.takes(record))
        .filter(|(record, last_seen)| {
            !view.silent || reports(record, *last_seen).silence(now).is_some()
        })
        .collect();
    // They are sorted by hostname already, and this keeps the order of equal ones.
    records.sort_by(|(a, a_seen), (b, b_seen)| {
        let order = view
            .sort
            .compare((a, *a_seen), (b, *b_seen), view.is_descending);
        order.then_with(|| a.hostname.cmp(&b.hostname))
    });
    records
}

fn reports(record: &StoredRecord, last_seen: Time) -> Reports {
    Reports {
        last_seen,
        updated_at: record.updated_at,
        expires_after: record.attributes.expires_after,
    }
}

fn row(
    record: StoredRecord,
    last_seen: Time,
    may_edit: bool,
    form: Option<RecordForm>,
    now: Time,
) -> Row {
    Row {
        v4: record.addresses.v4.map(Into::into),
        v6: record.addresses.v6.map(Into::into),
        last_seen: When::new(last_seen, now),
        changed: When::new(record.updated_at, now),
        silence: reports(&record, last_seen).silence(now),
        tag: record_tag(record.revision, &record.hostname),
        comment: record.attributes.comment.unwrap_or_default(),
        hostname: record.hostname,
        may_edit,
        form,
    }
}

/// The form that edits a record; of a refused one, what was typed.
fn of_record(record: &StoredRecord, typed: Option<RecordForm>) -> RecordForm {
    let tag = record_tag(record.revision, &record.hostname);
    match typed {
        Some(typed) => RecordForm { tag, ..typed },
        None => RecordForm {
            hostname: record.hostname.to_string(),
            ip4: record
                .addresses
                .v4
                .map_or_else(String::new, |ip| ip.to_string()),
            ip6: record
                .addresses
                .v6
                .map_or_else(String::new, |ip| ip.to_string()),
            comment: record.attributes.comment.clone().unwrap_or_default(),
            tag,
            ..RecordForm::default()
        },
    }
}

/// The newest change of addresses, if the history still has it.
async fn last_change(
    hub: &Hub,
    session: &Session,
    id: &SiloId,
    revision: Revision,
) -> Result<Option<LastChange>, ApiError> {
    let caller = session.caller();
    let mut rows = hub.store.history(id, None, None, 2).await?.into_iter();
    let Some(row) = rows.next() else {
        return Ok(None);
    };
    Ok(Some(LastChange {
        at: When::new(row.at, hub.clock.now()),
        revision: row.revision.to_string(),
        has_more: rows
            .next()
            .is_some_and(|next| next.revision == row.revision),
        by: who::in_words(hub, caller, &row).await?,
        // What changed since is not in the history, such as a comment.
        is_undoable: row.revision == revision && caller.token().may_replace(id),
        hostname: row.hostname,
        old: row.old,
        new: row.new,
    }))
}

/// The list that shows a record, after a form.
pub(super) fn back_to(id: &SiloId, view: &ListView, hostname: &Hostname, notice: &str) -> String {
    let link = view.editing(None).link(id).with("notice", notice);
    format!("{link}#r-{hostname}")
}
