//! Why the values of a form were refused, each beside its field. The words are those of the interface.

use axum::http::StatusCode;
use silo_shared::api::FieldError;

use crate::http::error::ApiError;

/// The errors of a form; none: it was not refused.
#[derive(Clone, Debug, Default)]
pub(super) struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// An error of one field.
    pub(super) fn one(field: &str, detail: impl ToString) -> Self {
        Self(vec![FieldError {
            pointer: format!("/{field}"),
            detail: detail.to_string(),
        }])
    }

    /// The errors that an answer names, with its status; any other error is returned.
    pub(super) fn of(error: ApiError) -> Result<(StatusCode, Self), ApiError> {
        let status = error.status();
        match error {
            ApiError::Invalid(errors) | ApiError::ForbiddenPlaces(errors) => {
                Ok((status, Self(errors)))
            }
            other => Err(other),
        }
    }

    /// Several errors, each with the pointer to its field.
    pub(super) fn new(errors: Vec<FieldError>) -> Self {
        Self(errors)
    }

    /// These and others.
    pub(super) fn and(mut self, others: Self) -> Vec<FieldError> {
        self.0.extend(others.0);
        self.0
    }

    /// The same, with those of one field moved to another.
    #[must_use]
    pub(super) fn moved(mut self, from: &str, to: &str) -> Self {
        for error in &mut self.0 {
            if name(error) == from {
                error.pointer = format!("/{to}");
            }
        }
        self
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong with a field.
    pub(super) fn at(&self, field: &str) -> Option<&str> {
        let of_field = |error: &&FieldError| name(error) == field;
        let error = self.0.iter().find(of_field)?;
        Some(&error.detail)
    }

    /// What is wrong with none of these fields.
    pub(super) fn beside(&self, fields: &[&str]) -> Vec<&str> {
        let others = self.0.iter().filter(|error| !fields.contains(&name(error)));
        others.map(|error| error.detail.as_str()).collect()
    }
}

/// The first segment of an error's pointer.
fn name(error: &FieldError) -> &str {
    let path = error.pointer.strip_prefix('/').unwrap_or_default();
    path.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_by_their_field() {
        let error = |pointer: &str, detail: &str| FieldError {
            pointer: pointer.to_owned(),
            detail: detail.to_owned(),
        };
        let errors = ApiError::Invalid(vec![
            error("/ip4", "no address"),
            error("/ips/1", "a second one"),
            error("", "all of it"),
        ]);
        let (status, errors) = FieldErrors::of(errors).unwrap();
        assert_eq!(status, 422);
        assert_eq!(errors.at("ip4"), Some("no address"));
        assert_eq!(errors.at("ips"), Some("a second one"));
        assert_eq!(errors.at("ip6"), None);
        assert_eq!(errors.beside(&["ip4"]), ["a second one", "all of it"]);
        assert!(FieldErrors::of(ApiError::Internal).is_err());
    }
}
