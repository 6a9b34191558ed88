//! Changes to the database after it was restored from a copy, and its id, which is then another one.

use super::position::{find_counter, read_counter};
use super::queries::DATABASE_ID;
use super::{SET_COUNTER, SIGNED_NOT_BEFORE, StoreError, WriteTransaction};
use crate::domain::database_id::DatabaseId;
use crate::domain::signed_not_before::SignedNotBefore;
use crate::domain::time::Time;

/// Counters by which hubs notice changes to their cached data. A copy restores old values, so that
/// adding one may give the value that a running hub already has.
const NOTICED: [&str; 2] = ["tokens", "sinks"];

impl WriteTransaction {
    /// Gives this database an id.
    pub async fn set_database_id(&mut self, id: DatabaseId) -> Result<(), StoreError> {
        self.effects.database_id = Some(id);
        self.set_fact(DATABASE_ID, &id.to_string()).await
    }

    /// From when signatures are valid.
    pub async fn signed_not_before(&mut self) -> Result<SignedNotBefore, StoreError> {
        let value = find_counter(self.dialect, &mut self.inner, SIGNED_NOT_BEFORE).await?;
        Ok(SignedNotBefore(Time::from_millis(value.unwrap_or(0))))
    }

    /// Sets from when signatures are valid.
    pub async fn set_signed_not_before(
        &mut self,
        SignedNotBefore(time): SignedNotBefore,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        // On MariaDB, an update to the present value affects no row: check first.
        let present = find_counter(self.dialect, &mut self.inner, SIGNED_NOT_BEFORE).await?;
        let statement = if present.is_some() {
            SET_COUNTER
        } else {
            "INSERT INTO counters (value, name) VALUES (?, ?)"
        };
        self.dialect
            .query(statement)
            .bind(time.as_millis())
            .bind(SIGNED_NOT_BEFORE)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Makes every hub reload tokens and sinks.
    pub async fn forget_what_hubs_hold(&mut self, now: Time) -> Result<(), StoreError> {
        self.must_commit = true;
        self.sinks_changed = true;
        self.effects.all_tokens_changed = true;
        for counter in NOTICED {
            let present = read_counter(self.dialect, &mut self.inner, counter).await?;
            self.dialect
                .query(SET_COUNTER)
                // Far beyond any value reached by counting.
                .bind((present + 1).max(now.as_micros()))
                .bind(counter)
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(())
    }
}
