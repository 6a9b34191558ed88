//! The verb `check`: says of each thing whether it is all right, and changes nothing.

use silo_shared::api::RecordDocument;
use silo_shared::checklist::Checklist;
use silo_shared::client::{ClientError, HubClient};
use silo_shared::output::Output;
use silo_shared::silo::{Addresses, Hostname, SiloId};
use tokio::time::Instant;

use crate::agent::{Plan, ReportError, RunTime, addresses_of, explain, hub_client, lacks_right};
use crate::discover::{DiscoverError, discover};
use crate::settings::Settings;

/// Checks hub, token, addresses and records; answers whether all is well.
pub(crate) async fn check(settings: &Settings, time: RunTime, output: &Output) -> bool {
    let mut said = Checklist::new(output);
    said.configuration(settings.file.as_deref());
    said.authentication(&settings.connection);
    let client = match hub_client(settings) {
        Ok(client) => client,
        Err(error) => {
            said.failed("hub", error);
            return false;
        }
    };
    let hub = client.hub();
    match within(time.deadline, client.caller_address()).await {
        Ok(ip) => said.ok(
            "hub",
            format_args!("{hub} answers and sees this machine at {ip}"),
        ),
        Err(error) => said.failed("hub", error),
    }
    let silo = &settings.silo;
    let found = check_addresses(settings, time, &mut said).await;
    let mut seen = Vec::new();
    for hostname in &settings.hostnames {
        let looked = within(time.deadline, look(&client, silo, hostname, found)).await;
        seen.push((hostname, looked));
    }
    said.token(seen.iter().filter_map(|(_, looked)| match looked {
        Ok(_) => Some(200),
        Err(ReportError::Client(error)) => error.status(),
        Err(_) => None,
    }));
    for (hostname, looked) in seen {
        let what = format!("{hostname} in silo {silo}");
        match looked {
            Ok(record) if record.may_write == Some(false) => {
                said.failed(what, lacks_right(silo, hostname))
            }
            Ok(record) => said.ok(what, record.explain(found, time)),
            Err(error) => said.failed(what, explain(&error, settings, hostname, hub)),
        }
    }
    said.is_well()
}

async fn check_addresses(
    settings: &Settings,
    time: RunTime,
    said: &mut Checklist<'_>,
) -> Option<Addresses> {
    let what = format!("addresses from {}", settings.addresses);
    match tokio::time::timeout_at(time.deadline, discover(settings)).await {
        Ok(Ok(found)) => {
            said.ok(what, found);
            return Some(found);
        }
        // Where they come from is said already.
        Ok(Err(DiscoverError::Unusable { unusable, hint, .. })) => {
            said.failed(what, format_args!("{unusable}{hint}"));
        }
        Ok(Err(error)) => said.failed(what, error),
        Err(_) => said.failed(what, ReportError::OutOfTime),
    }
    None
}

/// What the hub says of one hostname.
struct Looked {
    stored: Option<RecordDocument>,
    /// `None` where there is no address to ask with.
    may_write: Option<bool>,
}

async fn look(
    client: &HubClient,
    silo: &SiloId,
    hostname: &Hostname,
    found: Option<Addresses>,
) -> Result<Looked, ClientError> {
    let stored = client.record(silo, hostname).await?;
    // Asked with what the hub holds, nothing could change even where the condition gets lost.
    let may_write = match stored.as_ref().map(addresses_of).or(found) {
        Some(ips) => Some(client.may_set_addresses(silo, hostname, &ips).await?),
        None => None,
    };
    Ok(Looked { stored, may_write })
}

impl Looked {
    /// What the hub holds, and what a run would do about it.
    fn explain(&self, found: Option<Addresses>, time: RunTime) -> String {
        let held = match &self.stored {
            Some(record) => {
                let ips: Vec<String> = record.ips.iter().map(ToString::to_string).collect();
                format!("{} at the hub", ips.join(" "))
            }
            None => "not at the hub".to_owned(),
        };
        let plan = found.map(|found| (found, Plan::of(&found, self.stored.as_ref(), time.now)));
        match plan {
            Some((found, Plan::Create | Plan::Change)) => {
                format!("{held}; a run would set {found}")
            }
            Some((_, Plan::Heartbeat)) => format!("{held}; a run would report it again"),
            Some((_, Plan::Nothing)) => format!("{held}; a run would change nothing"),
            None => held,
        }
    }
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
