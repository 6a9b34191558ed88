//! Compresses pages for browsers that take gzip: a page of a hundred records shrinks to a fifteenth.
//!
//! Called by `finish`, for every page. The API's answers stay as they are, since some of its clients can't read others.

use std::io::Write;

use axum::body::to_bytes;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::Body as _;

use super::assets::{GZIP, accepts_gzip};

/// Less is not worth it.
const LEAST_BYTES: u64 = 1000;

/// Whether a page may be compressed for this request. Another site must not learn from the size of an answer whether what
/// it has put into the address is on the page (BREACH), so what another site has caused stays as it is.
pub(super) fn may_compress(request: &HeaderMap) -> bool {
    let site = request.get("sec-fetch-site").map(HeaderValue::as_bytes);
    accepts_gzip(request) && matches!(site, None | Some(b"same-origin" | b"none"))
}

/// The same answer with a compressed body, if it is a whole page.
pub(super) async fn compress(answer: Response) -> Response {
    let headers = answer.headers();
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_page = kind.is_some_and(|kind| kind.starts_with(b"text/html"));
    let length = answer.body().size_hint().exact();
    if !is_page || headers.contains_key(CONTENT_ENCODING) || length < Some(LEAST_BYTES) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let page = to_bytes(body, usize::MAX).await;
    let page = page.expect("a body of known length is in memory");
    let mut gzip = GzEncoder::new(Vec::with_capacity(page.len() / 8), Compression::fast());
    let compressed = gzip.write_all(&page).and_then(|()| gzip.finish());
    let compressed = compressed.expect("memory takes all that is written");
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, GZIP);
    Response::from_parts(parts, compressed.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::http::header::ACCEPT_ENCODING;
    use axum::response::{Html, IntoResponse};

    use super::*;

    #[tokio::test]
    async fn a_page_is_the_same_once_it_is_decompressed() {
        let page = "<td>10.0.0.5</td>".repeat(1000);
        let answer = compress(Html(page.clone()).into_response()).await;
        assert_eq!(answer.headers()[CONTENT_ENCODING], GZIP);
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert!(body.len() * 10 < page.len(), "{}", body.len());
        let mut read = String::new();
        let mut gzip = flate2::read::GzDecoder::new(&*body);
        gzip.read_to_string(&mut read).unwrap();
        assert_eq!(read, page);
    }

    #[tokio::test]
    async fn what_is_short_or_no_page_stays() {
        let long = "x".repeat(10_000);
        for answer in [
            Html("short".to_owned()).into_response(),
            long.into_response(),
        ] {
            let answer = compress(answer).await;
            assert_eq!(answer.headers().get(CONTENT_ENCODING), None);
        }
    }

    #[test]
    fn what_another_site_caused_is_not_compressed() {
        for (site, expected) in [
            (None, true),
            (Some("none"), true),
            (Some("same-origin"), true),
            (Some("same-site"), false),
            (Some("cross-site"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            }
            assert_eq!(may_compress(&headers), expected, "{site:?}");
        }
        assert!(!may_compress(&HeaderMap::new()));
    }
}
