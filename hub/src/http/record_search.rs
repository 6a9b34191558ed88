//! `/records`: the records of all silos that a token may read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use silo_shared::silo::{Hostname, SiloId};

use super::Hub;
use super::auth::Caller;
use super::content_tag::ContentTag;
use super::error::ApiError;
use super::headers::header_value;
use super::openapi::values::{
    EntityTags, GivenAddress, GivenHostname, Limit, Preferences, RecordPlaceText, SearchText,
};
use super::openapi::{self, tags};
use super::page::{ListBody, next_link, not_modified};
use super::reach::Reach;
use super::record_document::{FoundRecord, found};
use super::record_filter::RecordFilter;
use super::request::Query;
use super::waiting::{Answer, ConditionalRead};
use crate::domain::precondition::record_tag;
use crate::store::{RecordPlace, StoredRecord};

/// The default number of records on a page.
const PAGE: usize = 1000;
/// About how many rows a request reads; then the page ends, however few records it has.
const READ_AT_MOST: usize = 10_000;
/// How many rows are read at once to look for those that match.
const READ_AT_ONCE: usize = 1000;

/// A page as it was read.
#[derive(Debug)]
struct Found {
    tag: String,
    body: ListBody,
    /// Where the next page begins.
    next: Option<String>,
}

/// Lists the records of all silos
///
/// Of those that the token may read, by silo and hostname. A page may end before `limit`, when many records were looked at: `Link` leads
/// on. `limit` is 1000 unless given.
#[utoipa::path(
    get,
    path = "/records",
    operation_id = "searchRecords",
    tag = tags::RECORDS,
    params(("q" = Option<SearchText>, Query), ("hostname" = Option<GivenHostname>, Query), ("address" = Option<GivenAddress>, Query), ("limit" = Option<Limit>, Query), ("after" = Option<RecordPlaceText>, Query), ("If-None-Match" = Option<EntityTags>, Header), ("Prefer" = Option<Preferences>, Header)),
    responses(
        (status = 200, description = "A page of records.", body = Vec<FoundRecord>, headers(("ETag" = String), ("Link" = String), ("Cache-Control" = String), ("Preference-Applied" = String))),
        (status = 304, description = "Not modified: `If-None-Match` has the present entity tag.", headers(("ETag" = String), ("Cache-Control" = String), ("Preference-Applied" = String))),
        openapi::problem_sets::ReadByRight,
    ),
)]
pub(super) async fn search(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    caller.require_silos()?;
    let limit = query.limit(PAGE)?;
    let filter = RecordFilter::of(&query)?;
    let after = match query.get("after") {
        Some(text) => place_of(text)?,
        None => RecordPlace::default(),
    };
    // The request is not kept while the read waits.
    let mut read = ConditionalRead::of_all(&hub, &request.into_parts().0)?;
    let reach = Reach::of(&hub, &caller);
    let look = || async {
        let caller = caller.refreshed(&hub).await?;
        let page = page(&hub, &caller, &filter, &after, limit).await?;
        Ok::<_, ApiError>(Some(page))
    };
    let tag = |found: &Found| found.tag.clone();
    let answer = read.read(look, tag, || reach.may_differ()).await?;
    if read.has_waited() {
        // Its token may have ended since the page was read.
        caller.refreshed(&hub).await?;
    }
    let mut response = match answer {
        Answer::Known(tag) => not_modified(header_value(&format!("\"{tag}\""))?),
        Answer::New(found) => {
            let etag = header_value(&format!("\"{}\"", found.tag))?;
            let next = found
                .next
                .map(|after| next_link("/records", limit, &filter.next_query(&after)));
            found.body.respond(etag, next.as_deref())?
        }
        Answer::Absent => return Err(ApiError::Internal),
    };
    read.add_applied(&mut response);
    Ok(response)
}

