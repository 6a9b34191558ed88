//! `silo-hub dashboard`: a way into the dashboard without a token.

use clap::{Subcommand, ValueEnum};

use super::{Failure, say};
use crate::auth::secrets::LinkCode;
use crate::config::settings::HubSettings;
use crate::domain::session::LINK_SECONDS;
use crate::domain::token::{Role, TokenSpec};
use crate::registry::new_token::NewToken;
use crate::registry::{Actor, AddLink, Audited, RevokeToken};
use crate::runtime::open_hub::{OpenError, OpenHub};
use crate::runtime::run_file;
use crate::store::Via;

#[derive(Debug, Subcommand)]
pub(super) enum DashboardCommand {
    /// Print a link that signs a browser in, once, within 5 minutes
    Link {
        /// What the session may do, in all silos
        #[arg(long, value_name = "ROLE", default_value = "admin")]
        role: LinkRole,
    },
}

/// The role of a link.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LinkRole {
    Read,
    Write,
    Admin,
}

/// Where browsers find the hub: `public_url`, else where the running hub listens, else where it would listen.
pub(super) fn address(settings: &HubSettings) -> Result<String, Failure> {
    if !settings.dashboard {
        return Err(Failure::Usage(
            "the dashboard is switched off: dashboard: false in the configuration".to_owned(),
        ));
    }
    if let Some(url) = &settings.public_url {
        return Ok(url.as_str().to_owned());
    }
    // One that cannot be read is of a hub that is gone, or of another user.
    if let Ok(Some(running)) = run_file::read(&settings.data_dir) {
        return Ok(running.url);
    }
    let scheme = if settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    Ok(run_file::reachable(&format!(
        "{scheme}://{}",
        settings.listen
    )))
}

pub(super) async fn dashboard(
    hub: &OpenHub,
    address: &str,
    command: DashboardCommand,
) -> Result<(), Failure> {
    let DashboardCommand::Link { role } = command;
    let key = hub.key().await?;
    let now = hub.clock.now();
    let ends_at = now.plus_seconds(LINK_SECONDS);
    let all = || vec!["*".to_owned()];
    let (role, silos) = match role {
        LinkRole::Read => (Role::Read, all()),
        LinkRole::Write => (Role::Write, all()),
        LinkRole::Admin => (Role::Admin, Vec::new()),
    };
    let spec = TokenSpec {
        name: "dashboard link".to_owned(),
        role,
        silos,
        hostnames: None,
        expires_at: Some(ends_at),
    };
    // Its secret is forgotten here: the session is the only way to use it.
    let new = NewToken::make(spec, &key, now).map_err(OpenError::from)?;
    let code = LinkCode::new().map_err(OpenError::from)?;
    let link = AddLink {
        token: new.command,
        code: code.hash(),
        ends_at,
    };
    hub.registry.apply(audited(link)).await?;
    eprintln!(
        "signs a browser in once, until {ends_at}, with the role {role}; from another machine, put the name of this one in place of a loopback address:",
        role = role.as_str()
    );
    if let Err(error) = say(format_args!("{address}/dashboard/link#{}", code.expose())) {
        // A link that was not printed must not stay valid.
        hub.registry
            .apply(audited(RevokeToken(new.token.id)))
            .await?;
        return Err(error);
    }
    Ok(())
}

fn audited<C>(command: C) -> Audited<C> {
    let actor = Actor {
        via: Via::Cli,
        token: None,
        client_ip: None,
    };
    Audited { actor, command }
}
