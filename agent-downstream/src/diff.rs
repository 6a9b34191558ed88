//! A unified diff of bytes: a hosts file need not be UTF-8, and a patch must contain its exact bytes.

use std::io::Write;

use similar::TextDiff;

/// The difference between two files in the format of `patch`; empty if there is none. `after` describes the origin of
/// the new one.
pub(crate) fn unified(name: &str, after: &str, old: &[u8], new: &[u8]) -> Vec<u8> {
    // Split here, since the crate would also treat a lone CR as the end of a line.
    let lines = |bytes| <[u8]>::split_inclusive(bytes, |byte| *byte == b'\n').collect::<Vec<_>>();
    let (old, new) = (lines(old), lines(new));
    let diff = TextDiff::configure()
        .newline_terminated(true)
        .diff_slices(&old, &new);
    let mut out = Vec::new();
    let full = "a Vec takes every write";
    for (index, hunk) in diff.unified_diff().iter_hunks().enumerate() {
        if index == 0 {
            write!(out, "--- {name}\n+++ {name} (after `{after}`)\n").expect(full);
        }
        hunk.to_writer(&mut out).expect(full);
    }
    out
}

/// A diff as stdout takes it: the console of Windows takes UTF-8 only, all else takes the exact bytes.
pub(crate) fn for_stdout(diff: Vec<u8>, is_terminal: bool) -> Vec<u8> {
    let is_text = std::str::from_utf8(&diff).is_ok();
    if cfg!(windows) && is_terminal && !is_text {
        printable(&diff).into_bytes()
    } else {
        diff
    }
}

/// Escapes bytes for a terminal: all except newlines, tabs and printable text.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' | '\t' => out.push(character),
                // Direction marks and the like change how a line is displayed.
                other
                    if other.is_control()
                        || matches!(other, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
                {
                    out.extend(other.escape_unicode());
                }
                other => out.push(other),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}
