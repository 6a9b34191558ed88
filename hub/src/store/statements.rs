//! Statements sent to the database together.
//!
//! SQLite's driver passes each call to its own thread and back, which takes longer than most
//! statements; it accepts several statements with all their values in one call. The other databases
//! receive one statement after another.

use std::borrow::Cow;
use std::mem;

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use sqlx::any::{AnyArguments, AnyQueryResult, AnyRow};
use sqlx::{Any, Arguments, AssertSqlSafe, Either, Encode, Executor, Type};

use super::StoreError;
use super::connection::DbConnection;
use super::dialect::Dialect;
use super::failure::Phase;

/// Maximum number of rows per statement.
pub(super) const ROWS_AT_ONCE: usize = 50;

/// Statements with their values, to be sent together.
pub(super) struct Statements {
    dialect: Dialect,
    calls: Vec<Call>,
    /// Final statements without values, sent in one call.
    last: Vec<String>,
    refused: Option<sqlx::error::BoxDynError>,
}

/// The statements of one call.
struct Call {
    sql: String,
    values: AnyArguments,
    statements: usize,
}

impl Statements {
    /// Starts empty.
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            calls: Vec::new(),
            last: Vec::new(),
            refused: None,
        }
    }

    /// Adds a statement, with `?` for each value; its values follow by [`Statements::bind`].
    pub(super) fn add(&mut self, sql: impl Into<Cow<'static, str>>) -> &mut Self {
        #[cfg(test)]
        super::statement_count::note();
        let sql = sql.into();
        match self.calls.last_mut() {
            Some(last) if !self.dialect.is_remote() => {
                last.sql.push_str("; ");
                last.sql.push_str(&sql);
                last.statements += 1;
            }
            _ => self.calls.push(Call {
                sql: sql.into_owned(),
                values: AnyArguments::default(),
                statements: 1,
            }),
        }
        self
    }

    /// Adds an `INSERT` that replaces the `columns` of existing rows with the same `key`.
    pub(super) fn add_upsert(&mut self, insert: String, key: &[&str], columns: &[&str]) {
        let upsert = self.dialect.upsert(key, columns);
        self.add(format!("{insert}{upsert}"));
    }

    /// Binds the next value of the last added statement.
    pub(super) fn bind<'t, T: Encode<'t, Any> + Type<Any>>(&mut self, value: T) -> &mut Self {
        let call = self.calls.last_mut();
        let call = call.expect("a statement comes before its values");
        if let Err(error) = call.values.add(value) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Adds a statement without values to the call that ends the transaction.
    pub(super) fn end_with(&mut self, sql: impl Into<String>) -> &mut Self {
        if self.dialect.is_remote() {
            self.last.push(sql.into());
        } else {
            self.add(sql.into());
        }
        self
    }

    /// Sends all statements, the last of which is the `COMMIT`; errors state what was in progress.
    pub(super) async fn commit(
        mut self,
        connection: &mut DbConnection,
    ) -> Result<(), (Phase, StoreError)> {
        let last = mem::take(&mut self.last);
        let before_commit = |error: StoreError| (Phase::Statement, error);
        let mut calls = self.into_calls().map_err(before_commit)?.peekable();
        while let Some((dialect, call)) = calls.next() {
            let holds_commit = last.is_empty() && calls.peek().is_none();
            let mut answers = connection.fetch_many(dialect.query_with(call.sql, call.values));
            let answered = count_answers(&mut answers).await;
            answered.map_err(|(answered, error)| {
                if holds_commit {
                    (phase_of(answered, call.statements), error)
                } else {
                    before_commit(error)
                }
            })?;
        }
        if last.is_empty() {
            return Ok(());
        }
        let together = sqlx::raw_sql(AssertSqlSafe(last.join("; ")));
        let answered = count_answers(&mut connection.fetch_many(together)).await;
        answered.map_err(|(answered, error)| (phase_of(answered, last.len()), error))
    }

    /// Sends all statements, in order.
    pub(super) async fn execute(self, connection: &mut DbConnection) -> Result<(), StoreError> {
        for (dialect, call) in self.into_calls()? {
            let query = dialect.query_with(call.sql, call.values);
            query.execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// Sends all statements, and returns the rows of each.
    pub(super) async fn fetch(
        self,
        connection: &mut DbConnection,
    ) -> Result<Vec<Vec<AnyRow>>, StoreError> {
        let mut all = Vec::new();
        for (dialect, call) in self.into_calls()? {
            let (mut rows, expected) = (Vec::new(), all.len() + call.statements);
            let query = dialect.query_with(call.sql, call.values);
            let mut answers = connection.fetch_many(query);
            while let Some(answer) = answers.try_next().await? {
                match answer {
                    Either::Right(row) => rows.push(row),
                    Either::Left(_) => all.push(mem::take(&mut rows)),
                }
            }
            if all.len() != expected {
                return Err(StoreError::Corrupt("number of answers"));
            }
        }
        Ok(all)
    }

    fn into_calls(self) -> Result<impl Iterator<Item = (Dialect, Call)>, StoreError> {
        match self.refused {
            Some(error) => Err(sqlx::Error::Encode(error).into()),
            None => Ok(self.calls.into_iter().map(move |call| (self.dialect, call))),
        }
    }
}

type Answers<'a> = BoxStream<'a, Result<Either<AnyQueryResult, AnyRow>, sqlx::Error>>;

/// Reads all responses; on error, returns the number of statements completed before.
async fn count_answers(answers: &mut Answers<'_>) -> Result<(), (usize, StoreError)> {
    let mut answered = 0;
    loop {
        match answers.try_next().await {
            Ok(Some(Either::Left(_))) => answered += 1,
            Ok(Some(Either::Right(_))) => {}
            Ok(None) => return Ok(()),
            Err(error) => return Err((answered, error.into())),
        }
    }
}

/// The phase that failed, for statements sent in one call that ends with the `COMMIT`.
fn phase_of(answered: usize, statements: usize) -> Phase {
    if answered + 1 < statements {
        Phase::BeforeCommit
    } else {
        Phase::Commit
    }
}

/// An `INSERT` of several rows: the head, then one parenthesis of placeholders per row.
pub(super) fn insert_rows(head: &str, columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    format!("{head} VALUES {}", vec![row; rows].join(", "))
}

/// Splits rows into chunks of a few sizes, large ones first: the server keeps one prepared
/// statement per size. A statement prepared for a single use costs two more round trips, and on
/// MariaDB the second of them waits for the acknowledgement of the first.
pub(super) fn statement_chunks<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    const SIZES: [usize; 5] = [ROWS_AT_ONCE, 20, 8, 3, 1];
    let mut rest = rows;
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rest.len())?;
        let (chunk, after) = rest.split_at(size);
        rest = after;
        Some(chunk)
    })
}

