//! Sessions: what the cookie stands for. A session has the rights of its token, no more, and is never a credential of
//! the interface; nor is a credential of the interface one here: `Authorization` is not read.
//!
//! Sessions are in the database, as hashes, so that all hubs know them. Each request reads its session from there; the
//! token comes from the cache, as for REST.

pub(super) mod cookie;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use silo_shared::credential::TokenId;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use super::error::{NOT_SIGNED_IN, not_signed_in, refused};
use super::layout::{Chrome, Look, Section, SignedIn};
use crate::auth::secrets::{LinkCode, SessionId};
use crate::domain::session::Session as Stored;
use crate::http::Hub;
use crate::http::auth::{Caller, require_few_failures, wrong_code};
use crate::http::client_ip::ClientIp;
use crate::http::error::ApiError;
use crate::http::site::{self, Site};
use crate::registry::{Actor, BeginSession, EndSession, EndSessionsOf, NoteSessionUsed, UseLink};
use crate::store::Via;

/// The page where one signs in.
pub(super) const SIGN_IN: &str = "/dashboard/sign-in";
/// How many cookies of the session's name are tried: another service on the host may have set one, too.
const MAX_TRIED: usize = 3;
/// How long a page waits until it is stored that its session is in use.
const NOTE_TIMEOUT: Duration = Duration::from_secs(1);

/// Who a request was found to be of, for the frame of a page that is made without the session, as those of errors.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<OnceLock<SignedIn>>);

impl Seen {
    /// Who is signed in, if that was found.
    pub(super) fn get(&self) -> Option<SignedIn> {
        self.0.get().cloned()
    }
}

/// A session of the dashboard.
#[derive(Clone, Debug)]
pub(super) struct Session {
    caller: Caller,
    id: SessionId,
    site: Site,
    look: Look,
}

impl Session {
    /// Who is signed in, with the rights of the token; as for REST.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The value of the hidden field `csrf` of its forms.
    pub(super) fn csrf(&self) -> String {
        self.id.form_token()
    }

    /// Whether this is the value of that field.
    pub(super) fn is_form_token(&self, shown: &str) -> bool {
        self.id.is_form_token(shown)
    }

    /// The frame of a page for this session.
    pub(super) fn chrome(&self, title: impl Into<String>, section: Section) -> Chrome {
        Chrome {
            title: title.into(),
            section,
            signed_in: Some(self.signed_in()),
            look: self.look.clone(),
        }
    }

    fn signed_in(&self) -> SignedIn {
        let token = self.caller.token();
        SignedIn {
            name: token.spec.name.clone(),
            role: token.spec.role.to_string(),
            is_admin: token.is_admin(),
            csrf: self.csrf(),
        }
    }

