//! Addresses as pages show them: a long one breaks after a colon, not in the middle of a number.

use std::fmt;
use std::net::IpAddr;

/// An address with places where a line may break.
#[derive(Clone, Copy, Debug)]
pub(super) struct Breakable(IpAddr);

/// The address with these places.
pub(super) fn breakable(ip: &IpAddr) -> Breakable {
    Breakable(*ip)
}

impl fmt::Display for Breakable {
    /// An address has no characters that HTML would escape.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string().replace(':', ":<wbr>");
        f.write_str(&text.replace(":<wbr>:<wbr>", "::<wbr>"))
    }
}

impl askama::filters::HtmlSafe for Breakable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_after_colons() {
        for (ip, shown) in [
            ("10.0.0.5", "10.0.0.5"),
            ("fd00:1::5", "fd00:<wbr>1::<wbr>5"),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(breakable(&ip).to_string(), shown);
        }
    }
}
