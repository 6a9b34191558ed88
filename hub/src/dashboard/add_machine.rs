//! `/dashboard/silos/ID/add-machine`, for admins: makes a token with the rights that one agent needs, and shows the
//! commands that set it up. An invitation can take the token's place: [`access`] is all that knows of it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use silo_shared::credential::{Credential, TokenId};
use silo_shared::silo::SiloId;

use super::error::{PageError, html};
use super::form::PostedForm;
use super::layout::Section;
use super::pages::add_machine::{
    AddMachinePage, HubAddress, MachineAddedPage, MachineErrors, MachineForm,
};
use super::paths::SiloOf;
use super::session::Session;
use super::token_secrets::make_token;
use crate::domain::token::TokenSpec;
use crate::http::Hub;
use crate::http::auth::Caller;
use crate::http::error::ApiError;

/// What lets a machine in.
struct Access {
    token: TokenId,
    credential: Credential,
}

/// Makes what lets a machine in.
async fn access(hub: &Hub, caller: &Caller, spec: TokenSpec) -> Result<Access, ApiError> {
    let (token, credential) = make_token(hub, caller, spec).await?;
    Ok(Access {
        token: token.id,
        credential,
    })
}

/// The form.
pub(super) async fn ask(session: Session, SiloOf(silo): SiloOf) -> Result<Response, PageError> {
    session.caller().require_admin()?;
    let values = MachineForm {
        kind: "downstream".to_owned(),
        ..MachineForm::default()
    };
    let page = form_page(&session, &silo, values, MachineErrors::default());
    Ok(html(StatusCode::OK, &page))
}

fn form_page(
    session: &Session,
    silo: &SiloId,
    values: MachineForm,
    errors: MachineErrors,
) -> AddMachinePage {
    AddMachinePage {
        chrome: session.chrome(format!("Add a machine to {silo}"), Section::Silos),
        silo: silo.to_string(),
        values,
        errors,
    }
}

/// Makes the token, and shows the commands.
pub(super) async fn add(
    State(hub): State<Arc<Hub>>,
    SiloOf(silo): SiloOf,
    form: PostedForm<MachineForm>,
) -> Result<Response, PageError> {
    let session = &form.session;
    session.caller().require_admin()?;
    let made = form.values.machine(silo.as_str()).and_then(|machine| {
        let spec = machine.token(hub.clock.now())?;
        Ok((machine, spec))
    });
    let (machine, spec) = match made {
        Ok(made) => made,
        Err(errors) => {
            let page = form_page(session, &silo, form.values.clone(), errors);
            return Ok(html(StatusCode::UNPROCESSABLE_ENTITY, &page));
        }
    };
    let access = access(&hub, session.caller(), spec).await?;
    let site = session.site();
    let pin = hub.monitor.listening();
    let pin = pin.and_then(|listening| listening.pin.clone());
    let page = MachineAddedPage {
        chrome: session.chrome(format!("Add a machine to {silo}"), Section::Silos),
        machine,
        token_id: access.token.to_string(),
        credential: access.credential,
        hub: HubAddress::of(&site.origin(), site.is_loopback(), pin),
        is_readable: site.is_readable_on_the_way(),
    };
    Ok(html(StatusCode::CREATED, &page))
}
