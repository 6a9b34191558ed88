//! Database servers whose defaults would break what a hub promises: it sets what it needs for each session.

use silo_e2e::mariadb::MariaDb;
use silo_e2e::postgres::Postgres;
use silo_e2e::{Caller, Hub, until};
use tokio::task::JoinSet;

/// Writes of each of several clients at once, each to its own silo; returns the statuses that are not 200 or 201.
async fn write_at_once(callers: &[Caller], rounds: u8) -> Vec<u16> {
    let mut writers = JoinSet::new();
    for (number, caller) in callers.iter().cloned().enumerate() {
        writers.spawn(async move {
            let mut others = Vec::new();
            for round in 1..=rounds {
                let (silo, ip) = (format!("silo-{number}"), format!("10.0.{number}.{round}"));
                let (status, _) = caller.put_ip(&silo, "db", &ip).await.unwrap();
                if !matches!(status, 200 | 201) {
                    others.push(status);
                }
            }
            others
        });
    }
    writers.join_all().await.concat()
}

/// Each hub reads what it has written itself, from the database.
async fn read_own_writes(caller: &Caller, rounds: u8) {
    for round in 1..=rounds {
        let ip = format!("10.1.0.{round}");
        let (status, _) = caller.put_ip("own", "db", &ip).await.unwrap();
        assert!(matches!(status, 200 | 201), "{status}");
        let (status, record) = caller.get("/silos/own/records/db").await;
        assert_eq!((status, record["ips"][0].as_str()), (200, Some(&*ip)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_is_refused_or_lost_whatever_the_defaults_of_postgres_are() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let database = postgres.database("silo");
    for setting in [
        "ALTER DATABASE silo SET synchronous_commit = off",
        "ALTER DATABASE silo SET default_transaction_isolation = 'repeatable read'",
        "ALTER ROLE silo IN DATABASE silo SET default_transaction_isolation = 'serializable'",
    ] {
        postgres.ask("silo", setting);
    }
    // Only a synchronous commit writes the log to disk during this test.
    postgres.set("wal_writer_delay", "'10s'");
    let key = folder.path().join("hub.key");
    let one = Hub::start_on(&database, &key, &folder.path().join("one"));
    let two = Hub::start_on(&database, &key, &folder.path().join("two"));
    let admin = Caller::new(&one, &one.admin_token());
    let other = admin.at(two.url());
    let callers = [admin.clone(), other.clone(), admin.clone(), other.clone()];
    let others = write_at_once(&callers, 60).await;
    assert!(others.is_empty(), "{others:?}");
    read_own_writes(&admin, 20).await;
    for round in 1..4_u8 {
        let ip = format!("10.2.0.{round}");
        let (status, _) = admin.put_ip("kept", "db", &ip).await.unwrap();
        assert!(matches!(status, 200 | 201), "{status}");
        postgres.stop_at_once();
        postgres.start_again();
        let record = until("the database is read again", async || {
            let (status, record) = admin.get("/silos/kept/records/db").await;
            (status != 503).then_some(record)
        })
        .await;
        assert_eq!(record["ips"][0].as_str(), Some(&*ip), "{record}");
        until("writes are taken again", async || {
            let (status, _) = admin.put_ip("probe", "db", &ip).await?;
            matches!(status, 200 | 201).then_some(())
        })
        .await;
    }
    assert_eq!(one.stop(), Some(0));
    assert_eq!(two.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_current_and_exports_of_one_moment_whatever_the_defaults_of_mariadb_are() {
    let folder = tempfile::tempdir().unwrap();
    let mariadb = MariaDb::start();
    mariadb.ask(
        "CREATE DATABASE silo; \
         SET GLOBAL tx_isolation = 'READ-COMMITTED'; \
         SET GLOBAL autocommit = 0; \
         SET GLOBAL completion_type = 'CHAIN'; \
         SET GLOBAL sql_mode = ''; \
         SET GLOBAL default_storage_engine = 'Aria'",
    );
    let database = format!("mysql://silo@127.0.0.1:{}/silo", mariadb.port());
    let key = folder.path().join("hub.key");
    let hub = Hub::start_on(&database, &key, folder.path());
    let engines = mariadb
        .ask("SELECT DISTINCT engine FROM information_schema.tables WHERE table_schema = 'silo'");
    assert_eq!(engines, "InnoDB");
    let admin = Caller::new(&hub, &hub.admin_token());
    read_own_writes(&admin, 20).await;
    let writer = tokio::spawn({
        let admin = admin.clone();
        async move {
            for round in 0_u32.. {
                let ip = std::net::Ipv4Addr::from(0x0a00_0002 + round);
                admin.put_ip("office", "db", &ip.to_string()).await;
            }
        }
    });
    until("the writer has begun", async || {
        (admin.get("/silos/office").await.0 == 200).then_some(())
    })
    .await;
    for export in 0..10 {
        let output = hub.cli(&["silo", "export", "--no-tokens"]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let silo = lines.iter().find(|line| line["silo"]["id"] == "office");
        let newest = &lines[lines.len() - 2]["history"];
        assert_eq!(
            silo.unwrap()["silo"]["revision"],
            newest["revision"],
            "export {export} is torn"
        );
    }
    writer.abort();
    assert_eq!(hub.stop(), Some(0));
}
