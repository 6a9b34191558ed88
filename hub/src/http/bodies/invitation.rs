//! The bodies of invitations.

use serde_json::Value;
use silo_shared::api::FieldError;
use silo_shared::credential::TokenId;
use silo_shared::invitation::form::check_hub;
use silo_shared::invitation::{Proof, PublicKey};

use super::super::error::ApiError;
use super::super::json::{json_object, whole_number};
use super::members::{Errors, names, only, text};
use super::token::time_of;
use crate::domain::invitation::{CheckedInvitation, DEFAULT_SECONDS, InvitationSpec};
use crate::domain::time::Time;

/// Parses the body of `POST /invitations`: what is granted, and the URLs of the hub, if it names any.
pub(in crate::http) fn invitation(
    body: &[u8],
    now: Time,
) -> Result<(CheckedInvitation, Vec<String>), ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    let known = [
        "role",
        "silos",
        "hostnames",
        "name",
        "expires_after",
        "token_expires_at",
        "urls",
    ];
    only(&object, "", &known, &mut errors);
    let role = text(&object, "role")
        .and_then(|text| text.parse().map_err(|error| format!("{error}")))
        .map_err(|error| errors.add("/role", error));
    let mut name = None;
    if object.get("name").is_some_and(|name| !name.is_null()) {
        match text(&object, "name") {
            Ok(given) => name = Some(given.to_owned()),
            Err(error) => errors.add("/name", error),
        }
    }
    let silos = names(&object, "silos", &mut errors);
    let hostnames = names(&object, "hostnames", &mut errors);
    let expires_after = match object.get("expires_after") {
        None | Some(Value::Null) => DEFAULT_SECONDS,
        Some(value) => whole_number(value).unwrap_or_else(|| {
            errors.add("/expires_after", "must be a whole number of seconds");
            DEFAULT_SECONDS
        }),
    };
    let token_expires_at = time_of(&object, "token_expires_at", &mut errors).flatten();
    let urls = names(&object, "urls", &mut errors).unwrap_or_default();
    for (index, url) in urls.iter().enumerate() {
        if let Err(error) = check_hub(url) {
            errors.add(format!("/urls/{index}"), error);
        }
    }
    let Ok(role) = role else {
        return Err(errors.into_error());
    };
    errors.refuse_or(())?;
    let spec = InvitationSpec {
        name,
        role,
        silos: silos.unwrap_or_default(),
        hostnames,
        expires_after,
        token_expires_at,
    };
    let checked = spec.check(now).map_err(|wrong| {
        let wrong = wrong.into_iter().map(|wrong| FieldError {
            pointer: wrong.pointer(),
            detail: wrong.error.to_string(),
        });
        ApiError::Invalid(wrong.collect())
    })?;
    Ok((checked, urls))
}

/// Parses the body of `POST /invitations/{id}/redeem`: the machine's public key.
pub(in crate::http) fn redemption(body: &[u8]) -> Result<PublicKey, ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    only(&object, "", &["public_key"], &mut errors);
    let key = text(&object, "public_key")
        .and_then(|text| text.parse().map_err(|error| format!("{error}")))
        .map_err(|error| errors.add("/public_key", error));
    match key {
        Ok(key) => errors.refuse_or(key),
        Err(()) => Err(errors.into_error()),
    }
}

/// Parses the body of `POST /invitations/{id}/confirm`: the id of the token, and the proof.
pub(in crate::http) fn confirmation(body: &[u8]) -> Result<(TokenId, Proof), ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    only(&object, "", &["token_id", "proof"], &mut errors);
    let id = text(&object, "token_id")
        .and_then(|text| TokenId::parse(text).map_err(|_| "must be the id of a token".to_owned()));
    let id = id.map_err(|error| errors.add("/token_id", error));
    let proof = text(&object, "proof")
        .and_then(|text| text.parse().map_err(|error| format!("{error}")))
        .map_err(|error| errors.add("/proof", error));
    match (id, proof) {
        (Ok(id), Ok(proof)) => errors.refuse_or((id, proof)),
        _ => Err(errors.into_error()),
    }
}
