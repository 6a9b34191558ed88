//! Complete copies of an embedded database, and checks of one that is to be replaced.

use std::path::Path;

use sqlx::any::AnyConnectOptions;
use sqlx::{Executor, Row};

use super::connection::{Connector, DbConnection};
use super::dialect::is_malformed;
use super::server_identity::Servers;
use super::{Store, StoreError, migrations, read_counter};
use crate::config::database_url::DatabaseUrl;
use crate::domain::revision::Revision;

impl DatabaseUrl {
    /// Opens a separate connection without changing anything.
    async fn visit(&self) -> Result<DbConnection, StoreError> {
        sqlx::any::install_default_drivers();
        let refused = |error: sqlx::Error| {
            let (url, cause) = (self.to_string(), error.to_string());
            if is_malformed(&error) {
                StoreError::Malformed { url, cause }
            } else {
                StoreError::Open { url, cause }
            }
        };
        let options: AnyConnectOptions = self
            .dialect
            .reconnect_url(&self.url)
            .parse()
            .map_err(refused)?;
        let connector = Connector::new(
            &options,
            &Servers::new(self.dialect),
            "PRAGMA busy_timeout = 5000",
        );
        connector.connect().await.map_err(refused)
    }

    /// Copies the current state of this embedded database into an empty file, while others may
    /// write; the copy needs no other file.
    pub async fn copy_into(&self, file: &Path) -> Result<(), StoreError> {
        let mut connection = self.visit().await?;
        let done = self
            .dialect
            .query("VACUUM INTO ?")
            .bind(file.to_string_lossy().into_owned())
            .execute(&mut connection)
            .await;
        connection.close().await?;
        done?;
        Ok(())
    }

    /// The first migration that an embedded database lacks; `None` if it lacks none, or is new.
    pub async fn next_migration(&self) -> Result<Option<i64>, StoreError> {
        let mut connection = self.visit().await?;
        let next = migrations::next(&mut connection).await;
        connection.close().await?;
        next
    }

    /// Checkpoints an unused embedded database into its single file, without a log beside it;
    /// returns its last revision.
    pub async fn settle(&self) -> Result<Revision, StoreError> {
        let mut connection = self.visit().await?;
        let settled = async {
            let revision = read_counter(self.dialect, &mut connection, "revision").await?;
            connection
                .execute("PRAGMA wal_checkpoint(TRUNCATE)")
                .await?;
            Ok(revision.into())
        };
        let settled = settled.await;
        connection.close().await?;
        settled
    }
}

impl Store {
    /// Whether an embedded database's file passes its integrity check.
    pub async fn is_sound(&self) -> Result<bool, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let row = connection.fetch_one("PRAGMA quick_check(1)").await?;
        Ok(row.try_get::<&str, _>(0)? == "ok")
    }
}