    /// Where the browser sees the hub.
    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    /// The session of a request, if it has one that is valid. Of two that are, another service on the host name may have
    /// set one, to have someone work in the session of somebody else: neither counts then. The request is not counted.
    /// After too many wrong credentials from an address, ids that this hub does not know are not looked up for a while,
    /// and refused as wrong credentials are.
    pub(super) async fn find(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Option<Self>, ApiError> {
        let site = Site::of(parts, hub)?;
        let Ok(client) = ClientIp::from_request_parts(parts, hub).await;
        let name = cookie::name(&hub.database_id, &site);
        let ids: Vec<SessionId> = cookie::values(&parts.headers, &name)
            .filter_map(SessionId::parse)
            .take(MAX_TRIED)
            .collect();
        let mut found: Option<(SessionId, Stored, Caller)> = None;
        let mut not_looked_up = None;
        for id in ids {
            if matches!(&found, Some((first, ..)) if first.has_hash(&id.hash())) {
                continue;
            }
            match valid_caller(hub, &id, client).await {
                Ok(None) => {}
                Ok(Some((stored, caller))) => {
                    if found.replace((id, stored, caller)).is_some() {
                        return Ok(None);
                    }
                }
                Err(error @ ApiError::TooManyFailures { .. }) => not_looked_up = Some(error),
                Err(error) => return Err(error),
            }
        }
        let Some((id, stored, caller)) = found else {
            return not_looked_up.map_or(Ok(None), Err);
        };
        note_use(hub, &stored).await;
        let session = Self {
            caller,
            id,
            site,
            look: Look::of(&parts.uri, &parts.headers),
        };
        if let Some(Seen(seen)) = parts.extensions.get::<Seen>() {
            seen.get_or_init(|| session.signed_in());
        }
        Ok(Some(session))
    }

    /// The session that a browser had before it signs in. One that is not looked up is left alone: the sign-in makes
    /// another one.
    pub(super) async fn former(
        parts: &mut Parts,
        hub: &Arc<Hub>,
    ) -> Result<Option<Self>, ApiError> {
        match Self::find(parts, hub).await {
            Err(ApiError::TooManyFailures { .. }) => Ok(None),
            found => found,
        }
    }

    /// The same session with the present rights of its token; refused if the session, the token or its secret has ended.
    /// Streams call it whenever they wake, and at least every 15 seconds.
    pub(super) async fn refreshed(&self, hub: &Hub) -> Result<Self, ApiError> {
        let stored = hub.store.session(self.id.token(), self.id.hash()).await?;
        let now = hub.clock.now();
        if !stored.is_some_and(|stored| self.id.has_hash(&stored.hash) && !stored.is_over_at(now)) {
            return Err(ApiError::Unauthorized("the session has ended"));
        }
        Ok(Self {
            caller: self.caller.refreshed(hub).await?,
            ..self.clone()
        })
    }

    /// Begins a session under a new id; returns the cookie. One that the browser had before ends, so that no id from
    /// before the sign-in is valid after it.
    pub(super) async fn begin(
        hub: &Hub,
        caller: &Caller,
        site: &Site,
        former: Option<&Self>,
    ) -> Result<HeaderValue, ApiError> {
        let token = caller.token().id;
        let id = new_id(token)?;
        let begin = BeginSession {
            token,
            secret: caller.secret(),
            hash: id.hash(),
        };
        hub.registry.apply(begin).await?;
        hub.session_ids.note_found(id.hash());
        if let Some(former) = former {
            former.end(hub).await?;
        }
        Ok(cookie::of_session(&hub.database_id, site, &id))
    }

    /// The same by the code of a link; `None`: it was used already, or not in time, or never existed.
    pub(super) async fn begin_by_link(
        hub: &Hub,
        code: &LinkCode,
        client: ClientIp,
        site: &Site,
        former: Option<&Self>,
    ) -> Result<Option<HeaderValue>, ApiError> {
        let code = code.hash();
        let Some(token) = hub.store.token_of_link(code).await? else {
            return Ok(None);
        };
        let id = new_id(token)?;
        let actor = Actor {
            via: Via::Dashboard,
            token: Some(token),
            client_ip: Some(client.ip),
        };
        let session = id.hash();
        let used = UseLink {
            actor,
            code,
            token,
            session,
        };
        if !hub.registry.apply(used).await? {
            return Ok(None);
        }
        hub.session_ids.note_found(session);
        if let Some(former) = former {
            former.end(hub).await?;
        }
        Ok(Some(cookie::of_session(&hub.database_id, site, &id)))
    }

    /// Ends the session, and its streams.
    pub(super) async fn end(&self, hub: &Hub) -> Result<(), ApiError> {
        let (token, hash) = (self.id.token(), self.id.hash());
        let actor = self.caller.actor_via(Via::Dashboard);
        let end = EndSession { actor, token, hash };
        hub.registry.apply(end).await?;
        hub.session_ids.note_missing(hash);
        hub.bus.token_changed(&token);
        Ok(())
    }

    /// Ends all sessions of the token, and their streams.
    pub(super) async fn end_all_of_token(&self, hub: &Hub) -> Result<(), ApiError> {
        let token = self.id.token();
        let actor = self.caller.actor_via(Via::Dashboard);
        hub.registry.apply(EndSessionsOf { actor, token }).await?;
        hub.bus.token_changed(&token);
        Ok(())
    }

    /// The header that removes the cookie.
    pub(super) fn removed_cookie(&self, hub: &Hub) -> HeaderValue {
        cookie::without_session(&hub.database_id, &self.site)
    }
}

fn new_id(token: TokenId) -> Result<SessionId, ApiError> {
    SessionId::new(token).map_err(|error| {
        tracing::error!("cannot make a session: {error}");
        ApiError::Internal
    })
}

/// The caller that an id stands for; `None`: the session, its token or its secret has ended, or never existed.
async fn valid_caller(
    hub: &Hub,
    id: &SessionId,
    client: ClientIp,
) -> Result<Option<(Stored, Caller)>, ApiError> {
    // Anyone can send a cookie: one of a made-up token is not looked up among the sessions.
    if !Caller::is_token(hub, id.token(), client).await? {
        return Ok(None);
    }
    let (hash, ids) = (id.hash(), &hub.session_ids);
    if ids.is_missing(hash) {
        return Ok(None);
    }
    let was_found = ids.was_found(hash);
    if !was_found {
        require_few_failures(hub, client.ip)?;
    }
    let stored = hub.store.session(id.token(), hash).await?;
    let Some(stored) = stored.filter(|stored| id.has_hash(&stored.hash)) else {
        ids.note_missing(hash);
        if was_found {
            // It was a session, and has ended.
            return Ok(None);
        }
        let refusal = ApiError::Unauthorized(NOT_SIGNED_IN);
        return match wrong_code(hub, client.ip, refusal) {
            ApiError::Unauthorized(_) => Ok(None),
            error => Err(error),
        };
    };
    ids.note_found(hash);
    if stored.is_over_at(hub.clock.now()) {
        return Ok(None);
    }
    let caller = Caller::of_session(hub, stored.token, stored.secret, client).await?;
    Ok(caller.map(|caller| (stored, caller)))
}

/// Stores that a session is used, if that is due, and waits a moment for it: pages can be read while the database takes
/// no writes.
async fn note_use(hub: &Hub, stored: &Stored) {
    if !stored.is_use_due_at(hub.clock.now()) {
        return;
    }
    let Some(under_way) = hub.session_notes.begin(stored.hash) else {
        return;
    };
    let (token, hash) = (stored.token, stored.hash);
    let registry = hub.registry.clone();
    let noting = tokio::spawn(async move {
        let noted = registry.apply(NoteSessionUsed { token, hash }).await;
        drop(under_way);
        noted
    });
    let why = match timeout(NOTE_TIMEOUT, noting).await {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the database does not answer yet".to_owned(),
    };
    if hub.session_notes.is_complaint_due(hub.clock.monotonic()) {
        tracing::warn!(token_id = %token, "the use of a session is not stored: {why}");
    }
}

impl FromRequestParts<Arc<Hub>> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, Response> {
        match Self::find(parts, hub).await {
            // A token at its limit can sign out, and so end what uses it up.
            Ok(Some(session)) if is_form_only(parts.uri.path()) => Ok(session),
            Ok(Some(session)) => match session.caller.count_request(hub) {
                Ok(()) => Ok(session),
                Err(error) => Err(refused(error)),
            },
            Ok(None) if !matches!(parts.method, Method::GET | Method::HEAD) => Err(not_signed_in()),
            // A script that fetches something would take the sign-in page for it.
            Ok(None) if !site::accepts_html(&parts.headers) => {
                Err(refused(ApiError::Unauthorized(NOT_SIGNED_IN)))
            }
            Ok(None) => Err(to_sign_in(parts)),
            Err(error) => Err(refused(error)),
        }
    }
}

