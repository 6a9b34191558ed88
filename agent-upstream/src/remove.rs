//! The command `remove`: removes this machine's records from the hub, for a machine that goes away.

use silo_shared::client::{ClientError, HubClient};
use silo_shared::fact::Fact;
use silo_shared::output::Output;
use silo_shared::silo::Addresses;

use crate::agent::RunTime;
use crate::plan::addresses_of;
use crate::record::Record;
use crate::report::ips;
use crate::report_error::{ReportError, explain};
use crate::settings::Settings;
use crate::state::{StateDir, StateError};

/// Another program may change a record between the two requests this often.
const ATTEMPTS: usize = 3;

/// What became of a record.
enum Removal {
    /// It had these addresses.
    Removed(Addresses),
    /// It would be removed.
    Planned(Addresses),
    /// The hub has none.
    NotThere,
}

/// Removes every record of the configuration, and what is remembered about it; returns whether none is left. With
/// `dry_run`, changes nothing.
pub(crate) async fn remove(
    settings: &Settings,
    client: &HubClient,
    time: RunTime,
    dry_run: bool,
    output: &Output,
) -> bool {
    let mut is_ok = true;
    for record in &settings.records {
        let Record { silo, hostname, .. } = record;
        let removing = remove_one(client, record, dry_run);
        let removed = tokio::time::timeout_at(time.deadline, removing)
            .await
            .map_err(|_| ReportError::OutOfTime)
            .and_then(|removed| Ok(removed?));
        match removed {
            Ok(removal) => output.tell(&removal.fact(record)),
            Err(error) => {
                is_ok = false;
                let words = explain(&error, record, client.hub());
                let words = format!("{silo}: {hostname}: {words}");
                output.tell_failure(&Fact::error(words).about(silo).with("hostname", hostname));
                continue;
            }
        }
        if !dry_run && let Err(error) = forget(settings, record) {
            is_ok = false;
            output.print_error(format_args!("{silo}: {hostname}: {error}"));
        }
    }
    is_ok
}

async fn remove_one(
    client: &HubClient,
    record: &Record,
    dry_run: bool,
) -> Result<Removal, ClientError> {
    let Record { silo, hostname, .. } = record;
    for _ in 0..ATTEMPTS {
        let Some((held, tag)) = client.record(silo, hostname).await? else {
            return Ok(Removal::NotThere);
        };
        let held = addresses_of(&held);
        if dry_run {
            return Ok(Removal::Planned(held));
        }
        let tag = tag.ok_or_else(|| client.not_a_hub("the record has no entity tag"))?;
        if client.remove_record(silo, hostname, &tag).await? {
            return Ok(Removal::Removed(held));
        }
    }
    Err(client.not_a_hub("the record changes faster than it can be removed"))
}

/// A state folder that does not exist holds nothing to forget. The default one that another user owns, such as that of the
/// packaged unit, is not used by root, as in every run.
fn forget(settings: &Settings, record: &Record) -> Result<(), StateError> {
    match settings.check_state_folder() {
        Err(_) if !settings.needs_state => return Ok(()),
        checked => checked?,
    }
    let hub = settings.connection.key().as_str();
    StateDir::at(&settings.state_dir)?.forget(hub, &record.silo, &record.hostname)
}

impl Removal {
    fn fact(&self, record: &Record) -> Fact {
        let Record { silo, hostname, .. } = record;
        let fact = match self {
            Self::Removed(held) => {
                Fact::of_silo("removed", silo, format_args!("{hostname} removed ({held})"))
                    .with("addresses", ips(held))
            }
            Self::Planned(held) => Fact::of_silo(
                "would_remove",
                silo,
                format_args!("{hostname} would be removed ({held})"),
            )
            .with("addresses", ips(held)),
            Self::NotThere => Fact::of_silo(
                "not_there",
                silo,
                format_args!("{hostname} is not at the hub"),
            ),
        };
        fact.with("hostname", hostname)
    }
}
