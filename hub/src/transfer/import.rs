//! Imports an export.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};

use silo_shared::silo::SiloId;
use thiserror::Error;

use super::check::highest_revision;
use super::line::{Counts, FORMAT, Header, Line, VERSION};
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::registry::{ApplyError, BeginImport, CloseImported, EndImport, ImportPart, Registry};

/// Maximum length of a line: a silo with the most records of maximum size.
const MAX_LINE: u64 = 128 * 1024 * 1024;
/// Size of a transaction: this many lines, or this many bytes of them.
const PART_LINES: usize = 1000;
const PART_BYTES: usize = 4 * 1024 * 1024;

/// Why an import ended early. Earlier parts are kept; the same export can be imported again.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The input can't be read.
    #[error("cannot read the export: {0}")]
    Input(#[from] std::io::Error),
    /// A line is invalid.
    #[error("line {number}: {wrong}")]
    Line {
        /// The line number, from 1.
        number: u64,
        /// The error.
        wrong: String,
    },
    /// The last line is missing.
    #[error(
        "the export is truncated after line {0}: what it contains was imported; import the complete file over it"
    )]
    CutShort(u64),
    /// The database failed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// The results of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The number of lines in the export.
    pub read: Counts,
    /// Silos added, including deleted ones.
    pub silos_added: u64,
    /// Existing silos that were changed to match the export.
    pub silos_changed: u64,
    /// Silos left unchanged because they exist or existed here.
    pub silos_kept: u64,
    /// History rows added.
    pub history: u64,
    /// History rows that did not exist and were left out, since the silo exists or existed here.
    pub history_left_out: u64,
    /// Tokens added.
    pub tokens: u64,
    /// Update keys added.
    pub update_keys: u64,
    /// Bindings of dynahost's protocol added.
    pub dynahosts: u64,
}

/// An export whose first line was read.
#[derive(Debug)]
pub struct Import<R> {
    lines: Lines<R>,
    key: Option<String>,
    only_new: bool,
}

impl<R: BufRead> Import<R> {
    /// Reads the first line.
    pub fn begin(input: R) -> Result<Self, ImportError> {
        let mut lines = Lines {
            input,
            number: 0,
            line: Vec::new(),
        };
        if !lines.next()? {
            return Err(ImportError::CutShort(0));
        }
        let is_export = |header: &Header| header.format == FORMAT;
        let header: Header = serde_json::from_slice(&lines.line)
            .ok()
            .filter(is_export)
            .ok_or_else(|| lines.wrong("not an export of silo-hub"))?;
        if header.version != VERSION {
            return Err(lines.wrong(format!(
                "export version {}, but this program reads version {VERSION}",
                header.version
            )));
        }
        Ok(Self {
            lines,
            key: header.key,
            only_new: false,
        })
    }

    /// Leaves silos unchanged that exist or existed here.
    #[must_use]
    pub fn only_new(self) -> Self {
        Self {
            only_new: true,
            ..self
        }
    }

    /// The fingerprint of the hub key that the rights in the export require; `None`: it contains none.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Imports the remaining lines, part by part. `now` limits their revisions.
    pub async fn read_in(
        mut self,
        registry: &Registry,
        now: Time,
    ) -> Result<Imported, ImportError> {
        let highest = highest_revision(now);
        let mut imported = Imported::default();
        // The silos whose history this import adds; that of others is left out.
        let mut started: BTreeMap<SiloId, Revision> = BTreeMap::new();
        registry.apply(BeginImport).await?;
        loop {
            let mut part = ImportPart {
                only_new: self.only_new,
                ..ImportPart::default()
            };
            let read = self.read_part(&mut part, &mut imported.read, highest);
            for row in &part.history {
                if let Some(revision) = started.get(&row.silo) {
                    part.started.insert(row.silo.clone(), *revision);
                }
            }
            // The lines before an invalid one are imported.
            let written = registry.apply(part).await?;
            imported.silos_added += written.silos_added;
            imported.silos_changed += written.silos_changed;
            imported.silos_kept += written.silos_kept;
            imported.history += written.history;
            imported.history_left_out += written.history_left_out;
            started.extend(written.started);
            imported.tokens += written.tokens;
            imported.update_keys += written.update_keys;
            imported.dynahosts += written.dynahosts;
            if let Rest::End = read? {
                let started: Vec<SiloId> = started.into_keys().collect();
                for silos in started.chunks(PART_LINES) {
                    registry.apply(CloseImported(silos.to_vec())).await?;
                }
                registry.apply(EndImport).await?;
                return Ok(imported);
            }
        }
    }

