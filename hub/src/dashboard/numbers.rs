//! Numbers as pages show them.

/// A number with its digits in groups: `10 000`.
pub(super) fn grouped(number: impl TryInto<u64>) -> String {
    /// Does not break a line.
    const NARROW_SPACE: char = '\u{202f}';
    let digits = number.try_into().unwrap_or(0).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            text.push(NARROW_SPACE);
        }
        text.push(digit);
    }
    text
}

/// A number with its noun.
pub(super) fn counted(number: usize, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{} {noun}", grouped(number as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_large_numbers_are_in_groups() {
        for (number, text) in [
            (0_u64, "0"),
            (999, "999"),
            (1000, "1000"),
            (10_000, "10\u{202f}000"),
            (1_234_567, "1\u{202f}234\u{202f}567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(counted(1, "record", "records"), "1 record");
        assert_eq!(counted(0, "record", "records"), "0 records");
    }
}
