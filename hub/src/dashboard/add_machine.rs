//! `/dashboard/silos/ID/add-machine`, for admins: makes an invitation with the rights that one agent needs, and shows the
//! command that uses it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use silo_shared::credential::Secret;
use silo_shared::invitation::form::check_hub;
use silo_shared::silo::SiloId;

use super::error::{PageError, html};
use super::field_errors::FieldErrors;
use super::form::PostedForm;
use super::layout::Section;
use super::pages::add_machine::{
    AddMachinePage, MachineForm, MachineInvitedPage, hub_url, wrong_url,
};
use super::paths::SiloOf;
use super::session::Session;
use super::token_secrets::no_randomness;
use super::when::When;
use crate::domain::invitation::{CheckedInvitation, Invitation};
use crate::http::Hub;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::invitation_line::{InvitationLine, own_url};
use crate::registry::new_invitation::NewInvitation;
use crate::store::{Via, WriteScope};

/// Makes an invitation, as `POST /invitations` does.
async fn invite(
    hub: &Hub,
    caller: &Caller,
    checked: CheckedInvitation,
    url: &str,
) -> Result<(Invitation, Secret), ApiError> {
    let line = InvitationLine::of(hub, vec![url.to_owned()])?;
    let actor = caller.actor_via(Via::Dashboard);
    let new = NewInvitation::make(checked, actor, &hub.key, hub.clock.now());
    let new = new.map_err(no_randomness)?;
    let line = line.with_key(new.key)?;
    let invitation = new.command.invitation.clone();
    caller.apply(hub, WriteScope::Unscoped, new.command).await?;
    Ok((invitation, line))
}

/// The form.
pub(super) async fn ask(
    session: Session,
    State(hub): State<Arc<Hub>>,
    SiloOf(silo): SiloOf,
) -> Result<Response, PageError> {
    session.caller().require_admin()?;
    let values = MachineForm {
        kind: "downstream".to_owned(),
        url: hub_url(own_url(&hub), &session.site().origin()),
        ..MachineForm::default()
    };
    let page = form_page(&session, &silo, values, FieldErrors::default());
    Ok(html(StatusCode::OK, &page))
}

fn form_page(
    session: &Session,
    silo: &SiloId,
    values: MachineForm,
    errors: FieldErrors,
) -> AddMachinePage {
    AddMachinePage {
        chrome: session.chrome(format!("Add a machine to {silo}"), Section::Silos),
        silo: silo.to_string(),
        values,
        errors,
    }
}

/// Makes the invitation, and shows the command.
pub(super) async fn add(
    State(hub): State<Arc<Hub>>,
    SiloOf(silo): SiloOf,
    form: PostedForm<MachineForm>,
) -> Result<Response, PageError> {
    let session = &form.session;
    session.caller().require_admin()?;
    let now = hub.clock.now();
    let checked = form.values.invitation(silo.as_str(), now);
    let url = form.values.url.trim();
    let refused = match (checked, check_hub(url)) {
        (Ok(checked), Ok(_)) => match invite(&hub, session.caller(), checked, url).await {
            Ok((invitation, line)) => {
                let page = MachineInvitedPage {
                    chrome: session.chrome(format!("Add a machine to {silo}"), Section::Silos),
                    silo: silo.to_string(),
                    until: When::new(invitation.expires_at, now),
                    invitation,
                    line,
                    is_readable: session.site().is_readable_on_the_way(),
                };
                return Ok(html(StatusCode::CREATED, &page));
            }
            // The line would be too long.
            Err(error) => FieldErrors::of(error)?.1.moved("urls", "url"),
        },
        (Ok(_), Err(_)) => wrong_url(),
        (Err(errors), Ok(_)) => errors,
        (Err(errors), Err(_)) => FieldErrors::new(errors.and(wrong_url())),
    };
    let page = form_page(session, &silo, form.values.clone(), refused);
    Ok(html(StatusCode::UNPROCESSABLE_ENTITY, &page))
}
