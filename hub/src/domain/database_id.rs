//! The id of a database, by which clients of several hubs recognise that all of them serve the same one.

use std::fmt;

/// The id of a database: 128 random bits, printed as 32 hexadecimal digits in lower case.
///
/// Within one id, a revision stands for one content forever, and what is committed later has a higher one. A database
/// that was restored from a copy therefore gets a new id: its silos are at lower revisions than some that clients hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseId(u128);

impl DatabaseId {
    /// An id of random bits.
    pub fn new(random: u128) -> Self {
        Self(random)
    }

    /// Parses the printed form.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_valid = text.len() == 32 && text.bytes().all(is_digit);
        let bits = is_valid.then(|| u128::from_str_radix(text, 16).ok())?;
        bits.map(Self)
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_form() {
        let id = DatabaseId::new(0xab);
        assert_eq!(id.to_string(), "000000000000000000000000000000ab");
        assert_eq!(DatabaseId::parse(&id.to_string()), Some(id));
        for wrong in ["", "ab", "+00000000000000000000000000000ab"] {
            assert_eq!(DatabaseId::parse(wrong), None, "{wrong}");
        }
        assert_eq!(DatabaseId::parse(&"A".repeat(32)), None);
        assert_eq!(DatabaseId::parse(&"a".repeat(33)), None);
    }
}
