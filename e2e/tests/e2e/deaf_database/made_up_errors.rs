//! Errors in place of the answer to a `COMMIT`, as a server sends them that is told to end a session, or a proxy that
//! has lost its server.

use silo_e2e::database::Kind as Server;
use silo_e2e::forwarder::{How, Moment, ServerError};

use super::Scene;
use super::writes::{Kind, Write, at_once};

/// The errors, and whether each means that the session has ended.
fn errors() -> Vec<(ServerError, bool)> {
    let postgres = [
        ("57P01", true, true),
        ("57P02", true, true),
        ("57P03", true, true),
        ("08006", true, true),
        ("08006", false, true),
        // PgBouncer's, when its server is gone.
        ("08P01", true, true),
        ("40001", false, false),
    ];
    let mariadb = [
        (1927, "70100", true),
        (1053, "08S01", true),
        (2006, "HY000", true),
        (2013, "HY000", true),
        // Galera's, when another node has committed something else.
        (1213, "40001", false),
    ];
    let of_postgres = postgres.map(|(sqlstate, is_fatal, is_lost)| {
        let error = ServerError {
            sqlstate,
            number: 0,
            is_fatal,
        };
        (error, is_lost)
    });
    let of_mariadb = mariadb.map(|(number, sqlstate, is_lost)| {
        let error = ServerError {
            sqlstate,
            number,
            is_fatal: false,
        };
        (error, is_lost)
    });
    match Server::chosen() {
        Server::Sqlite => Vec::new(),
        Server::Postgres => of_postgres.into(),
        Server::MariaDb => of_mariadb.into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_in_place_of_the_answer_to_a_commit_is_no_false_refusal() {
    let Some(scene) = Scene::begin() else { return };
    let admin = &scene.admin;
    let alone = Kind::ALL.map(|kind| vec![kind]);
    let together = Kind::ALL.repeat(2);
    let mut round = 0;
    for (error, is_lost) in errors() {
        // Carried out by the server, or never seen by it.
        for moment in [Moment::CommitAnswer, Moment::Commit] {
            for kinds in alone.iter().chain([&together]) {
                let what = format!("{error:?} {moment:?}");
                let mut writes = Vec::new();
                for kind in kinds {
                    round += 1;
                    writes.push(Write::prepare(admin, *kind, format!("w{round}")).await);
                }
                scene.forwarder.arm(moment, How::Error(error));
                let said = at_once(admin, &writes).await;
                assert!(scene.forwarder.has_fired(), "{what} {kinds:?}");
                for (write, said) in writes.iter().zip(&said) {
                    let done = write.check(admin, said, &what).await;
                    // The server takes the next connection, so that the hub can find out at once. Only an answer
                    // that nothing was done is passed on.
                    assert!(
                        done || moment == Moment::Commit && !is_lost,
                        "{what}: {write:?}: {said:?}"
                    );
                }
            }
        }
    }
    scene.end();
}
