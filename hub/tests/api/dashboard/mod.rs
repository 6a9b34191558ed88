//! The dashboard: sessions, forms, sign-in and links, by a small browser.

mod browser;
mod forms;
mod headers;
mod links;
mod lists;
mod live;
mod records;
mod sessions;
mod sign_in;
mod silos;
mod sites;
#[cfg(unix)]
mod tls;

pub(crate) use browser::{Browser, Page};

use silo_hub::internals::open_hub::OpenHub;

use crate::common::TestHub;

/// Where one signs in.
const SIGN_IN: &str = "/dashboard/sign-in";

/// The parts of another program on the database of a hub, with its clock.
async fn beside(hub: &TestHub) -> OpenHub {
    OpenHub::open(&hub.settings, hub.clock())
        .await
        .expect("the database can be opened beside the hub")
}

/// A browser that has signed in as the admin.
async fn signed_in(hub: &TestHub) -> Browser {
    let browser = Browser::of(hub);
    browser.sign_in(&hub.admin).await;
    browser
}
