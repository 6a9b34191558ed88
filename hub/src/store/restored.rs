//! Changes to the database after it was restored from a copy.

use super::{SET_COUNTER, SIGNED_NOT_BEFORE, StoreError, WriteTransaction};
use crate::domain::signed_not_before::SignedNotBefore;
use crate::domain::time::Time;

/// Counters by which hubs notice changes to their cached data. A copy restores old values, so that
/// adding one may give the value that a running hub already has.
const NOTICED: [&str; 2] = ["tokens", "sinks"];

impl WriteTransaction {
    /// From when signatures are valid.
    pub async fn signed_not_before(&mut self) -> Result<SignedNotBefore, StoreError> {
        let row = self
            .dialect
            .query("SELECT value FROM counters WHERE name = ?")
            .bind(SIGNED_NOT_BEFORE)
            .fetch_optional(&mut *self.inner)
            .await?;
        let value = row.map(|row| sqlx::Row::try_get(&row, 0)).transpose()?;
        Ok(SignedNotBefore(Time::from_millis(value.unwrap_or(0))))
    }

    /// Sets from when signatures are valid.
    pub async fn set_signed_not_before(
        &mut self,
        SignedNotBefore(time): SignedNotBefore,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        // On MariaDB, an update to the present value affects no row: check first.
        let is_there = self
            .dialect
            .query("SELECT value FROM counters WHERE name = ?")
            .bind(SIGNED_NOT_BEFORE)
            .fetch_optional(&mut *self.inner)
            .await?
            .is_some();
        let statement = match is_there {
            true => SET_COUNTER,
            false => "INSERT INTO counters (value, name) VALUES (?, ?)",
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
            let present = super::read_counter(self.dialect, &mut self.inner, counter).await?;
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
