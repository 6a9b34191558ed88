//! The hosts file as bytes: where our blocks lie, what the lines define, and how blocks are put in and
//! taken out. No I/O; whatever is outside a block goes through byte for byte.
//!
//! Lines end at `\n`; a `\r` before it belongs to the ending. Nothing else is assumed: bytes that are
//! not UTF-8, a BOM, lines of any length and a last line without a newline are kept.

use std::collections::HashMap;
use std::ops::Range;

use hostfile::HostEntry;
use silo_shared::silo::{Hostname, Records, SiloId};
use thiserror::Error;

const BEGIN: &str = "# BEGIN silo ";
const END: &str = "# END silo ";
const NOTE: &str = " (silo-downstream keeps this block; edits are overwritten)";
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Markers that do not pair up: nobody can tell which lines are ours, so the file is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum BrokenMarkers {
    /// A block that never ends, or in which another begins.
    #[error(
        "line {begin}: the block of silo {silo} has no END line: add `# END silo {silo}` behind its last line, or remove what is left of it"
    )]
    NoEnd {
        /// Whose block.
        silo: SiloId,
        /// The line of its BEGIN.
        begin: usize,
    },
    /// An END without its BEGIN.
    #[error(
        "line {end}: END of silo {silo} without a BEGIN before it: remove the line, or put `# BEGIN silo {silo}` before the block"
    )]
    NoBegin {
        /// Whose block.
        silo: SiloId,
        /// The line of the END.
        end: usize,
    },
    /// Two blocks of one silo.
    #[error("lines {first} and {second}: two blocks of silo {silo}: remove one")]
    Twice {
        /// Whose blocks.
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
    /// A line that is in no block, counted from 1.
    Line(usize),
    /// The block of a silo.
    Silo(SiloId),
}

/// A hosts file that was read, with its blocks found.
#[derive(Debug)]
pub(crate) struct HostsFile<'a> {
    bytes: &'a [u8],
    lines: Vec<Range<usize>>,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    silo: SiloId,
    /// Indices into `lines`, both markers included.
    lines: Range<usize>,
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
                bytes,
                lines,
                blocks,
            }),
        }
    }

    /// The silos that have a block, in the order of the file.
    pub(crate) fn silos(&self) -> impl Iterator<Item = &SiloId> {
        self.blocks.iter().map(|block| &block.silo)
    }

    /// What a silo's block says at present; `None` without a block. Lines in it that are no records
    /// of ours (somebody edited it) are passed over.
    pub(crate) fn records(&self, silo: &SiloId) -> Option<Records> {
        let block = self.blocks.iter().find(|block| block.silo == *silo)?;
        let mut records = Records::new();
        for line in &self.lines[block.lines.clone()] {
            let Some(entry) = read_entry(&self.bytes[line.clone()]) else {
                continue;
            };
            for name in entry.names.iter().filter_map(|n| Hostname::parse(n).ok()) {
                records.entry(name).or_default().set(entry.ip);
            }
        }
        Some(records)
    }

    /// Every name that a line outside the blocks of `ours` defines, with the first place of it. Names
    /// are lower case and without a trailing dot. Lines that can't be read define nothing.
    pub(crate) fn definitions(&self, ours: &[&SiloId]) -> HashMap<String, Definer> {
        let mut names = HashMap::new();
        let mut blocks = self.blocks.iter().peekable();
        for (index, line) in self.lines.iter().enumerate() {
            blocks.next_if(|block| block.lines.end <= index);
            let block = blocks.peek().filter(|block| block.lines.contains(&index));
            if block.is_some_and(|block| ours.contains(&&block.silo)) {
                continue;
            }
            let Some(entry) = read_entry(&self.bytes[line.clone()]) else {
                continue;
            };
            for name in entry.names {
                names.entry(fold(&name)).or_insert_with(|| match block {
                    Some(block) => Definer::Silo(block.silo.clone()),
                    None => Definer::Line(index + 1),
                });
            }
        }
        names
    }

    /// The file with these blocks in it: each in place of the silo's present block, else at the end.
    pub(crate) fn render(&self, wanted: &[(&SiloId, &Records)]) -> Vec<u8> {
        let ending = self.line_ending();
        let find = |silo: &SiloId| wanted.iter().find(|(id, _)| **id == *silo);
        let mut out = self.rewrite(|silo, old| match find(silo) {
            Some((silo, records)) => block_text(silo, records, ending).into_bytes(),
            None => old.to_vec(),
        });
        for (silo, records) in wanted {
            if self.silos().any(|present| present == *silo) {
                continue;
            }
            if out.last().is_some_and(|last| *last != b'\n') {
                out.extend_from_slice(ending.as_bytes());
            }
            out.extend_from_slice(block_text(silo, records, ending).as_bytes());
        }
        out
    }

    /// The file without the blocks that `removed` names.
    pub(crate) fn without(&self, removed: impl Fn(&SiloId) -> bool) -> Vec<u8> {
        self.rewrite(|silo, old| {
            if removed(silo) {
                Vec::new()
            } else {
                old.to_vec()
            }
        })
    }

    /// Copies the file, with the bytes of each block passed through `change`.
    fn rewrite(&self, change: impl Fn(&SiloId, &[u8]) -> Vec<u8>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 256);
        let mut copied = 0;
        for block in &self.blocks {
            let range = self.byte_range(block);
            out.extend_from_slice(&self.bytes[copied..range.start]);
            out.extend_from_slice(&change(&block.silo, &self.bytes[range.clone()]));
            copied = range.end;
        }
        out.extend_from_slice(&self.bytes[copied..]);
        out
    }

    fn byte_range(&self, block: &Block) -> Range<usize> {
        self.lines[block.lines.start].start..self.lines[block.lines.end - 1].end
    }

    /// CRLF if every line outside the blocks ends so; without such lines, if every line in them does;
    /// without any line ending at all, what the platform uses. A CR that ends the file is CRLF already: it
    /// would be one with the newline that goes before a new block, and the next run would judge otherwise.
    fn line_ending(&self) -> &'static str {
        let inside = |index: usize| self.blocks.iter().any(|b| b.lines.contains(&index));
        let judge = |within: bool| {
            let mut endings = self
                .lines
                .iter()
                .enumerate()
                .filter(|(index, _)| inside(*index) == within)
                .map(|(_, line)| &self.bytes[line.clone()])
                .filter_map(|line| match line {
                    [.., b'\r', b'\n'] | [.., b'\r'] => Some(true),
                    [.., b'\n'] => Some(false),
                    _ => None,
                })
                .peekable();
            endings.peek()?;
            Some(endings.all(|crlf| crlf))
        };
        match judge(false).or_else(|| judge(true)) {
            Some(true) => "\r\n",
            Some(false) => "\n",
            None if cfg!(windows) => "\r\n",
            None => "\n",
        }
    }
}

