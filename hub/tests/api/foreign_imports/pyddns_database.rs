//! pyDDNS's database file, whose tables are as SQLAlchemy makes them of its `server/models.py`.

use std::path::Path;

use super::{TestHub, database, dnsrecords, import, of};

const TABLES: &str = "\
    PRAGMA foreign_keys = OFF;\
    CREATE TABLE user (id VARCHAR(20) NOT NULL, password VARCHAR(20), role VARCHAR(6), PRIMARY KEY (id));\
    CREATE TABLE silo (id VARCHAR(20) NOT NULL, user_id VARCHAR(20), PRIMARY KEY (id), \
        FOREIGN KEY(user_id) REFERENCES user (id));\
    CREATE TABLE dnsrecord (silo_id VARCHAR(20) NOT NULL, hostname VARCHAR(20) NOT NULL, ip VARCHAR(20), \
        PRIMARY KEY (silo_id, hostname), FOREIGN KEY(silo_id) REFERENCES silo (id));";

const ROWS: &str = "\
    INSERT INTO user VALUES ('admin', 'cumuli123', 'admin');\
    INSERT INTO silo VALUES ('web', 'admin'), ('empty', NULL);\
    INSERT INTO dnsrecord VALUES ('web', 'webserver', '192.0.2.1'), ('web', 'DbServer', '192.0.2.2'), \
        ('alone', 'nas', '2001:db8::7');";

fn files(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().expect("the folder is there");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn silos_of_the_database_come_once_and_it_is_only_read() {
    let hub = TestHub::start().await;
    // As a server that was ended leaves it in the mode with a log.
    let statements = format!("PRAGMA journal_mode = WAL;{TABLES}{ROWS}");
    let file = database(&hub, "pyddns.db", &statements).await;
    let (bytes, before) = (
        std::fs::read(&file).expect("a file"),
        files(hub.home.path()),
    );
    for (new, kept) in [(3, 0), (0, 3)] {
        let (code, said, error) = import(&hub, &["--from", "pyddns", of(&file)]).await;
        let words = format!(
            "read 3 silos ({new} new, {kept} left unchanged) with 3 records, 0 history rows (0 new)\n"
        );
        assert_eq!((code, said), (Some(0), words), "{error}");
    }
    for (silo, records) in [
        (
            "web",
            &[("dbserver", "192.0.2.2"), ("webserver", "192.0.2.1")][..],
        ),
        ("empty", &[]),
        ("alone", &[("nas", "2001:db8::7")]),
    ] {
        let stored = hub.get(&format!("/silos/{silo}")).await.json();
        assert_eq!(
            stored["dnsrecords"],
            dnsrecords(records)["dnsrecords"],
            "{silo}"
        );
    }
    assert_eq!(std::fs::read(&file).expect("a file"), bytes);
    assert_eq!(files(hub.home.path()), before);
}

#[tokio::test]
async fn what_is_wrong_in_the_database_is_named_and_nothing_is_taken() {
    let hub = TestHub::start().await;
    for (at, (statements, words)) in [
        (
            "CREATE TABLE other (id);",
            "is no database of pyDDNS: no such table: ",
        ),
        (
            "CREATE TABLE silo (id); CREATE TABLE dnsrecord (silo_id, hostname);",
            "is no database of pyDDNS: no such column: ip",
        ),
        (
            "INSERT INTO silo VALUES ('w/eb', NULL);",
            "silo \"w/eb\".id: a silo id",
        ),
        (
            "INSERT INTO dnsrecord VALUES ('web', 'a b', '192.0.2.1');",
            "web.dnsrecords[0].hostname: \"a b\"",
        ),
        (
            "INSERT INTO dnsrecord VALUES ('web', 'a', '192.0.2.1'), ('web', 'b', NULL);",
            "web.dnsrecords[1].ip: is missing or not a string",
        ),
        (
            "INSERT INTO dnsrecord VALUES ('web', 'a', '192.0.2.300');",
            "web.dnsrecords[0].ip: \"192.0.2.300\": not an IPv4 or IPv6 address",
        ),
        (
            "INSERT INTO dnsrecord VALUES ('web', 'A', '192.0.2.1'), ('web', 'a', '192.0.2.2');",
            "web.dnsrecords[1]: this hostname has another address already",
        ),
        (
            "INSERT INTO silo VALUES ('web', NULL), ('WEB', NULL);",
            "web: duplicate silo",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let all = if statements.starts_with("CREATE") {
            statements.to_owned()
        } else {
            format!("{TABLES}{statements}")
        };
        let file = database(&hub, &format!("wrong{at}.db"), &all).await;
        let (code, said, error) = import(&hub, &["--from", "pyddns", of(&file)]).await;
        assert_eq!((code, &*said), (Some(1), ""), "{words}");
        assert!(error.contains(words), "{words}: {error}");
        assert!(error.contains(&format!("wrong{at}.db: ")), "{error}");
    }
    nothing_taken(&hub).await;
}

async fn nothing_taken(hub: &TestHub) {
    for silo in ["web", "alone", "empty"] {
        assert_eq!(
            hub.get(&format!("/silos/{silo}")).await.status,
            404,
            "{silo}"
        );
    }
}

#[tokio::test]
async fn a_database_that_is_cut_off_or_has_changes_beside_it_is_refused() {
    let hub = TestHub::start().await;
    let file = database(&hub, "cut.db", &format!("{TABLES}{ROWS}")).await;
    let bytes = std::fs::read(&file).expect("a file");
    for (content, beside, words) in [
        (&bytes[..100], None, "is no database of pyDDNS: "),
        (&bytes[..], Some("cut.db-wal"), "cut.db-wal holds changes"),
        (
            &bytes[..],
            Some("cut.db-journal"),
            "cut.db-journal holds changes",
        ),
    ] {
        std::fs::write(&file, content).expect("a file");
        let beside = beside.map(|name| hub.home.path().join(name));
        if let Some(beside) = &beside {
            std::fs::write(beside, "x").expect("a file");
        }
        let (code, said, error) = import(&hub, &["--from", "pyddns", of(&file)]).await;
        assert_eq!((code, &*said), (Some(1), ""), "{words}: {error}");
        assert!(error.contains(words), "{words}: {error}");
        // SQLite finds them beside the file, whatever links lead to it.
        #[cfg(unix)]
        {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let link = folder.path().join("link.db");
            std::os::unix::fs::symlink(&file, &link).expect("a link");
            let (code, said, error) = import(&hub, &["--from", "pyddns", of(&link)]).await;
            assert_eq!((code, &*said), (Some(1), ""), "{words}: {error}");
            assert!(error.contains(words), "{words}: {error}");
        }
        if let Some(beside) = &beside {
            std::fs::remove_file(beside).expect("it is still there");
        }
    }
    let input = std::fs::File::open(&file).expect("a file");
    let mut program = hub.home.program(&hub.settings);
    let program = program.args(["silo", "import", "--from", "pyddns", "-"]);
    let output = program.stdin(input).output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    nothing_taken(&hub).await;
}
