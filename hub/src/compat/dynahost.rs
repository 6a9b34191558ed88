//! `/update` and `/log` in dynahost's protocol: the first client to use a hostname chooses its secret, and with it sets
//! the hostname to its own address. `docs/dynahost.md` lists the differences from dynahost.
//!
//! People choose these secrets, so guessing is limited: after ten failures in a minute from an address, all its
//! requests are refused unchecked until the minute ends. Each check costs an Argon2 hash (`guard`).

mod guard;
mod page;
mod params;
mod reply;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use silo_shared::silo::Hostname;

use super::MAX_FORM_BYTES;
use crate::auth::secrets::{LoginOwner, random_id};
use crate::config::compat::Dynahost;
use crate::deliver::kinds::OpenSink;
use crate::deliver::sink::Sink;
use crate::domain::change::Attributes;
use crate::domain::dynahost::KnownLogin;
use crate::domain::sink::SinkName;
use crate::http::Hub;
use crate::http::body_budget::{Content, Sender};
use crate::http::client_ip::ClientIp;
use crate::http::connection::ConnectionHandle;
use crate::http::error::ApiError;
use crate::http::origin::refuse_foreign;
use crate::http::request::{content_type, read};
use crate::registry::{ApplyError, GivenLogin, Refusal, SetByDynahost, Shown};
use askama::Template;
use guard::{Guard, Look, refused, require_patience};
use page::LogPage;
use params::{Backend, Params};
use reply::Reply;

/// How many rows of the history a page shows.
const ROWS: usize = 1000;

/// What the routes share.
#[derive(Debug)]
pub(super) struct DynahostRoutes {
    settings: Dynahost,
    sinks: Vec<Arc<OpenSink>>,
    guard: Guard,
}

impl DynahostRoutes {
    pub(super) fn new(settings: Dynahost, sinks: &[Arc<OpenSink>]) -> Self {
        Self {
            settings,
            sinks: sinks.to_vec(),
            guard: Guard::default(),
        }
    }

    /// `/update`.
    pub(super) async fn update(&self, hub: &Arc<Hub>, request: Request) -> Response {
        match self.set(hub, request).await {
            Ok(()) => Reply::Ok,
            Err(reply) => reply,
        }
        .into_response()
    }

    /// `/log`.
    pub(super) async fn log(&self, hub: &Arc<Hub>, request: Request) -> Response {
        match self.history(hub, request).await {
            Ok(html) => Reply::Page(html),
            Err(reply) => reply,
        }
        .into_response()
    }