fn to_sign_in(parts: &Parts) -> Response {
    let asked = parts
        .uri
        .path_and_query()
        .map_or("", |asked| asked.as_str());
    let to = if asked == site::START {
        SIGN_IN.to_owned()
    } else {
        let next: String = form_urlencoded::byte_serialize(asked.as_bytes()).collect();
        format!("{SIGN_IN}?next={next}")
    };
    see_other(&to, None)
}

/// 303 to a page, with a cookie to set, if any.
pub(super) fn see_other(to: &str, cookie: Option<HeaderValue>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    let start = HeaderValue::from_static(site::START);
    headers.insert(LOCATION, HeaderValue::try_from(to).unwrap_or(start));
    if let Some(cookie) = cookie {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

/// The page to go to after a form: `next` if it is one of the dashboard, else the start. Never another site.
pub(super) fn own_path(next: &str) -> String {
    /// Any; what is resolved against it must stay there.
    const BASE: &str = "http://hub.invalid/dashboard/";
    const MAX_BYTES: usize = 2000;
    let base = Url::parse(BASE).expect("it is a URL");
    let found = (next.len() <= MAX_BYTES && next.starts_with('/'))
        .then(|| base.join(next).ok())
        .flatten()
        // As browsers resolve it: `//other` and `/\other` are other hosts.
        .filter(|url| url.origin() == base.origin() && url.username().is_empty())
        .filter(|url| site::is_page(url.path()) && !is_form_only(url.path()));
    found.map_or_else(
        || site::START.to_owned(),
        |url| match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        },
    )
}

/// Whether a path has a form alone, and no page.
fn is_form_only(path: &str) -> bool {
    path.starts_with("/dashboard/sign-out") || path == "/dashboard/theme"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_pages_follow_a_form() {
        for (next, to) in [
            ("/dashboard/", "/dashboard/"),
            ("/dashboard", "/dashboard"),
            (
                "/dashboard/silos/office?page=2",
                "/dashboard/silos/office?page=2",
            ),
            ("/dashboard/silos/a b", "/dashboard/silos/a%20b"),
            ("/dashboard/a#b", "/dashboard/a"),
            ("", "/dashboard/"),
            ("dashboard/silos", "/dashboard/"),
            ("/", "/dashboard/"),
            ("/silos", "/dashboard/"),
            ("/dashboards", "/dashboard/"),
            ("//evil.test/dashboard/", "/dashboard/"),
            ("/\\evil.test/dashboard/", "/dashboard/"),
            ("/\t/evil.test/dashboard/", "/dashboard/"),
            ("\\\\evil.test/dashboard/", "/dashboard/"),
            ("https://evil.test/dashboard/", "/dashboard/"),
            ("https:evil.test/dashboard/", "/dashboard/"),
            ("javascript:alert(1)", "/dashboard/"),
            ("/dashboard/../silos", "/dashboard/"),
            ("/dashboard/%2e%2e/u/key", "/dashboard/"),
            ("/dashboard/..\\u", "/dashboard/"),
            ("/dashboard@evil.test/", "/dashboard/"),
            (
                "/dashboard/\r\nSet-Cookie: a=b",
                "/dashboard/Set-Cookie:%20a=b",
            ),
            ("/dashboard/sign-out", "/dashboard/"),
            ("/dashboard/sign-out-everywhere", "/dashboard/"),
            ("/dashboard/sign-in?next=/", "/dashboard/sign-in?next=/"),
            ("/dashboard/theme", "/dashboard/"),
        ] {
            assert_eq!(own_path(next), to, "{next:?}");
        }
        let long = format!("/dashboard/{}", "a".repeat(3000));
        assert_eq!(own_path(&long), "/dashboard/");
    }
}
