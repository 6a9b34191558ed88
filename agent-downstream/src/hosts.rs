//! The hosts file as bytes: finds our blocks and the names that lines define, inserts and removes blocks. No I/O;
//! everything outside a block is preserved byte for byte.
//!
//! Lines end at `
//! `; a preceding `\r` belongs to the line ending. Nothing else is assumed: bytes that are not UTF-8, a BOM, lines of
//! any length and a last line without a newline are kept.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Range;

use silo_shared::silo::{Hostname, Records, SiloId};
use thiserror::Error;

use crate::entry::Entry;
use crate::own_text;
use crate::suffix::{Line, Suffix, lines};

const BEGIN: &str = "# BEGIN silo ";
const END: &str = "# END silo ";
const NOTE: &str = " (silo-downstream keeps this block; edits are overwritten)";
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Markers that do not pair up: it is impossible to tell which lines are ours, so the file is not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum BrokenMarkers {
    /// A block without an end, or in which another one begins.
    #[error(
        "line {begin}: the block of silo {silo} has no END line: add `# END silo {silo}` after its last line, or remove the rest of the block"
    )]
    NoEnd {
        /// The block's silo.
        silo: SiloId,
        /// The line of its BEGIN.
        begin: usize,
    },
    /// An END without a BEGIN.
    #[error(
        "line {end}: END of silo {silo} without a BEGIN: remove the line, or add `# BEGIN silo {silo}` before the block"
    )]
    NoBegin {
        /// The block's silo.
        silo: SiloId,
        /// The line of the END.
        end: usize,
    },
    /// Two blocks of one silo.
    #[error("lines {first} and {second}: two blocks of silo {silo}: remove one")]
    Twice {
        /// The silo.
        silo: SiloId,
        /// The line of the first BEGIN.
        first: usize,
        /// The line of the second BEGIN.
        second: usize,
    },
}

/// Where a name is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Definer {
    /// A line outside the blocks, counted from 1.
    Line(usize),
    /// The block of a silo.
    Silo(SiloId),
}

/// A name defined in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    /// The first definition.
    pub(crate) by: Definer,
    /// The addresses of all definitions, in the order of the file.
    pub(crate) addresses: Vec<IpAddr>,
}

/// Lines outside the blocks, counted from 0, by their record.
pub(crate) type OutsideRecords = HashMap<(Hostname, IpAddr), Vec<usize>>;

/// A parsed hosts file.
#[derive(Debug)]
pub(crate) struct HostsFile<'a> {
    bytes: &'a [u8],
    lines: Vec<Range<usize>>,
    blocks: Vec<Block>,
    /// The line ending of blocks.
    ending: &'static str,
    /// The lines that define names, in the order of the file.
    entries: Vec<Placed>,
    /// The suffix of long names, which are written beside the short ones.
    suffix: Option<Suffix>,
}

#[derive(Debug)]
struct Block {
    silo: SiloId,
    /// Indices into `lines`, including both markers.
    lines: Range<usize>,
}

/// A line that defines names, and its position.
#[derive(Debug)]
struct Placed {
    /// Index into `lines`.
    line: usize,
    /// Index into `blocks`, for a line in a block.
    block: Option<usize>,
    entry: Entry,
}

