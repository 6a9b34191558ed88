//! `/dashboard/tokens`: the tokens, for admins; one token, and the forms that change and revoke it. A token that is no
//! admin's sees itself alone.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use silo_shared::credential::TokenId;

use super::error::{PageError, html};
use super::form::PostedForm;
use super::href::href;
use super::invitations;
use super::layout::{Notice, Section};
use super::pages::tokens::{Facts, Form, RevokePage, TokenPage, TokensPage};
use super::session::{SIGN_IN, Session, see_other};
use super::sign_out::NoFields;
use super::token_form::{TokenErrors, TokenForm};
use crate::domain::token::Token;
use crate::http::Hub;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::registry::{Audited, ChangeToken, Refusal, RevokeToken};
use crate::store::{Via, WriteScope};

/// The number of tokens on a page.
const PAGE: usize = 100;

/// The parameters of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    after: String,
}

/// The list; for a token that is no admin's, its own page.
pub(super) async fn list(
    session: Session,
    State(hub): State<Arc<Hub>>,
    Query(asked): Query<Parameters>,
) -> Result<Response, PageError> {
    let own = session.caller().token();
    if !own.is_admin() {
        return Ok(see_other(&format!("/dashboard/tokens/{}", own.id), None));
    }
    let after = TokenId::parse(&asked.after).ok();
    // One more than the page has shows that there is a next one.
    let wanted = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let start = after.map_or_else(String::new, |after| after.to_string());
    let mut tokens = hub
        .store
        .tokens(&start, wanted)
        .await
        .map_err(ApiError::from)?;
    let has_more = tokens.len() > PAGE;
    tokens.truncate(PAGE);
    let last = tokens.last().filter(|_| has_more);
    let next = last.map(|last| last.id.to_string());
    let rows = tokens.into_iter().map(|token| facts(&hub, token, own));
    let page = TokensPage {
        chrome: session.chrome("Tokens", Section::Tokens),
        rows: rows.collect(),
        invitations: match after {
            None => invitations::open(&hub).await?,
            Some(_) => Vec::new(),
        },
        is_first: after.is_none(),
        next,
    };
    Ok(html(StatusCode::OK, &page))
}

/// What is known of a token, with its last use as far as this hub knows it.
pub(super) fn facts(hub: &Hub, mut token: Token, own: &Token) -> Facts {
    token.last_used_at = hub.tokens.last_used(token.id, token.last_used_at);
    Facts::of(&token, own, hub.clock.now())
}

/// The token with an id, for an admin and for the token itself.
pub(super) async fn visible_token(hub: &Hub, caller: &Caller, id: &str) -> Result<Token, ApiError> {
    let id = TokenId::parse(id).ok();
    if id != Some(caller.token().id) {
        caller.require_admin()?;
    }
    let known = hub.store.token(id.ok_or(Refusal::NoToken)?).await?;
    let token = known.ok_or(Refusal::NoToken)?.token;
    if token.revoked_at.is_some() {
        return Err(Refusal::NoToken.into());
    }
    Ok(token)
}

/// One token.
pub(super) async fn read(
    session: Session,
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let token = visible_token(&hub, session.caller(), &id).await?;
    let form = session.caller().token().is_admin().then(|| Form {
        values: TokenForm::of(&token),
        errors: TokenErrors::default(),
    });
    Ok(html(
        StatusCode::OK,
        &token_page(&session, &hub, token, form),
    ))
}

fn token_page(session: &Session, hub: &Hub, token: Token, form: Option<Form>) -> TokenPage {
    let caller = session.caller();
    TokenPage {
        chrome: session.chrome(token.spec.name.clone(), Section::Tokens),
        may_rotate: caller.require_rotate(token.id).is_ok(),
        may_revoke: caller.require_revoke(Some(token.id)).is_ok(),
        token: facts(hub, token, caller.token()),
        form,
    }
}

/// Changes a token's name, silos, hostnames and end.
pub(super) async fn change(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    form: PostedForm<TokenForm>,
) -> Result<Response, PageError> {
    let caller = form.session.caller();
    caller.require_admin()?;
    let token = visible_token(&hub, caller, &id).await?;
    let values = form.values;
    let changed = match values.patch(hub.clock.now()) {
        Err(errors) => Err(*errors),
        Ok(patch) => {
            let command = ChangeToken {
                actor: caller.actor_via(Via::Dashboard),
                id: token.id,
                patch,
            };
            match caller.apply(&hub, WriteScope::Unscoped, command).await {
                Err(ApiError::Invalid(wrong)) => Err(values.errors(&wrong)),
                Err(error) => return Err(error.into()),
                Ok(_) => Ok(()),
            }
        }
    };
    match changed {
        Ok(()) => {
            let page = href(&format!("/dashboard/tokens/{}", token.id));
            let page = page.with("notice", Notice::TokenChanged.key());
            Ok(see_other(&page.to_string(), None))
        }
        Err(errors) => {
            let form_page = token_page(&form.session, &hub, token, Some(Form { values, errors }));
            Ok(html(StatusCode::UNPROCESSABLE_ENTITY, &form_page))
        }
    }
}

/// Asks whether a token is to be revoked.
pub(super) async fn ask_revoke(
    session: Session,
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let caller = session.caller();
    let token = visible_token(&hub, caller, &id).await?;
    caller.require_revoke(Some(token.id))?;
    let page = RevokePage {
        chrome: session.chrome("Revoke a token", Section::Tokens),
        token: facts(&hub, token, caller.token()),
    };
    Ok(html(StatusCode::OK, &page))
}

/// Revokes a token, and so ends its sessions.
pub(super) async fn revoke(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    form: PostedForm<NoFields>,
) -> Result<Response, PageError> {
    let caller = form.session.caller();
    let token = TokenId::parse(&id).ok();
    caller.require_revoke(token)?;
    let id = token.ok_or(ApiError::from(Refusal::NoToken))?;
    let command = Audited {
        actor: caller.actor_via(Via::Dashboard),
        command: RevokeToken(id),
    };
    caller.apply(&hub, WriteScope::Unscoped, command).await?;
    if id == caller.token().id {
        // This session has ended with it.
        let removed = form.session.removed_cookie(&hub);
        return Ok(see_other(SIGN_IN, Some(removed)));
    }
    let list = href("/dashboard/tokens").with("notice", Notice::TokenRevoked.key());
    Ok(see_other(&list.to_string(), None))
}
