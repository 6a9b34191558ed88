//! Posted forms: where they come from, whose they are, and what they hold, checked in this order.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::ORIGIN;
use axum::http::request::Parts;
use axum::response::Response;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::error::{not_signed_in, refused};
use super::session::Session;
use crate::http::Hub;
use crate::http::body_budget::{Content, Sender};
use crate::http::connection::ConnectionHandle;
use crate::http::error::ApiError;
use crate::http::request::{content_type, read};
use crate::http::site::Site;

/// The maximum size of a form, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// The maximum size of a form of someone who is not signed in: a token or a code, and a path.
const MAX_UNAUTHENTICATED_BYTES: usize = 8 * 1024;
/// The hidden field with the token of the session's forms.
const TOKEN_FIELD: &str = "csrf";

/// A form that a page of this hub sent in a session.
#[derive(Debug)]
pub(super) struct PostedForm<T> {
    /// The session.
    pub(super) session: Session,
    /// The values of the fields.
    pub(super) values: T,
}

/// The content of a form, not parsed yet.
pub(super) struct Form(Content);

impl<T: DeserializeOwned> FromRequest<Arc<Hub>> for PostedForm<T> {
    type Rejection = Response;

    async fn from_request(request: Request, hub: &Arc<Hub>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        require_own_origin(&parts, hub).map_err(refused)?;
        let session = Session::from_request_parts(&mut parts, hub).await?;
        let request = Request::from_parts(parts, body);
        let form = Form::read(hub, request, Sender::Authenticated).await?;
        form.require_token(&session).map_err(refused)?;
        // It may have ended while the form arrived.
        let session = match session.refreshed(hub).await {
            Ok(session) => session,
            Err(ApiError::Unauthorized(_)) => return Err(not_signed_in()),
            Err(error) => return Err(refused(error)),
        };
        let values = form.parse().map_err(refused)?;
        Ok(Self { session, values })
    }
}

impl Form {
    /// Reads it.
    pub(super) async fn read(
        hub: &Hub,
        request: Request,
        sender: Sender,
    ) -> Result<Self, Response> {
        const KIND: &str = "application/x-www-form-urlencoded";
        if content_type(request.headers()).as_deref() != Some(KIND) {
            let detail = format!("Content-Type: send a form as {KIND}");
            return Err(refused(ApiError::Malformed(detail)));
        }
        // Any client may send this, and slowly: no secret is checked before it is complete.
        let (connection, max_bytes) = match sender {
            Sender::Unauthenticated => {
                let connection = request.extensions().get::<ConnectionHandle>();
                (connection, MAX_UNAUTHENTICATED_BYTES)
            }
            Sender::Authenticated => (None, MAX_BYTES),
        };
        let reading = connection.map(ConnectionHandle::give_way_while_reading);
        let content = read(hub, request, max_bytes, sender).await;
        drop(reading);
        content.map(Self).map_err(refused)
    }

    /// Refuses a form of another session, or of none.
    pub(super) fn require_token(&self, session: &Session) -> Result<(), ApiError> {
        let mut fields = form_urlencoded::parse(&self.0);
        let shown = fields.find(|(name, _)| name == TOKEN_FIELD);
        if shown.is_some_and(|(_, token)| session.is_form_token(&token)) {
            Ok(())
        } else {
            Err(ApiError::Forbidden(
                "this form is not of your present session: go back, load the page again, and repeat what you did",
            ))
        }
    }

    /// Its values.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_urlencoded::from_bytes(&self.0)
            .map_err(|error| ApiError::Malformed(format!("the form: {error}")))
    }
}

/// Refuses what no page of this hub sent: browsers add `Origin` to every form, and no page can change it.
pub(super) fn require_own_origin(parts: &Parts, hub: &Hub) -> Result<(), ApiError> {
    let site = Site::of(parts, hub)?;
    let mut shown = parts.headers.get_all(ORIGIN).iter();
    let is_own = match (shown.next(), shown.next()) {
        (Some(origin), None) => origin.as_bytes() == site.origin().as_bytes(),
        _ => false,
    };
    if is_own {
        Ok(())
    } else {
        Err(ApiError::Forbidden(
            "this form was not sent by a page of this hub. If it was, a proxy is in between: have it pass Host on and set X-Forwarded-Proto, with its address in trusted_proxies, or set public_url and have it send X-Forwarded-For",
        ))
    }
}
