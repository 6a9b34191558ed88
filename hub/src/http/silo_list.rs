//! `/silos`: the silos that a token may read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use silo_shared::api::SiloDocument;
use silo_shared::silo::SiloId;

use super::Hub;
use super::auth::Caller;
use super::content_tag::ContentTag;
use super::error::ApiError;
use super::headers::header_value;
use super::openapi::values::{EntityTags, GivenSiloId, Limit, Preferences};
use super::openapi::{self, tags};
use super::page::{ListBody, next_link, not_modified};
use super::reach::Reach;
use super::request::Query;
use super::waiting::{Answer, ConditionalRead};
use crate::read::render::Format;

/// The default number of silos on a page.
const PAGE: usize = 1000;

/// A page as it was read.
#[derive(Debug)]
struct Found {
    tag: String,
    body: ListBody,
    next: Option<SiloId>,
}

/// Lists silos
///
/// All silos that the token may read, in byte order of their ids. `limit` is 1000 unless given.
#[utoipa::path(
    get,
    path = "/silos",
    operation_id = "listSilos",
    tag = tags::SILOS,
    params(("limit" = Option<Limit>, Query), ("after" = Option<GivenSiloId>, Query), ("If-None-Match" = Option<EntityTags>, Header), ("Prefer" = Option<Preferences>, Header)),
    responses(
        (status = 200, description = "A page of silos. It ends at `limit` silos or 1 MiB.", body = Vec<SiloDocument>, headers(("ETag" = String), ("Link" = String), ("Cache-Control" = String), ("Preference-Applied" = String))),
        (status = 304, description = "Not modified: `If-None-Match` has the present entity tag.", headers(("ETag" = String), ("Cache-Control" = String), ("Preference-Applied" = String))),
        openapi::problem_sets::ReadByRight,
    ),
)]
pub(super) async fn list(
    caller: Caller,
    State(hub): State<Arc<Hub>>,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    caller.require_silos()?;
    let limit = query.limit(PAGE)?;
    let after = query.parse::<SiloId>("after")?;
    // The request is not kept while the read waits.
    let mut read = ConditionalRead::of_all(&hub, &request.into_parts().0)?;
    let reach = Reach::of(&hub, &caller);
    let look = || async {
        let caller = caller.refreshed(&hub).await?;
        let page = page(&hub, &caller, limit, after.as_ref()).await?;
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
                .map(|last| next_link("/silos", limit, &format!("after={last}")));
            found.body.respond(etag, next.as_deref())?
        }
        Answer::Absent => return Err(ApiError::Internal),
    };
    read.add_applied(&mut response);
    Ok(response)
}

async fn page(
    hub: &Hub,
    caller: &Caller,
    limit: usize,
    after: Option<&SiloId>,
) -> Result<Found, ApiError> {
    let mut after = after.map(ToString::to_string).unwrap_or_default();
    let mut body = ListBody::new(limit);
    let mut tag = ContentTag::begin();
    let mut last: Option<SiloId> = None;
    let token = caller.token();
    for span in token.readable_spans() {
        loop {
            // One more than the page holds shows whether there is a next one.
            let wanted = limit - body.entries() + 1;
            let ids = hub.store.silo_ids_in(&span, &after, wanted).await?;
            let is_end = ids.len() < wanted;
            for (id, revision) in ids {
                after = id.to_string();
                if !token.may_read(&id) {
                    continue;
                }
                // Skips a silo that was deleted since its id was read.
                let silo = hub.view.get_at_least(&id, Format::Json, revision);
                let Some(silo) = silo.await? else { continue };
                if !body.push(&silo.body) {
                    tag.add(&["more"]);
                    return Ok(Found {
                        tag: tag.end(),
                        body,
                        next: last,
                    });
                }
                tag.add(&[id.as_str(), &silo.tag]);
                last = Some(id);
            }
            if is_end {
                break;
            }
        }
    }
    Ok(Found {
        tag: tag.end(),
        body,
        next: None,
    })
}
