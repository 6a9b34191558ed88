//! `/dashboard/system`, for admins and for tokens with the role `metrics`; and the download of a backup, for admins.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use tokio::io::AsyncReadExt;

use super::error::{PageError, html};
use super::form::PostedForm;
use super::href::href;
use super::layout::{Notice, Section};
use super::pages::system::{Backup, Download, SystemPage};
use super::session::{Session, see_other};
use super::sign_out::NoFields;
use crate::http::Hub;
use crate::http::database_copy::{CopyError, DatabaseCopy};
use crate::http::error::ApiError;
use crate::http::status::status;

/// How much of a copy is in memory.
const CHUNK: usize = 64 * 1024;

/// The page.
pub(super) async fn page(
    session: Session,
    State(hub): State<Arc<Hub>>,
) -> Result<Response, PageError> {
    session.caller().require_metrics()?;
    let backup = match hub.monitor.copies() {
        None => Backup::Server,
        Some(copies) => Backup::File {
            newest: copies.newest_backup(),
            download: download(&session),
        },
    };
    let page = SystemPage {
        chrome: session.chrome("System", Section::System),
        status: status(&hub).await,
        load: hub.load(),
        backup,
    };
    Ok(html(StatusCode::OK, &page))
}

/// Whether the session may download a copy: for admins, and never over plain HTTP to another machine.
fn download(session: &Session) -> Download {
    let site = session.site();
    let is_here = !site.is_readable_on_the_way() && session.caller().ip().is_loopback();
    if !session.caller().token().is_admin() {
        Download::NotAdmin
    } else if site.is_tls() || is_here {
        Download::Allowed
    } else {
        Download::Readable
    }
}

/// Sends a copy of the database.
pub(super) async fn back_up(
    State(hub): State<Arc<Hub>>,
    form: PostedForm<NoFields>,
) -> Result<Response, PageError> {
    form.session.caller().require_admin()?;
    if download(&form.session) != Download::Allowed {
        return Err(ApiError::Forbidden(
            "a backup is not sent over plain HTTP to another machine, since it could be read on the way: open this page over TLS or on the hub's own machine, or run `silo-hub backup FILE` there",
        )
        .into());
    }
    let copies = hub.monitor.copies().ok_or(ApiError::NotFound(
        "the database is on a server, which has its own tools for backups",
    ))?;
    let copy = match copies.copy().await {
        Ok(copy) => copy,
        Err(CopyError::Busy) => {
            let page = href("/dashboard/system").with("notice", Notice::BackupBusy.key());
            return Ok(see_other(&page.to_string(), None));
        }
        Err(error @ CopyError::Failed(_)) => {
            tracing::error!("{error}");
            return Err(ApiError::Unavailable.into());
        }
    };
    let caller = form.session.caller();
    tracing::info!(token_id = %caller.token().id, bytes = copy.bytes, "a backup is downloaded");
    let day = hub.clock.now().to_string();
    let day = day.split('T').next().unwrap_or("");
    let name = format!("attachment; filename=\"silo-{day}.db\"");
    let name = HeaderValue::try_from(name).map_err(|_| ApiError::Internal)?;
    let kind = HeaderValue::from_static("application/vnd.sqlite3");
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_DISPOSITION, name),
        (CONTENT_LENGTH, copy.bytes.into()),
    ];
    Ok((headers, Body::from_stream(content(hub, copy))).into_response())
}

/// What is left to send of a copy. Dropping it removes the copy's file: at the end, or when the client leaves.
struct Sending {
    hub: Arc<Hub>,
    // Closed before the file is removed.
    file: tokio::fs::File,
    _copy: DatabaseCopy,
    left: u64,
}

fn content(hub: Arc<Hub>, mut copy: DatabaseCopy) -> impl Stream<Item = std::io::Result<Bytes>> {
    let sending = copy.take_file().map(|file| Sending {
        hub,
        file: tokio::fs::File::from_std(file),
        left: copy.bytes,
        _copy: copy,
    });
    stream::try_unfold(sending, async |sending| {
        let Some(mut sending) = sending else {
            return Ok(None);
        };
        let mut chunk = vec![0; CHUNK];
        let read = sending.file.read(&mut chunk).await?;
        chunk.truncate(read);
        sending.left = sending
            .left
            .saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        if read == 0 {
            return Ok(None);
        }
        if sending.left == 0 {
            if let Some(copies) = sending.hub.monitor.copies() {
                copies.note_backup();
            }
            return Ok(Some((chunk.into(), None)));
        }
        Ok(Some((chunk.into(), Some(sending))))
    })
}
