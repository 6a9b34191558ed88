//! Pages of lists: how many rows to read, and the `Link` to the next page (RFC 8288).

use axum::Json;
use axum::http::header::{CACHE_CONTROL, LINK};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::ApiError;
use super::headers::{PRIVATE, header_value};

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
