//! The bodies of tokens.

use serde_json::{Map, Value};
use silo_shared::api::FieldError;
use silo_shared::credential::TokenId;
use silo_shared::invitation::PublicKey;

use super::super::error::ApiError;
use super::super::json::{json_object, whole_number};
use super::members::{Errors, names, only, text};
use crate::domain::time::Time;
use crate::domain::token::{Role, SpecError, TokenSpec};
use crate::domain::token_patch::TokenPatch;
use crate::registry::new_token::{DEFAULT_OVERLAP, MAX_OVERLAP};

/// How to rotate a token.
#[derive(Debug)]
pub(in crate::http) struct Rotation {
    /// For how many seconds the old secret stays valid.
    pub(in crate::http) overlap: u32,
    /// With which key the owner derives the secret.
    pub(in crate::http) public_key: Option<PublicKey>,
}

/// Parses the body of `POST /tokens/{id}/rotate`.
pub(in crate::http) fn rotation(body: &[u8]) -> Result<Rotation, ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    only(&object, "", &["overlap", "public_key"], &mut errors);
    let mut public_key = None;
    if object.contains_key("public_key") {
        let parsed = text(&object, "public_key")
            .and_then(|text| text.parse().map_err(|error| format!("{error}")));
        match parsed {
            Ok(key) => public_key = Some(key),
            Err(error) => errors.add("/public_key", error),
        }
    }
    errors.refuse_or(())?;
    Ok(Rotation {
        overlap: overlap(&object)?,
        public_key,
    })
}

fn overlap(object: &Map<String, Value>) -> Result<u32, ApiError> {
    match object.get("overlap") {
        None => Ok(DEFAULT_OVERLAP),
        Some(value) => whole_number(value)
            .and_then(|seconds| u32::try_from(seconds).ok())
            .filter(|seconds| *seconds <= MAX_OVERLAP)
            .ok_or_else(|| {
                let detail = format!("must be a whole number of seconds, at most {MAX_OVERLAP}");
                ApiError::invalid("/overlap", detail)
            }),
    }
}

/// Parses the body of `POST /tokens`.
pub(in crate::http) fn token(body: &[u8], now: Time) -> Result<TokenSpec, ApiError> {
    let object = json_object(body)?;
    let mut errors = Errors::default();
    let known = ["name", "role", "silos", "hostnames", "expires_at"];
    only(&object, "", &known, &mut errors);
    let name = text(&object, "name").map_err(|error| errors.add("/name", error));
    let role = text(&object, "role")
        .and_then(|text| text.parse().map_err(|error| format!("{error}")))
        .map_err(|error| errors.add("/role", error));
    let silos = names(&object, "silos", &mut errors);
    let hostnames = names(&object, "hostnames", &mut errors);
    let expires_at = time_of(&object, "expires_at", &mut errors).flatten();
    let (Ok(name), Ok(role)) = (name, role) else {
        return Err(errors.into_error());
    };
    let spec = TokenSpec {
        name: name.to_owned(),
        role,
        silos: silos.unwrap_or_default(),
        hostnames,
        expires_at,
    };
    errors.refuse_or(())?;
    spec.check(now).map_err(refused)
}

/// Members of a token's document that `PATCH` ignores, so that a document that was read can be sent back.
const MADE_BY_THE_HUB: [&str; 3] = ["created_at", "last_used_at", "old_secret_ends_at"];

/// Parses the body of `PATCH /tokens/{id}`: what is left out is kept, and `null` removes a limit.
pub(in crate::http) fn token_patch(
    body: &[u8],
    id: TokenId,
    now: Time,
) -> Result<TokenPatch, ApiError> {
    let mut object = json_object(body)?;
    for name in MADE_BY_THE_HUB {
        object.remove(name);
    }
    let mut errors = Errors::default();
    let known = ["name", "silos", "hostnames", "expires_at", "id", "role"];
    only(&object, "", &known, &mut errors);
    if object
        .get("id")
        .is_some_and(|given| given.as_str() != Some(id.as_str()))
    {
        errors.add("/id", format!("the path is for {id}"));
    }
    let mut role = None;
    if object.contains_key("role") {
        let parsed = text(&object, "role")
            .and_then(|text| text.parse::<Role>().map_err(|error| error.to_string()));
        match parsed {
            Ok(given) => role = Some(given),
            Err(error) => errors.add("/role", error),
        }
    }
    let mut name = None;
    if object.contains_key("name") {
        match text(&object, "name") {
            Ok(given) => name = Some(given.to_owned()),
            Err(error) => errors.add("/name", error),
        }
    }
    let silos = names(&object, "silos", &mut errors);
    let hostnames = names(&object, "hostnames", &mut errors);
    let expires_at = time_of(&object, "expires_at", &mut errors);
    let patch = TokenPatch {
        role,
        name,
        silos: object
            .contains_key("silos")
            .then(|| silos.unwrap_or_default()),
        hostnames: object.contains_key("hostnames").then_some(hostnames),
        expires_at,
    };
    errors.refuse_or(())?;
    patch.check(now).map_err(refused)
}

/// A time, if it is there; `Some(None)`: `null`.
pub(super) fn time_of(
    object: &Map<String, Value>,
    member: &'static str,
    errors: &mut Errors,
) -> Option<Option<Time>> {
    match object.get(member)? {
        Value::Null => Some(None),
        value => {
            let time = value.as_str().and_then(Time::parse);
            if time.is_none() {
                let detail = "must be a time such as \"2027-01-01T00:00:00Z\" (RFC 3339)";
                errors.add(format!("/{member}"), detail);
            }
            Some(time)
        }
    }
}

fn refused(wrong: Vec<SpecError>) -> ApiError {
    let of = |error: SpecError| FieldError {
        pointer: error.pointer(),
        detail: error.error.to_string(),
    };
    ApiError::Invalid(wrong.into_iter().map(of).collect())
}