impl<'a> HostsFile<'a> {
    /// Finds the blocks; refuses markers that do not pair up.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, BrokenMarkers> {
        let lines = split_lines(bytes);
        let mut blocks: Vec<Block> = Vec::new();
        let mut open: Option<(SiloId, usize)> = None;
        for (index, line) in lines.iter().enumerate() {
            let number = index + 1;
            match (Marker::read(&bytes[line.clone()]), open.take()) {
                (None, still_open) => open = still_open,
                (Some(Marker::Begin(_)), Some((silo, at))) => {
                    return Err(BrokenMarkers::NoEnd {
                        silo,
                        begin: at + 1,
                    });
                }
                (Some(Marker::Begin(silo)), None) => {
                    if let Some(first) = blocks.iter().find(|block| block.silo == silo) {
                        let first = first.lines.start + 1;
                        let second = number;
                        return Err(BrokenMarkers::Twice {
                            silo,
                            first,
                            second,
                        });
                    }
                    open = Some((silo, index));
                }
                (Some(Marker::End(silo)), Some((opened, at))) if opened == silo => {
                    let lines = at..number;
                    blocks.push(Block { silo, lines });
                }
                (Some(Marker::End(_)), Some((silo, at))) => {
                    return Err(BrokenMarkers::NoEnd {
                        silo,
                        begin: at + 1,
                    });
                }
                (Some(Marker::End(silo)), None) => {
                    return Err(BrokenMarkers::NoBegin { silo, end: number });
                }
            }
        }
        match open {
            Some((silo, at)) => Err(BrokenMarkers::NoEnd {
                silo,
                begin: at + 1,
            }),
            None => Ok(Self {
                entries: read_entries(bytes, &lines, &blocks),
                ending: line_ending(bytes, &lines, &blocks),
                bytes,
                lines,
                blocks,
                suffix: None,
            }),
        }
    }

    /// The same file, in whose blocks long names are written beside the short ones.
    pub(crate) fn with_suffix(self, suffix: Option<Suffix>) -> Self {
        Self { suffix, ..self }
    }

    /// The silos with a block, in the order of the file.
    pub(crate) fn silos(&self) -> impl Iterator<Item = &SiloId> {
        self.blocks.iter().map(|block| &block.silo)
    }

    /// The present records of a silo's block; `None` without a block. Skips lines in it that do not have the form of
    /// our records (someone edited it).
    pub(crate) fn records(&self, silo: &SiloId) -> Option<Records> {
        let at = self.blocks.iter().position(|block| block.silo == *silo)?;
        let mut records = Records::new();
        let range = &self.blocks[at].lines;
        let first = self
            .entries
            .partition_point(|placed| placed.line < range.start);
        for placed in &self.entries[first..] {
            if placed.block != Some(at) {
                break;
            }
            let entry = &placed.entry;
            for name in entry.names.iter().filter_map(|n| Hostname::parse(n).ok()) {
                records.entry(name).or_default().set(entry.ip);
            }
        }
        Some(records)
    }

    /// The lines outside the blocks that have the form of our records, by record; lines are counted from 0.
    pub(crate) fn outside_records(&self) -> OutsideRecords {
        let mut found = OutsideRecords::new();
        for placed in self.entries.iter().filter(|placed| placed.block.is_none()) {
            if let Some(record) = placed.entry.only_record() {
                found.entry(record).or_default().push(placed.line);
            }
        }
        found
    }

    /// Every name defined by a line that is not in `passed` and not in a block that `skips` selects. Names are in lower
    /// case and without a trailing dot.
    pub(crate) fn definitions(
        &self,
        skips: impl Fn(&SiloId) -> bool,
        passed: &BTreeSet<usize>,
    ) -> HashMap<String, Definition> {
        let skips: Vec<bool> = self.blocks.iter().map(|block| skips(&block.silo)).collect();
        let mut names: HashMap<String, Definition> = HashMap::new();
        for placed in &self.entries {
            if placed.block.is_some_and(|block| skips[block]) || passed.contains(&placed.line) {
                continue;
            }
            for name in &placed.entry.names {
                let definition = names.entry(name.clone()).or_insert_with(|| Definition {
                    by: match placed.block {
                        Some(block) => Definer::Silo(self.blocks[block].silo.clone()),
                        None => Definer::Line(placed.line + 1),
                    },
                    addresses: Vec::new(),
                });
                definition.addresses.push(placed.entry.ip.to_canonical());
            }
        }
        names
    }

    /// The lines of a silo's block, counted from 0, that define only names in `taken`.
    pub(crate) fn lines_of(&self, silo: &SiloId, taken: impl Fn(&str) -> bool) -> Vec<usize> {
        let is_its = |block: usize| self.blocks[block].silo == *silo;
        self.entries
            .iter()
            .filter(|placed| placed.block.is_some_and(is_its))
            .filter(|placed| {
                let names = &placed.entry.names;
                !names.is_empty() && names.iter().all(|name| taken(name))
            })
            .map(|placed| placed.line)
            .collect()
    }

    /// The file with these blocks: each replaces the silo's present block, or is added at the end; without the lines in
    /// `removed`, counted from 0.
    pub(crate) fn render(
        &self,
        wanted: &[(&SiloId, &Records)],
        removed: &BTreeSet<usize>,
    ) -> Vec<u8> {
        let find = |silo: &SiloId| wanted.iter().find(|(id, _)| **id == *silo);
        let mut out = self.rewrite(removed, |silo| {
            find(silo).map(|(silo, records)| self.block_text(silo, records).into_bytes())
        });
        for (silo, records) in wanted {
            if self.silos().any(|present| present == *silo) {
                continue;
            }
            if out.last().is_some_and(|last| *last != b'\n') {
                out.extend_from_slice(self.ending.as_bytes());
            }
            out.extend_from_slice(self.block_text(silo, records).as_bytes());
        }
        out
    }

    /// Whether a silo's block differs from the text for these records.
    pub(crate) fn differs(&self, silo: &SiloId, records: &Records) -> bool {
        let block = self.blocks.iter().find(|block| block.silo == *silo);
        block.is_some_and(|Block { lines, .. }| {
            let range = self.lines[lines.start].start..self.lines[lines.end - 1].end;
            self.bytes[range] != *self.block_text(silo, records).as_bytes()
        })
    }

    fn block_text(&self, silo: &SiloId, records: &Records) -> String {
        let ending = self.ending;
        let mut text = format!("{BEGIN}{silo}{NOTE}{ending}");
        // One hostname per line: Windows ignores names after the ninth, musl reads 512-byte lines.
        for Line { ip, name } in lines(records, self.suffix.as_ref()) {
            text.push_str(&format!("{ip} {name}{ending}"));
        }
        text.push_str(&format!("{END}{silo}{ending}"));
        text
    }

    /// The file without the blocks that `goes` selects and without the lines in `removed`, counted from 0.
    pub(crate) fn without(
        &self,
        goes: impl Fn(&SiloId) -> bool,
        removed: &BTreeSet<usize>,
    ) -> Vec<u8> {
        self.rewrite(removed, |silo| goes(silo).then(Vec::new))
    }

    /// Copies the file without the `removed` lines; replaces a block by the bytes that `change` returns for it, if any.
    fn rewrite(
        &self,
        removed: &BTreeSet<usize>,
        change: impl Fn(&SiloId) -> Option<Vec<u8>>,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 256);
        let start = self
            .lines
            .first()
            .map_or(self.bytes.len(), |line| line.start);
        out.extend_from_slice(&self.bytes[..start]);
        let mut copied = 0;
        for block in &self.blocks {
            self.copy(copied..block.lines.start, removed, &mut out);
            match change(&block.silo) {
                Some(changed) => out.extend_from_slice(&changed),
                None => self.copy(block.lines.clone(), removed, &mut out),
            }
            copied = block.lines.end;
        }
        self.copy(copied..self.lines.len(), removed, &mut out);
        out
    }

    fn copy(&self, lines: Range<usize>, removed: &BTreeSet<usize>, out: &mut Vec<u8>) {
        let mut from = lines.start;
        for line in removed.range(lines.clone()).copied().chain([lines.end]) {
            if let (Some(first), Some(last)) = (self.lines.get(from), self.lines[from..line].last())
            {
                out.extend_from_slice(&self.bytes[first.start..last.end]);
            }
            from = line + 1;
        }
    }
}

