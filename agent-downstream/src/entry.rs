//! Parses one line of the hosts file like the resolvers. No I/O; called by `hosts`.
//!
//! glibc (`nss/nss_files/files-parse.c`) and musl (`lookup_name.c`) end a line at `#` and at NUL and separate fields by
//! the characters of C's `isspace`. What either of them accepts counts: glibc accepts names in any encoding, musl
//! accepts every address that `inet_aton` does, and zone ids.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hostfile::HostEntry;
use silo_shared::silo::Hostname;

/// A line that defines names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The address, without its zone id.
    pub(crate) ip: IpAddr,
    /// Whether the address is in the form that this program writes: canonical, without a zone id.
    is_usual: bool,
    /// Whether the line contains more than the entry.
    has_comment: bool,
    /// The names, folded.
    pub(crate) names: Vec<String>,
}

impl Entry {
    /// Parses a line; `None` if it defines nothing.
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let end = line.iter().position(|byte| matches!(byte, b'#' | 0));
        let text = &line[..end.unwrap_or(line.len())];
        let has_comment = end.is_some();
        // The crate also separates at Unicode white space, which the resolvers do not recognize.
        let usual = text
            .is_ascii()
            .then(|| std::str::from_utf8(text).ok()?.parse::<HostEntry>().ok());
        if let Some(HostEntry { ip, names }) = usual.flatten() {
            let names = names.iter().map(|name| fold(name.as_bytes())).collect();
            return Some(Self {
                ip,
                is_usual: true,
                has_comment,
                names,
            });
        }
        let mut fields = text
            .split(|byte| is_separator(*byte))
            .filter(|field| !field.is_empty());
        let address = std::str::from_utf8(fields.next()?).ok()?;
        Some(Self {
            ip: read_address(address)?,
            is_usual: address.parse::<IpAddr>().is_ok(),
            has_comment,
            names: fields.map(fold).collect(),
        })
    }

    /// The address and the name of a line that has one name and nothing else, in the form that this program writes.
    pub(crate) fn only_record(&self) -> Option<(Hostname, IpAddr)> {
        match self.names.as_slice() {
            [name] if self.is_usual && !self.has_comment => {
                Some((Hostname::parse(name).ok()?, self.ip))
            }
            _ => None,
        }
    }
}

/// C's `isspace` in the C locale.
fn is_separator(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'\x0b'
}

fn read_address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Some((ip, zone)) = text.split_once('%') {
        return (!zone.is_empty()).then(|| ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6))?;
    }
    inet_aton(text).map(IpAddr::V4)
}

/// inet_aton(3): one to four numbers, decimal, octal (`0…`) or hexadecimal (`0x…`); the last one fills the remaining
/// bytes.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let mut numbers = [0u32; 4];
    let mut count = 0;
    for part in text.split('.') {
        let (digits, radix) = match part.as_bytes() {
            [b'0', b'x' | b'X', ..] => (&part[2..], 16),
            [b'0', _, ..] => (&part[1..], 8),
            _ => (part, 10),
        };
        if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        *numbers.get_mut(count)? = u32::from_str_radix(digits, radix).ok()?;
        count += 1;
    }
    let (last, firsts) = numbers[..count].split_last()?;
    let room = 32 - 8 * firsts.len() as u32;
    if u64::from(*last) >> room != 0 || firsts.iter().any(|number| *number > 255) {
        return None;
    }
    let high = firsts
        .iter()
        .enumerate()
        .fold(0, |sum, (at, number)| sum | number << (24 - 8 * at));
    Some(Ipv4Addr::from(high | last))
}

/// A name for comparison: hostnames in their stored form, anything else in lower case. A name that is not UTF-8 equals
/// no hostname.
fn fold(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    match Hostname::parse(&name) {
        Ok(hostname) => hostname.as_str().to_owned(),
        Err(_) => name.trim_end_matches('.').to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_inet_aton_does() {
        for (text, expected) in [
            ("10.9", Some("10.0.0.9")),
            ("10.1.9", Some("10.1.0.9")),
            ("10.1.65535", Some("10.1.255.255")),
            ("10.16777215", Some("10.255.255.255")),
            ("0x0a090909", Some("10.9.9.9")),
            ("168364297", Some("10.9.9.9")),
            ("012.0X9.9.011", Some("10.9.9.9")),
            ("0", Some("0.0.0.0")),
            ("00", Some("0.0.0.0")),
            ("4294967295", Some("255.255.255.255")),
            ("4294967296", None),
            ("10.16777216", None),
            ("10.1.65536", None),
            ("256.1", None),
            ("10.9.9.9.9", None),
            ("10..9", None),
            ("10.9.", None),
            (".9", None),
            ("", None),
            ("0x", None),
            ("08", None),
            ("+1", None),
            ("-1", None),
            ("1_0", None),
        ] {
            let read = inet_aton(text).map(|ip| ip.to_string());
            assert_eq!(read.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn own_lines_are_distinguished_from_other_lines() {
        let record = |line: &[u8]| {
            let (name, ip) = Entry::read(line)?.only_record()?;
            Some(format!("{ip} {name}"))
        };
        for line in [
            &b"10.0.0.5 db\n"[..],
            b"  10.0.0.5\t DB \t\r\n",
            b"10.0.0.5\x0bdb.",
            b"10.0.0.5 Db",
        ] {
            assert_eq!(record(line).as_deref(), Some("10.0.0.5 db"));
        }
        for line in [
            &b"10.0.0.5 db # mine\n"[..],
            b"10.0.0.5 db#\n",
            b"10.0.0.5 db\0\n",
            b"10.0.0.5 db db2\n",
            b"10.0.0.5\n",
            b"10.5 db\n",
            b"fd00::5%lo db\n",
            b"10.0.0.5 caf\xe9\n",
            b"10.0.0.5 localhost\n",
            b"#10.0.0.5 db\n",
        ] {
            assert_eq!(record(line), None, "{}", line.escape_ascii());
        }
    }
}