/// The ranges of the lines, endings included. A BOM belongs to no line, so that a marker behind it is
/// still seen and stays behind it; a file that is a BOM alone has no line.
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

enum Marker {
    Begin(SiloId),
    End(SiloId),
}

impl Marker {
    /// Reads a marker: its id goes to the next blank or the line's end and stands in its stored form.
    fn read(line: &[u8]) -> Option<Self> {
        let (rest, make): (_, fn(SiloId) -> Self) = match (
            line.strip_prefix(BEGIN.as_bytes()),
            line.strip_prefix(END.as_bytes()),
        ) {
            (Some(rest), _) => (rest, Self::Begin),
            (None, Some(rest)) => (rest, Self::End),
            (None, None) => return None,
        };
        let id = rest.split(u8::is_ascii_whitespace).next()?;
        let id = std::str::from_utf8(id).ok()?;
        let silo = SiloId::parse(id).ok()?;
        (silo.as_str() == id).then(|| make(silo))
    }
}

fn block_text(silo: &SiloId, records: &Records, ending: &str) -> String {
    let mut text = format!("{BEGIN}{silo}{NOTE}{ending}");
    for (hostname, addresses) in records {
        // One hostname a line: Windows ignores names after the ninth, musl reads 512-byte lines.
        for ip in addresses.iter() {
            text.push_str(&format!("{ip} {hostname}{ending}"));
        }
    }
    text.push_str(&format!("{END}{silo}{ending}"));
    text
}

/// Reads a line that defines names. What stands behind `#` may be in any encoding and is cut off
/// first, as the C libraries do.
fn read_entry(line: &[u8]) -> Option<HostEntry> {
    let text = line.split(|byte| *byte == b'#').next()?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A name as it is compared: hostnames in their stored form, anything else in lower case.
fn fold(name: &str) -> String {
    match Hostname::parse(name) {
        Ok(hostname) => hostname.as_str().to_owned(),
        Err(_) => name.trim_end_matches('.').to_lowercase(),
    }
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "hosts_property_tests.rs"]
mod property_tests;
