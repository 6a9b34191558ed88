//! Columns of rows as the types of the domain.

use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::StoreError;
use crate::domain::time::Time;

pub(super) fn silo_id(row: &AnyRow, column: usize) -> Result<SiloId, StoreError> {
    SiloId::parse(row.try_get(column)?).map_err(|_| StoreError::Corrupt("silo id"))
}

pub(super) fn hostname(row: &AnyRow, column: usize) -> Result<Hostname, StoreError> {
    Hostname::parse(row.try_get(column)?).map_err(|_| StoreError::Corrupt("hostname"))
}

pub(super) fn time(row: &AnyRow, column: usize) -> Result<Time, StoreError> {
    Ok(Time::from_millis(row.try_get(column)?))
}

pub(super) fn optional_time(row: &AnyRow, column: usize) -> Result<Option<Time>, StoreError> {
    Ok(row
        .try_get::<Option<i64>, _>(column)?
        .map(Time::from_millis))
}

/// Reads and parses an optional text column.
pub(super) fn optional<T: std::str::FromStr>(
    row: &AnyRow,
    column: usize,
    what: &'static str,
) -> Result<Option<T>, StoreError> {
    row.try_get::<Option<&str>, _>(column)?
        .map(|text| text.parse().map_err(|_| StoreError::Corrupt(what)))
        .transpose()
}
