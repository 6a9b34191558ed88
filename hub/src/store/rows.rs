//! Columns of rows as the types of the domain.

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};
use sqlx::any::{AnyRow, AnyTypeInfo, AnyValueRef};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Any, Database, Decode, Encode, Row, Type};

use super::StoreError;
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::domain::update_key::UpdateKey;

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

/// Reads a stored list of names.
pub(super) fn list(text: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt("list of names"))
}

/// The stored form of a list of names.
pub(super) fn stored_list(list: &[String]) -> String {
    serde_json::Value::from(list).to_string()
}

/// The columns of an update key, as [`update_key`] reads them.
pub(super) const UPDATE_KEY_COLUMNS: &str = "id, silo, hostname, created_at";

pub(super) fn update_key(row: &AnyRow) -> Result<UpdateKey, StoreError> {
    Ok(UpdateKey {
        id: TokenId::parse(row.try_get(0)?).map_err(|_| StoreError::Corrupt("update key"))?,
        silo: silo_id(row, 1)?,
        hostname: hostname(row, 2)?,
        created_at: time(row, 3)?,
    })
}

impl Type<Any> for Revision {
    fn type_info() -> AnyTypeInfo {
        <i64 as Type<Any>>::type_info()
    }

    fn compatible(column: &AnyTypeInfo) -> bool {
        <i64 as Type<Any>>::compatible(column)
    }
}

impl Encode<'_, Any> for Revision {
    fn encode_by_ref(
        &self,
        buffer: &mut <Any as Database>::ArgumentBuffer,
    ) -> Result<IsNull, BoxDynError> {
        Encode::<Any>::encode_by_ref(&i64::from(*self), buffer)
    }
}

impl<'r> Decode<'r, Any> for Revision {
    fn decode(value: AnyValueRef<'r>) -> Result<Self, BoxDynError> {
        <i64 as Decode<Any>>::decode(value).map(Self::from)
    }
}
