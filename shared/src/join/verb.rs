//! The command `join`.

use std::process::ExitCode;

use super::files::{Pending, Places};
use super::input::{self, JoinFlags};
use super::inviter::Remote;
use super::machine::{self, Here};
use super::steps::Joining;
use super::terms::{self, Terms};
use super::{JoinError, Member};
use crate::agent::{OutputSettings, run, wait};
use crate::credential::Credential;
use crate::flags::{AgentCommandLine, OutputFlags};
use crate::install::{Agent, Given, InstallFlags, below};
use crate::invitation::Invitation;
use crate::output::Output;
use crate::program::LogFormat;

/// The flags whose values come from the invitation.
const OF_INVITATION: [&str; 5] = [
    "--hub=",
    "--token-file=",
    "--token-file-mode=",
    "--pin-sha256=",
    "--silo=",
];
/// One that does so for the upstream: for the downstream it selects names.
const HOSTNAMES: &str = "--hostnames=";

/// The output of a command that reads no configuration.
pub(super) struct Plain<'a>(pub(super) &'a OutputFlags);

impl OutputSettings for Plain<'_> {
    fn is_quiet(&self) -> bool {
        self.0.quiet.unwrap_or_default()
    }

    fn log_format(&self) -> LogFormat {
        self.0.log_format.unwrap_or_default()
    }
}

/// Uses an invitation: gets a token, writes token and configuration, runs the agent once and makes its schedule.
pub fn join<T: AgentCommandLine>(
    member: &impl Member<T>,
    flags: &JoinFlags,
    force: bool,
    output: &OutputFlags,
) -> ExitCode {
    let program = member.agent().program();
    run(program, Ok(Plain(output)), output, |_, output| {
        let given = Given::read(member.agent())?;
        wait(async {
            let root = flags.schedule.root.as_deref();
            let join = Join {
                member,
                flags,
                force,
                output,
                places: Places::of(&below(root, &given.config)),
                given,
            };
            join.run().await
        })
    })
}

struct Join<'a, T, M> {
    member: &'a M,
    flags: &'a JoinFlags,
    force: bool,
    output: &'a Output,
    given: Given<T>,
    places: Places,
}

