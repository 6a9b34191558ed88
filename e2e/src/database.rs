//! Databases for tests: which kind `SILO_TEST_ON` names, and a new one on its server for each test.
//! `scripts/with-databases` starts the servers.

use std::cell::RefCell;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use url::Url;

use crate::{postgres, template};

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    Sqlite,
    /// The PostgreSQL server at `SILO_TEST_POSTGRES`.
    Postgres,
    /// The MariaDB server at `SILO_TEST_MARIADB`.
    MariaDb,
}

impl Kind {
    /// What `SILO_TEST_ON` names: `sqlite` unless it is set.
    ///
    /// # Panics
    ///
    /// If it names something else.
    pub fn chosen() -> Self {
        match std::env::var("SILO_TEST_ON").as_deref() {
            Err(std::env::VarError::NotPresent) | Ok("sqlite") => Self::Sqlite,
            Ok("postgres") => Self::Postgres,
            Ok("mariadb") => Self::MariaDb,
            other => panic!("SILO_TEST_ON is sqlite, postgres or mariadb, not {other:?}"),
        }
    }

    /// The server's URL, with a user who may make databases. A file has none.
    ///
    /// # Panics
    ///
    /// If the environment does not say where the server is: a test that should run on it must not
    /// pass without.
    pub fn server(self) -> Option<Url> {
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

/// A separate database on a server, removed when this is dropped, even if it is still in use.
#[derive(Debug)]
pub struct Database {
    kind: Kind,
    server: Url,
    name: String,
    url: Url,
}

impl Database {
    /// Makes one where texts sort otherwise than by their bytes and hold no other script, unless the
    /// schema sees to it. A file is the hub's to make: `None`.
    ///
    /// # Panics
    ///
    /// If the server does not take part.
    pub fn create(kind: Kind) -> Option<Self> {
        let server = kind.server()?;
        let name = new_name();
        let statement = match kind {
            Kind::Sqlite => return None,
            Kind::Postgres => empty_on_postgres(&name),
            Kind::MariaDb => format!("CREATE DATABASE `{name}` CHARACTER SET latin1"),
        };
        execute(kind, &server, &[&statement]);
        Some(Self::on(kind, server, name))
    }

    /// Like [`Database::create`], and on PostgreSQL with this build's schema already. MariaDB has no command that copies a
    /// database.
    ///
    /// # Panics
    ///
    /// If the server does not take part.
    pub fn create_migrated(kind: Kind) -> Option<Self> {
        if kind != Kind::Postgres {
            return Self::create(kind);
        }
        let server = kind.server()?;
        let template = template::on_server(&server, |template| {
            // A run that was killed may have left one.
            let remove = format!("DROP DATABASE IF EXISTS \"{template}\" WITH (FORCE)");
            execute(kind, &server, &[&remove, &empty_on_postgres(template)]);
            let mut url = server.clone();
            url.set_path(template);
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            template::migrate(folder.path(), Some(&url));
            execute(kind, &url, &[template::AS_MIGRATED]);
        });
        let name = new_name();
        let copy = format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\"");
        execute(kind, &server, &[&copy]);
        Some(Self::on(kind, server, name))
    }

    fn on(kind: Kind, server: Url, name: String) -> Self {
        let mut url = server.clone();
        url.set_path(&name);
        Self {
            kind,
            server,
            name,
            url,
        }
    }

    /// Runs a file of SQL in it, such as a dump.
    ///
    /// # Panics
    ///
    /// If the server refuses a statement.
    pub fn load(&self, file: &Path) {
        let file = File::open(file).expect("the file of SQL can be read");
        let mut client = client(self.kind, &self.url, None);
        let output = client.stdin(file).output().expect("the client starts");
        assert!(
            output.status.success(),
            "{:?} does not take the file: {}",
            self.kind,
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Ends every session on it but the one that does so. One that ended meanwhile is no error.
    pub fn end_sessions(&self) {
        let name = &self.name;
        let statement = match self.kind {
            Kind::Sqlite => return,
            Kind::Postgres => format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = '{name}' AND pid <> pg_backend_pid()"
            ),
            Kind::MariaDb => format!(
                "BEGIN NOT ATOMIC FOR session IN (SELECT id FROM information_schema.processlist \
                 WHERE db = '{name}' AND id <> CONNECTION_ID()) \
                 DO EXECUTE IMMEDIATE CONCAT('KILL ', session.id); END FOR; END"
            ),
        };
        let output = client(self.kind, &self.server, Some(&statement)).output();
        output.expect("the server's client can be started");
    }

    /// Its URL, with the password.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Copies it into a file with the server's own tool, while it is in use.
    ///
    /// # Panics
    ///
    /// If the tool fails.
    pub fn dump(&self, file: &Path) {
        let output = File::create(file).expect("a file in a temporary folder can be made");
        match self.kind {
            Kind::Sqlite => unreachable!("a file has no server"),
            Kind::Postgres => self.run("pg_dump", &["--format=custom"], None, Some(output)),
            Kind::MariaDb => {
                self.run(
                    "mariadb-dump",
                    &["--single-transaction"],
                    None,
                    Some(output),
                );
            }
        }
    }

    /// Puts back what [`Database::dump`] wrote.
    ///
    /// # Panics
    ///
    /// If the tool fails.
    pub fn put_back(&self, file: &Path) {
        let input = File::open(file).expect("the dump is there");
        match self.kind {
            Kind::Sqlite => unreachable!("a file has no server"),
            Kind::Postgres => {
                let options = ["--clean", "--if-exists", "--single-transaction"];
                self.run("pg_restore", &options, Some(input), None);
            }
            Kind::MariaDb => self.run("mariadb", &[], Some(input), None),
        }
    }

    fn run(&self, program: &str, options: &[&str], input: Option<File>, output: Option<File>) {
        let host = self.url.host_str().expect("a server has a host");
        let port = self.url.port().expect("the tests' server names its port");
        let password = self.url.password().unwrap_or_default();
        let user = self.url.username();
        let mut command = match self.kind {
            Kind::Sqlite => unreachable!("a file has no server"),
            Kind::Postgres => {
                let mut command = Command::new(postgres::program_path(program));
                command.arg("--no-password").env("PGPASSWORD", password);
                // Both tools take the name of the database by an option.
                command.arg(format!("--dbname={}", self.name));
                command
            }
            Kind::MariaDb => {
                let mut command = Command::new(program);
                command.args(["--no-defaults", "--protocol=tcp"]);
                command.env("MYSQL_PWD", password);
                command
            }
        };
        command
            .args(options)
            .arg(format!("--host={host}"))
            .arg(format!("--port={port}"));
        match self.kind {
            Kind::MariaDb => command.arg(format!("--user={user}")).arg(&self.name),
            _ => command.arg(format!("--username={user}")),
        };
        let ended = command
            .stdin(input.map_or_else(Stdio::null, Stdio::from))
            .stdout(output.map_or_else(Stdio::null, Stdio::from))
            .stderr(Stdio::piped())
            .output()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{program}: {said}");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = match self.kind {
            Kind::Sqlite => return,
            Kind::Postgres => format!("DROP DATABASE \"{}\" WITH (FORCE)", self.name),
            Kind::MariaDb => format!(
                "SET SESSION lock_wait_timeout = 5; DROP DATABASE `{}`",
                self.name
            ),
        };
        let removal = client(self.kind, &self.server, Some(&statement))
            .stderr(Stdio::null())
            .spawn();
        // A database that stays goes with its server.
        if let Ok(removal) = removal {
            REMOVALS.with(|removals| removals.0.borrow_mut().push(removal));
        }
    }
}

thread_local! {
    /// What a test has yet to remove. Waited for when its thread ends and not sooner: PostgreSQL
    /// removes no database before a connection in the making is done, which the test's own runtime
    /// may have to do or to give up.
    static REMOVALS: Removals = const { Removals(RefCell::new(Vec::new())) };
}

struct Removals(RefCell<Vec<Child>>);

impl Drop for Removals {
    fn drop(&mut self) {
        for mut removal in self.0.take() {
            // It has nothing to tell, not even that it failed.
            let _ = removal.wait();
        }
    }
}

fn new_name() -> String {
    format!("silo_{:016x}", RandomState::new().hash_one(()))
}

/// The statement that makes an empty database there.
fn empty_on_postgres(name: &str) -> String {
    format!("CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'en_US.UTF-8'")
}

fn execute(kind: Kind, server: &Url, statements: &[&str]) {
    for statement in statements {
        let mut client = client(kind, server, Some(statement));
        let output = client.output().unwrap_or_else(|error| {
            panic!("cannot start {}: {error}", client.get_program().display())
        });
        assert!(
            output.status.success(),
            "{statement} fails on {kind:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The server's own client, about to run one statement, or what its standard input holds.
fn client(kind: Kind, server: &Url, statement: Option<&str>) -> Command {
    let host = server.host_str().expect("a server has a host");
    let port = server.port().expect("the tests' server names its port");
    let password = server.password().unwrap_or_default();
    let database = server.path().trim_start_matches('/');
    let (program, variable, mut arguments) = match kind {
        Kind::Sqlite => unreachable!("a file has no server"),
        Kind::Postgres => (
            postgres::program_path("psql"),
            "PGPASSWORD",
            vec![
                "--no-psqlrc".to_owned(),
                "--no-password".to_owned(),
                "--quiet".to_owned(),
                format!("--dbname={database}"),
                format!("--username={}", server.username()),
                "--set=ON_ERROR_STOP=1".to_owned(),
            ],
        ),
        Kind::MariaDb => (
            "mariadb".into(),
            "MYSQL_PWD",
            vec![
                "--no-defaults".to_owned(),
                "--protocol=tcp".to_owned(),
                format!("--user={}", server.username()),
                format!("--database={database}"),
            ],
        ),
    };
    if let Some(statement) = statement {
        let option = match kind {
            Kind::MariaDb => "--execute",
            Kind::Sqlite | Kind::Postgres => "--command",
        };
        arguments.push(format!("{option}={statement}"));
    }
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(format!("--host={host}"))
        .arg(format!("--port={port}"))
        .env(variable, password)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}
