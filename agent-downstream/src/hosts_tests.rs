//! The hosts file, byte for byte. `hosts_property_tests.rs` has properties over arbitrary bytes.

#[path = "hosts_merge_tests.rs"]
mod merge;

use silo_shared::silo::{Addresses, parse_address};

use super::*;

const NOTE_TEXT: &str = "(silo-downstream keeps this block; edits are overwritten)";

pub(super) fn silo(id: &str) -> SiloId {
    SiloId::parse(id).unwrap()
}

/// `db 10.0.0.5 fd00::5, nas 10.0.0.7`
fn records(text: &str) -> Records {
    text.split(", ")
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let (name, ips) = entry.split_once(' ').unwrap();
            let ips: Addresses = ips
                .split(' ')
                .map(|ip| parse_address(ip).unwrap())
                .collect();
            (Hostname::parse(name).unwrap(), ips)
        })
        .collect()
}

fn render(file: &[u8], wanted: &[(&str, &str)]) -> Vec<u8> {
    let wanted: Vec<(SiloId, Records)> = wanted
        .iter()
        .map(|(id, text)| (silo(id), records(text)))
        .collect();
    let wanted: Vec<_> = wanted.iter().map(|(id, records)| (id, records)).collect();
    HostsFile::parse(file)
        .unwrap()
        .render(&wanted, &BTreeSet::new())
}

/// Expands `{office}` to that silo's BEGIN line and `{/office}` to its END line, without line endings.
pub(super) fn expand(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.iter().position(|b| *b == b'{') {
        let close = open + rest[open..].iter().position(|b| *b == b'}').unwrap();
        out.extend_from_slice(&rest[..open]);
        let id = std::str::from_utf8(&rest[open + 1..close]).unwrap();
        let marker = match id.strip_prefix('/') {
            Some(id) => format!("# END silo {id}"),
            None => format!("# BEGIN silo {id} {NOTE_TEXT}"),
        };
        out.extend_from_slice(marker.as_bytes());
        rest = &rest[close + 1..];
    }
    out.extend_from_slice(rest);
    out
}

pub(super) fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\n", "\\n\n")
}

#[test]
fn a_line_of_four_megabytes_is_kept() {
    let mut file = vec![b'x'; 4 << 20];
    file.push(b'\n');
    let rendered = render(&file, &[("office", "db 10.0.0.5")]);
    assert_eq!(rendered[..file.len()], file);
    assert_eq!(
        rendered[file.len()..],
        expand(b"{office}\n10.0.0.5 db\n{/office}\n")
    );
}

#[test]
fn blocks_are_taken_out_byte_for_byte() {
    let office = |id: &SiloId| id.as_str() == "office";
    let all = |_: &SiloId| true;
    type Which<'a> = &'a dyn Fn(&SiloId) -> bool;
    let cases: [(&[u8], Which, &[u8]); 9] = [
        (b"a\n{office}\nx\n{/office}\n", &office, b"a\n"),
        (b"{office}\nx\n{/office}\nb", &office, b"b"),
        (
            b"a\r\n{office}\r\n{/office}\r\nb\r\n",
            &office,
            b"a\r\nb\r\n",
        ),
        (
            b"\xef\xbb\xbf{office}\n{/office}\n",
            &office,
            b"\xef\xbb\xbf",
        ),
        (b"{office}\n{/office}", &office, b""),
        (
            b"{office2}\nx\n{/office2}\n",
            &office,
            b"{office2}\nx\n{/office2}\n",
        ),
        (
            b"{office}\n{/office}\na\n{home}\n{/home}\n",
            &office,
            b"a\n{home}\n{/home}\n",
        ),
        (
            b"{office}\n{/office}\na\n{home}\n{/home}\n\xff",
            &all,
            b"a\n\xff",
        ),
        (b"nothing\n", &all, b"nothing\n"),
    ];
    for (given, which, becomes) in cases {
        let given = expand(given);
        let cleaned = HostsFile::parse(&given)
            .unwrap()
            .without(which, &BTreeSet::new());
        assert_eq!(
            shown(&cleaned),
            shown(&expand(becomes)),
            "{}",
            shown(&given)
        );
    }
}

