//! Programs that move, change or remove our markers: our records are found again and taken back, and what
//! belongs to another program is left alone.

use std::fs;
use std::process::Command;

use crate::fake_hub::FakeHub;
use crate::sandbox::{Ran, Sandbox, agent, block, clean, run};

const TWO: &[(&str, &str)] = &[("db", "10.0.0.5"), ("nas", "10.0.0.7"), ("nas", "fd00::7")];
const MOVED: &[(&str, &str)] = &[("db", "10.0.0.6"), ("nas", "10.0.0.7"), ("nas", "fd00::7")];
const LINES: &str = "10.0.0.5 db\n10.0.0.7 nas\nfd00::7 nas\n";
const HEAD: &str = "127.0.0.1 localhost\n# mine\n10.1.1.1 own own2\n";

/// Runs a shell command over the hosts file, `$1`.
fn rudely(sandbox: &Sandbox, script: &str) {
    let mut command = clean(Command::new("sh"));
    command.args(["-euc", script, "sh"]).arg(sandbox.hosts());
    let ran = run(&mut command);
    assert_eq!(ran.code, 0, "{script}: {ran:?}");
}

/// A program, as a shell command over the file `$1`.
const RUDE: &[(&str, &str)] = &[
    (
        "comments at the top",
        r##"{ grep '^#' "$1"; grep -v '^#' "$1"; } > "$1.x"; mv "$1.x" "$1""##,
    ),
    (
        "comments at the end",
        r##"{ grep -v '^#' "$1"; grep '^#' "$1"; } > "$1.x"; mv "$1.x" "$1""##,
    ),
    ("no comments", r##"sed -i 's/#.*$//' "$1""##),
    ("no comment lines", r##"sed -i '/^#/d' "$1""##),
    ("no comments, CRLF", r##"sed -i 's/#.*$//; s/$/\r/' "$1""##),
    (
        "no comments, columns",
        r##"sed -i 's/#.*$//; s/ /\t\t/' "$1""##,
    ),
    (
        "no comments, indented, upper case",
        r##"sed -i 's/#.*$//; s/^/  /; s/ db/ DB/' "$1""##,
    ),
    (
        "no comments, blanks at the end",
        r##"sed -i 's/#.*$//; s/$/ \t/' "$1""##,
    ),
    (
        "no comments, no last newline",
        r##"sed -i 's/#.*$//' "$1"; printf %s "$(cat "$1")" > "$1""##,
    ),
    (
        "no comments, reversed",
        r##"sed 's/#.*$//' "$1" | tac > "$1.x"; mv "$1.x" "$1""##,
    ),
    ("sort -u", r##"LC_ALL=C sort -u -o "$1" "$1""##),
    (
        "END lost with its neighbour",
        r##"sed -i '/^# END/d; /^# BEGIN/d; /fd00/d' "$1""##,
    ),
    (
        "lines taken out of the block",
        r##"grep '10.0.0.5 db' "$1" > "$1.y" || true; sed -i '/10.0.0.5 db/d' "$1"; cat "$1.y" >> "$1"; rm "$1.y""##,
    ),
    ("indented", r##"sed -i 's/^/    /' "$1""##),
    ("tabs before", r##"sed -i 's/^#/\t#/' "$1""##),
    ("#BEGIN", r##"sed -i 's/^# /#/' "$1""##),
    ("# and a tab", r##"sed -i 's/^# /#\t/' "$1""##),
    ("#  BEGIN", r##"sed -i 's/^# /#   /' "$1""##),
    ("CRLF", r##"sed -i 's/$/\r/' "$1""##),
    ("blanks at the end", r##"sed -i 's/$/  /' "$1""##),
    ("tabs between words", r##"sed -i 's/ /\t/g' "$1""##),
];

#[test]
fn records_are_taken_back_whatever_became_of_the_markers() {
    // Each run waits until the program that changed the file may have ended.
    silo_e2e::for_each_on(RUDE.len(), RUDE, |(name, script)| {
        let hub = FakeHub::office(42, TWO);
        let sandbox = Sandbox::new(HEAD);
        sandbox.must_run(&hub, &[]);
        assert_eq!(
            sandbox.text(),
            HEAD.to_owned() + &block("office", LINES),
            "{name}"
        );
        rudely(&sandbox, script);
        let rude = sandbox.text();
        hub.now_office(43, MOVED);
        let ran = sandbox.run(&hub, &["--quiet"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{name}: {ran:?}");
        assert!(ran.stdout.contains("office: "), "{name}: {ran:?}");
        let entries: Vec<Vec<String>> = sandbox
            .text()
            .lines()
            .map(|line| {
                line.split('#')
                    .next()
                    .unwrap()
                    .split_whitespace()
                    .map(str::to_lowercase)
                    .collect()
            })
            .filter(|words: &Vec<String>| words.len() > 1)
            .collect();
        let of = |name: &str| -> Vec<&str> {
            entries
                .iter()
                .filter(|words| words[1..].iter().any(|word| word == name))
                .map(|words| words[0].as_str())
                .collect()
        };
        let text = sandbox.text();
        assert_eq!(of("db"), ["10.0.0.6"], "{name}: {text}");
        assert_eq!(of("nas"), ["10.0.0.7", "fd00::7"], "{name}: {text}");
        assert_eq!(
            (of("own"), of("localhost")),
            (vec!["10.1.1.1"], vec!["127.0.0.1"]),
            "{name}: {text}"
        );
        let inside = block("office", "10.0.0.6 db\n10.0.0.7 nas\nfd00::7 nas\n");
        assert!(text.replace('\r', "").contains(&inside), "{name}: {text}");
        // What was found is kept.
        let kept = fs::read_dir(sandbox.path("state")).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            path.to_string_lossy().contains("backup-") && fs::read_to_string(path).unwrap() == rude
        });
        assert!(kept, "{name}");
        let again = sandbox.must_run(&hub, &[]);
        assert_eq!(again.stdout, "office: unchanged, revision 43\n", "{name}");
        // And what is ours goes, whatever the markers are.
        rudely(&sandbox, script);
        let ran = sandbox.run(&hub, &["clean"]);
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        let text = sandbox.text().to_lowercase();
        for line in ["10.0.0.6", "10.0.0.7", "fd00::7", "silo office"] {
            assert!(!text.contains(line), "{name}: {text}");
        }
        assert!(text.contains("10.1.1.1"), "{name}: {text}");
    });
}

#[test]
fn adopted_lines_are_reported_with_their_numbers() {
    let hub = FakeHub::office(42, &[("db", "10.0.0.5")]);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    sandbox.must_run(&hub, &[]);
    fs::write(sandbox.hosts(), "10.0.0.5\tDB\n127.0.0.1 localhost\n").unwrap();
    let check = sandbox.run(&hub, &["check"]);
    assert!(
        check.code == 0 && check.stdout.contains("line 1 (`10.0.0.5 db`)"),
        "{check:?}"
    );
    let ran = sandbox.must_run(&hub, &["--quiet"]);
    assert_eq!(
        ran.stdout,
        "office: new block with 1 name, revision 42\n\
         office: line 1 (`10.0.0.5 db`) was outside the block: moved into it\n"
    );
    assert_eq!(
        sandbox.text(),
        "127.0.0.1 localhost\n".to_owned() + &block("office", "10.0.0.5 db\n")
    );
}

#[test]
fn lines_of_uncertain_origin_are_kept_and_named() {
    type Prepare = fn(&Sandbox, &FakeHub);
    let forget: Prepare = |sandbox, _| {
        rudely(sandbox, r##"sed -i '/^#/d' "$1""##);
        fs::remove_dir_all(sandbox.path("state")).unwrap();
    };
    let moved_up: Prepare = |sandbox, _| {
        rudely(
            sandbox,
            r##"{ grep '^#' "$1"; grep -v '^#' "$1"; } > "$1.x"; mv "$1.x" "$1""##,
        );
        fs::remove_dir_all(sandbox.path("state")).unwrap();
    };
    let twice: Prepare = |sandbox, _| {
        rudely(
            sandbox,
            r##"sed '/^#/d' "$1" > "$1.x"; cat "$1.x" "$1.x" > "$1"; rm "$1.x""##,
        );
    };
    let two_blocks: Prepare = |sandbox, _| {
        rudely(sandbox, r##"cat "$1" "$1" > "$1.x"; mv "$1.x" "$1""##);
    };
    for (name, prepare, part, remedy) in [
        ("no state", forget, "line 2 (`10.0.0.5 db`)", "--adopt"),
        (
            "no state, markers at the top",
            moved_up,
            "(`10.0.0.5 db`)",
            "--adopt",
        ),
        ("twice", twice, "lines 2 and 6 (`10.0.0.5 db`)", "--adopt"),
        (
            "two blocks",
            two_blocks,
            "two blocks of silo office",
            "remove one",
        ),
    ] {
        let hub = FakeHub::office(42, TWO);
        let sandbox = Sandbox::new("127.0.0.1 localhost\n");
        sandbox.must_run(&hub, &[]);
        prepare(&sandbox, &hub);
        let before = sandbox.text();
        let names = |ran: &Ran| {
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(
                said.contains(part) && said.contains(remedy),
                "{name}: {ran:?}"
            );
        };
        for _ in 0..3 {
            let check = sandbox.run(&hub, &["check"]);
            assert_eq!(check.code, 1, "{name}: {check:?}");
            names(&check);
            let ran = sandbox.run(&hub, &[]);
            assert_eq!(ran.code, 1, "{name}: {ran:?}");
            names(&ran);
            assert_eq!(sandbox.text(), before, "{name}");
        }
        if remedy == "--adopt" {
            let ran = sandbox.must_run(&hub, &["--adopt"]);
            assert!(ran.stdout.contains("moved into it"), "{name}: {ran:?}");
            let text = sandbox.text();
            assert!(text.contains(&block("office", LINES)), "{name}: {text}");
            assert_eq!(text.matches(" db\n").count(), 1, "{name}: {text}");
            assert_eq!(
                sandbox.must_run(&hub, &[]).stdout,
                "office: unchanged, revision 42\n"
            );
        }
    }
}

#[test]
fn clean_refuses_a_line_that_is_there_twice_until_adopt() {
    for (what, script, lines) in [
        (
            "no markers",
            r##"sed '/^#/d' "$1" > "$1.x"; cat "$1.x" "$1.x" > "$1"; rm "$1.x""##,
            "lines 2 and 6 (`10.0.0.5 db`)",
        ),
        (
            "lost by the block",
            r##"sed -i '/^10.0.0.5 db/d' "$1"; printf '10.0.0.5 db\n%.0s' 1 2 >> "$1""##,
            "lines 6 and 7 (`10.0.0.5 db`)",
        ),
    ] {
        let hub = FakeHub::office(42, TWO);
        let sandbox = Sandbox::new("127.0.0.1 localhost\n");
        sandbox.must_run(&hub, &[]);
        rudely(&sandbox, script);
        let before = sandbox.text();
        for arguments in [&["clean"][..], &["clean", "--all"]] {
            let ran = sandbox.run(&hub, arguments);
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{what}: {ran:?}");
            for part in [
                lines,
                "more than once",
                "`once --adopt`",
                "the file was not changed",
            ] {
                assert!(ran.stderr.contains(part), "{what}: {part}: {ran:?}");
            }
            assert_eq!(sandbox.text(), before, "{what}");
        }
        let ran = sandbox.must_run(&hub, &["clean", "--adopt"]);
        assert!(
            ran.stdout.contains("which had lost its block, removed"),
            "{what}: {ran:?}"
        );
        let text = sandbox.text();
        assert_eq!(
            text.replace("127.0.0.1 localhost\n", ""),
            "",
            "{what}: {text}"
        );
    }
}

#[test]
fn a_line_of_the_users_own_is_never_taken() {
    let lines = [
        "10.0.0.5 db # mine",
        "10.0.0.5 db db2",
        "10.0.0.5 db#mine",
        "10.0.0.9 db",
        "10.0.0.5 tv",
        "#10.0.0.5 db",
    ];
    silo_e2e::for_each_on(lines.len(), &lines, |line| {
        let hub = FakeHub::office(42, TWO);
        let sandbox = Sandbox::new("127.0.0.1 localhost\n");
        sandbox.must_run(&hub, &[]);
        let own = format!("127.0.0.1 localhost\n{line}\n");
        fs::write(sandbox.hosts(), &own).unwrap();
        sandbox.run(&hub, &[]);
        assert!(
            sandbox.text().starts_with(&own),
            "{line}: {}",
            sandbox.text()
        );
        sandbox.run(&hub, &["clean"]);
        assert_eq!(sandbox.text(), own, "{line}");
    });
    // Beside an intact block, a second line of the same words is a definition of the user.
    let hub = FakeHub::office(42, TWO);
    let sandbox = Sandbox::new("127.0.0.1 localhost\n");
    sandbox.must_run(&hub, &[]);
    let own = sandbox.text() + "10.0.0.5 db\n";
    fs::write(sandbox.hosts(), &own).unwrap();
    for _ in 0..3 {
        let ran = sandbox.must_run(&hub, &[]);
        assert!(ran.stdout.contains("office: skipped db: line "), "{ran:?}");
        assert!(
            sandbox.text().ends_with("\n10.0.0.5 db\n"),
            "{}",
            sandbox.text()
        );
        assert_eq!(
            sandbox.text().matches(" db\n").count(),
            1,
            "{}",
            sandbox.text()
        );
    }
}

#[test]
fn lines_of_pyddns_are_taken_on_request() {
    // As pyDDNS's own downstream writes them: a tab, no newline at the end.
    let old = "127.0.0.1\tlocalhost\n10.1.1.1\town db2\n10.0.0.4\tdb\n10.0.0.7\tnas\n10.0.0.9\ttv";
    let hub = FakeHub::office(42, TWO);
    let sandbox = Sandbox::new(old);
    let ran = sandbox.run(&hub, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("line 3") && ran.stderr.contains("--adopt"),
        "{ran:?}"
    );
    let ran = sandbox.must_run(&hub, &["--adopt"]);
    assert!(ran.stdout.contains("line 3 (`10.0.0.4 db`)"), "{ran:?}");
    let rest = "127.0.0.1\tlocalhost\n10.1.1.1\town db2\n";
    let text = sandbox.text();
    let outside: String = text
        .lines()
        .filter(|line| line.contains('\t'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(outside, format!("{rest}10.0.0.9\ttv\n"));
    assert!(text.contains(&block("office", LINES)), "{text}");
    let again = run(agent().args(sandbox.flags(&hub)).arg("--adopt"));
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, "office: unchanged, revision 42\n")
    );
}
