//! What the tests do to a database server, by PostgreSQL's and MariaDB's own means.

use silo_e2e::mariadb::MariaDb;
use silo_e2e::postgres::Postgres;

/// A server with a database `silo`, or a standby of it.
pub(crate) trait Server: Sized {
    /// A new primary with an empty database.
    fn with_database() -> Self;
    /// The database's URL at a port.
    fn url(port: u16) -> String;
    /// The port that the server itself listens on.
    fn at(&self) -> u16;
    /// A new standby of it.
    fn standby(&self) -> Self;
    /// What a statement answers in the database, if the server does.
    fn try_ask_silo(&self, statement: &str) -> Option<String>;
    /// A planned switchover: a standby that has everything becomes the primary, this one its standby. It goes on as
    /// soon as it can at the same port.
    fn hand_over(&self, new: &Self);
    /// A standby stops to carry out what it hears.
    fn pause_replay(&self);
    /// A standby hears nothing more.
    fn cut_off(&self);
    /// A standby that was cut off becomes the primary.
    fn promote_alone(&self);
    /// The server ends at once.
    fn crash(&mut self);

    /// What a statement answers in the database.
    fn ask_silo(&self, statement: &str) -> String {
        self.try_ask_silo(statement).expect("the server answers")
    }
}

impl Server for Postgres {
    fn with_database() -> Self {
        let server = Self::start();
        server.database("silo");
        server
    }

    fn url(port: u16) -> String {
        format!("postgres://silo@127.0.0.1:{port}/silo")
    }

    fn at(&self) -> u16 {
        self.port()
    }

    fn standby(&self) -> Self {
        Self::standby(self)
    }

    fn try_ask_silo(&self, statement: &str) -> Option<String> {
        Some(self.ask("silo", statement))
    }

    fn hand_over(&self, new: &Self) {
        self.stop();
        new.promote();
        self.follow(new);
        self.start_again();
    }

    fn pause_replay(&self) {
        self.ask("postgres", "SELECT pg_wal_replay_pause()");
    }

    fn cut_off(&self) {
        self.stop();
    }

    fn promote_alone(&self) {
        self.start_again();
        self.promote();
    }

    fn crash(&mut self) {
        self.stop_at_once();
    }
}

impl Server for MariaDb {
    fn with_database() -> Self {
        let server = Self::start();
        server.ask("CREATE DATABASE silo");
        server
    }

    fn url(port: u16) -> String {
        format!("mysql://silo@127.0.0.1:{port}/silo")
    }

    fn at(&self) -> u16 {
        self.port()
    }

    fn standby(&self) -> Self {
        self.replica()
    }

    fn try_ask_silo(&self, statement: &str) -> Option<String> {
        // A replica makes the database and its tables some time after it has started.
        self.try_ask(&format!("USE silo; {statement}")).ok()
    }

    fn hand_over(&self, new: &Self) {
        // No connection ends by this.
        self.ask("SET GLOBAL read_only = 1");
        let position = self.ask("SELECT @@global.gtid_binlog_pos");
        let waited = new.ask(&format!("SELECT MASTER_GTID_WAIT('{position}', 60)"));
        assert_eq!(waited, "0", "the replica has everything in time");
        new.promote();
        self.follow(new);
    }

    fn pause_replay(&self) {
        self.ask("STOP SLAVE SQL_THREAD");
    }

    fn cut_off(&self) {
        self.ask("STOP SLAVE");
    }

    fn promote_alone(&self) {
        self.promote();
    }

    fn crash(&mut self) {
        self.kill();
    }
}
