//! The verb `check`: says of each thing whether it is all right, and changes nothing.

use silo_shared::client::ClientError;
use tokio::time::Instant;

use crate::agent::{Plan, ReportError, RunTime, explain, hub_client, names};
use crate::discover::discover;
use crate::output::Output;
use crate::settings::Settings;

/// Checks hub, addresses and records; answers whether all is well.
pub(crate) async fn check(settings: &Settings, time: RunTime, output: Output) -> bool {
    match &settings.file {
        Some(file) => output.say(format_args!("configuration: {}", file.display())),
        None => output.say("configuration: flags and environment alone"),
    }
    let client = match hub_client(settings) {
        Ok(client) => client,
        Err(error) => {
            output.complain(error);
            return false;
        }
    };
    let hub = client.hub();
    let mut all_well = true;
    match within(time.deadline, client.caller_address()).await {
        Ok(ip) => output.say(format_args!(
            "hub: {hub} answers and sees this machine at {ip}"
        )),
        Err(error) => {
            match error {
                ReportError::Client(ClientError::Unreachable { .. }) => output.complain(error),
                error => output.complain(format_args!("{hub}: {error}")),
            }
            all_well = false;
        }
    }
    let source = &settings.addresses;
    let found = match tokio::time::timeout_at(time.deadline, discover(settings)).await {
        Ok(Ok(found)) => {
            output.say(format_args!("addresses from {source}: {found}"));
            Some(found)
        }
        Ok(Err(error)) => {
            output.complain(format_args!(
                "{}: {}: {error}",
                settings.silo,
                names(settings)
            ));
            None
        }
        Err(_) => {
            output.complain(format_args!(
                "addresses from {source}: {}",
                ReportError::OutOfTime
            ));
            None
        }
    };
    all_well &= found.is_some();
    for hostname in &settings.hostnames {
        let silo = &settings.silo;
        let stored = within(time.deadline, client.record(silo, hostname));
        let stored = match stored.await {
            Ok(stored) => stored,
            Err(error) => {
                let words = explain(&error, settings, hostname, hub);
                output.complain(format_args!("{silo}: {hostname}: {words}"));
                all_well = false;
                continue;
            }
        };
        let held = match &stored {
            Some(record) => {
                let ips: Vec<String> = record.ips.iter().map(ToString::to_string).collect();
                format!("is {} at the hub", ips.join(" "))
            }
            None => "is not at the hub, or the token may not read it there".to_owned(),
        };
        let todo = match found.map(|found| (found, Plan::of(&found, stored.as_ref(), time.now))) {
            Some((found, Plan::Create | Plan::Change)) => format!("; a run would set {found}"),
            Some((_, Plan::Heartbeat)) => "; a run would report it again".to_owned(),
            Some((_, Plan::Nothing)) => "; a run would change nothing".to_owned(),
            None => String::new(),
        };
        output.say(format_args!("{silo}: {hostname} {held}{todo}"));
    }
    all_well
}

async fn within<T>(
    deadline: Instant,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ReportError> {
    match tokio::time::timeout_at(deadline, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ReportError::OutOfTime),
    }
}
