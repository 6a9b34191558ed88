//! What is known of a request that a hub did not answer: whether its bytes wait at the hub, at the client, or nowhere.

use std::fmt::Write;

use silo_e2e::Hub;

/// So many of the last lines of a hub's log are shown.
const LINES: usize = 200;

/// The connections of the loopback with this port at either end, and the bytes that wait there: those with a local port
/// equal to `port` are the hub's ends. Each line is one of proc_net_tcp(5).
pub(super) fn connections(port: u16) -> String {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let port = format!(":{port:04X}");
    let mut shown = String::new();
    for line in table.lines() {
        let mut fields = line.split_whitespace().skip(1);
        let (Some(local), Some(remote)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (Some(state), Some(queues)) = (fields.next(), fields.next()) else {
            continue;
        };
        // 06 is TIME_WAIT.
        if state != "06" && (local.ends_with(&port) || remote.ends_with(&port)) {
            let _ = write!(shown, "\n{local} {remote} state {state} sent:read {queues}");
        }
    }
    shown
}

/// Prints what each hub's log has on changes of records, which are made in bursts, and its warnings: the last lines. The
/// log goes with the test's folder.
pub(super) fn print_logs(hubs: &[Hub]) {
    for hub in hubs {
        let log = hub.log();
        let is_shown = |line: &&str| {
            ["/records/", " WARN ", " ERROR "]
                .iter()
                .any(|part| line.contains(part))
        };
        let lines: Vec<_> = log.lines().filter(is_shown).collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        println!("the log of the hub at {} ends:\n{last}", hub.url());
    }
}
