//! A client that `openapi-typescript` makes from the OpenAPI document of a running hub: it is type-checked, and creates, reads and
//! deletes a silo.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use silo_e2e::{Hub, npm};

/// The generator, the client library, the compiler and the types of Node.js, at the versions that were looked at.
const PACKAGES: [&str; 4] = [
    "openapi-typescript@7.13.0",
    "openapi-fetch@0.17.0",
    "typescript@5.9.3",
    "@types/node@20.19.0",
];

const CLIENT: &str = include_str!("generated_client/client.ts");

fn succeeded(output: &Output, what: &str) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{what}: {out}{err}");
    out.into_owned()
}

#[test]
fn a_generated_client_creates_reads_and_deletes_a_silo() {
    let packages = npm::packages(&PACKAGES);
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    // Node.js looks for packages beside the program and above.
    let work = tempfile::tempdir_in(&packages).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let program = match program {
            "node" => PathBuf::from(program),
            tool => packages.join("node_modules/.bin").join(tool),
        };
        Command::new(program)
            .args(arguments)
            .current_dir(work.path())
            .env("HUB", hub.url())
            .env("TOKEN", hub.admin_token())
            .output()
            .unwrap()
    };
    let document = format!("{}/openapi.json", hub.url());
    let made = run("openapi-typescript", &[&document, "--output", "hub.ts"]);
    succeeded(&made, "openapi-typescript");
    fs::write(work.path().join("client.ts"), CLIENT).unwrap();
    let checked = run(
        "tsc",
        &[
            "--strict",
            "--target",
            "es2022",
            "--module",
            "nodenext",
            "--types",
            "node",
            "client.ts",
        ],
    );
    succeeded(&checked, "tsc");
    let ran = succeeded(&run("node", &["client.js"]), "node");
    assert_eq!(
        ran.lines().collect::<Vec<_>>(),
        [
            "PUT 201 db 10.0.0.5",
            "GET 200 db 10.0.0.5, db fd00::5",
            "GET 304",
            "PUT 422 /dnsrecords/0/ip",
            "PUT 200 fd00::7",
            "DELETE 204",
            "GET 404 /problems/not-found",
        ]
    );
}
