//! The hosts file after a merge, byte for byte: a table of cases.

use super::{expand, render, shown};

type Case = (
    &'static str,
    &'static [u8],
    &'static [(&'static str, &'static str)],
    &'static [u8],
);

/// The file, the desired blocks, the resulting file.
const CASES: &[Case] = &[
    (
        "empty",
        b"",
        &[("office", "db 10.0.0.5")],
        b"{office}\n10.0.0.5 db\n{/office}\n",
    ),
    (
        "one line",
        b"127.0.0.1 localhost\n",
        &[("office", "db 10.0.0.5")],
        b"127.0.0.1 localhost\n{office}\n10.0.0.5 db\n{/office}\n",
    ),
    (
        "both families make two lines",
        b"a\n",
        &[("office", "db 10.0.0.5 fd00::5")],
        b"a\n{office}\n10.0.0.5 db\nfd00::5 db\n{/office}\n",
    ),
    (
        "names in byte order",
        b"",
        &[("office", "nas 10.0.0.7, db 10.0.0.5, a-b 10.0.0.1")],
        b"{office}\n10.0.0.1 a-b\n10.0.0.5 db\n10.0.0.7 nas\n{/office}\n",
    ),
    (
        "no records: an empty block",
        b"a\n",
        &[("office", "")],
        b"a\n{office}\n{/office}\n",
    ),
    (
        "no silo wanted: untouched",
        b"a\r\nb\n\xff",
        &[],
        b"a\r\nb\n\xff",
    ),
    (
        "no last newline",
        b"127.0.0.1 localhost",
        &[("office", "db 10.0.0.5")],
        b"127.0.0.1 localhost\n{office}\n10.0.0.5 db\n{/office}\n",
    ),
    (
        "no last newline, CRLF",
        b"a\r\nb",
        &[("office", "db 10.0.0.5")],
        b"a\r\nb\r\n{office}\r\n10.0.0.5 db\r\n{/office}\r\n",
    ),
    (
        "no last newline, many lines",
        b"a\n\n\nb",
        &[("office", "")],
        b"a\n\n\nb\n{office}\n{/office}\n",
    ),
    (
        "CRLF",
        b"a\r\nb\r\n",
        &[("office", "db 10.0.0.5")],
        b"a\r\nb\r\n{office}\r\n10.0.0.5 db\r\n{/office}\r\n",
    ),
    (
        "mixed endings take LF",
        b"a\r\nb\nc\r\n",
        &[("office", "db 10.0.0.5")],
        b"a\r\nb\nc\r\n{office}\n10.0.0.5 db\n{/office}\n",
    ),
    (
        "a lone CR ends no line",
        b"a\rb",
        &[("office", "")],
        b"a\rb\n{office}\n{/office}\n",
    ),
    (
        "a CR that ends the file is half a CRLF, as the next run would see it",
        b"a\r",
        &[("office", "db 10.0.0.5")],
        b"a\r\r\n{office}\r\n10.0.0.5 db\r\n{/office}\r\n",
    ),
    (
        "a CR that ends a file of LF",
        b"a\nb\r",
        &[("office", "")],
        b"a\nb\r\n{office}\n{/office}\n",
    ),
    (
        "only a newline",
        b"\n",
        &[("office", "")],
        b"\n{office}\n{/office}\n",
    ),
    (
        "only CRLF",
        b"\r\n",
        &[("office", "")],
        b"\r\n{office}\r\n{/office}\r\n",
    ),
    (
        "only blanks",
        b"  \t",
        &[("office", "")],
        b"  \t\n{office}\n{/office}\n",
    ),
    (
        "BOM",
        b"\xef\xbb\xbf127.0.0.1 localhost\n",
        &[("office", "")],
        b"\xef\xbb\xbf127.0.0.1 localhost\n{office}\n{/office}\n",
    ),
    (
        "BOM alone",
        b"\xef\xbb\xbf",
        &[("office", "")],
        b"\xef\xbb\xbf\n{office}\n{/office}\n",
    ),
    (
        "BOM before a block",
        b"\xef\xbb\xbf{office}\nx\n{/office}\nz\n",
        &[("office", "db 10.0.0.5")],
        b"\xef\xbb\xbf{office}\n10.0.0.5 db\n{/office}\nz\n",
    ),
    (
        "not UTF-8",
        b"10.0.0.1 caf\xe9 # \xff\xfe\n",
        &[("office", "")],
        b"10.0.0.1 caf\xe9 # \xff\xfe\n{office}\n{/office}\n",
    ),
    (
        "NUL bytes",
        b"a\0b\n\0",
        &[("office", "")],
        b"a\0b\n\0\n{office}\n{/office}\n",
    ),
    (
        "block replaced in its place",
        b"a\n{office}\n10.0.0.4 db\n{/office}\nb\n",
        &[("office", "db 10.0.0.5")],
        b"a\n{office}\n10.0.0.5 db\n{/office}\nb\n",
    ),
    (
        "block at the start",
        b"{office}\n{/office}\nb\n",
        &[("office", "db 10.0.0.5")],
        b"{office}\n10.0.0.5 db\n{/office}\nb\n",
    ),
    (
        "block at the end, END without newline",
        b"a\n{office}\n{/office}",
        &[("office", "db 10.0.0.5")],
        b"a\n{office}\n10.0.0.5 db\n{/office}\n",
    ),
    (
        "equal block",
        b"a\n{office}\n10.0.0.5 db\n{/office}\nb\n",
        &[("office", "db 10.0.0.5")],
        b"a\n{office}\n10.0.0.5 db\n{/office}\nb\n",
    ),
    (
        "edits in the block are overwritten",
        b"{office}\nmine\n\n10.9.9.9 x\n{/office}\n",
        &[("office", "db 10.0.0.5")],
        b"{office}\n10.0.0.5 db\n{/office}\n",
    ),
    (
        "bytes that are no text in the block",
        b"{office}\n\xff\0\r\n{/office}\nb\n",
        &[("office", "")],
        b"{office}\n{/office}\nb\n",
    ),
    (
        "the note may have been edited",
        b"# BEGIN silo office\n# END silo office\nb\n",
        &[("office", "")],
        b"{office}\n{/office}\nb\n",
    ),
    (
        "text behind the END id",
        b"# BEGIN silo office x\n# END silo office (old)\nb\n",
        &[("office", "")],
        b"{office}\n{/office}\nb\n",
    ),
    (
        "a tab ends the id",
        b"# BEGIN silo office\tx\n# END silo office\t\nb\n",
        &[("office", "")],
        b"{office}\n{/office}\nb\n",
    ),
    (
        "LF block in a CRLF file",
        b"a\r\n{office}\n{/office}\nb\r\n",
        &[("office", "db 10.0.0.5")],
        b"a\r\n{office}\r\n10.0.0.5 db\r\n{/office}\r\nb\r\n",
    ),
    (
        "CRLF block in an LF file",
        b"a\n{office}\r\n{/office}\r\n",
        &[("office", "")],
        b"a\n{office}\n{/office}\n",
    ),
    (
        "CRLF block alone stays CRLF",
        b"{office}\r\n{/office}\r\n",
        &[("office", "db 10.0.0.5")],
        b"{office}\r\n10.0.0.5 db\r\n{/office}\r\n",
    ),
    (
        "CRLF block, outside one open line",
        b"{office}\r\n{/office}\r\nb",
        &[("office", "")],
        b"{office}\r\n{/office}\r\nb",
    ),
    (
        "open line behind the block is kept",
        b"{office}\n{/office}\nb",
        &[("office", "db 10.0.0.5")],
        b"{office}\n10.0.0.5 db\n{/office}\nb",
    ),
    (
        "several silos, in the order given",
        b"a\n",
        &[("office", "db 10.0.0.5"), ("home", "nas 10.0.0.7")],
        b"a\n{office}\n10.0.0.5 db\n{/office}\n{home}\n10.0.0.7 nas\n{/home}\n",
    ),
    (
        "several silos keep their places",
        b"{home}\n{/home}\na\n{office}\n{/office}\n",
        &[("office", "db 10.0.0.5"), ("home", "nas 10.0.0.7")],
        b"{home}\n10.0.0.7 nas\n{/home}\na\n{office}\n10.0.0.5 db\n{/office}\n",
    ),
    (
        "one of two is wanted",
        b"{home}\nh\n{/home}\n{office}\no\n{/office}\n",
        &[("office", "")],
        b"{home}\nh\n{/home}\n{office}\n{/office}\n",
    ),
    (
        "one is there, one is new",
        b"{home}\n{/home}\na",
        &[("office", ""), ("home", "")],
        b"{home}\n{/home}\na\n{office}\n{/office}\n",
    ),
    (
        "office beside office2",
        b"{office2}\n10.0.0.9 x\n{/office2}\n",
        &[("office", "db 10.0.0.5")],
        b"{office2}\n10.0.0.9 x\n{/office2}\n{office}\n10.0.0.5 db\n{/office}\n",
    ),
    (
        "office2 beside office",
        b"{office}\n10.0.0.9 x\n{/office}\n",
        &[("office2", "db 10.0.0.5")],
        b"{office}\n10.0.0.9 x\n{/office}\n{office2}\n10.0.0.5 db\n{/office2}\n",
    ),
    (
        "ids with dots and hyphens",
        b"{a.b}\n{/a.b}\n{a-b}\nx\n{/a-b}\n",
        &[("a.b", "db 10.0.0.5")],
        b"{a.b}\n10.0.0.5 db\n{/a.b}\n{a-b}\nx\n{/a-b}\n",
    ),
    (
        "blanks before, in and behind markers",
        b"a\n \t#\tBEGIN  silo\toffice (x\n10.0.0.4 db\n#END silo office\t \nb\n",
        &[("office", "db 10.0.0.5")],
        b"a\n{office}\n10.0.0.5 db\n{/office}\nb\n",
    ),
    (
        "other comments are no markers",
        b"## BEGIN silo office\n# BEGINsilo office\n# begin silo office\n; BEGIN silo office\nx # BEGIN silo office\n",
        &[("office", "")],
        b"## BEGIN silo office\n# BEGINsilo office\n# begin silo office\n; BEGIN silo office\nx # BEGIN silo office\n{office}\n{/office}\n",
    ),
    (
        "an upper-case id is text",
        b"# BEGIN silo Office\n",
        &[("office", "")],
        b"# BEGIN silo Office\n{office}\n{/office}\n",
    ),
    (
        "a marker without id is text",
        b"# BEGIN silo \n# END silo\n# BEGIN silo -a\n",
        &[("office", "")],
        b"# BEGIN silo \n# END silo\n# BEGIN silo -a\n{office}\n{/office}\n",
    ),
    (
        "a marker that goes on is text",
        b"# BEGIN silo office(x\n# BEGIN silos office\n",
        &[("office", "")],
        b"# BEGIN silo office(x\n# BEGIN silos office\n{office}\n{/office}\n",
    ),
    (
        "another program's block",
        b"# BEGIN hostctl\n10.0.0.1 a\n# END hostctl\n",
        &[("office", "")],
        b"# BEGIN hostctl\n10.0.0.1 a\n# END hostctl\n{office}\n{/office}\n",
    ),
    (
        "blank lines around the block stay",
        b"a\n\n{office}\n{/office}\n\n\nb\n",
        &[("office", "")],
        b"a\n\n{office}\n{/office}\n\n\nb\n",
    ),
];

#[test]
fn merged_files_match_the_table() {
    const { assert!(CASES.len() >= 40) };
    for (name, given, wanted, becomes) in CASES {
        let (given, becomes) = (expand(given), expand(becomes));
        let rendered = render(&given, wanted);
        // A file without any line ending gets that of the system.
        let is_native =
            cfg!(windows) && !given.contains(&b'\n') && !shown(&becomes).contains("\\r\\n");
        let becomes = if is_native {
            shown(&becomes).replace("\\n", "\\r\\n")
        } else {
            shown(&becomes)
        };
        assert_eq!(shown(&rendered), becomes, "{name}");
        assert_eq!(shown(&render(&rendered, wanted)), becomes, "{name}, again");
    }
}
