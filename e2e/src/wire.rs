//! As much of PostgreSQL's and MariaDB's wire protocols as it takes to find a `COMMIT` and its answer, and to answer
//! with an error in the server's place.
//!
//! Sources: PostgreSQL 15 manual, section 55.7 "Message Formats"; MariaDB Knowledge Base, "Client/Server Protocol".

use url::Url;

/// MariaDB: more results of the same call follow (`SERVER_MORE_RESULTS_EXIST`).
const MORE_RESULTS: u16 = 0x0008;
const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Postgres,
    MariaDb,
}

/// An error as a server sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The SQLSTATE.
    pub sqlstate: &'static str,
    /// MariaDB's own number; not sent by PostgreSQL.
    pub number: u16,
    /// Whether PostgreSQL says `FATAL` rather than `ERROR`.
    pub is_fatal: bool,
}

/// Where the answer to a `COMMIT` is in what the server has sent since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitAnswer {
    /// It has not come yet, or not to its end.
    Awaited,
    /// It begins at this byte, and is whole.
    At(usize),
    /// The server has not carried it out.
    Refused,
}

/// What was read along of one connection.
#[derive(Debug)]
pub(crate) struct Wire {
    protocol: Protocol,
    /// The prepared statements that are a `COMMIT`: names, or numbers as they are sent.
    prepared: Vec<Vec<u8>>,
    /// The server's next answer has the number of such a statement.
    is_number_awaited: bool,
}

impl Protocol {
    /// By the scheme of a database's URL.
    pub(crate) fn of(database: &Url) -> Self {
        match database.scheme() {
            "mysql" => Self::MariaDb,
            _ => Self::Postgres,
        }
    }

    /// An error in the server's place; MariaDB's packets are numbered.
    pub(crate) fn error(self, error: ServerError, sequence: u8) -> Vec<u8> {
        const TEXT: &str = "this was made up by a test";
        let ServerError {
            sqlstate, number, ..
        } = error;
        match self {
            Self::Postgres => {
                let severity = if error.is_fatal { "FATAL" } else { "ERROR" };
                let fields = [
                    ('S', severity),
                    ('V', severity),
                    ('C', sqlstate),
                    ('M', TEXT),
                ];
                let mut body = Vec::new();
                for (kind, text) in fields {
                    body.extend(format!("{kind}{text}\0").bytes());
                }
                body.push(0);
                let length = u32::try_from(body.len() + 4).expect("it is short");
                [b"E".as_slice(), &length.to_be_bytes(), &body].concat()
            }
            Self::MariaDb => {
                let text = format!("#{sqlstate}{TEXT}");
                let body = [&[0xff], &number.to_le_bytes()[..], text.as_bytes()].concat();
                let length = u32::try_from(body.len()).expect("it is short");
                let head = &length.to_le_bytes()[..3];
                [head, &[sequence], &body].concat()
            }
        }
    }

    /// Finds the answer to a `COMMIT` that is the last statement of its call.
    pub(crate) fn commit_answer(self, answers: &[u8]) -> CommitAnswer {
        for (at, packet) in Packets::of(self, answers) {
            match (self, packet.kind, packet.body) {
                (Self::Postgres, b'C', b"COMMIT\0") => return CommitAnswer::At(at),
                (Self::Postgres, b'E' | b'Z', _) => return CommitAnswer::Refused,
                (Self::MariaDb, 0xff, _) => return CommitAnswer::Refused,
                (Self::MariaDb, 0x00, body) if !has_more_results(body) => {
                    return CommitAnswer::At(at);
                }
                _ => {}
            }
        }
        CommitAnswer::Awaited
    }
}

impl Wire {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            prepared: Vec::new(),
            is_number_awaited: false,
        }
    }

    /// Whether the client asks for a `COMMIT` here, in words or by the name of a prepared statement.
    pub(crate) fn commits(&mut self, question: &[u8]) -> bool {
        let mut commits = false;
        for (_, packet) in Packets::of(self.protocol, question) {
            let has_word = packet.body.windows(6).any(|part| part == b"COMMIT");
            let mut names = packet.body.split(|byte| *byte == 0);
            match (self.protocol, packet.kind) {
                (Protocol::Postgres, b'Q') | (Protocol::MariaDb, COM_QUERY) => commits |= has_word,
                (Protocol::Postgres, b'P') => {
                    let name = names.next().unwrap_or_default();
                    self.prepared.retain(|known| known != name);
                    self.prepared.extend(has_word.then(|| name.to_vec()));
                }
                (Protocol::Postgres, b'B') => {
                    commits |= names.nth(1).is_some_and(|name| self.is_prepared(name));
                }
                (Protocol::MariaDb, COM_STMT_PREPARE) => self.is_number_awaited = has_word,
                (Protocol::MariaDb, COM_STMT_EXECUTE) => {
                    commits |= packet.body.get(..4).is_some_and(|id| self.is_prepared(id));
                }
                _ => {}
            }
        }
        commits
    }

    /// Takes the number of a prepared statement out of the server's answer.
    pub(crate) fn note_answer(&mut self, answer: &[u8]) {
        if std::mem::take(&mut self.is_number_awaited)
            && let Some((_, packet)) = Packets::of(self.protocol, answer).next()
            && packet.kind == 0
        {
            self.prepared
                .extend(packet.body.get(..4).map(<[u8]>::to_vec));
        }
    }

    fn is_prepared(&self, name: &[u8]) -> bool {
        self.prepared.iter().any(|known| known == name)
    }
}