    fn read_part(
        &mut self,
        part: &mut ImportPart,
        counts: &mut Counts,
        highest: Revision,
    ) -> Result<Rest, ImportError> {
        let (mut lines, mut bytes) = (0, 0);
        while lines < PART_LINES && bytes < PART_BYTES {
            if !self.lines.next()? {
                return Err(ImportError::CutShort(self.lines.number));
            }
            lines += 1;
            bytes += self.lines.line.len();
            let line = serde_json::from_slice(&self.lines.line)
                .map_err(|error| self.lines.wrong(in_words(&error)))?;
            let wrong = |wrong: String| self.lines.wrong(wrong);
            match line {
                Line::Silo(silo) => {
                    part.silos.push(silo.check(highest).map_err(wrong)?);
                    counts.silos += 1;
                }
                Line::History(row) => {
                    part.history.push(row.check(highest).map_err(wrong)?);
                    counts.history += 1;
                }
                Line::Token(_) | Line::UpdateKey(_) | Line::Dynahost(_) if self.key.is_none() => {
                    let what = "it contains a secret's hash, but the first line names no hub key";
                    return Err(wrong(what.to_owned()));
                }
                Line::Token(token) => {
                    part.tokens.push(token.check().map_err(wrong)?);
                    counts.tokens += 1;
                }
                Line::UpdateKey(key) => {
                    part.update_keys.push(key.check().map_err(wrong)?);
                    counts.update_keys += 1;
                }
                Line::Dynahost(binding) => {
                    part.dynahosts.push(binding.check().map_err(wrong)?);
                    counts.dynahosts += 1;
                }
                Line::End(said) if said != *counts => {
                    return Err(wrong("lines are missing before this last one".to_owned()));
                }
                Line::End(_) => {
                    return if self.lines.next()? {
                        Err(self.lines.wrong("nothing may follow the last line"))
                    } else {
                        Ok(Rest::End)
                    };
                }
            }
        }
        Ok(Rest::More)
    }
}

/// Whether more lines follow a part.
#[derive(Debug)]
enum Rest {
    More,
    End,
}

/// Describes why a line is not valid JSON of the format; serde counts the line itself as line 1.
fn in_words(error: &serde_json::Error) -> String {
    let words = error.to_string();
    match words.rsplit_once(" at line 1 column ") {
        Some((words, column)) => format!("{words} (column {column})"),
        None => words,
    }
}

/// The lines of the input, held one at a time.
#[derive(Debug)]
struct Lines<R> {
    input: R,
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Reads the next nonblank line; false at the end.
    fn next(&mut self) -> Result<bool, ImportError> {
        loop {
            self.line.clear();
            let mut limited = self.input.by_ref().take(MAX_LINE);
            if limited.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(false);
            }
            self.number += 1;
            if self.line.len() as u64 == MAX_LINE {
                return Err(self.wrong("longer than any line of an export"));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    /// An error in the present line; quoted text is shortened and made safe for a terminal.
    fn wrong(&self, wrong: impl Into<String>) -> ImportError {
        let fit = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        ImportError::Line {
            number: self.number,
            wrong: wrong.into().chars().take(300).map(fit).collect(),
        }
    }
}