impl<T: AgentCommandLine, M: Member<T>> Join<'_, T, M> {
    async fn run(mut self) -> Result<bool, JoinError> {
        let agent = self.agent();
        refuse_flags(agent, &self.given.arguments)?;
        let pending = self.places.pending(agent)?;
        let invitation = input::read(self.flags, pending.is_none(), self.output)?;
        if pending.is_none() && self.is_joined(invitation.as_ref())? {
            return Ok(true);
        }
        machine::check(
            self.member,
            &self.given,
            &self.places,
            self.is_image(),
            self.output,
        )?;
        let schedule = self.plan_schedule()?;
        let pending = self.keep_or_discard(pending, invitation.as_ref())?;
        let Some(pending) = pending else {
            let invitation = invitation.expect("without a pending join, an invitation was read");
            return self.begin(invitation, schedule).await;
        };
        let other = invitation.filter(|given| *given != pending.invitation);
        match (self.resume(pending, schedule.clone()).await, other) {
            (Err(JoinError::Ended(why)), Some(other)) => {
                self.output
                    .print_note(format_args!("the earlier join is over: {why}"));
                self.begin(other, schedule).await
            }
            (Ok(is_ok), Some(other)) => {
                self.output.print_note(format_args!(
                    "the earlier join was finished instead; invitation {} was not used and stays open",
                    other.key().id()
                ));
                Ok(is_ok)
            }
            (done, _) => done,
        }
    }

    fn agent(&self) -> Agent {
        self.member.agent()
    }

    fn is_image(&self) -> bool {
        self.flags.schedule.root.is_some()
    }

    /// Whether this invitation made the token that is there.
    fn is_joined(&self, invitation: Option<&Invitation>) -> Result<bool, JoinError> {
        let (Some(invitation), Some(mark)) = (invitation, self.places.mark()?) else {
            return Ok(false);
        };
        let is_there = self.places.configuration()?.is_some() && self.places.token.exists();
        if !mark.is_of(invitation) || mark.is_left || !is_there {
            return Ok(false);
        }
        let program = self.agent().program();
        self.output.print(format_args!(
            "this machine has joined by this invitation already: nothing to do (`{program} check` tests it, `{program} leave` undoes it)"
        ));
        Ok(true)
    }

    /// Makes sure that a schedule can be made.
    fn plan_schedule(&self) -> Result<Option<InstallFlags>, JoinError> {
        if self.flags.no_schedule {
            return Ok(None);
        }
        let given = Places::of(&self.given.config);
        let planned = self
            .given
            .plan_ahead(self.agent(), &self.flags.schedule, &given.token)
            .inspect_err(|_| {
                self.output
                    .print_note("no schedule can be made here; --no-schedule joins without one");
            })?;
        Ok(Some(planned))
    }

    /// With another invitation and `--force`, an earlier join that was interrupted is given up.
    fn keep_or_discard(
        &self,
        pending: Option<Pending>,
        invitation: Option<&Invitation>,
    ) -> Result<Option<Pending>, JoinError> {
        let Some(pending) = pending else {
            return Ok(None);
        };
        let is_other = invitation.is_some_and(|given| *given != pending.invitation);
        if !is_other || !self.force || self.flags.schedule.dry_run {
            return Ok(Some(pending));
        }
        self.places.discard(&pending, self.agent())?;
        let token = pending.credential.id();
        self.output.print_note(format_args!(
            "the earlier join is given up: if the hub made its token, `silo-hub token revoke {token}` there revokes it"
        ));
        Ok(None)
    }

    /// A new join.
    async fn begin(
        &mut self,
        invitation: Invitation,
        schedule: Option<InstallFlags>,
    ) -> Result<bool, JoinError> {
        let agent = self.agent();
        let flags = self.given.cli.connection_flags().clone();
        let hub = Remote::find(agent, &invitation, &flags).await?;
        let grant = hub.grant().await?;
        let terms = Terms::of_grant(agent, &grant)?;
        self.output.print(terms::offer(hub.name(), &terms, &grant));
        self.check_present(&invitation, &terms, None)?;
        if self.flags.schedule.dry_run {
            self.tell_plan(&terms.configuration(agent, &invitation, &self.places.token));
            return Ok(true);
        }
        let mut here = self.here(schedule);
        let offered = (invitation, terms);
        let joining = Joining::begin(&hub, &mut here, &self.places, agent, offered);
        self.finish(joining).await?;
        Ok(self.tell_end(here.is_ok))
    }

    /// Goes on with an earlier join.
    async fn resume(
        &mut self,
        pending: Pending,
        schedule: Option<InstallFlags>,
    ) -> Result<bool, JoinError> {
        let agent = self.agent();
        let id = pending.invitation.key().id();
        self.output.print(format_args!(
            "going on with the join by invitation {id}, which was interrupted"
        ));
        self.check_present(
            &pending.invitation,
            &pending.terms,
            Some(&pending.credential),
        )?;
        if self.flags.schedule.dry_run {
            let text = pending
                .terms
                .configuration(agent, &pending.invitation, &self.places.token);
            self.tell_plan(&text);
            return Ok(true);
        }
        let flags = self.given.cli.connection_flags().clone();
        let hub = Remote::find(agent, &pending.invitation, &flags).await?;
        let mut here = self.here(schedule);
        let joining = Joining::resume(&hub, &mut here, &self.places, agent, pending);
        self.finish(joining).await?;
        Ok(self.tell_end(here.is_ok))
    }

    fn here(&self, schedule: Option<InstallFlags>) -> Here<'_, T, M> {
        Here {
            member: self.member,
            given: &self.given,
            output: self.output,
            schedule,
            is_image: self.is_image(),
            force: self.force,
            is_ok: true,
        }
    }

    async fn finish(
        &self,
        mut joining: Joining<'_, Remote, Here<'_, T, M>>,
    ) -> Result<(), JoinError> {
        loop {
            match joining.step().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => {
                    if self.places.pending.exists() {
                        self.output.print_note(format_args!(
                            "the join is not finished: run `{} join` again, which goes on from here",
                            self.agent().program()
                        ));
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Refuses to replace what is there, unless with `force`. `own` is the credential that a token file may have.
    fn check_present(
        &self,
        invitation: &Invitation,
        terms: &Terms,
        own: Option<&Credential>,
    ) -> Result<(), JoinError> {
        let places = &self.places;
        let text = terms.configuration(self.agent(), invitation, &places.token);
        let configuration = places.configuration()?;
        let differs = configuration.is_some_and(|present| present != text.as_bytes());
        let present = places.credential()?;
        let is_other = match &present {
            None => false,
            Some(Ok(present)) => Some(present) != own,
            Some(Err(())) => true,
        };
        let shown = match (differs, is_other) {
            (false, false) => return Ok(()),
            (true, _) => format!("{} is there and differs", places.config.display()),
            (false, true) => format!("{} has a token already", places.token.display()),
        };
        if !self.force {
            return Err(JoinError::Present(shown));
        }
        if let (true, Some(Ok(former))) = (is_other, present) {
            let former = former.id();
            self.output.print_note(format_args!(
                "token {former} is replaced here and stays valid: `silo-hub token revoke {former}` at the hub revokes it"
            ));
        }
        Ok(())
    }

    fn tell_plan(&self, configuration: &str) {
        let places = &self.places;
        self.output.print(format_args!(
            "would write {}, and {}:\n{}",
            places.token.display(),
            places.config.display(),
            configuration.trim_end()
        ));
        if !self.flags.no_schedule {
            let program = self.agent().program();
            self.output.print(format_args!(
                "would make a schedule, as `{program} install` does"
            ));
        }
    }

    fn tell_end(&self, is_ok: bool) -> bool {
        if !self.is_image() {
            let mut undo = format!("{} leave", self.agent().program());
            for word in &self.given.arguments {
                let quote = if word.contains(char::is_whitespace) {
                    "\""
                } else {
                    ""
                };
                undo += &format!(" {quote}{word}{quote}");
            }
            self.output.print(format_args!("to undo this: {undo}"));
        }
        is_ok
    }
}

fn refuse_flags(agent: Agent, arguments: &[String]) -> Result<(), JoinError> {
    let hostnames = (agent == Agent::Upstream).then_some(HOSTNAMES);
    let given = OF_INVITATION
        .into_iter()
        .chain(hostnames)
        .find(|flag| arguments.iter().any(|word| word.starts_with(flag)));
    match given {
        None => Ok(()),
        Some(flag) => Err(JoinError::Usage(format!(
            "{}: the invitation says this: leave it out",
            flag.trim_end_matches('=')
        ))),
    }
}
