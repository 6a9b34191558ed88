//! Errors as pages: the same statuses and words as the interface's. `finish` renders them, since it knows the request.

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::{IntoResponse, Response};

use super::layout::Chrome;
use crate::http::error::ApiError;

/// What a form without a session is answered.
pub(super) const NOT_SIGNED_IN: &str =
    "you are not signed in, or your session has ended: sign in and repeat what you did";

/// An error that becomes a page.
#[derive(Debug)]
pub(super) struct PageError(ApiError);

/// What the page of an error says; an extension of the response until `finish` renders it.
#[derive(Clone, Debug)]
pub(super) struct ErrorFacts {
    status: StatusCode,
    detail: String,
    /// Whether to sign in helps.
    is_signed_out: bool,
}

/// The page of an error.
#[derive(Template)]
#[template(path = "dashboard/error.html")]
struct ErrorPage {
    chrome: Chrome,
    status: u16,
    detail: String,
    /// Whether to sign in helps.
    is_signed_out: bool,
}

impl<E: Into<ApiError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let facts = ErrorFacts {
            status: error.status(),
            is_signed_out: error.status() == StatusCode::UNAUTHORIZED,
            detail: match &error {
                ApiError::MethodNotAllowed => "this page has no such form".to_owned(),
                other => other.detail(),
            },
        };
        let mut response = facts.status.into_response();
        error.add_headers(response.headers_mut());
        // A browser would ask for a name and a password, which no page accepts.
        response.headers_mut().remove(WWW_AUTHENTICATE);
        response.extensions_mut().insert(facts);
        response
    }
}

impl ErrorFacts {
    /// The title of the page.
    pub(super) fn title(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "Signed out",
            403 => "Not allowed",
            404 => "Not found",
            405 => "Not possible",
            412 => "Changed meanwhile",
            429 => "Too many requests",
            503 => "Not available",
            status if status >= 500 => "The hub failed",
            _ => "Not accepted",
        }
    }

    /// Whether it says that there is no session.
    pub(super) fn is_signed_out(&self) -> bool {
        self.is_signed_out
    }

    /// The page.
    pub(super) fn render(self, chrome: Chrome) -> Result<String, askama::Error> {
        ErrorPage {
            chrome,
            status: self.status.as_u16(),
            is_signed_out: self.is_signed_out,
            detail: self.detail,
        }
        .render()
    }
}

/// A method that a page does not have.
pub(super) async fn wrong_method() -> PageError {
    ApiError::MethodNotAllowed.into()
}

/// A page that a template has made.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, axum::response::Html(html)).into_response(),
        Err(error) => {
            tracing::error!("cannot render a page: {error}");
            PageError::from(ApiError::Internal).into_response()
        }
    }
}

/// The page of an error.
pub(super) fn refused(error: impl Into<ApiError>) -> Response {
    PageError::from(error.into()).into_response()
}

/// The page for a form of someone who is not signed in, with the way to the sign-in.
pub(super) fn not_signed_in() -> Response {
    let mut response = refused(ApiError::Forbidden(NOT_SIGNED_IN));
    if let Some(facts) = response.extensions_mut().get_mut::<ErrorFacts>() {
        facts.is_signed_out = true;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::pages::golden::{assert_golden, chrome, chrome_without_session};

    #[test]
    fn errors_are_pages_with_a_way_on() {
        let page = ErrorPage {
            chrome: chrome("Not found", true),
            status: 404,
            detail: "there is no silo <b>office</b>".to_owned(),
            is_signed_out: false,
        };
        assert_golden("error.html", &page);
        let page = ErrorPage {
            chrome: chrome_without_session("Signed out"),
            status: 401,
            detail: NOT_SIGNED_IN.to_owned(),
            is_signed_out: true,
        };
        assert_golden("error_signed_out.html", &page);
    }
}
