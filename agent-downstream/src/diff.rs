//! A unified diff of bytes: a hosts file need not be UTF-8, and a patch must hold what the file holds.

use std::io::Write;

use similar::TextDiff;

/// The difference between two files as `patch` reads it; empty when there is none.
pub(crate) fn unified(name: &str, old: &[u8], new: &[u8]) -> Vec<u8> {
    // Split here, since the crate would also take a lone CR for the end of a line.
    let lines = |bytes| <[u8]>::split_inclusive(bytes, |byte| *byte == b'\n').collect::<Vec<_>>();
    let (old, new) = (lines(old), lines(new));
    let diff = TextDiff::configure()
        .newline_terminated(true)
        .diff_slices(&old, &new);
    let mut out = Vec::new();
    let full = "a Vec takes every write";
    for (index, hunk) in diff.unified_diff().iter_hunks().enumerate() {
        if index == 0 {
            write!(out, "--- {name}\n+++ {name} (after `once`)\n").expect(full);
        }
        hunk.to_writer(&mut out).expect(full);
    }
    out
}
