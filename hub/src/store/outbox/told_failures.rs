//! The failures of a sink already reported to its `tell_failures` sink, so that each is reported once.

use std::collections::BTreeMap;

use sqlx::Row;

use super::DueName;
use super::names::{any_of, bind_names, due_name};
use crate::domain::sink::SinkName;
use crate::domain::time::Time;
use crate::store::{
    Statements, StoreError, WriteTransaction, insert_rows, padded_chunks, statement_chunks,
};

impl WriteTransaction {
    /// Which of these records were reported as failing, and all that were reported for the sink as
    /// a whole; `true` for those.
    pub async fn told_failures(
        &mut self,
        sink: &SinkName,
        names: &[&DueName],
    ) -> Result<BTreeMap<DueName, bool>, StoreError> {
        const COLUMNS: &str = "SELECT silo, hostname, of_all FROM told_failures WHERE ";
        let mut statements = Statements::new(self.dialect);
        statements
            .add(format!("{COLUMNS} sink = ? AND of_all = 1"))
            .bind(sink.as_str());
        for chunk in padded_chunks(names) {
            let any = any_of("", chunk.len());
            statements.add(format!("{COLUMNS} {any}"));
            bind_names(&mut statements, sink, &chunk);
        }
        let mut reported = BTreeMap::new();
        for row in statements.fetch(&mut self.inner).await?.iter().flatten() {
            reported.insert(due_name(row, 0)?, row.try_get::<i64, _>(2)? != 0);
        }
        Ok(reported)
    }

    /// Records that these records were reported as failing. `of_all`: for the sink as a whole.
    pub async fn put_told_failures(
        &mut self,
        sink: &SinkName,
        names: &[DueName],
        of_all: bool,
        now: Time,
    ) -> Result<(), StoreError> {
        const HEAD: &str = "INSERT INTO told_failures (sink, silo, hostname, of_all, told_at)";
        let mut statements = Statements::new(self.dialect);
        for chunk in statement_chunks(names) {
            let (key, columns) = (["sink", "silo", "hostname"], ["of_all", "told_at"]);
            statements.add_upsert(insert_rows(HEAD, 5, chunk.len()), &key, &columns);
            for name in chunk {
                statements
                    .bind(sink.as_str())
                    .bind(name.silo.as_str())
                    .bind(name.hostname.as_str())
                    .bind(i16::from(of_all))
                    .bind(now.as_millis());
            }
            self.must_commit = true;
        }
        statements.execute(&mut self.inner).await
    }

    /// Deletes the entries of these records.
    pub async fn remove_told_failures(
        &mut self,
        sink: &SinkName,
        names: &[DueName],
    ) -> Result<(), StoreError> {
        let mut statements = Statements::new(self.dialect);
        let names: Vec<&DueName> = names.iter().collect();
        for chunk in padded_chunks(&names) {
            let any = any_of("", chunk.len());
            statements.add(format!("DELETE FROM told_failures WHERE {any}"));
            bind_names(&mut statements, sink, &chunk);
            self.must_commit = true;
        }
        statements.execute(&mut self.inner).await
    }
}
