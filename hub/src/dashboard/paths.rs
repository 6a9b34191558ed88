//! The paths of silos and records: links to them, and what a request's path names.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use silo_shared::silo::{Hostname, SiloId};

use super::error::PageError;
use super::href::{Href, href};
use crate::http::Hub;
use crate::http::request::{RecordPath, SiloPath};

/// Pages of a silo whose names a hostname could have, too.
const TAKEN: [&str; 5] = ["history", "undo", "revert", "delete", "add-machine"];

/// The page of a silo.
pub(super) fn silo_page(id: &SiloId) -> Href {
    href(&format!("/dashboard/silos/{id}"))
}

/// A page below that of a silo.
pub(super) fn below_silo(id: &SiloId, name: &str) -> Href {
    href(&format!("/dashboard/silos/{id}/{name}"))
}

/// The page of a record. Hostnames fold their case, paths of pages do not: a hostname that is also the name of a page
/// gets a capital.
pub(super) fn record_page(id: &SiloId, hostname: &Hostname) -> Href {
    let hostname = hostname.as_str();
    if TAKEN.contains(&hostname) {
        let (first, rest) = hostname.split_at(1);
        below_silo(id, &format!("{}{rest}", first.to_ascii_uppercase()))
    } else {
        below_silo(id, hostname)
    }
}

/// `{id}` of the path.
#[derive(Debug)]
pub(super) struct SiloOf(pub(super) SiloId);

/// `{id}` and `{hostname}` of the path.
#[derive(Debug)]
pub(super) struct RecordOf(pub(super) SiloId, pub(super) Hostname);

impl FromRequestParts<Arc<Hub>> for SiloOf {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, PageError> {
        let SiloPath(id) = SiloPath::from_request_parts(parts, hub).await?;
        Ok(Self(id))
    }
}

impl FromRequestParts<Arc<Hub>> for RecordOf {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, PageError> {
        let RecordPath(id, hostname) = RecordPath::from_request_parts(parts, hub).await?;
        Ok(Self(id, hostname))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_like_pages_have_pages_of_their_own() {
        let id = SiloId::parse("office").unwrap();
        for (hostname, path) in [
            ("db", "/dashboard/silos/office/db"),
            ("history", "/dashboard/silos/office/History"),
            ("history.lan", "/dashboard/silos/office/history.lan"),
        ] {
            let hostname = Hostname::parse(hostname).unwrap();
            let page = record_page(&id, &hostname).to_string();
            assert_eq!(page, path);
            let (_, last) = page.rsplit_once('/').unwrap();
            assert_eq!(Hostname::parse(last).unwrap(), hostname);
        }
    }
}
