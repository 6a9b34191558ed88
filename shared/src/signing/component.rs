//! The components of a message (RFC 9421 section 2).

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName, Method};

use super::SignatureError;

/// The parts of a request from which components are taken.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Host and port as in the `Host` field, in lower case.
    pub authority: String,
    /// The path as sent; never empty.
    pub path: String,
    /// The query as sent, without its question mark.
    pub query: Option<String>,
    /// The fields.
    pub headers: HeaderMap,
}

/// A message that has components.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// A request.
    Request(&'a RequestHead),
    /// A response and its request.
    Answer {
        /// The status.
        status: u16,
        /// The response's fields.
        headers: &'a HeaderMap,
        /// The request.
        request: &'a RequestHead,
    },
}

/// The identifier of a component: a derived one, such as `@method`, or a field in lower case; with `req`, that of the
/// request in the signature of its response (RFC 9421 section 2.4). Other parameters are not supported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    name: Cow<'static, str>,
    of_request: bool,
}

impl Component {
    /// A component of the message itself.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            of_request: false,
        }
    }

    /// A component of the request, in the signature of its response.
    pub fn of_request(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            of_request: true,
        }
    }

    /// The component's value in a message. Fields with several lines are joined (RFC 9421 section 2.1).
    pub(super) fn value(&self, message: Message<'_>) -> Result<String, SignatureError> {
        let absent = || SignatureError::AbsentComponent(self.to_string());
        let unknown = || SignatureError::UnknownComponent(self.to_string());
        let (request, headers, status) = match (message, self.of_request) {
            (Message::Request(_), true) => return Err(unknown()),
            (Message::Request(request), false) => (Some(request), &request.headers, None),
            (Message::Answer { request, .. }, true) => (Some(request), &request.headers, None),
            (
                Message::Answer {
                    status, headers, ..
                },
                false,
            ) => (None, headers, Some(status)),
        };
        match (&*self.name, request, status) {
            ("@method", Some(request), _) => Ok(request.method.to_string()),
            ("@authority", Some(request), _) => Ok(request.authority.clone()),
            ("@path", Some(request), _) => Ok(request.path.clone()),
            ("@query", Some(request), _) => {
                Ok(format!("?{}", request.query.as_deref().unwrap_or("")))
            }
            ("@status", _, Some(status)) => Ok(status.to_string()),
            (name, _, _) if name.starts_with('@') => Err(unknown()),
            (name, _, _) => field(headers, name)?.ok_or_else(absent),
        }
    }
}

/// A field's lines, stripped and joined; `None` if it is absent.
fn field(headers: &HeaderMap, name: &str) -> Result<Option<String>, SignatureError> {
    let mut lines = Vec::new();
    for line in headers.get_all(name) {
        let text = line.to_str().map_err(|_| SignatureError::Malformed {
            field: "a signed field",
            why: "contains more than printable ASCII",
        })?;
        lines.push(text.trim_matches([' ', '\t']));
    }
    Ok((!lines.is_empty()).then(|| lines.join(", ")))
}

/// The value of a field that may occur only once in a message.
pub(super) fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, SignatureError> {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(SignatureError::Repeated(name.to_string()));
    }
    let text = line.to_str().map_err(|_| SignatureError::Malformed {
        field: "a field of the signature",
        why: "contains more than printable ASCII",
    })?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

impl fmt::Display for Component {
    /// As an item of `Signature-Input`: `"@method";req`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameter = if self.of_request { ";req" } else { "" };
        write!(f, "\"{}\"{parameter}", self.name)
    }
}
