//! `/nic/update` and `/v3/update`: dyndns2, as implemented by ddclient, inadyn, routers and the FRITZ!Box.
//!
//! There is no standard; `docs/ddns-clients.md` documents what this hub supports. The credential is the password of
//! Basic; the user name may specify the silo. Each host is a separate `SetRecord`, so a request that fails halfway can
//! be sent again: hosts already updated return `nochg`.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod left_out;
mod reply;
mod update_request;

use std::net::Ipv6Addr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use silo_shared::silo::{Hostname, SiloId};

use super::{InTheOpen, MAX_FORM_BYTES, not_allowed};
use crate::domain::change::AttributePatch;
use crate::domain::precondition::Precondition;
use crate::domain::token::{Role, Token};
use crate::http::Hub;
use crate::http::auth::{Caller, basic_user};
use crate::http::body_budget::{Content, Sender};
use crate::http::error::{ApiError, UNAVAILABLE_RETRY_AFTER};
use crate::http::openapi::{problem_sets, tags};
use crate::http::origin::refuse_followed_link;
use crate::http::request::{content_type, read};
use crate::registry::{ApplyError, SetRecord};
use crate::store::Via;
use reply::{Reply, Word};
use update_request::{NoAddress, Params, UpdateRequest};

/// The maximum number of hosts in a request.
const MAX_HOSTS: usize = 20;
/// The response to a request that may succeed when it is sent again.
const LATER: Reply = Reply::Later {
    retry_after: UNAVAILABLE_RETRY_AFTER,
};

/// Sets records by the dyndns2 protocol
///
/// As ddclient, inadyn, routers and the FRITZ!Box send it; the parameters may also come as a form. The user name of `Basic` may name the
/// silo. Without `myip`, the address that the request comes from. Unknown parameters are ignored. See docs/ddns-clients.md.
#[utoipa::path(
    method(get, post),
    path = "/nic/update",
    operation_id = "updateDyndns2",
    tag = tags::FOREIGN,
    params(
        ("hostname" = String, Query, example = "nas"),
        ("myip" = Option<String>, Query, example = "10.0.0.7"),
        ("myipv6" = Option<String>, Query, example = "fd00::7"),
    ),
    responses(
        (status = 200, description = "A line for each hostname: `good ADDRESS`, `nochg ADDRESS`, `nohost`, `notfqdn`, `dnserr`, `numhost`; or one line for the request, `badagent` or `abuse`.", body = String, content_type = "text/plain", headers(("Cache-Control" = String))),
        (status = 401, description = "`badauth`", body = String, content_type = "text/plain", headers(("WWW-Authenticate" = String), ("Cache-Control" = String))),
        (status = 503, description = "`911`: try again later.", body = String, content_type = "text/plain", headers(("Retry-After" = String), ("Cache-Control" = String))),
        problem_sets::Dyndns2,
    ),
)]
pub(super) async fn update(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return not_allowed("GET,POST");
    }
    match reply(&hub, request).await {
        Ok(reply) => reply,
        Err(error) => Reply::from(error),
    }
    .into_response()
}

async fn reply(hub: &Arc<Hub>, request: Request) -> Result<Reply, ApiError> {
    let (mut parts, body) = request.into_parts();
    // A web page could make a browser send this with its stored password.
    refuse_followed_link(&parts)?;
    let caller = Caller::from_request_parts(&mut parts, hub).await?;
    // A token intercepted on the way must allow only single records.
    if parts.extensions.get::<InTheOpen>().is_some() && !is_for_single_hostnames(caller.token()) {
        let token_id = caller.token().id;
        tracing::warn!(%token_id, "dyndns2: a token that is not limited to single hostnames was sent without TLS and refused: it travels in clear text");
        return Ok(Reply::BadAuth);
    }
    let Some(silo) = silo(hub, &caller, basic_user(&parts.headers)).await? else {
        return Ok(Reply::BadAuth);
    };
    let is_form = content_type(&parts.headers)
        .is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    let uri = parts.uri.clone();
    let body = match parts.method {
        // For any content of the form.
        Method::POST if is_form && !caller.token().may_write(&silo) => {
            return Ok(Reply::Hosts(vec![Word::NoHost]));
        }
        Method::POST if is_form => {
            let request = Request::from_parts(parts, body);
            let body = read(hub, request, MAX_FORM_BYTES, Sender::Authenticated).await?;
            if !is_still(hub, &caller).await? {
                return Ok(LATER);
            }
            body
        }
        _ => Content::default(),
    };
    let mut params = Params::default();
    params.add(uri.query().unwrap_or("").as_bytes());
    params.add(&body);
    let hostnames = params.hostnames();
    if hostnames.is_empty() {
        return Ok(Reply::NoHostname);
    }
    if hostnames.len() > MAX_HOSTS {
        return Ok(Reply::TooManyHostnames);
    }
    let update = Update {
        hub,
        caller: &caller,
        silo: &silo,
        update_request: UpdateRequest::read(&params, || caller.implied_address(hub)),
    };
    match &update.update_request {
        Err(why) if why.may_pass() => {
            // For the caller's address, the hub has already logged the reason.
            if !matches!(why, NoAddress::Caller(_)) {
                let (silo, token_id) = (update.silo, caller.token().id);
                tracing::warn!(%silo, %token_id, "dyndns2: nothing is set: {why}");
            }
            return Ok(LATER);
        }
        Ok(UpdateRequest { left_out, .. }) if !left_out.is_empty() => {
            let (silo, token_id) = (update.silo, caller.token().id);
            tracing::info!(%silo, %token_id, "dyndns2: left out beside what is set: {left_out}");
        }
        _ => {}
    }
    let mut words = Vec::with_capacity(hostnames.len());
    for hostname in hostnames {
        // Each host is a write of its own, and the first ones may have waited for the database.
        if !is_still(hub, &caller).await? {
            return Ok(LATER);
        }
        words.push(update.host(hostname).await?);
    }
    Ok(Reply::Hosts(words))
}

