//! The hosts file, byte for byte: properties over arbitrary bytes.

use proptest::prelude::*;
use silo_shared::silo::Addresses;

use super::tests::{expand, shown, silo};
use super::*;

/// Parts of hosts files, ours and others', well-formed and malformed.
fn some_lines() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..12),
        "[a-z0-9 .:#]{0,30}".prop_map(String::into_bytes),
        Just(b"127.0.0.1 localhost".to_vec()),
        Just(b"# BEGIN silo Office".to_vec()),
        Just(b"# BEGIN silo office2x#".to_vec()),
        Just(b"\xef\xbb\xbf".to_vec()),
    ];
    let ending = prop_oneof![Just(&b"\n"[..]), Just(&b"\r\n"[..]), Just(&b""[..])];
    proptest::collection::vec((line, ending), 0..8).prop_map(|lines| {
        lines
            .into_iter()
            .flat_map(|(line, end)| [line, end.to_vec()].concat())
            .collect()
    })
}

fn some_records() -> impl Strategy<Value = Records> {
    proptest::collection::btree_map(
        "[a-z]{1,6}(\\.lan)?".prop_filter_map("a hostname", |name| Hostname::parse(&name).ok()),
        (any::<Option<[u8; 4]>>(), any::<Option<[u8; 16]>>()).prop_map(|(v4, v6)| Addresses {
            v4: v4.map(Into::into),
            v6: v6.map(Into::into),
        }),
        0..6,
    )
}

/// A file with blocks of `home` and `office` anywhere between other lines.
fn some_file() -> impl Strategy<Value = Vec<u8>> {
    (
        some_lines(),
        some_lines(),
        some_lines(),
        any::<(bool, bool)>(),
    )
        .prop_map(|(a, b, c, (home, office))| {
            let mut file = a;
            for (there, id, after) in [(home, "home", b), (office, "office", c)] {
                if there {
                    if file.last().is_some_and(|last| *last != b'\n') {
                        file.push(b'\n');
                    }
                    file.extend(expand(
                        format!("{{{id}}}\n10.1.1.1 old\n{{/{id}}}\n").as_bytes(),
                    ));
                }
                file.extend(after);
            }
            file
        })
}

proptest! {
    #[test]
    fn rendering_twice_is_rendering_once(file in some_file(), office in some_records(), home in some_records()) {
        let (office_id, home_id) = (silo("office"), silo("home"));
        let wanted = [(&office_id, &office), (&home_id, &home)];
        let once = HostsFile::parse(&file).unwrap().render(&wanted, &BTreeSet::new());
        let twice = HostsFile::parse(&once).unwrap().render(&wanted, &BTreeSet::new());
        prop_assert_eq!(shown(&once), shown(&twice));
    }

    #[test]
    fn rendered_blocks_parse_to_their_records(file in some_file(), office in some_records()) {
        let id = silo("office");
        let rendered = HostsFile::parse(&file).unwrap().render(&[(&id, &office)], &BTreeSet::new());
        let mut expected = office;
        expected.retain(|_, addresses| !addresses.is_empty());
        prop_assert_eq!(HostsFile::parse(&rendered).unwrap().records(&id), Some(expected));
    }

    #[test]
    fn every_byte_outside_the_blocks_survives(file in some_file(), office in some_records()) {
        let id = silo("office");
        let rendered = HostsFile::parse(&file).unwrap().render(&[(&id, &office)], &BTreeSet::new());
        crate::fuzz::assert_kept(&file, &rendered, &["home", "office"].into());
    }

    #[test]
    fn cleaning_gives_back_the_file(file in some_lines(), office in some_records(), home in some_records()) {
        let (office_id, home_id) = (silo("office"), silo("home"));
        let wanted = [(&office_id, &office), (&home_id, &home)];
        let rendered = HostsFile::parse(&file).unwrap().render(&wanted, &BTreeSet::new());
        let cleaned = HostsFile::parse(&rendered).unwrap().without(|_| true, &BTreeSet::new());
        let newline = cleaned.strip_prefix(file.as_slice());
        match (file.last(), newline) {
            (None | Some(b'\n'), rest) => prop_assert_eq!(rest, Some(&b""[..])),
            (Some(_), rest) => prop_assert!(matches!(rest, Some(b"\n" | b"\r\n")), "{}", shown(&cleaned)),
        }
    }

    #[test]
    fn no_bytes_make_the_parser_fail_but_over_markers(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let parsed = HostsFile::parse(&bytes).unwrap();
        prop_assert_eq!(parsed.render(&[], &BTreeSet::new()), bytes.clone());
        prop_assert_eq!(parsed.without(|_| true, &BTreeSet::new()), bytes);
    }
}
