//! What makes a secret: a new token, and a new secret of one. The secret is in the answer of the `POST` and nowhere else;
//! as a file it comes back to the hub in a form, which answers with it and keeps nothing.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use silo_shared::credential::{Credential, Secret};

use super::error::{PageError, html};
use super::form::PostedForm;
use super::layout::Section;
use super::pages::tokens::{Form, NewTokenPage, RotatePage, SecretPage, file_name};
use super::session::Session;
use super::token_form::{TokenErrors, TokenForm};
use super::tokens::{facts, visible_token};
use super::when::When;
use crate::auth::secrets::NoRandomness;
use crate::domain::token::{Token, TokenSpec};
use crate::http::Hub;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::registry::new_token::{DEFAULT_OVERLAP, MAX_OVERLAP, NewSecret, NewToken};
use crate::registry::{Audited, Refusal, RotateToken};
use crate::store::{Via, WriteScope};

/// The form that makes a token.
pub(super) async fn ask_new(session: Session) -> Result<Response, PageError> {
    session.caller().require_admin()?;
    let values = TokenForm {
        role: "read".to_owned(),
        ..TokenForm::default()
    };
    let errors = TokenErrors::default();
    Ok(html(
        StatusCode::OK,
        &new_page(&session, Form { values, errors }),
    ))
}

fn new_page(session: &Session, form: Form) -> NewTokenPage {
    NewTokenPage {
        chrome: session.chrome("New token", Section::Tokens),
        form,
    }
}

/// Makes a token, as `POST /tokens` does.
async fn make_token(
    hub: &Hub,
    caller: &Caller,
    spec: TokenSpec,
) -> Result<(Token, Credential), ApiError> {
    let new = NewToken::make(spec, &hub.key, hub.clock.now()).map_err(no_randomness)?;
    let command = Audited {
        actor: caller.actor_via(Via::Dashboard),
        command: new.command,
    };
    caller.apply(hub, WriteScope::Unscoped, command).await?;
    Ok((new.token, new.credential))
}

/// That the system has no random bytes is logged here, where it is handled.
pub(super) fn no_randomness(error: NoRandomness) -> ApiError {
    tracing::error!("{error}");
    ApiError::Internal
}

/// Makes a token, and shows its secret.
pub(super) async fn make(
    State(hub): State<Arc<Hub>>,
    form: PostedForm<TokenForm>,
) -> Result<Response, PageError> {
    let caller = form.session.caller();
    caller.require_admin()?;
    let values = form.values;
    let spec = match values.spec(hub.clock.now()) {
        Ok(spec) => spec,
        Err(errors) => {
            let errors = *errors;
            let page = new_page(&form.session, Form { values, errors });
            return Ok(html(StatusCode::UNPROCESSABLE_ENTITY, &page));
        }
    };
    let (token, credential) = make_token(&hub, caller, spec).await?;
    let page = SecretPage {
        chrome: form.session.chrome("New token", Section::Tokens),
        token: facts(&hub, token, caller.token()),
        credential,
        former_ends: None,
        is_readable: form.session.site().is_readable_on_the_way(),
    };
    Ok(html(StatusCode::CREATED, &page))
}

/// The form that gives a token a new secret.
pub(super) async fn ask_rotate(
    session: Session,
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let caller = session.caller();
    let token = visible_token(&hub, caller, &id).await?;
    caller.require_rotate(token.id)?;
    let page = RotatePage {
        chrome: session.chrome("New secret", Section::Tokens),
        token: facts(&hub, token, caller.token()),
        error: None,
    };
    Ok(html(StatusCode::OK, &page))
}

/// What the form sends: for how many seconds the former secret stays valid.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rotate {
    overlap: String,
}

/// Gives a token a new secret, and shows it.
pub(super) async fn rotate(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    form: PostedForm<Rotate>,
) -> Result<Response, PageError> {
    let caller = form.session.caller();
    let token = visible_token(&hub, caller, &id).await?;
    let by_former = caller.require_rotate(token.id)?;
    let overlap = match form.values.overlap.as_str() {
        "" => Some(DEFAULT_OVERLAP),
        text => text.parse().ok().filter(|overlap| *overlap <= MAX_OVERLAP),
    };
    let Some(overlap) = overlap else {
        let page = RotatePage {
            chrome: form.session.chrome("New secret", Section::Tokens),
            token: facts(&hub, token, caller.token()),
            error: Some(format!("a number of seconds, at most {MAX_OVERLAP}")),
        };
        return Ok(html(StatusCode::UNPROCESSABLE_ENTITY, &page));
    };
    let now = hub.clock.now();
    let new = NewSecret::make(token.id, overlap, &hub.key, now).map_err(no_randomness)?;
    let former_ends = new.command.former_ends;
    let command = Audited {
        actor: caller.actor_via(Via::Dashboard),
        command: RotateToken {
            by_former,
            ..new.command
        },
    };
    caller.apply(&hub, WriteScope::Unscoped, command).await?;
    let known = hub.store.token(token.id).await.map_err(ApiError::from)?;
    let known = known.ok_or(ApiError::from(Refusal::NoToken))?;
    let page = SecretPage {
        chrome: form.session.chrome("New secret", Section::Tokens),
        token: facts(&hub, known.token, caller.token()),
        credential: new.credential,
        former_ends: Some(When::new(former_ends, now)),
        is_readable: form.session.site().is_readable_on_the_way(),
    };
    Ok(html(StatusCode::CREATED, &page))
}

/// A secret on its way to a file.
#[derive(Debug, Deserialize)]
pub(super) struct File {
    secret: Secret,
    #[serde(default)]
    name: String,
}

/// Sends a secret back as a file to download.
pub(super) async fn file(form: PostedForm<File>) -> Result<Response, PageError> {
    let File { secret, name } = form.values;
    // Nothing else is to come back as a file of this hub.
    let credential = Credential::parse(secret.expose())
        .map_err(|_| ApiError::Malformed("this is no token".to_owned()))?;
    let name = format!("attachment; filename=\"{}\"", file_name(&name));
    let name = HeaderValue::try_from(name).map_err(|_| ApiError::Internal)?;
    let kind = HeaderValue::from_static("application/octet-stream");
    let content = format!("{}\n", credential.expose());
    Ok(([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, name)], content).into_response())
}
