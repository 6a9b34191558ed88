//! The responses of dynahost's protocol: `OK`, or a line with an error.

use std::fmt;

use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, REFERRER_POLICY,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;

/// A response.
#[derive(Debug)]
pub(super) enum Reply {
    /// The record has the caller's address.
    Ok,
    /// A page of HTML.
    Page(String),
    /// A refusal with its reason.
    Refused(StatusCode, String),
    /// An error of any route.
    Error(ApiError),
}

impl Reply {
    /// An invalid parameter.
    pub(super) fn wrong(param: &str, why: impl fmt::Display) -> Self {
        Self::Refused(StatusCode::BAD_REQUEST, format!("{param}: {why}"))
    }

    /// The caller lacks the right.
    pub(super) fn forbidden(why: impl fmt::Display) -> Self {
        Self::Refused(StatusCode::FORBIDDEN, why.to_string())
    }
}

impl<E: Into<ApiError>> From<E> for Reply {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(CACHE_CONTROL, "no-store");
        // The target may contain a secid: no link passes it on, and nothing is loaded.
        set(REFERRER_POLICY, "no-referrer");
        set(
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        );
        let kind = match &self {
            Self::Page(_) => "text/html; charset=utf-8",
            Self::Ok | Self::Refused(..) | Self::Error(_) => "text/plain; charset=utf-8",
        };
        set(CONTENT_TYPE, kind);
        match self {
            Self::Ok => (headers, "OK").into_response(),
            Self::Page(html) => (headers, html).into_response(),
            Self::Refused(status, why) => (status, headers, why + "\n").into_response(),
            Self::Error(error) => {
                error.add_headers(&mut headers);
                if matches!(error, ApiError::MethodNotAllowed) {
                    headers.insert(ALLOW, HeaderValue::from_static("GET,POST"));
                }
                let text = format!("{}\n", error.detail());
                (error.status(), headers, text).into_response()
            }
        }
    }
}