/// CRLF if every line outside the blocks ends with it; without such lines, if every line in them does; without any line
/// ending, the platform's default. A CR at the end of the file counts as CRLF: together with the newline inserted
/// before a new block it would be one, and the next run would decide differently.
fn line_ending(bytes: &[u8], lines: &[Range<usize>], blocks: &[Block]) -> &'static str {
    // Outside and inside: whether there is a line ending with only LF, and one ending with CRLF.
    let mut seen = [(false, false); 2];
    let mut ahead = blocks.iter().peekable();
    for (index, line) in lines.iter().enumerate() {
        while ahead.next_if(|block| block.lines.end <= index).is_some() {}
        let is_inside = ahead
            .peek()
            .is_some_and(|block| block.lines.contains(&index));
        let (lf, crlf) = &mut seen[usize::from(is_inside)];
        match &bytes[line.clone()] {
            [.., b'\r', b'\n'] | [.., b'\r'] => *crlf = true,
            [.., b'\n'] => *lf = true,
            _ => {}
        }
    }
    match seen {
        [(false, true), _] | [(false, false), (false, true)] => "\r\n",
        [(true, _), _] | [_, (true, _)] => "\n",
        _ if cfg!(windows) => "\r\n",
        _ => "\n",
    }
}

/// The ranges of the lines, including line endings. A BOM belongs to no line, so that a marker after it is recognized
/// and stays after it; a file that is only a BOM has no line.
fn split_lines(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut start = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
    bytes[start..]
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| {
            let range = start..start + line.len();
            start = range.end;
            range
        })
        .collect()
}

fn read_entries(bytes: &[u8], lines: &[Range<usize>], blocks: &[Block]) -> Vec<Placed> {
    let mut ahead = blocks.iter().enumerate().peekable();
    let place = |(line, range): (usize, &Range<usize>)| {
        while ahead
            .next_if(|(_, block)| block.lines.end <= line)
            .is_some()
        {}
        let block = ahead
            .peek()
            .filter(|(_, block)| block.lines.contains(&line))
            .map(|(at, _)| *at);
        let entry = Entry::read(&bytes[range.clone()])?;
        Some(Placed { line, block, entry })
    };
    lines.iter().enumerate().filter_map(place).collect()
}

enum Marker {
    Begin(SiloId),
    End(SiloId),
}

impl Marker {
    /// Parses a marker: a `#`, then `BEGIN` or `END`, `silo` and an id in its stored form, with any whitespace before
    /// and between them. The id extends to the next whitespace or the line's end.
    fn read(line: &[u8]) -> Option<Self> {
        let rest = line.trim_ascii_start().strip_prefix(b"#")?;
        let mut words = rest
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let make: fn(SiloId) -> Self = match words.next()? {
            b"BEGIN" => Self::Begin,
            b"END" => Self::End,
            _ => return None,
        };
        if words.next()? != b"silo" {
            return None;
        }
        let id = std::str::from_utf8(words.next()?).ok()?;
        let silo = SiloId::parse(id).ok()?;
        (silo.as_str() == id).then(|| make(silo))
    }
}

/// The bytes outside the blocks; the whole file if the markers do not pair up, nothing of a file of our own.
pub(crate) fn outside(bytes: &[u8]) -> Vec<u8> {
    if own_text::is_ours(bytes) {
        return Vec::new();
    }
    match HostsFile::parse(bytes) {
        Ok(file) => file.without(|_| true, &BTreeSet::new()),
        Err(_) => bytes.to_vec(),
    }
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "hosts_property_tests.rs"]
mod property_tests;