/// Splits keys for a lookup into chunks of a few sizes; the last key of each chunk is repeated to
/// fill it: see [`statement_chunks`]. Looking up a key again costs less than another statement.
pub(super) fn padded_chunks<T: Copy>(keys: &[T]) -> impl Iterator<Item = Vec<T>> {
    const SIZES: [usize; 3] = [1, 8, 64];
    keys.chunks(SIZES[2]).map(|part| {
        let size = SIZES.into_iter().find(|size| part.len() <= *size);
        let last = part.last().copied().into_iter().cycle();
        let padding = last.take(size.unwrap_or(part.len()) - part.len());
        part.iter().copied().chain(padding).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_statement_of_a_call_is_the_commit() {
        for (answered, statements, phase) in [
            (0, 1, Phase::Commit),
            (0, 2, Phase::BeforeCommit),
            (1, 2, Phase::Commit),
            (0, 5, Phase::BeforeCommit),
            (3, 5, Phase::BeforeCommit),
            (4, 5, Phase::Commit),
        ] {
            assert_eq!(
                phase_of(answered, statements),
                phase,
                "{answered}/{statements}"
            );
        }
    }

    #[test]
    fn rows_go_in_parts_of_a_few_sizes() {
        let sizes = |rows: usize| {
            let rows = vec![(); rows];
            statement_chunks(&rows).map(<[()]>::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(0), [0; 0]);
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(82), [50, 20, 8, 3, 1]);
        assert_eq!(sizes(104), [50, 50, 3, 1]);
    }

    #[test]
    fn keys_are_repeated_until_a_part_is_full() {
        let parts = |keys: usize| {
            let keys: Vec<usize> = (1..=keys).collect();
            padded_chunks(&keys).collect::<Vec<_>>()
        };
        assert!(parts(0).is_empty());
        assert_eq!(parts(1), [[1]]);
        assert_eq!(parts(3), [[1, 2, 3, 3, 3, 3, 3, 3]]);
        let many = parts(65);
        assert_eq!((many[0].len(), many[1].as_slice()), (64, [65].as_slice()));
    }
}