#[test]
fn markers_that_do_not_pair_up_are_refused_with_line_numbers() {
    let no_end = |id, begin| BrokenMarkers::NoEnd {
        silo: silo(id),
        begin,
    };
    let no_begin = |id, end| BrokenMarkers::NoBegin {
        silo: silo(id),
        end,
    };
    let twice = |id, first, second| BrokenMarkers::Twice {
        silo: silo(id),
        first,
        second,
    };
    let cases: [(&[u8], BrokenMarkers); 12] = [
        (b"a\n{office}\n10.0.0.5 db\n", no_end("office", 2)),
        (b"{office}", no_end("office", 1)),
        (b"\xef\xbb\xbf{office}\n", no_end("office", 1)),
        (b"a\nb\n{/office}\n", no_begin("office", 3)),
        (b"{/office}\n{office}\n", no_begin("office", 1)),
        (b"{office}\n{/office}\n{/office}\n", no_begin("office", 3)),
        (b"{office}\n{office}\n{/office}\n", no_end("office", 1)),
        (
            b"{office}\n{/office}\nx\n{office}\n{/office}\n",
            twice("office", 1, 4),
        ),
        (
            b"x\n{home}\n{office}\n{/office}\n{/home}\n",
            no_end("home", 2),
        ),
        (b"{home}\n{/office}\n{/home}\n", no_end("home", 1)),
        (b"{office}\n{/office2}\n", no_end("office", 1)),
        (
            b"a\r\n{office}\r\n{home}\r\n{/home}\r\n",
            no_end("office", 2),
        ),
    ];
    for (given, expected) in cases {
        let given = expand(given);
        let broken = HostsFile::parse(&given).unwrap_err();
        assert_eq!(broken, expected, "{}", shown(&given));
    }
    let text = no_end("office", 7).to_string();
    assert!(
        text.contains("line 7") && text.contains("# END silo office"),
        "{text}"
    );
}

#[test]
fn lines_outside_a_block_define_names() {
    let file = expand(
        b"127.0.0.1 localhost Loop.  # first\n\
          10.0.0.1\tdb db.lan # nas\n\
          # 10.0.0.2 commented\n\
          {office}\n10.0.0.5 ours\n{/office}\n\
          {home}\n10.0.0.7 theirs\n{/home}\n\
          10.0.0.3 odd#glued\n\
          10.0.0.4 latin # caf\xe9\n\
          10.0.0.4 caf\xe9\n\
          fe80::1%lo0 scoped\n\
          not an entry\n\
          \xef\xbb\xbf\n\
          ::1 B\xc3\x9cCHER\r\n\
          10.0.0.6 ours",
    );
    let parsed = HostsFile::parse(&file).unwrap();
    let office = silo("office");
    let none = BTreeSet::new();
    let definitions = parsed.definitions(|silo| *silo == office, &none);
    let mut found: Vec<(String, Definer)> = definitions
        .into_iter()
        .map(|(name, definition)| (name, definition.by))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let line = |name: &str, line| (name.to_owned(), Definer::Line(line));
    assert_eq!(
        found,
        [
            line("caf\u{fffd}", 12),
            line("db", 2),
            line("db.lan", 2),
            line("latin", 11),
            line("localhost", 1),
            line("loop", 1),
            line("odd", 10),
            line("ours", 17),
            line("scoped", 13),
            ("theirs".to_owned(), Definer::Silo(silo("home"))),
            line("xn--bcher-kva", 16),
        ]
    );
    let ours = &parsed.definitions(|_| false, &none)["ours"];
    assert_eq!(ours.by, Definer::Silo(office));
    assert_eq!(
        ours.addresses,
        ["10.0.0.5", "10.0.0.6"].map(|ip| ip.parse::<IpAddr>().unwrap())
    );
    // Without the last line, counted from 0.
    assert_eq!(
        parsed.definitions(|_| false, &[16].into())["ours"]
            .addresses
            .len(),
        1
    );
}

#[test]
fn lines_are_taken_out_wherever_they_are() {
    let file = expand(b"\xef\xbb\xbfa\nb\n{home}\n10.0.0.7 nas\n10.0.0.8 tv\n{/home}\nc\nd");
    let parsed = HostsFile::parse(&file).unwrap();
    let office = silo("office");
    let records = records("db 10.0.0.5");
    for (removed, becomes) in [
        (
            &[][..],
            &b"\xef\xbb\xbfa\nb\n{home}\n10.0.0.7 nas\n10.0.0.8 tv\n{/home}\nc\nd\n"[..],
        ),
        (
            &[0, 7],
            b"\xef\xbb\xbfb\n{home}\n10.0.0.7 nas\n10.0.0.8 tv\n{/home}\nc\n",
        ),
        (
            &[0, 1, 3, 6],
            b"\xef\xbb\xbf{home}\n10.0.0.8 tv\n{/home}\nd\n",
        ),
        (&[0, 1, 2, 3, 4, 5, 6, 7], b"\xef\xbb\xbf\n"),
    ] {
        let removed: BTreeSet<usize> = removed.iter().copied().collect();
        let rendered = parsed.render(&[(&office, &records)], &removed);
        let becomes = [
            expand(becomes),
            expand(b"{office}\n10.0.0.5 db\n{/office}\n"),
        ]
        .concat();
        assert_eq!(shown(&rendered), shown(&becomes), "{removed:?}");
    }
    assert_eq!(parsed.lines_of(&silo("home"), |name| name == "tv"), [4]);
    assert_eq!(outside(&file), b"\xef\xbb\xbfa\nb\nc\nd");
}

#[test]
fn a_block_is_read_back_as_its_records() {
    let file = render(b"a\n", &[("office", "db 10.0.0.5 fd00::5, nas 10.0.0.7")]);
    let parsed = HostsFile::parse(&file).unwrap();
    let expected = records("db 10.0.0.5 fd00::5, nas 10.0.0.7");
    assert_eq!(parsed.records(&silo("office")), Some(expected));
    assert_eq!(parsed.records(&silo("home")), None);
}
