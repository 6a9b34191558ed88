//! The forms that add, edit and delete a record. Values are judged as the interface judges a record's body; what it
//! refuses is shown beside the field, and the typed text stays.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use silo_shared::silo::{Hostname, SiloId};

use super::error::{PageError, html};
use super::field_errors::FieldErrors;
use super::form::PostedForm;
use super::layout::Notice;
use super::list_view::ListView;
use super::pages::silo::RecordForm;
use super::paths::{RecordOf, SiloOf};
use super::session::{Session, see_other};
use super::silo::{Forms, back_to, fill};
use crate::domain::precondition::{EntityTag, Precondition, TagList};
use crate::http::Hub;
use crate::http::bodies;
use crate::http::error::ApiError;
use crate::http::request::Query;
use crate::registry::{RemoveRecord, SetRecord};
use crate::store::{Via, WriteScope};

/// The values of the forms that add and edit a record.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    hostname: String,
    ip4: String,
    ip6: String,
    comment: String,
    tag: String,
}

/// A form with nothing but a button.
#[derive(Debug, Deserialize)]
pub(super) struct Nothing {}

/// Adds a record.
pub(super) async fn add(
    State(hub): State<Arc<Hub>>,
    SiloOf(id): SiloOf,
    query: Query,
    form: PostedForm<Typed>,
) -> Result<Response, PageError> {
    let session = &form.session;
    let view = ListView::of(&query).editing(None);
    session.caller().require_write_some(&id)?;
    let parsed = Hostname::parse(&form.values.hostname);
    let added = match parsed {
        Err(error) => Err(also(
            FieldErrors::one("hostname", error),
            form.values.wrong_values(&id),
        )),
        Ok(hostname) => {
            let precondition = Precondition {
                if_none_match: Some(TagList::Any),
                ..Precondition::default()
            };
            let body = form.values.of_new();
            let added = set(&hub, session, &id, &hostname, &body, precondition).await;
            added.map(|()| hostname)
        }
    };
    match added {
        Ok(hostname) => {
            // The list may not show it as it is.
            let all = ListView::of(&Query::parsed(""));
            let to = back_to(&id, &all, &hostname, Notice::RecordAdded.key());
            Ok(see_other(&to, None))
        }
        Err(error) => {
            let error = match error {
                ApiError::Precondition { .. } => {
                    let why = "there is a record of this hostname: edit it in the list";
                    ApiError::invalid("/hostname", why)
                }
                other => other,
            };
            let (status, errors) = refused(error)?;
            let forms = Forms {
                add: form.values.again(errors),
                ..Forms::default()
            };
            let page = fill(&hub, session, id, view, forms).await?;
            Ok(html(status, &page))
        }
    }
}

/// Changes a record in its place.
pub(super) async fn save(
    State(hub): State<Arc<Hub>>,
    RecordOf(id, hostname): RecordOf,
    query: Query,
    form: PostedForm<Typed>,
) -> Result<Response, PageError> {
    let session = &form.session;
    let view = ListView::of(&query);
    let known = EntityTag {
        weak: false,
        opaque: form.values.tag.as_str().into(),
    };
    let precondition = Precondition {
        if_match: Some(TagList::Tags(vec![known])),
        ..Precondition::default()
    };
    let body = form.values.of_edited();
    let saved = set(&hub, session, &id, &hostname, &body, precondition).await;
    let error = match saved {
        Ok(()) => {
            let to = back_to(&id, &view, &hostname, Notice::RecordSaved.key());
            return Ok(see_other(&to, None));
        }
        Err(error) => error,
    };
    let was_changed = matches!(error, ApiError::Precondition { .. });
    let (status, errors) = if was_changed {
        let present = hub
            .store
            .record(&id, &hostname)
            .await
            .map_err(ApiError::from)?;
        let now = match present {
            Some(present) => {
                let ips: Vec<_> = present.addresses.iter().map(|ip| ip.to_string()).collect();
                format!(
                    "it has {} now. Save once more to replace that",
                    ips.join(" and ")
                )
            }
            None => "it is removed now. Add it to have it again".to_owned(),
        };
        let why = format!("this record was changed by somebody else meanwhile: {now}");
        (error.status(), FieldErrors::one("", why))
    } else {
        refused(error)?
    };
    let mut again = form.values.again(errors);
    again.hostname = hostname.to_string();
    let forms = Forms {
        edit: Some(again),
        ..Forms::default()
    };
    let view = view.editing(Some(hostname));
    let page = fill(&hub, session, id, view, forms).await?;
    Ok(html(status, &page))
}

