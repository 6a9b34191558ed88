//! Pages of lists: how many rows to read, and the `Link` to the next page (RFC 8288).

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LINK};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::ApiError;
use super::headers::{PRIVATE, header_value};

/// The maximum size of a page, in bytes, unless its only entry is larger.
const PAGE_BYTES: usize = 1024 * 1024;

/// The content of a page that has a limit of entries and of bytes.
#[derive(Debug)]
pub(super) struct ListBody {
    body: Vec<u8>,
    limit: usize,
    entries: usize,
}

impl ListBody {
    /// Without an entry.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            body: Vec::from(b"["),
            limit,
            entries: 0,
        }
    }

    /// How many entries it has.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Adds an entry; false if there is no place for it. The first entry is sent regardless of its size; otherwise the
    /// list could not continue.
    pub(super) fn push(&mut self, entry: &[u8]) -> bool {
        let is_full = self.entries > 0 && self.body.len() + entry.len() + 2 > PAGE_BYTES;
        if self.entries == self.limit || is_full {
            return false;
        }
        if self.entries > 0 {
            self.body.push(b',');
        }
        self.body.extend_from_slice(entry);
        self.entries += 1;
        true
    }

    /// The same for an entry that is serialized.
    pub(super) fn push_json(&mut self, entry: &impl Serialize) -> Result<bool, ApiError> {
        let entry = serde_json::to_vec(entry).map_err(|_| ApiError::Internal)?;
        Ok(self.push(&entry))
    }

    /// The response.
    pub(super) fn respond(
        mut self,
        etag: HeaderValue,
        next: Option<&str>,
    ) -> Result<Response, ApiError> {
        self.body.push(b']');
        let kind = HeaderValue::from_static("application/json");
        let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, PRIVATE), (ETAG, etag)];
        let mut response = (headers, self.body).into_response();
        if let Some(link) = next {
            response.headers_mut().insert(LINK, header_value(link)?);
        }
        Ok(response)
    }
}

/// The response to a client that knows the tag.
pub(super) fn not_modified(etag: HeaderValue) -> Response {
    let headers = [(ETAG, etag), (CACHE_CONTROL, PRIVATE)];
    (StatusCode::NOT_MODIFIED, headers).into_response()
}

/// The rows of a page, and whether there are more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    limit: usize,
    pub(super) rows: Vec<T>,
    has_more: bool,
}

/// How many rows to read for a page of `limit` rows: one more, which shows whether there is a next page.
pub(super) fn rows_to_read(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

impl<T> Page<T> {
    /// The page of at most `limit` rows, of [`rows_to_read`] rows.
    pub(super) fn of(mut rows: Vec<T>, limit: usize) -> Self {
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        Self {
            limit,
            rows,
            has_more,
        }
    }

    /// Where the next page is: `path`, and the query that `cursor` makes of this page's last row. `None`: there is
    /// none.
    pub(super) fn next(&self, path: &str, cursor: impl FnOnce(&T) -> String) -> Option<String> {
        let last = self.rows.last().filter(|_| self.has_more)?;
        Some(next_link(path, self.limit, &cursor(last)))
    }
}

/// The value of `Link` for a next page of `limit` rows. `query`: further parameters, `after=db` and the like.
pub(super) fn next_link(path: &str, limit: usize, query: &str) -> String {
    format!("<{path}?limit={limit}&{query}>; rel=\"next\"")
}

/// The response with a list, and where its next page is.
pub(super) fn respond(
    documents: Vec<impl Serialize>,
    next: Option<String>,
) -> Result<Response, ApiError> {
    let mut response = ([(CACHE_CONTROL, PRIVATE)], Json(documents)).into_response();
    if let Some(link) = next {
        response.headers_mut().insert(LINK, header_value(&link)?);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_next_one_if_one_row_more_was_read() {
        for (read, rows, next) in [
            (vec![], vec![], None),
            (vec![1], vec![1], None),
            (vec![1, 2], vec![1, 2], None),
            (
                vec![1, 2, 3],
                vec![1, 2],
                Some("</list?limit=2&after=2>; rel=\"next\""),
            ),
        ] {
            let page = Page::of(read, 2);
            let found = page.next("/list", |last| format!("after={last}"));
            assert_eq!((&page.rows, found.as_deref()), (&rows, next));
        }
        assert_eq!(rows_to_read(2), 3);
        assert_eq!(rows_to_read(usize::MAX), i64::MAX);
    }
}
