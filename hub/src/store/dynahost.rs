//! Bindings of hostnames by dynahost's protocol, and their sealed logins at providers.

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::transferred::TransferredBinding;
use super::{Store, StoreError, WriteTransaction, hostname, optional, silo_id, time};
use crate::domain::dynahost::{Binding, KnownLogin, SealedLogin, SecidHash};
use crate::domain::sink::SinkName;

/// The columns of a binding, as [`binding`] reads them.
pub(super) const COLUMNS: &str =
    "id, silo, hostname, secid_hash, confirmed, created_at, sink, login_hash";

pub(super) fn binding(row: &AnyRow) -> Result<Binding, StoreError> {
    let sink = optional::<SinkName>(row, 6, "sink name")?;
    let hash: Option<String> = row.try_get(7)?;
    Ok(Binding {
        id: TokenId::parse(row.try_get(0)?).map_err(|_| StoreError::Corrupt("dynahost binding"))?,
        silo: silo_id(row, 1)?,
        hostname: hostname(row, 2)?,
        secid: row.try_get::<Option<String>, _>(3)?.map(SecidHash),
        is_confirmed: row.try_get::<i64, _>(4)? != 0,
        created_at: time(row, 5)?,
        login: sink.zip(hash).map(|(sink, hash)| KnownLogin { sink, hash }),
    })
}

impl Store {
    /// All bindings, oldest first.
    pub async fn dynahosts(&self) -> Result<Vec<Binding>, StoreError> {
        self.dialect
            .query(format!(
                "SELECT {COLUMNS} FROM dynahost ORDER BY created_at, id"
            ))
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(binding)
            .collect()
    }
}

impl WriteTransaction {
    /// Number of bindings that rest on a first use and are not confirmed.
    pub async fn unconfirmed_dynahosts(&mut self) -> Result<i64, StoreError> {
        let row = self
            .dialect
            .query("SELECT count(*) FROM dynahost WHERE confirmed = 0")
            .fetch_one(&mut *self.inner)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Adds a binding without a login.
    pub async fn insert_dynahost(&mut self, binding: &Binding) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query(
                "INSERT INTO dynahost (silo, hostname, id, secid_hash, confirmed, created_at) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(binding.silo.as_str())
            .bind(binding.hostname.as_str())
            .bind(binding.id.as_str())
            .bind(binding.secid.as_ref().map(|hash| hash.0.as_str()))
            .bind(i16::from(binding.is_confirmed))
            .bind(binding.created_at.as_millis())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Adds a binding as exported, unless one exists with its id or hostname; returns whether it was added.
    pub async fn add_missing_dynahost(
        &mut self,
        new: &TransferredBinding,
    ) -> Result<bool, StoreError> {
        let TransferredBinding { binding, login } = new;
        let known = self
            .dialect
            .query("SELECT id FROM dynahost WHERE id = ? OR (silo = ? AND hostname = ?) LIMIT 1")
            .bind(binding.id.as_str())
            .bind(binding.silo.as_str())
            .bind(binding.hostname.as_str())
            .fetch_optional(&mut *self.inner)
            .await?;
        if known.is_some() {
            return Ok(false);
        }
        self.insert_dynahost(binding).await?;
        if let Some((known, sealed)) = binding.login.as_ref().zip(login.as_ref()) {
            self.put_login(binding.id, known, sealed).await?;
        }
        Ok(true)
    }

    /// Binds an open hostname to a secid.
    pub async fn bind_dynahost(
        &mut self,
        id: TokenId,
        secid: &SecidHash,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("UPDATE dynahost SET secid_hash = ? WHERE id = ?")
            .bind(secid.0.as_str())
            .bind(id.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Records that an admin confirmed a binding.
    pub async fn confirm_dynahost(&mut self, id: TokenId) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("UPDATE dynahost SET confirmed = 1 WHERE id = ?")
            .bind(id.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Removes a binding with its login; false if it does not exist.
    pub async fn remove_dynahost(&mut self, id: TokenId) -> Result<bool, StoreError> {
        let removed = self
            .dialect
            .query("DELETE FROM dynahost WHERE id = ?")
            .bind(id.as_str())
            .execute(&mut *self.inner)
            .await?;
        let is_removed = removed.rows_affected() > 0;
        self.must_commit |= is_removed;
        Ok(is_removed)
    }

    /// Stores the login that the caller gave, replacing any other.
    pub async fn put_login(
        &mut self,
        id: TokenId,
        known: &KnownLogin,
        sealed: &SealedLogin,
    ) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("UPDATE dynahost SET sink = ?, login = ?, login_hash = ? WHERE id = ?")
            .bind(known.sink.as_str())
            .bind(sealed.0.as_str())
            .bind(known.hash.as_str())
            .bind(id.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// The login of a hostname at a sink's receiver.
    pub async fn login(
        &mut self,
        sink: &SinkName,
        silo: &SiloId,
        hostname: &Hostname,
    ) -> Result<Option<SealedLogin>, StoreError> {
        let row = self
            .dialect
            .query("SELECT login FROM dynahost WHERE silo = ? AND hostname = ? AND sink = ?")
            .bind(silo.as_str())
            .bind(hostname.as_str())
            .bind(sink.as_str())
            .fetch_optional(&mut *self.inner)
            .await?;
        let login = row.map(|row| row.try_get::<Option<String>, _>(0));
        Ok(login.transpose()?.flatten().map(SealedLogin))
    }

    /// Deletes every login, since the key that opens them no longer exists.
    pub async fn forget_logins(&mut self) -> Result<(), StoreError> {
        self.must_commit = true;
        self.dialect
            .query("UPDATE dynahost SET sink = NULL, login = NULL, login_hash = NULL")
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