/// Deletes a record.
pub(super) async fn delete(
    State(hub): State<Arc<Hub>>,
    RecordOf(id, hostname): RecordOf,
    query: Query,
    form: PostedForm<Nothing>,
) -> Result<Response, PageError> {
    let caller = form.session.caller();
    caller.require_write(&id, &hostname)?;
    let place = WriteScope::Record(id.clone(), hostname.clone());
    let command = RemoveRecord {
        actor: caller.actor_via(Via::Dashboard),
        id: id.clone(),
        hostname: hostname.clone(),
        family: None,
        precondition: Precondition::default(),
    };
    caller.apply(&hub, place, command).await?;
    let view = ListView::of(&query).editing(None);
    let to = view.link(&id).with("notice", Notice::RecordDeleted.key());
    Ok(see_other(&to.to_string(), None))
}

/// Sets a record from a body as the interface takes it.
pub(super) async fn set(
    hub: &Hub,
    session: &Session,
    id: &SiloId,
    hostname: &Hostname,
    body: &Value,
    precondition: Precondition,
) -> Result<(), ApiError> {
    let caller = session.caller();
    caller.require_write(id, hostname)?;
    let body = body.to_string();
    let patch = bodies::record(Some(body.as_bytes()), id, hostname, || {
        caller.implied_ip(hub)
    })?;
    let place = WriteScope::Record(id.clone(), hostname.clone());
    let command = SetRecord {
        actor: caller.actor_via(Via::Dashboard),
        id: id.clone(),
        hostname: hostname.clone(),
        addresses: patch.addresses,
        cleared: patch.cleared,
        attributes: patch.attributes,
        precondition,
    };
    caller.apply(hub, place, command).await?;
    Ok(())
}

/// The errors to show beside the fields, with the status.
pub(super) fn refused(error: ApiError) -> Result<(axum::http::StatusCode, FieldErrors), ApiError> {
    let status = error.status();
    match error {
        ApiError::Forbidden(why) => Ok((status, FieldErrors::one("hostname", why))),
        // The form has a field for each family.
        other => FieldErrors::of(other).map(|(status, errors)| (status, errors.moved("ip", "ip4"))),
    }
}

/// The errors of the hostname, with those of the other values.
fn also(hostname: FieldErrors, others: Option<ApiError>) -> ApiError {
    let others = others.and_then(|error| FieldErrors::of(error).ok());
    let others = others.map(|(_, errors)| errors).unwrap_or_default();
    ApiError::Invalid(hostname.and(others))
}

impl Typed {
    /// The body that makes a record.
    fn of_new(&self) -> Value {
        let mut body = Map::new();
        for (member, text) in [
            ("ip4", &self.ip4),
            ("ip6", &self.ip6),
            ("comment", &self.comment),
        ] {
            let text = text.trim();
            if !text.is_empty() {
                body.insert(member.to_owned(), text.into());
            }
        }
        body.into()
    }

    /// The body that makes a record equal to the form.
    fn of_edited(&self) -> Value {
        let mut body = Map::new();
        for (member, text) in [
            ("ip4", &self.ip4),
            ("ip6", &self.ip6),
            ("comment", &self.comment),
        ] {
            let text = Some(text.trim()).filter(|text| !text.is_empty());
            body.insert(member.to_owned(), text.into());
        }
        body.into()
    }

    /// What is wrong with the values, whatever the hostname.
    fn wrong_values(&self, id: &SiloId) -> Option<ApiError> {
        let any = Hostname::parse("any").ok()?;
        let body = self.of_new().to_string();
        let none = || Err(ApiError::invalid("/ip4", "no address"));
        bodies::record(Some(body.as_bytes()), id, &any, none).err()
    }

    /// The form again.
    fn again(self, errors: FieldErrors) -> RecordForm {
        RecordForm {
            hostname: self.hostname,
            ip4: self.ip4,
            ip6: self.ip6,
            comment: self.comment,
            tag: self.tag,
            errors,
        }
    }
}