/// Whether the token has the rights that the request began with. Sent again, the request is judged by the present ones;
/// hosts that were set before are then unchanged.
async fn is_still(hub: &Hub, caller: &Caller) -> Result<bool, ApiError> {
    match caller.require_still(hub).await {
        Err(ApiError::Forbidden(_)) => Ok(false),
        still => still.map(|()| true),
    }
}

/// Whether a token may write only hostnames that it lists in full.
fn is_for_single_hostnames(token: &Token) -> bool {
    let names = token.spec.hostnames.as_ref();
    token.spec.role == Role::Write
        && names.is_some_and(|names| names.iter().all(|name| !name.contains('*')))
}

/// The silo of the request; `None`: not specified.
async fn silo(
    hub: &Hub,
    caller: &Caller,
    user: Option<String>,
) -> Result<Option<SiloId>, ApiError> {
    let token = caller.token();
    let plain = |pattern: &String| SiloId::parse(pattern).ok();
    if let [only] = token.spec.silos.as_slice()
        && let Some(id) = plain(only)
    {
        return Ok(Some(id));
    }
    let named = user.and_then(|user| SiloId::parse(&user).ok());
    let Some(id) = named.filter(|id| token.may_write(id)) else {
        return Ok(None);
    };
    // A glob must not create a silo for every mistyped user name.
    let is_known = token
        .spec
        .silos
        .iter()
        .filter_map(plain)
        .any(|silo| silo == id)
        || hub
            .store
            .silo_head(&id)
            .await?
            .is_some_and(|head| !head.deleted);
    Ok(is_known.then_some(id))
}

/// A valid request.
struct Update<'a> {
    hub: &'a Hub,
    caller: &'a Caller,
    silo: &'a SiloId,
    update_request: Result<UpdateRequest, NoAddress>,
}

impl Update<'_> {
    async fn host(&self, text: &str) -> Result<Word, ApiError> {
        let Ok(hostname) = Hostname::parse(text) else {
            return Ok(Word::NotFqdn);
        };
        if !self.caller.token().may_write_record(self.silo, &hostname) {
            return Ok(Word::NoHost);
        }
        let before = self.hub.store.record(self.silo, &hostname).await?;
        let suffix: Option<Ipv6Addr> = before
            .as_ref()
            .and_then(|record| record.attributes.ipv6_suffix);
        let update_request = self.update_request.as_ref().map_err(Clone::clone);
        let addresses =
            match update_request.and_then(|update_request| update_request.addresses(suffix)) {
                Ok(addresses) => addresses,
                Err(why) => return Ok(self.dnserr(&hostname, &why)),
            };
        let command = SetRecord {
            actor: self.caller.actor_via(Via::Dyndns2),
            id: self.silo.clone(),
            hostname: hostname.clone(),
            addresses,
            cleared: None,
            attributes: AttributePatch::default(),
            precondition: Precondition::default(),
        };
        match self.hub.registry.apply(command).await {
            // The revision stays unchanged if the record did.
            Ok(written)
                if before.is_some_and(|before| before.revision == written.record.revision) =>
            {
                Ok(Word::NoChange(addresses))
            }
            Ok(_) => Ok(Word::Good(addresses)),
            Err(ApplyError::Refused(refusal)) => Ok(self.dnserr(&hostname, &refusal)),
            Err(error) => Err(error.into()),
        }
    }

    /// The protocol has no code for the reason, so it is logged.
    fn dnserr(&self, hostname: &Hostname, why: &dyn std::fmt::Display) -> Word {
        tracing::info!(
            silo = %self.silo,
            token_id = %self.caller.token().id,
            "dyndns2: {hostname} is not set: {why}"
        );
        Word::DnsErr
    }
}
