//! `silo-hub invite`: lines by which machines get their tokens.

use clap::{Args, Subcommand};
use silo_shared::credential::TokenId;
use silo_shared::invitation::Invitation as Line;
use silo_shared::invitation::form::check_hub;
use silo_shared::pin::Pin;
use silo_shared::stay::local_addresses;

use super::token::{Dash, parse_time};
use super::{Failure, parse_id, say};
use crate::config::settings::HubSettings;
use crate::domain::hub_url::{candidates, is_for_others};
use crate::domain::invitation::{Invitation, InvitationSpec, WrongPart};
use crate::domain::join_command;
use crate::domain::time::Time;
use crate::domain::token::Role;
use crate::registry::new_invitation::NewInvitation;
use crate::registry::{Actor, RevokeInvitation};
use crate::runtime::open_hub::{OpenError, OpenHub};
use crate::runtime::run_file;
use crate::store::{Store, StoreError, Via};
use crate::tls::Identity;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct InviteArgs {
    #[command(subcommand)]
    command: Option<InviteCommand>,
    #[command(flatten)]
    new: NewArgs,
}

#[derive(Debug, Subcommand)]
enum InviteCommand {
    /// List the invitations, also those that ended less than 24 hours ago
    List,
    /// Revoke an invitation that was not used
    Revoke {
        /// The invitation's id
        #[arg(value_parser = parse_id)]
        id: TokenId,
    },
}

#[derive(Debug, Args)]
struct NewArgs {
    /// The silo; may be repeated for a machine that only reads
    #[arg(long = "silo", value_name = "SILO", value_delimiter = ',')]
    silos: Vec<String>,
    /// Invite an upstream, which reports this hostname; may be repeated
    #[arg(long = "hostname", value_name = "HOSTNAME", value_delimiter = ',')]
    hostnames: Vec<String>,
    /// Invite a downstream, which reads the silo; with --hostname, two invitations are made
    #[arg(long)]
    read: bool,
    /// A name for the token, for people [default: the hostname or the silo]
    #[arg(long)]
    name: Option<String>,
    /// How long the invitation can be used: 5m to 7d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    expires: i64,
    /// When the token expires, such as 2027-01-01T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    token_expires: Option<Time>,
    /// A URL at which the machine reaches this hub; may be repeated [default: public_url, or the address of listen]
    #[arg(long = "url", value_name = "URL", value_parser = parse_url)]
    urls: Vec<String>,
}

fn parse_url(text: &str) -> Result<String, String> {
    check_hub(text)
        .map(|_| text.to_owned())
        .map_err(|_| "write it as http://HOST:PORT or https://HOST".to_owned())
}

/// A number and its unit: `90s`, `5m`, `1h`, `7d`; in seconds.
fn parse_duration(text: &str) -> Result<i64, &'static str> {
    const FORM: &str = "a number with its unit, such as 30m, 1h or 7d";
    let unit = text.chars().last().ok_or(FORM)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(FORM),
    };
    let number = &text[..text.len() - 1];
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| number.parse::<i64>().ok()).flatten();
    number
        .and_then(|number| number.checked_mul(seconds))
        .ok_or(FORM)
}

impl InviteArgs {
    /// Whether this makes an invitation, for which an address of the hub is needed.
    pub(super) fn site(&self, settings: &HubSettings) -> Result<Option<Site>, Failure> {
        if self.command.is_some() {
            return Ok(None);
        }
        if !self.new.read && self.new.hostnames.is_empty() {
            return Err(Failure::Usage(
                "say what the machine does: --hostname NAME for an upstream, --read for a downstream, or both".to_owned(),
            ));
        }
        if self.new.silos.is_empty() {
            return Err(Failure::Usage("name the silo: --silo SILO".to_owned()));
        }
        Site::of(settings, &self.new.urls).map(Some)
    }
}

/// Where machines find this hub.
#[derive(Clone, Debug)]
pub(super) struct Site {
    urls: Vec<String>,
    pin: Option<Pin>,
}

