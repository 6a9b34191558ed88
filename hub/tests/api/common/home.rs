//! Where a hub under test keeps its things: a folder, and a database of the kind that `SILO_TEST_ON`
//! names. `scripts/with-databases` starts the servers.

use std::cell::RefCell;
use std::path::Path;
use std::thread::JoinHandle;

use silo_hub::settings::{HubArgs, HubSettings};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};
use tempfile::TempDir;
use url::Url;

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file.
    Sqlite,
    /// The PostgreSQL server at `SILO_TEST_POSTGRES`.
    Postgres,
    /// The MariaDB server at `SILO_TEST_MARIADB`.
    MariaDb,
}

impl Kind {
    /// What `SILO_TEST_ON` names: `sqlite` unless it is set.
    pub(crate) fn chosen() -> Self {
        match std::env::var("SILO_TEST_ON").as_deref() {
            Err(std::env::VarError::NotPresent) | Ok("sqlite") => Self::Sqlite,
            Ok("postgres") => Self::Postgres,
            Ok("mariadb") => Self::MariaDb,
            other => panic!("SILO_TEST_ON is sqlite, postgres or mariadb, not {other:?}"),
        }
    }

    /// The server's URL, with a user who may make databases.
    pub(crate) fn server(self) -> Option<Url> {
        let variable = match self {
            Self::Sqlite => return None,
            Self::Postgres => "SILO_TEST_POSTGRES",
            Self::MariaDb => "SILO_TEST_MARIADB",
        };
        let url = std::env::var(variable).unwrap_or_else(|_| {
            panic!(
                "SILO_TEST_ON asks for {self:?}, but {variable} does not say where it is: \
                 run this through scripts/with-databases"
            )
        });
        Some(url.parse().expect("the server's URL is one"))
    }
}

/// A folder and a database. Both go when it does.
pub(crate) struct Home {
    dir: TempDir,
    kind: Kind,
    database: Option<Database>,
}

impl Home {
    /// A new folder, with a new database of the chosen kind.
    pub(crate) async fn new() -> Self {
        let kind = Kind::chosen();
        let dir = folder();
        let database = match kind.server() {
            Some(server) => Some(Database::create(kind, server, dir.path()).await),
            None => None,
        };
        Self {
            dir,
            kind,
            database,
        }
    }

    /// A new folder with an SQLite file to be, for what is told of that file alone.
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
                .map(|database| database.url.to_string()),
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
            program.env("SILO_HUB_DATABASE", database.url.as_str());
        }
        if let Some(file) = &settings.key_file {
            program.arg("--key-file").arg(file);
        }
        program
    }

    /// A connection to the database, past the hub.
    pub(crate) async fn connect(&self) -> AnyConnection {
        match &self.database {
            Some(database) => connect(&database.url).await,
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

/// A database of its own on a server.
struct Database {
    kind: Kind,
    server: Url,
    name: String,
    url: Url,
}

impl Database {
    /// Makes one whose name is as unique as the folder's, and where texts sort otherwise than by their
    /// bytes and hold no other script, unless the schema sees to it.
    async fn create(kind: Kind, server: Url, folder: &Path) -> Self {
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .expect("the folder's name is of letters and digits")
            .replace('-', "_");
        let statement = match kind {
            Kind::Sqlite => unreachable!("a file is made by the hub"),
            Kind::Postgres => format!(
                "CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'en_US.UTF-8'"
            ),
            Kind::MariaDb => format!("CREATE DATABASE `{name}` CHARACTER SET latin1"),
        };
        let mut connection = connect(&server).await;
        execute(&mut connection, statement)
            .await
            .expect("a database can be made");
        connection.close().await.expect("it can be closed");
        let mut url = server.clone();
        url.set_path(&name);
        Self {
            kind,
            server,
            name,
            url,
        }
    }

    /// Removes it, whoever still uses it.
    async fn remove(kind: Kind, server: Url, name: String) -> Result<(), sqlx::Error> {
        let mut connection = AnyConnection::connect(server.as_str()).await?;
        match kind {
            Kind::Sqlite => {}
            Kind::Postgres => {
                execute(
                    &mut connection,
                    format!("DROP DATABASE \"{name}\" WITH (FORCE)"),
                )
                .await?;
            }
            Kind::MariaDb => {
                execute(
                    &mut connection,
                    "SET SESSION lock_wait_timeout = 5".to_owned(),
                )
                .await?;
                execute(&mut connection, format!("DROP DATABASE `{name}`")).await?;
            }
        }
        connection.close().await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let removal = Self::remove(self.kind, self.server.clone(), self.name.clone());
        let work = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            // A database that stays goes with its server.
            let _ = runtime.map(|runtime| runtime.block_on(removal));
        });
        REMOVALS.with(|removals| removals.0.borrow_mut().push(work));
    }
}

thread_local! {
    /// What a test has yet to remove. Waited for when its thread ends and not sooner: PostgreSQL
    /// removes no database before a connection in the making is done, which the test's own runtime
    /// has to do or to give up.
    static REMOVALS: Removals = const { Removals(RefCell::new(Vec::new())) };
}

struct Removals(RefCell<Vec<JoinHandle<()>>>);

impl Drop for Removals {
    fn drop(&mut self) {
        for work in self.0.take() {
            // It has nothing to tell, not even that it panicked.
            let _ = work.join();
        }
    }
}

async fn connect(url: &Url) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(url.as_str())
        .await
        .expect("the tests' database answers")
}

async fn execute(connection: &mut AnyConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}
