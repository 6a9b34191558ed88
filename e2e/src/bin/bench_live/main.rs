//! The load of `scripts/bench-live`. Each kind prints rows of a table:
//!
//! - `waiting`: reads that wait for a silo, and what they cost others;
//! - `gets`: reads a silo about once a millisecond until its standard input ends, and prints the 99th percentile in
//!   microseconds;
//! - `hosts`: from a PUT to the hosts file of an agent that stays; `etcd`: the same by a watch of etcd, which `etcd-watch`
//!   makes;
//! - `returning`: agents whose hub was away.

mod agents;
mod hosts;
mod hub;
mod waiting;

use std::io::Result;
use std::path::Path;

use hub::{Hub, number, wrong};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["waiting", address, token, pid, watchers, rounds] => waiting::bench(
            &Hub::at(address, token)?,
            token,
            number(pid)?,
            number(watchers)?,
            number(rounds)?,
        ),
        ["gets", address, token] => waiting::gets(&Hub::at(address, token)?),
        ["hosts", address, token, file, changes] => {
            hosts::through_an_agent(&Hub::at(address, token)?, Path::new(file), number(changes)?)
        }
        ["etcd", address, file, changes] => {
            hosts::through_etcd(address, Path::new(file), number(changes)?)
        }
        ["etcd-watch", address, file] => hosts::watch_etcd(address, Path::new(file)),
        [
            "returning",
            address,
            token,
            program,
            data_dir,
            agents,
            away,
            figures,
        ] => agents::returning(
            &Hub::at(address, token)?,
            &agents::Program {
                path: Path::new(program),
                data_dir: Path::new(data_dir),
            },
            number(agents)?,
            number(away)?,
            Path::new(figures),
        ),
        _ => Err(wrong("see scripts/bench-live for the arguments")),
    }
}
