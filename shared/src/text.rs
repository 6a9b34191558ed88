//! Files that people write: UTF-8, with or without a byte order mark. Characters that reorder text.

use std::borrow::Cow;

/// Why the bytes of a file are not text that this program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    /// UTF-16.
    #[error(
        "it is UTF-16, as PowerShell's `>` and Notepad's \"Unicode\" write it: save it as UTF-8 (PowerShell: `Set-Content -Encoding utf8`)"
    )]
    Utf16,
    /// Neither UTF-8 nor another known encoding.
    #[error("is not text: save it as UTF-8")]
    Other,
}

/// The text in a file's bytes, without the byte order mark.
pub fn decode(bytes: &[u8]) -> Result<&str, NotText> {
    const BOM: &[u8] = b"\xef\xbb\xbf";
    if utf16_units(bytes).is_some() {
        return Err(NotText::Utf16);
    }
    let text = bytes.strip_prefix(BOM).unwrap_or(bytes);
    std::str::from_utf8(text).map_err(|_| NotText::Other)
}

/// Converts a UTF-16 file (as PowerShell 5 writes) to UTF-8; any other file stays unchanged.
pub fn utf16_to_utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    match utf16_units(bytes) {
        Some(units) => Cow::Owned(String::from_utf16_lossy(&units).into_bytes()),
        None => Cow::Borrowed(bytes),
    }
}

/// The code units of a UTF-16 file, without the byte order mark; `None` for any other file.
fn utf16_units(bytes: &[u8]) -> Option<Vec<u16>> {
    let (read, units): (fn([u8; 2]) -> u16, _) = match bytes {
        [0xff, 0xfe, rest @ ..] => (u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => (u16::from_be_bytes, rest),
        // Two bytes per character, one of which is zero in ASCII text.
        [1..=255, 0, ..] => (u16::from_le_bytes, bytes),
        [0, 1..=255, ..] => (u16::from_be_bytes, bytes),
        _ => return None,
    };
    let pairs = units.chunks_exact(2);
    Some(pairs.map(|pair| read([pair[0], pair[1]])).collect())
}

/// Whether a character reorders the surrounding text (Unicode Annex 9 section 2), or ends a line on some terminals.
pub(crate) fn is_bidi(c: char) -> bool {
    matches!(c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_removed_and_utf_16_is_named() {
        let utf16 = |text: &str, big: bool| -> Vec<u8> {
            let unit = |unit: u16| {
                if big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            };
            text.encode_utf16().flat_map(unit).collect()
        };
        for (bytes, expected) in [
            (b"hub: x\n".to_vec(), Ok("hub: x\n")),
            (b"\xef\xbb\xbfhub: x\n".to_vec(), Ok("hub: x\n")),
            (b"\xef\xbb\xbf".to_vec(), Ok("")),
            (Vec::new(), Ok("")),
            ("hub: ä".as_bytes().to_vec(), Ok("hub: ä")),
            (utf16("\u{feff}hub: x\n", false), Err(NotText::Utf16)),
            (utf16("\u{feff}hub: x\n", true), Err(NotText::Utf16)),
            (utf16("hub: x\n", false), Err(NotText::Utf16)),
            (utf16("hub: x\n", true), Err(NotText::Utf16)),
            (b"hub: \xe4".to_vec(), Err(NotText::Other)),
        ] {
            assert_eq!(decode(&bytes), expected, "{bytes:?}");
        }
    }
}
