//! Databases that a hub can't work with, and what it says of them.

use std::sync::Arc;

use sqlx::Connection;

use crate::common::{DEADLINE, Home, Kind, TestHub, refusal};

/// In a URL, and as it is.
const WRONG_PASSWORD: (&str, &str) = ("geheim%40Passwort%2F7", "geheim@Passwort/7");

#[tokio::test]
async fn a_schema_of_a_newer_program_is_refused_and_unchanged() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let (home, mut settings) = hub.stop().await;
    let mut connection = home.connect().await;
    let newer = "INSERT INTO _sqlx_migrations \
         (version, description, success, checksum, execution_time) \
         SELECT 1000, 'later', success, checksum, execution_time \
         FROM _sqlx_migrations WHERE version = 1";
    sqlx::raw_sql(newer).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    for migrate in [true, false] {
        settings.migrate = migrate;
        let said = refusal(&settings).await;
        for word in ["schema", "newer", "1000"] {
            assert!(
                said.contains(word),
                "migrate {migrate}: no {word} in: {said}"
            );
        }
    }
    for words in [["serve"].as_slice(), &["migrate"], &["token", "list"]] {
        let mut program = home.program(&settings);
        program.args(["--listen", "127.0.0.1:0"]).args(words);
        let output = tokio::time::timeout(DEADLINE, program.output())
            .await
            .expect("it ends in time")
            .expect("it can be run");
        assert!(!output.status.success(), "{words:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("newer"), "{words:?}: {said}");
    }
    // The program that knows it finds everything as it was.
    let mut connection = home.connect().await;
    sqlx::raw_sql("DELETE FROM _sqlx_migrations WHERE version = 1000")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    settings.migrate = true;
    let hub = TestHub::start_in(home, settings).await;
    assert_eq!(hub.get("/silos/office").await.status, 200);
}

#[tokio::test]
async fn a_server_that_refuses_is_named_without_the_password() {
    let home = Arc::new(Home::of_sqlite());
    let (given, plain) = WRONG_PASSWORD;
    // Nothing listens on the loopback's port 1.
    let mut refused = vec![
        (
            format!("postgres://hub:{given}@127.0.0.1:1/silo"),
            "127.0.0.1:1/silo".to_owned(),
        ),
        (
            format!("mysql://hub:{given}@127.0.0.1:1/silo"),
            "127.0.0.1:1/silo".to_owned(),
        ),
    ];
    // SQLite has no passwords; a server is asked with a wrong one, and by a user that it does not know.
    if let Some(mut server) = Kind::chosen().server() {
        let port = server.port().expect("the tests' server has a port");
        let shown = format!("127.0.0.1:{port}{}", server.path());
        server.set_password(Some(plain)).unwrap();
        refused.push((server.to_string(), shown.clone()));
        server.set_username("stranger").unwrap();
        refused.push((server.to_string(), shown));
    }
    for (url, shown) in refused {
        let mut settings = home.settings();
        settings.database = Some(url.parse().unwrap());
        let said = refusal(&settings).await;
        assert!(said.contains(&shown), "no {shown} in: {said}");
        let mut program = home.program(&settings);
        program
            .env("SILO_HUB_DATABASE", &url)
            .args(["--listen", "127.0.0.1:0", "serve"]);
        let output = tokio::time::timeout(DEADLINE, program.output())
            .await
            .expect("it ends in time")
            .expect("it can be run");
        assert!(!output.status.success(), "{output:?}");
        let printed = format!("{output:?}");
        assert!(printed.contains(&shown), "no {shown} in: {printed}");
        for secret in [given, plain, "geheim"] {
            assert!(!said.contains(secret), "{said}");
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