impl Site {
    /// In this order: `--url`, `public_url`, an address that the hub listens at and that other machines reach.
    fn of(settings: &HubSettings, given: &[String]) -> Result<Self, Failure> {
        let urls = if given.is_empty() {
            vec![own_url(settings)?]
        } else {
            given.to_vec()
        };
        let is_tls = urls.iter().all(|url| url.starts_with("https:"));
        let pin = match &settings.tls {
            Some(tls) if is_tls => Identity::open(tls)?.invitation_pin(),
            _ => None,
        };
        Ok(Self { urls, pin })
    }
}

fn own_url(settings: &HubSettings) -> Result<String, Failure> {
    if let Some(url) = &settings.public_url {
        return Ok(url.as_str().to_owned());
    }
    let scheme = if settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let configured = format!("{scheme}://{}", settings.listen);
    // One that cannot be read is of a hub that is gone, or of another user.
    let running = run_file::read(&settings.data_dir).ok().flatten();
    let running = running.and_then(|running| running.listen.into_iter().next());
    let listening = running.unwrap_or(configured);
    if is_for_others(&listening) {
        return Ok(listening);
    }
    let addresses = local_addresses().unwrap_or_default();
    let addresses: Vec<_> = addresses.iter().map(|address| address.ip).collect();
    let found = candidates(&listening, &addresses);
    let mut message = format!(
        "at which URL does the machine reach this hub? It listens at {listening}, which names no address for others. Give --url URL, or set public_url in the configuration"
    );
    if !found.is_empty() {
        message += &format!("; candidates: {}", found.join(", "));
    }
    if silo_is_only_here(&listening) {
        message += ". Only this machine reaches that listener: set listen, too";
    }
    Err(Failure::Usage(message))
}

/// Whether a listener is on a loopback address.
fn silo_is_only_here(listening: &str) -> bool {
    ["://127.", "://[::1]"]
        .iter()
        .any(|start| listening.contains(start))
}

pub(super) async fn invite(
    hub: &OpenHub,
    args: InviteArgs,
    site: Option<Site>,
) -> Result<(), Failure> {
    match (args.command, site) {
        (Some(InviteCommand::List), _) => list(hub).await,
        (Some(InviteCommand::Revoke { id }), _) => {
            let actor = ACTOR;
            hub.registry.apply(RevokeInvitation { actor, id }).await?;
            say(format_args!("invitation {id} is revoked"))
        }
        (None, Some(site)) => make(hub, args.new, &site).await,
        (None, None) => Ok(()),
    }
}

/// The command line.
const ACTOR: Actor = Actor {
    via: Via::Cli,
    token: None,
    client_ip: None,
};

async fn make(hub: &OpenHub, args: NewArgs, site: &Site) -> Result<(), Failure> {
    let key = hub.key().await?;
    let now = hub.clock.now();
    let spec = |role, hostnames| InvitationSpec {
        name: args.name.clone(),
        role,
        silos: args.silos.clone(),
        hostnames,
        expires_after: args.expires,
        token_expires_at: args.token_expires,
    };
    let mut specs = Vec::new();
    if !args.hostnames.is_empty() {
        specs.push(spec(Role::Write, Some(args.hostnames.clone())));
    }
    if args.read {
        specs.push(spec(Role::Read, None));
    }
    let checked: Result<Vec<_>, _> = specs.into_iter().map(|spec| spec.check(now)).collect();
    // All are right before the first one is made.
    for checked in checked.map_err(|wrong| Failure::Usage(in_flags(&wrong)))? {
        let agent = join_command::agent(checked.token.role);
        let new = NewInvitation::make(checked, ACTOR, &key, now).map_err(OpenError::from)?;
        let line = Line::new(site.urls.clone(), site.pin, new.key);
        let line = line.map_err(|error| Failure::Usage(format!("--url: {error}")))?;
        let invitation = new.command.invitation.clone();
        hub.registry.apply(new.command).await?;
        eprintln!(
            "invitation {}: {}, once, until {}. Shown only once, on Linux and, in PowerShell as administrator, on Windows:",
            invitation.id,
            grant(&invitation),
            invitation.expires_at,
        );
        let line = line.encode();
        let line = line.expose();
        let printed = say(format_args!("{}", join_command::linux(agent, line)))
            .and_then(|()| say(format_args!("{}", join_command::windows(agent, line))));
        if let Err(error) = printed {
            // One that was not printed must not stay open.
            let id = invitation.id;
            let actor = ACTOR;
            hub.registry.apply(RevokeInvitation { actor, id }).await?;
            return Err(error);
        }
    }
    Ok(())
}