/// How a walk through the records ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WalkEnd {
    /// All were looked at.
    Done,
    /// The taker has enough.
    Enough,
    /// Many rows were read; it can go on from this position.
    Further(RecordPlace),
}

/// Walks through the records that a caller may read and a filter takes, from a position on, until `take` returns false.
/// `take` will want about `limit` records.
pub(crate) async fn walk(
    hub: &Hub,
    caller: &Caller,
    filter: &RecordFilter,
    after: &RecordPlace,
    limit: usize,
    mut take: impl FnMut(SiloId, StoredRecord) -> Result<bool, ApiError>,
) -> Result<WalkEnd, ApiError> {
    let token = caller.token();
    let spans = token.readable_spans();
    let mut place = after.clone();
    if SiloId::parse(&place.silo).is_ok_and(|silo| !token.may_read(&silo)) {
        // The rest of this silo is not shown.
        place.hostname = None;
    }
    let mut taken = 0;
    let mut read = 0;
    loop {
        let wanted = if filter.takes_all() {
            limit - taken + 1
        } else {
            READ_AT_ONCE
        };
        let hostname = filter.hostname();
        let step = hub
            .store
            .step_through_records(&spans, &place, hostname, wanted)
            .await?;
        let Some(step) = step else {
            return Ok(WalkEnd::Done);
        };
        for (silo, record) in step.rows {
            if !token.may_read(&silo) || !filter.takes(&record) {
                continue;
            }
            if !take(silo, record)? {
                return Ok(WalkEnd::Enough);
            }
            taken += 1;
        }
        place = step.place;
        read += step.cost;
        if read >= READ_AT_MOST {
            return Ok(WalkEnd::Further(place));
        }
    }
}

/// The position that `after` names: a silo, or a silo and a hostname.
pub(crate) fn place_of(text: &str) -> Result<RecordPlace, ApiError> {
    let wrong = |error: &dyn ToString| ApiError::invalid("/after", error.to_string());
    let (silo, hostname) = match text.split_once('/') {
        Some((silo, hostname)) => (silo, Some(hostname)),
        None => (text, None),
    };
    let hostname = hostname.map(Hostname::parse).transpose();
    Ok(RecordPlace {
        silo: SiloId::parse(silo)
            .map_err(|error| wrong(&error))?
            .to_string(),
        hostname: hostname.map_err(|error| wrong(&error))?,
    })
}

/// The text of a position, which [`place_of`] reads.
pub(crate) fn text_of(place: &RecordPlace) -> String {
    match &place.hostname {
        Some(hostname) => format!("{}/{hostname}", place.silo),
        None => place.silo.clone(),
    }
}

async fn page(
    hub: &Hub,
    caller: &Caller,
    filter: &RecordFilter,
    after: &RecordPlace,
    limit: usize,
) -> Result<Found, ApiError> {
    let token = caller.token();
    let mut body = ListBody::new(limit);
    let mut tag = ContentTag::begin();
    let mut last = None;
    let take = |silo: SiloId, record: StoredRecord| {
        let here = RecordPlace {
            silo: silo.to_string(),
            hostname: Some(record.hostname.clone()),
        };
        let name = record_tag(record.revision, &record.hostname);
        // Who may write also sees the mail address.
        let rights = if token.may_write(&silo) {
            "write"
        } else {
            "read"
        };
        if !body.push_json(&found(hub, caller, silo, record))? {
            return Ok(false);
        }
        tag.add(&[&here.silo, &name, rights]);
        last = Some(here);
        Ok(true)
    };
    let next = match walk(hub, caller, filter, after, limit, take).await? {
        WalkEnd::Done => None,
        WalkEnd::Enough => last,
        WalkEnd::Further(place) => Some(place),
    };
    let next = next.as_ref().map(text_of);
    // Where the search ended depends on records that do not match; from an earlier end, the rest is found too.
    if next.is_some() {
        tag.add(&["more"]);
    }
    Ok(Found {
        tag: tag.end(),
        body,
        next,
    })
}
