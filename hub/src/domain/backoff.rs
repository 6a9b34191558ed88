//! When to try again what failed.

/// The longest wait between two attempts, in seconds.
pub const LONGEST: i64 = 3600;

/// How long to wait after so many failed attempts in a row, in milliseconds: 1 s, 2 s, 4 s … 1 h, of
/// which `jitter` (any number) takes up to a quarter away, so that many do not come back at once.
pub fn wait_ms(attempts: i64, jitter: u64) -> i64 {
    let doublings = attempts.clamp(1, 13) - 1;
    let whole = (1_i64 << doublings).min(LONGEST) * 1000;
    let quarter = whole / 4;
    whole - i64::try_from(jitter % 1000).unwrap_or(0) * quarter / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_second_to_an_hour() {
        let waits: Vec<i64> = (0..16)
            .map(|attempts| wait_ms(attempts, 0) / 1000)
            .collect();
        let expected = [
            1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600, 3600,
        ];
        assert_eq!(waits, expected);
        assert_eq!(wait_ms(i64::MAX, 0), 3_600_000);
    }

    #[test]
    fn jitter_shortens_by_a_quarter_at_most() {
        for attempts in 1..20 {
            let whole = wait_ms(attempts, 0);
            for jitter in [1, 999, u64::MAX] {
                let wait = wait_ms(attempts, jitter);
                assert!(
                    wait <= whole && wait >= whole * 3 / 4,
                    "{attempts} {jitter}"
                );
            }
        }
    }
}
