//! Style sheet, scripts and icon, embedded and compressed at build time (`build.rs`). Their names contain a hash of
//! their content, so that browsers keep them for ever.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// A file that pages use.
#[derive(Debug)]
pub(super) struct Asset {
    /// Where it is served.
    pub(super) path: &'static str,
    kind: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

macro_rules! asset {
    ($file:literal, $stem:literal, $ending:literal, $variable:literal, $kind:literal) => {
        Asset {
            path: concat!(
                "/dashboard/assets/",
                $stem,
                ".",
                env!($variable),
                ".",
                $ending
            ),
            kind: $kind,
            plain: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/", $file)),
            gzip: include_bytes!(concat!(env!("OUT_DIR"), "/", $file, ".gz")),
        }
    };
}

/// The style sheet.
pub(super) static CSS: Asset = asset!(
    "dashboard.css",
    "dashboard",
    "css",
    "DASHBOARD_CSS",
    "text/css; charset=utf-8"
);
/// The script of all pages.
pub(super) static SCRIPT: Asset = asset!(
    "dashboard.js",
    "dashboard",
    "js",
    "DASHBOARD_JS",
    "text/javascript; charset=utf-8"
);
/// The script that follows changes, for pages and for the shared worker.
pub(super) static LIVE: Asset = asset!(
    "live.js",
    "live",
    "js",
    "LIVE_JS",
    "text/javascript; charset=utf-8"
);
/// The icon.
pub(super) static ICON: Asset = asset!("icon.svg", "icon", "svg", "ICON_SVG", "image/svg+xml");

/// The name changes with the content.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The coding of what is compressed.
pub(super) const GZIP: HeaderValue = HeaderValue::from_static("gzip");
const BY_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");

/// The routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    [&CSS, &SCRIPT, &LIVE, &ICON]
        .into_iter()
        .fold(Router::new(), |routes, asset| {
            let answer = move |headers: HeaderMap| std::future::ready(asset.answer(&headers));
            routes.route(asset.path, get(answer))
        })
}

impl Asset {
    fn answer(&self, headers: &HeaderMap) -> Response {
        let is_gzip = accepts_gzip(headers);
        let body = if is_gzip { self.gzip } else { self.plain };
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static(self.kind)),
            (CACHE_CONTROL, FOR_EVER),
            (VARY, BY_ENCODING),
        ];
        let mut response = (headers, Bytes::from_static(body)).into_response();
        if is_gzip {
            response.headers_mut().insert(CONTENT_ENCODING, GZIP);
        }
        response
    }
}

/// Whether the client takes gzip (RFC 9110 section 12.5.3).
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).iter();
    let lists = lists.filter_map(|list| list.to_str().ok());
    let mut codings = lists.flat_map(|list| list.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let is_refused = parts.any(|part| {
            part.strip_prefix("q=")
                .is_some_and(|quality| quality.parse::<f32>() == Ok(0.0))
        });
        name.eq_ignore_ascii_case("gzip") && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_compressed_for_clients_that_take_it() {
        for (accepted, is_gzip) in [
            (None, false),
            (Some("gzip, deflate, br"), true),
            (Some("br;q=1.0, GZIP;q=0.5"), true),
            (Some("gzip;q=0, br"), false),
            (Some("gzip; q=0.000"), false),
            (Some("identity"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accepted) = accepted {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            }
            let answer = CSS.answer(&headers);
            let encoding = answer.headers().get(CONTENT_ENCODING);
            assert_eq!(encoding.is_some(), is_gzip, "{accepted:?}");
            assert_eq!(answer.headers()[CACHE_CONTROL], FOR_EVER);
        }
        assert!(CSS.gzip.len() * 3 < CSS.plain.len());
    }

    #[test]
    fn names_have_a_hash_of_the_content() {
        for asset in [&CSS, &SCRIPT, &LIVE, &ICON] {
            let name = asset.path.strip_prefix("/dashboard/assets/");
            let parts: Vec<_> = name.expect("a path of assets").split('.').collect();
            assert!(
                matches!(parts[..], [_, hash, _] if hash.len() == 12),
                "{parts:?}"
            );
        }
    }
}
