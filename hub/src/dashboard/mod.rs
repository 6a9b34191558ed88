//! The dashboard: pages for browsers, below `/dashboard`. A page is a function from typed data to HTML (an askama
//! template); handlers call `registry`, `view` and `store` as those of `http/` do, under the same `Caller`, and so with
//! the rights of the token that the session belongs to. Every page works without a script.
//!
//! Called by `runtime`, which mounts the routes unless `dashboard: false`.

mod add_machine;
mod address;
mod agent_list;
mod agents;
mod assets;
mod audit;
mod compress;
mod deliveries;
mod error;
mod events;
mod field_errors;
mod finish;
mod form;
mod history;
mod home;
mod href;
mod invitations;
mod layout;
mod link;
mod list_view;
mod live;
mod navigation;
mod needs;
mod no_page;
mod numbers;
mod pages;
mod paths;
mod record;
mod records;
mod session;
mod sign_in;
mod sign_out;
mod silence;
mod silo;
mod silo_changes;
mod system;
mod theme;
mod timeline;
mod token_form;
mod token_secrets;
mod tokens;
mod when;
mod who;

use std::sync::Arc;

use axum::Router;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, StatusCode};
use axum::middleware::from_fn;
use axum::routing::{any, get, post};

use crate::http::Hub;
use crate::http::site::START;

/// All pages, with the layer that every response goes through, also errors.
pub fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/dashboard", any(to_start))
        .route("/dashboard/", get(home::page))
        .route(
            "/dashboard/sign-in",
            get(sign_in::page).post(sign_in::submit),
        )
        .route("/dashboard/link", get(link::page).post(link::submit))
        .route("/dashboard/link.js", get(link::script))
        .route("/dashboard/sign-out", post(sign_out::here))
        .route("/dashboard/sign-out-everywhere", post(sign_out::everywhere))
        .route("/dashboard/theme", post(theme::choose))
        .route("/dashboard/agents", get(agents::list))
        .route("/dashboard/deliveries", get(deliveries::list))
        .route("/dashboard/deliveries/{id}/retry", post(deliveries::retry))
        .route("/dashboard/audit", get(audit::list))
        .route("/dashboard/system", get(system::page))
        .route("/dashboard/system/backup", post(system::back_up))
        .merge(of_tokens())
        .route("/dashboard/events", get(events::stream))
        .route("/dashboard/changes", get(events::changes))
        .merge(of_silos())
        .merge(assets::routes())
        .route("/dashboard/{*page}", any(no_page::no_page))
        .method_not_allowed_fallback(error::wrong_method)
        .layer(from_fn(finish::finish))
}

/// The pages of silos and records.
fn of_silos() -> Router<Arc<Hub>> {
    Router::new()
        .route("/dashboard/silos", get(to_start).post(home::make))
        .route("/dashboard/silos/{id}", get(silo::page).post(records::add))
        .route("/dashboard/silos/{id}/history", get(history::page))
        .route(
            "/dashboard/silos/{id}/add-machine",
            get(add_machine::ask).post(add_machine::add),
        )
        .route("/dashboard/silos/{id}/undo", post(silo_changes::undo))
        .route(
            "/dashboard/silos/{id}/revert",
            get(silo_changes::preview).post(silo_changes::revert),
        )
        .route(
            "/dashboard/silos/{id}/delete",
            get(silo_changes::ask_to_delete).post(silo_changes::delete),
        )
        .route(
            "/dashboard/silos/{id}/{hostname}",
            get(record::page).post(records::save),
        )
        .route(
            "/dashboard/silos/{id}/{hostname}/delete",
            post(records::delete),
        )
        .route(
            "/dashboard/silos/{id}/{hostname}/settings",
            post(record::change),
        )
}

/// The pages of tokens.
fn of_tokens() -> Router<Arc<Hub>> {
    Router::new()
        .route("/dashboard/tokens", get(tokens::list))
        .route(
            "/dashboard/tokens/new",
            get(token_secrets::ask_new).post(token_secrets::make),
        )
        .route("/dashboard/tokens/file", post(token_secrets::file))
        .route(
            "/dashboard/invitations/{id}/revoke",
            post(invitations::revoke),
        )
        .route(
            "/dashboard/tokens/{id}",
            get(tokens::read).post(tokens::change),
        )
        .route(
            "/dashboard/tokens/{id}/rotate",
            get(token_secrets::ask_rotate).post(token_secrets::rotate),
        )
        .route(
            "/dashboard/tokens/{id}/revoke",
            get(tokens::ask_revoke).post(tokens::revoke),
        )
}

async fn to_start() -> (StatusCode, [(HeaderName, &'static str); 1]) {
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, START)])
}