    async fn set(&self, hub: &Arc<Hub>, request: Request) -> Result<(), Reply> {
        let (client, parts, body) = enter(hub, request, refuse_foreign).await?;
        let ip = client.ip;
        let mut params = Params::default();
        params.add(parts.uri.query().unwrap_or("").as_bytes());
        params.add(&body);
        let (secid, host) = (params.secid()?, params.host()?);
        let backend = params.backend()?;
        let email = params.email()?;
        self.require_host(&host)?;
        let notify = email.map(|text| self.notify(text, &host)).transpose()?;
        let sink = backend
            .as_ref()
            .map(|backend| self.sink(backend, &host))
            .transpose()?;
        let address = client.implied().map_err(|why| {
            hub.trusted_proxies.report(&why, &hub.clock);
            Reply::wrong("your address", why)
        })?;
        // If the host is bound or revoked by another request in between, the second attempt sees it.
        for _ in 0..2 {
            let look = self.guard.look(hub, ip, &secid, &self.settings.silo, &host);
            let shown = match look.await? {
                Look::Known { hash, .. } => Shown::Known(hash),
                Look::New(hash) => Shown::New {
                    hash,
                    id: random_id().map_err(|_| ApiError::Internal)?,
                },
            };
            let login = match (sink, &backend) {
                (Some(sink), Some(backend)) => Some(self.seal(hub, sink, backend, &host)?),
                _ => None,
            };
            let command = SetByDynahost {
                silo: self.settings.silo.clone(),
                hostname: host.clone(),
                shown,
                ip: address,
                notify: notify.clone(),
                login,
            };
            match hub.registry.apply(command).await {
                Ok(outcome) => {
                    if outcome.is_login_replaced {
                        // No one may try out logins at a provider through this hub.
                        let _ = hub.failures.count(ip, hub.clock.reading());
                    }
                    return match sink {
                        Some(sink) => self.require_taken(hub, sink, &host).await,
                        None => Ok(()),
                    };
                }
                Err(ApplyError::Refused(Refusal::BoundMeanwhile)) => {}
                Err(ApplyError::Refused(
                    why @ (Refusal::WrongSecid | Refusal::TooManyUnconfirmed),
                )) => return Err(refused(hub, ip, why)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(refused(hub, ip, Refusal::BoundMeanwhile))
    }

    async fn history(&self, hub: &Arc<Hub>, request: Request) -> Result<String, Reply> {
        let (client, parts, body) = enter(hub, request, |_| Ok(())).await?;
        let ip = client.ip;
        let mut params = Params::default();
        params.add(parts.uri.query().unwrap_or("").as_bytes());
        params.add(&body);
        let (secid, host) = (params.secid()?, params.host()?);
        self.require_host(&host)?;
        let silo = &self.settings.silo;
        let binding = match self.guard.look(hub, ip, &secid, silo, &host).await? {
            Look::Known { binding, .. } => binding,
            Look::New(_) => return Err(refused(hub, ip, Refusal::WrongSecid)),
        };
        let asked = i64::try_from(ROWS + 1).unwrap_or(i64::MAX);
        let mut rows = hub.store.history(silo, Some(&host), None, asked).await?;
        if !binding.is_confirmed {
            // Earlier rows may belong to another user of the hostname.
            rows.retain(|row| row.at >= binding.created_at);
        }
        let is_cut = rows.len() > ROWS;
        rows.truncate(ROWS);
        let refusal = match &binding.login {
            Some(login) => {
                let why = hub.store.refusal(&login.sink, silo, &host).await?;
                why.map(|why| not_told(&login.sink, &why))
            }
            None => None,
        };
        let page = LogPage {
            host: &host,
            wrong: refusal.as_deref(),
            rows: &rows,
            is_cut,
        };
        Ok(page.render().expect("writing to a String never fails"))
    }

    /// Refuses a request if the provider refuses its login, which is the stored one now.
    async fn require_taken(
        &self,
        hub: &Hub,
        sink: &OpenSink,
        host: &Hostname,
    ) -> Result<(), Reply> {
        let refusal = hub.store.refusal(&sink.name, &self.settings.silo, host);
        match refusal.await? {
            Some(why) => Err(Reply::forbidden(not_told(&sink.name, &why))),
            None => Ok(()),
        }
    }

    fn require_host(&self, host: &Hostname) -> Result<(), Reply> {
        let is_ours = self.settings.hostnames.has(host);
        is_ours
            .then_some(())
            .ok_or_else(|| Reply::forbidden(format_args!("host: {host} is not served here")))
    }

    /// The mail address, if a record may contain it.
    fn notify(&self, text: &str, host: &Hostname) -> Result<String, Reply> {
        let mut mails = self
            .sinks
            .iter()
            .filter(|sink| sink.filter.takes(&self.settings.silo, host))
            .filter_map(|sink| match &sink.sink {
                Sink::Event(event) => Some(event),
                Sink::State(_) => None,
            });
        if !mails.any(|sink| sink.may_notify(text)) {
            return Err(Reply::wrong(
                "email",
                "no mail sink of this hub sends to such an address (allow_to)",
            ));
        }
        let attributes = Attributes {
            notify: Some(text.to_owned()),
            ..Attributes::default()
        };
        attributes
            .check()
            .map_err(|_| Reply::wrong("email", "not a mail address"))?;
        Ok(text.to_owned())
    }

    /// The sink for a backend.
    fn sink(&self, backend: &Backend<'_>, host: &Hostname) -> Result<&OpenSink, Reply> {
        let sink = self
            .sinks
            .iter()
            .filter(|sink| sink.filter.with_login)
            .find(|sink| sink.name.as_str() == backend.name)
            .ok_or_else(|| {
                let name: String = backend.name.chars().take(64).collect();
                Reply::wrong("backend", format_args!("this hub has none called {name:?}"))
            })?;
        if !sink.filter.takes(&self.settings.silo, host) {
            return Err(Reply::wrong(
                "backend",
                format_args!("it does not take {host}"),
            ));
        }
        let called = match &sink.sink {
            Sink::State(state) => state.published_name(host),
            Sink::Event(_) => unreachable!("only state sinks want logins"),
        };
        called.map_err(|why| Reply::wrong("host", format_args!("not for {}: {why}", sink.name)))?;
        Ok(sink)
    }

    fn seal(
        &self,
        hub: &Hub,
        sink: &OpenSink,
        backend: &Backend<'_>,
        host: &Hostname,
    ) -> Result<GivenLogin, Reply> {
        let owner = LoginOwner {
            sink: &sink.name,
            silo: &self.settings.silo,
            hostname: host,
        };
        let sealed = hub.key.seal_login(owner, &backend.login);
        Ok(GivenLogin {
            known: KnownLogin {
                sink: sink.name.clone(),
                hash: hub.key.login_hash(owner, &backend.login),
            },
            sealed: sealed.map_err(|_| ApiError::Internal)?,
            sealed_by: hub.key.fingerprint(),
        })
    }
}

/// The message for a record that is updated here, but not at the provider.
fn not_told(sink: &SinkName, why: &str) -> String {
    format!("the hub has the address, but {sink} does not take it: {why}")
}

/// Parses a request, if its sender is not locked out and `judge` accepts its head.
async fn enter(
    hub: &Arc<Hub>,
    request: Request,
    judge: fn(&Parts) -> Result<(), ApiError>,
) -> Result<(ClientIp, Parts, Content), Reply> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return Err(ApiError::MethodNotAllowed.into());
    }
    let (mut parts, body) = request.into_parts();
    let Ok(client) = ClientIp::from_request_parts(&mut parts, hub).await;
    require_patience(hub, client.ip)?;
    judge(&parts)?;
    if parts.method == Method::GET {
        return Ok((client, parts, Content::default()));
    }
    let kind = content_type(&parts.headers);
    if kind.is_some_and(|kind| kind != "application/x-www-form-urlencoded") {
        return Err(Reply::Refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the parameters in the query, or as application/x-www-form-urlencoded".to_owned(),
        ));
    }
    // Any client may send this, and slowly: no secret is checked before it is complete.
    let connection = parts.extensions.get::<ConnectionHandle>();
    let reading = connection.map(ConnectionHandle::give_way_while_reading);
    let request = Request::from_parts(parts.clone(), body);
    let body = read(hub, request, MAX_FORM_BYTES, Sender::Unauthenticated).await?;
    drop(reading);
    Ok((client, parts, body))
}