/// What an invitation grants, in words.
fn grant(invitation: &Invitation) -> String {
    let spec = &invitation.spec;
    let silos = spec.silos.join(", ");
    match &spec.hostnames {
        Some(hostnames) => format!("to write {} in {silos}", hostnames.join(", ")),
        None => format!("to read {silos}"),
    }
}

async fn list(hub: &OpenHub) -> Result<(), Failure> {
    let now = hub.clock.now();
    for invitation in all_invitations(&hub.store).await? {
        let redeemed = invitation.redeemed;
        let ip = redeemed.and_then(|by| by.client_ip);
        let token = redeemed.filter(|_| invitation.used_at.is_some());
        say(format_args!(
            "{}  {:7}  {}  until {}  address {}  token {}  {}",
            invitation.id,
            invitation.state_at(now).as_str(),
            grant(&invitation),
            invitation.expires_at,
            Dash(ip),
            Dash(token.map(|by| by.token)),
            invitation.spec.name,
        ))?;
    }
    Ok(())
}

/// Every invitation that is kept, oldest first.
async fn all_invitations(store: &Store) -> Result<Vec<Invitation>, StoreError> {
    const PAGE: usize = 1000;
    let mut found: Vec<Invitation> = Vec::new();
    loop {
        let after = found.last().map(|last| last.id.to_string());
        let after = after.unwrap_or_default();
        let page = store.invitations(&after, PAGE as i64).await?;
        let is_end = page.len() < PAGE;
        found.extend(page);
        if is_end {
            found.sort_by_key(|invitation| (invitation.created_at, invitation.id));
            return Ok(found);
        }
    }
}

/// The errors, with the names of the flags.
fn in_flags(errors: &[WrongPart]) -> String {
    let flag = |member| match member {
        "silos" => "--silo",
        "hostnames" => "--hostname",
        "expires_after" => "--expires",
        "token_expires_at" => "--token-expires",
        _ => "--name",
    };
    let words: Vec<String> = errors
        .iter()
        .map(|wrong| format!("{}: {}", flag(wrong.member), wrong.error))
        .collect();
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, seconds) in [
            ("300s", Some(300)),
            ("5m", Some(300)),
            ("1h", Some(3600)),
            ("7d", Some(604_800)),
            ("", None),
            ("h", None),
            ("1", None),
            ("-1h", None),
            ("1.5h", None),
            ("1 h", None),
            ("1ä", None),
            ("99999999999999999999h", None),
            ("9223372036854775807d", None),
        ] {
            assert_eq!(parse_duration(text).ok(), seconds, "{text}");
        }
    }

    #[test]
    fn a_hub_is_found_by_flag_setting_or_listener() {
        let site = |change: &dyn Fn(&mut HubSettings), given: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            let mut settings = HubSettings::load(&Default::default()).unwrap();
            settings.data_dir = folder.path().to_owned();
            change(&mut settings);
            let given: Vec<String> = given.iter().map(ToString::to_string).collect();
            Site::of(&settings, &given).map(|site| site.urls.join(" "))
        };
        let public = |settings: &mut HubSettings| {
            settings.public_url = Some("https://hub.lan".parse().unwrap());
        };
        let specific = |settings: &mut HubSettings| {
            settings.listen = "192.0.2.7:8053".parse().unwrap();
        };
        let all = |settings: &mut HubSettings| settings.listen = "0.0.0.0:8053".parse().unwrap();
        let urls = ["http://a:1", "http://b:2"];
        assert_eq!(site(&public, &urls).unwrap(), "http://a:1 http://b:2");
        assert_eq!(site(&public, &[]).unwrap(), "https://hub.lan");
        assert_eq!(site(&specific, &[]).unwrap(), "http://192.0.2.7:8053");
        for (change, words) in [
            (
                &(|_: &mut HubSettings| {}) as &dyn Fn(&mut HubSettings),
                "set listen",
            ),
            (&all, "--url URL"),
        ] {
            match site(change, &[]) {
                Err(Failure::Usage(text)) => assert!(text.contains(words), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
