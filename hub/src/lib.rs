//! The Silo hub: stores silos of hostname/IP records and serves them over REST.
//!
//! The rooms, in the order in which they may use each other; an arrow points at a room further down, never up:
//!
//! | room | holds |
//! |---|---|
//! | [`cli`] | the command line |
//! | `runtime` | the hub as a running program: opening, endless tasks, upkeep, backup, stopping |
//! | `serve` | listeners and connections |
//! | `dashboard` | the pages for browsers |
//! | `compat` | foreign protocols, in words of their own |
//! | `http` | the REST interface; the one place where errors become statuses |
//! | `deliver` | the workers that tell others of changes, and the sinks |
//! | `transfer` | export and import |
//! | `registry` | the only path for writes |
//! | `follow` | the bus, the feed of others' changes, whether the database answers |
//! | `auth` | credentials |
//! | `read` | rendered silos in bounded memory |
//! | `store` | the only SQL |
//! | `config` | settings |
//! | `tls` | certificates |
//! | `domain` | rules without I/O |

mod auth;
pub mod cli;
mod compat;
mod config;
mod dashboard;
mod deliver;
mod domain;
mod follow;
mod http;
mod read;
mod registry;
mod runtime;
mod serve;
mod store;
mod tls;
mod transfer;

/// What the tests and the fuzz targets of this workspace need. No interface: it changes with any version.
#[doc(hidden)]
pub mod internals {
    pub use crate::auth::{secrets, token_cache};
    pub use crate::config::{
        compat as compat_settings, cors, database_url, limits, settings, sinks,
    };
    pub use crate::follow::{feed, invalidation};
    pub use crate::runtime::{
        RunError, backup, key_file, link_history, open_hub, open_sinks, run, run_at, upkeep,
    };

    pub mod compat {
        pub use crate::compat::*;
    }

    pub mod dashboard {
        pub use crate::dashboard::routes;
    }

    pub mod deliver {
        pub use crate::deliver::*;
    }

    pub mod domain {
        pub use crate::domain::*;
    }

    pub mod http {
        pub use crate::http::*;
    }

    pub mod registry {
        pub use crate::registry::*;
    }

    pub mod store {
        pub use crate::store::*;
    }

    pub mod transfer {
        pub use crate::transfer::*;
    }
}