/// A whole message: its first byte that says what it is, and the rest.
#[derive(Clone, Copy, Debug)]
struct Packet<'a> {
    kind: u8,
    body: &'a [u8],
}

/// The whole messages at the beginning of some bytes, and where each begins.
#[derive(Debug)]
struct Packets<'a> {
    protocol: Protocol,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Packets<'a> {
    fn of(protocol: Protocol, bytes: &'a [u8]) -> Self {
        Self {
            protocol,
            bytes,
            at: 0,
        }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = (usize, Packet<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..)?;
        let head: [u8; 5] = rest.get(..5)?.try_into().ok()?;
        // The kind, where the body begins, and where it ends. A startup message of PostgreSQL has no kind; nothing
        // that follows in the same bytes is looked for here.
        let (kind, end) = match self.protocol {
            Protocol::Postgres if head[0] == 0 => return None,
            Protocol::Postgres => {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
                (head[0], usize::try_from(length).ok()? + 1)
            }
            Protocol::MariaDb => {
                let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
                (head[4], usize::try_from(length).ok()? + 4)
            }
        };
        let body = rest.get(5..end)?;
        let at = self.at;
        self.at += end;
        Some((at, Packet { kind, body }))
    }
}

/// Of MariaDB's OK packet without its first byte: two numbers of variable length, then the status.
fn has_more_results(body: &[u8]) -> bool {
    let number = |at: usize| match body.get(at) {
        Some(0xfc) => at + 3,
        Some(0xfd) => at + 4,
        Some(0xfe) => at + 9,
        _ => at + 1,
    };
    let at = number(number(0));
    let status = body.get(at..at + 2);
    status.is_some_and(|status| u16::from_le_bytes([status[0], status[1]]) & MORE_RESULTS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSERTED: &[u8] = b"C\0\0\0\x0fINSERT 0 1\0";
    const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";
    const READY: &[u8] = b"Z\0\0\0\x05I";
    /// OK packets of MariaDB: more results follow, and not.
    const MORE: &[u8] = b"\x07\0\0\x01\0\x01\0\x09\0\0\0";
    const LAST: &[u8] = b"\x07\0\0\x02\0\0\0\x02\0\0\0";

    #[test]
    fn the_answer_to_a_commit_is_found_when_it_is_whole() {
        use CommitAnswer::{At, Awaited, Refused};
        use Protocol::{MariaDb, Postgres};
        let error = ServerError {
            sqlstate: "40001",
            number: 1213,
            is_fatal: false,
        };
        let (of_postgres, of_mariadb) = (Postgres.error(error, 0), MariaDb.error(error, 2));
        for (protocol, answers, expected) in [
            (Postgres, vec![INSERTED], Awaited),
            (Postgres, vec![INSERTED, &COMMITTED[..9]], Awaited),
            (
                Postgres,
                vec![INSERTED, COMMITTED, READY],
                At(INSERTED.len()),
            ),
            (Postgres, vec![INSERTED, READY], Refused),
            (Postgres, vec![of_postgres.as_slice()], Refused),
            (MariaDb, vec![MORE], Awaited),
            (MariaDb, vec![MORE, &LAST[..7]], Awaited),
            (MariaDb, vec![MORE, LAST], At(MORE.len())),
            (MariaDb, vec![LAST], At(0)),
            (MariaDb, vec![MORE, of_mariadb.as_slice()], Refused),
        ] {
            let found = protocol.commit_answer(&answers.concat());
            assert_eq!(found, expected, "{protocol:?} {answers:?}");
        }
    }

    #[test]
    fn a_commit_is_found_in_words_and_by_its_statement() {
        let mut wire = Wire::new(Protocol::Postgres);
        for (question, commits) in [
            (&b"\0\0\0\x08\x04\xd2\x16\x2f"[..], false),
            (b"Q\0\0\0\x0aBEGIN\0", false),
            (b"Q\0\0\0\x0bCOMMIT\0", true),
            (b"B\0\0\0\x11\0s1\0\0\0\0\0\0\0\0\0\0", false),
            (b"P\0\0\0\x10s1\0COMMIT\0\0\0", false),
            (b"B\0\0\0\x11\0s1\0\0\0\0\0\0\0\0\0\0", true),
        ] {
            assert_eq!(wire.commits(question), commits, "{question:?}");
        }
        let mut wire = Wire::new(Protocol::MariaDb);
        for (question, commits) in [
            (&b"\x06\0\0\0\x03BEGIN"[..], false),
            (b"\x07\0\0\0\x03COMMIT", true),
            (b"\x0a\0\0\0\x17\x05\0\0\0\0\x01\0\0\0", false),
            (b"\x07\0\0\0\x16COMMIT", false),
        ] {
            assert_eq!(wire.commits(question), commits, "{question:?}");
        }
        wire.note_answer(b"\x0c\0\0\x01\0\x05\0\0\0\0\0\0\0\0\0\0");
        assert!(wire.commits(b"\x0a\0\0\0\x17\x05\0\0\0\0\x01\0\0\0"));
    }
}
