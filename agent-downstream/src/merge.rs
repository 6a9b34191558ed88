//! Merges bytes that another program wrote while the hosts file was replaced. No I/O.
//!
//! No line of another program is dropped: if two versions can't be distinguished, lines are duplicated.

use std::collections::HashSet;

const BLOCK_BEGIN: &[u8] = b"# BEGIN silo ";
const BLOCK_END: &[u8] = b"# END silo ";

/// What another program wrote into the file that was just replaced.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// The file when it was read.
    pub(crate) before: Vec<u8>,
    /// Its final contents.
    pub(crate) after: Vec<u8>,
    /// The contents that replaced it.
    pub(crate) put: Vec<u8>,
    /// Whether `put` is `before` with other blocks, so that `after` supersedes both.
    pub(crate) is_rendered: bool,
    /// The contents to render from if `after` is a mixture that can't be rendered.
    pub(crate) torn: Option<Vec<u8>>,
}

impl Foreign {
    /// The contents for the next rendering; `present` are the current contents of the hosts file.
    pub(crate) fn merged_into(&self, present: &[u8]) -> Vec<u8> {
        if self.is_rendered && present == self.put {
            return self.after.clone();
        }
        add_lines(present, &[&self.before], &self.after)
    }
}

/// The bytes appended to `before`, if they can be appended to `present` in the same way.
pub(crate) fn appended<'a>(before: &[u8], after: &'a [u8], present: &[u8]) -> Option<&'a [u8]> {
    let is_whole = |bytes: &[u8]| bytes.last().is_none_or(|last| *last == b'\n');
    let tail = after.strip_prefix(before)?;
    (!tail.is_empty() && is_whole(before) && is_whole(present)).then_some(tail)
}

/// `present` followed by every line of `after` that is neither in it nor in one of `known`.
pub(crate) fn add_lines(present: &[u8], known: &[&[u8]], after: &[u8]) -> Vec<u8> {
    let mut seen: HashSet<&[u8]> = known.iter().flat_map(|bytes| lines(bytes)).collect();
    seen.extend(lines(present));
    let mut merged = present.to_vec();
    for line in lines(after) {
        if seen.contains(line) || line.is_empty() || is_marker(line) {
            continue;
        }
        if merged.last().is_some_and(|last| *last != b'\n') {
            merged.push(b'\n');
        }
        merged.extend_from_slice(line);
        merged.push(b'\n');
    }
    merged
}

/// The file without the zero bytes at its end that result if a program truncates it during a write.
pub(crate) fn without_hole<'a>(put: &[u8], present: &'a [u8]) -> &'a [u8] {
    let end = present.iter().rposition(|byte| *byte != 0);
    match put.last() {
        Some(0) => present,
        _ => &present[..end.map_or(0, |end| end + 1)],
    }
}

/// Detects that another program wrote over `put` in place: it truncated the file before our bytes were written and
/// wrote after them, so that the end of ours remains after the end of its own. Returns its own bytes in that case.
pub(crate) fn cut_overhang<'a>(put: &[u8], present: &'a [u8]) -> Option<&'a [u8]> {
    let put = put.get(..present.len())?;
    let common = present
        .iter()
        .rev()
        .zip(put.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    // Its last bytes may equal ours by chance: its contents end at the end of a line.
    let at = present.len() - common;
    let end = match present[..at].last() {
        Some(b'\n') => at,
        _ => at + present[at..].iter().position(|byte| *byte == b'\n')? + 1,
    };
    let theirs = &present[..end];
    let kept: HashSet<&[u8]> = lines(theirs).collect();
    // The first line may be the rest of a line. All others must be in their contents, or in our blocks.
    let (mut at, mut in_block) = (0, false);
    for line in put.split_inclusive(|byte| *byte == b'\n') {
        let is_ours = in_block || is_marker(line);
        in_block = line.starts_with(BLOCK_BEGIN) || (in_block && !line.starts_with(BLOCK_END));
        if at >= end && !is_ours && !lines(line).all(|line| line.is_empty() || kept.contains(line))
        {
            return None;
        }
        at += line.len();
    }
    (end < present.len()).then_some(theirs)
}

fn is_marker(line: &[u8]) -> bool {
    line.starts_with(BLOCK_BEGIN) || line.starts_with(BLOCK_END)
}

/// The lines without their endings.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_appended_whole_lines_merge_without_conflict() {
        for (before, after, present, expected) in [
            ("a\n", "a\nb\n", "a\nX\n", Some("b\n")),
            ("", "b\n", "X\n", Some("b\n")),
            ("a\n", "a\n", "a\nX\n", None),
            ("a", "ab\n", "a\nX\n", None),
            ("a\n", "a\nb\n", "X\na", None),
            ("a\n", "b\n", "a\nX\n", None),
        ] {
            let found = appended(before.as_bytes(), after.as_bytes(), present.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{before:?} {after:?}");
        }
    }

    #[test]
    fn merging_keeps_lines_of_both_versions() {
        let foreign = Foreign {
            before: b"a\nb\n".to_vec(),
            after: b"a\nc\r\n".to_vec(),
            put: b"a\nb\nX\n".to_vec(),
            is_rendered: true,
            torn: None,
        };
        assert_eq!(foreign.merged_into(b"a\nb\nX\n"), b"a\nc\r\n");
        // Another program wrote into the new file too: no line of either version is lost.
        assert_eq!(foreign.merged_into(b"a\nb\nX\nd"), b"a\nb\nX\nd\nc\n");
    }

    #[test]
    fn own_trailing_bytes_are_removed_and_edits_kept() {
        let put = "a\nb\n# BEGIN silo x\n1 d\n# END silo x\n";
        assert_eq!(without_hole(put.as_bytes(), b"a\nc\n\0\0"), b"a\nc\n");
        assert_eq!(without_hole(put.as_bytes(), b"a\nc\n"), b"a\nc\n");
        assert_eq!(without_hole(b"\0", b"a\0"), b"a\0");
        let over = |theirs: &str| format!("{theirs}{}", &put[theirs.len()..]);
        for (present, expected) in [
            // Theirs is shorter than ours, whose end remains.
            (over("a\nb\nc\n"), Some("a\nb\nc\n")),
            (over("a\nb\ncc\n"), Some("a\nb\ncc\n")),
            // An edit of the same length in a line at the beginning: the rest is theirs.
            (over("z\n"), None),
            // Exactly our contents: nothing to cut.
            (put.to_owned(), None),
            // Only the beginning of our remainder is there.
            (over("a\nb\nc\n")[..20].to_owned(), Some("a\nb\nc\n")),
            ("a\n".to_owned(), None),
        ] {
            let found = cut_overhang(put.as_bytes(), present.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{present:?}");
        }
    }
}
