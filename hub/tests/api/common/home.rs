//! Where a hub under test keeps its things: a folder, and a database of the kind that `SILO_TEST_ON`
//! names. `scripts/with-databases` starts the servers.

#[cfg(unix)]
use std::fs::DirBuilder;
use std::path::Path;

use silo_e2e::database::{Database, Kind};
#[cfg(unix)]
use silo_e2e::template;
use silo_hub::internals::settings::{HubArgs, HubSettings};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};
use tempfile::TempDir;
use url::Url;

/// A folder and a database. Both go when it does.
pub(crate) struct Home {
    dir: TempDir,
    kind: Kind,
    database: Option<Database>,
}

impl Home {
    /// A new folder, with a new database of the chosen kind.
    pub(crate) fn new() -> Self {
        let kind = Kind::chosen();
        let dir = folder();
        Self {
            dir,
            kind,
            database: Database::create(kind),
        }
    }

    /// A new folder, with a new database of the chosen kind that may have this build's schema already.
    pub(crate) fn migrated() -> Self {
        let kind = Kind::chosen();
        Self {
            dir: folder(),
            kind,
            database: Database::create_migrated(kind),
        }
    }

    /// Gives a hub that is to begin here a database file with this build's schema, if it is to have a file.
    pub(crate) fn put_migrated_file(&self, settings: &HubSettings) {
        let has_file = self.database.is_none() && settings.database.is_none();
        // Elsewhere the hub makes its own: a template needs the program sqlite3.
        #[cfg(unix)]
        if has_file {
            let mut builder = DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder
                .create(&settings.data_dir)
                .expect("the folder can be made");
            std::fs::copy(template::sqlite_file(), settings.data_dir.join("hub.db"))
                .expect("the file can be copied");
        }
        #[cfg(not(unix))]
        let _ = has_file;
    }

    /// A new folder for an SQLite file, for messages about that file.
    pub(crate) fn of_sqlite() -> Self {
        Self {
            dir: folder(),
            kind: Kind::Sqlite,
            database: None,
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The settings of a hub here.
    pub(crate) fn settings(&self) -> HubSettings {
        self.settings_in("data")
    }

    /// The settings of a hub here whose own files lie in another folder.
    pub(crate) fn settings_in(&self, data_dir: &str) -> HubSettings {
        HubSettings::load(&HubArgs {
            data_dir: Some(self.path().join(data_dir)),
            database: self
                .database
                .as_ref()
                .map(|database| database.url().to_string()),
            ..HubArgs::default()
        })
        .expect("the default settings are valid")
    }

    /// The program, on the database here and with the files of these settings.
    pub(crate) fn program(&self, settings: &HubSettings) -> tokio::process::Command {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_silo-hub"));
        program
            .kill_on_drop(true)
            .env_remove("SILO_HUB_DATABASE")
            .arg("--data-dir")
            .arg(&settings.data_dir);
        if let Some(database) = &self.database {
            program.env("SILO_HUB_DATABASE", database.url().as_str());
        }
        if let Some(file) = &settings.key_file {
            program.arg("--key-file").arg(file);
        }
        program
    }

    /// A shell whose `silo-hub` finds the database.
    #[cfg(unix)]
    pub(crate) fn shell(&self) -> tokio::process::Command {
        let mut shell = tokio::process::Command::new("sh");
        shell.kill_on_drop(true).env_remove("SILO_HUB_DATABASE");
        if let Some(database) = &self.database {
            shell.env("SILO_HUB_DATABASE", database.url().as_str());
        }
        shell
    }

    /// A connection to the database, past the hub.
    pub(crate) async fn connect(&self) -> AnyConnection {
        match &self.database {
            Some(database) => connect(database.url()).await,
            None => {
                let file = self.path().join("data/hub.db");
                let url = Url::from_file_path(file).expect("the path is absolute");
                let url = url.as_str().replacen("file:", "sqlite:", 1);
                connect(&url.parse().expect("it still is a URL")).await
            }
        }
    }

    /// Every value of every table as text in UTF-8, or as it is.
    pub(crate) async fn dump(&self) -> Vec<Vec<u8>> {
        let mut connection = self.connect().await;
        let (columns, quote, text) = match self.kind {
            Kind::Sqlite => (
                "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c \
                 WHERE t.type = 'table'",
                '"',
                "CAST({} AS blob)",
            ),
            Kind::Postgres => (
                "SELECT CAST(table_name AS text), CAST(column_name AS text) \
                 FROM information_schema.columns WHERE table_schema = 'public'",
                '"',
                "convert_to(CAST({} AS text), 'UTF8')",
            ),
            Kind::MariaDb => (
                "SELECT CAST(table_name AS CHAR), CAST(column_name AS CHAR) \
                 FROM information_schema.columns WHERE table_schema = database()",
                '`',
                "CAST({} AS BINARY)",
            ),
        };
        let columns = sqlx::query(columns).fetch_all(&mut connection).await;
        let mut dump = Vec::new();
        for column in columns.expect("the columns can be listed") {
            let [table, column] = [0, 1].map(|index| {
                let name: String = column.get(index);
                format!("{quote}{name}{quote}")
            });
            let value = text.replace("{}", &column);
            let query = format!("SELECT {value} FROM {table} WHERE {column} IS NOT NULL");
            let rows = sqlx::query(AssertSqlSafe(query))
                .fetch_all(&mut connection)
                .await
                .expect("a column can be read");
            dump.extend(rows.iter().map(|row| row.get::<Vec<u8>, _>(0)));
        }
        connection.close().await.expect("it can be closed");
        dump
    }
}

fn folder() -> TempDir {
    TempDir::with_prefix("silo-").expect("a folder can be made")
}

async fn connect(url: &Url) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(url.as_str())
        .await
        .expect("the tests' database answers")
}
