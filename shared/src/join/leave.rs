//! The command `leave`: undoes what `join` and `install` did.

use std::process::ExitCode;

use super::files::{Mark, Pending, Places, remove};
use super::verb::Plain;
use super::{JoinError, Member, inviter, machine};
use crate::agent::{run, wait};
use crate::client::{ClientError, HubClient, Route, TokenVerdict};
use crate::connection::Connection;
use crate::credential::TokenId;
use crate::flags::{AgentCommandLine, OutputFlags};
use crate::install::{Agent, Given, UninstallFlags, uninstall};
use crate::output::Output;
use crate::program::DONE;

/// Stops the schedule, cleans up what the agent did here and at the hub, revokes the token if `join` made it, and removes
/// what `join` wrote. What the hub could not be told is named, with the command to run there.
pub fn leave<T: AgentCommandLine>(
    member: &impl Member<T>,
    keep_records: bool,
    force: bool,
    output: &OutputFlags,
) -> ExitCode {
    let program = member.agent().program();
    run(program, Ok(Plain(output)), output, |_, said| {
        undo(member, keep_records, force, output, said)
    })
}

fn undo<T: AgentCommandLine>(
    member: &impl Member<T>,
    keep_records: bool,
    force: bool,
    flags: &OutputFlags,
    output: &Output,
) -> Result<bool, JoinError> {
    let agent = member.agent();
    let mut given = Given::<T>::read(agent)?;
    let owner = given.cli.connection_flags().trust_owner.clone();
    let places = Places::of(&given.config);
    let (mark, pending) = (places.mark()?, places.pending(agent)?);
    // It says itself what is wrong.
    if uninstall(agent, &UninstallFlags::default(), force, owner, flags) != DONE {
        return Ok(false);
    }
    let connection = connection(member, &mut given, pending.as_ref());
    let mut leaving = Leaving {
        agent,
        output,
        places,
        is_ok: true,
    };
    // An earlier run may have been interrupted while it removed the files, which are needed for the rest.
    let is_left = mark.as_ref().is_some_and(|mark| mark.is_left);
    if !is_left {
        let made = pending.as_ref().map(|pending| pending.credential.id());
        let made = made.or(mark.as_ref().and_then(Mark::token));
        if !leaving.undo(&given.arguments, keep_records, made, connection)? {
            return Ok(false);
        }
        if let Some(mark) = &mark {
            leaving.places.write_mark(&mark.left())?;
        }
    }
    leaving.remove_files(mark.as_ref(), pending.as_ref(), force)?;
    Ok(leaving.is_ok)
}

/// The connection of the configuration, else that of a join that was interrupted.
fn connection<T: AgentCommandLine>(
    member: &impl Member<T>,
    given: &mut Given<T>,
    pending: Option<&Pending>,
) -> Result<Connection, JoinError> {
    if let Some(Pending {
        invitation,
        credential,
        ..
    }) = pending
    {
        return inviter::connection(invitation, credential, given.cli.connection_flags());
    }
    Ok(member.connection(&given.cli)?)
}

struct Leaving<'a> {
    agent: Agent,
    output: &'a Output,
    places: Places,
    is_ok: bool,
}

impl Leaving<'_> {
    /// Undoes what the agent did, and ends the token that `join` made. Returns whether the files may go.
    fn undo(
        &mut self,
        arguments: &[String],
        keep_records: bool,
        made: Option<TokenId>,
        connection: Result<Connection, JoinError>,
    ) -> Result<bool, JoinError> {
        if self.places.configuration()?.is_some() {
            let keeps_records = keep_records
                || (self.agent == Agent::Upstream && self.can_not_remove(&connection)?);
            if !self.clean(arguments, keeps_records)? {
                return Ok(false);
            }
        }
        match made {
            Some(token) => {
                wait(self.revoke(token, connection))?;
            }
            None => self
                .output
                .print_unless_quiet("no token was made by `join` here: none is revoked"),
        }
        Ok(true)
    }

    /// Removes the blocks here, or the records at the hub. Returns whether to go on.
    fn clean(&mut self, arguments: &[String], keep_records: bool) -> Result<bool, JoinError> {
        match self.agent {
            Agent::Downstream => {
                let is_clean = machine::run(self.agent, "clean", arguments)?;
                if !is_clean {
                    self.output.print_error(
                        "the hosts file was not cleaned: run this again once the cause is removed; nothing else was removed",
                    );
                }
                Ok(is_clean)
            }
            Agent::Upstream if keep_records => Ok(true),
            Agent::Upstream => {
                if !machine::run(self.agent, "remove", arguments)? {
                    self.is_ok = false;
                    self.output.print_error(
                        "the records named above stay at the hub: remove them there, with DELETE /silos/SILO/records/HOSTNAME or in the dashboard",
                    );
                }
                Ok(true)
            }
        }
    }

    /// Whether the hub refuses the token, as after a `leave` that was interrupted: the records, if they are still there,
    /// can't be removed with it.
    fn can_not_remove(
        &self,
        connection: &Result<Connection, JoinError>,
    ) -> Result<bool, JoinError> {
        let Ok(connection) = connection else {
            return Ok(false);
        };
        let is_refused = wait(async {
            let kind = inviter::kind(self.agent);
            let client = HubClient::new(connection, kind, &Route::default())?;
            let checked = client.check_token().await;
            Ok::<_, JoinError>(checked.is_err_and(|error| is_gone(&error)))
        })?;
        if is_refused {
            self.output.print_note(
                "the hub does not accept the token any more: if it has records of this machine, remove them there",
            );
        }
        Ok(is_refused)
    }

    async fn revoke(
        &mut self,
        token: TokenId,
        connection: Result<Connection, JoinError>,
    ) -> Result<bool, JoinError> {
        let revoked = async {
            let kind = inviter::kind(self.agent);
            let client = HubClient::new(&connection?, kind, &Route::default())?;
            client.revoke_token(token).await.map_err(JoinError::from)
        };
        match revoked.await {
            Ok(()) => self.output.print(format_args!("revoked token {token}")),
            Err(JoinError::Client(error)) if is_gone(&error) => self.output.print(format_args!(
                "the hub does not accept token {token} any more: there is nothing to revoke"
            )),
            Err(error) => {
                self.is_ok = false;
                self.output.print_error(error);
                self.output.print_error(format_args!(
                    "token {token} is not revoked: run `silo-hub token revoke {token}` on the hub's machine"
                ));
            }
        }
        Ok(self.is_ok)
    }

    /// Removes what `join` wrote; the mark goes last, so that a run that was killed is finished by the next one.
    fn remove_files(
        &self,
        mark: Option<&Mark>,
        pending: Option<&Pending>,
        force: bool,
    ) -> Result<(), JoinError> {
        let places = &self.places;
        let made = [
            mark.and_then(Mark::token),
            pending.map(|pending| pending.credential.id()),
        ];
        if let Some(Ok(present)) = places.credential()?
            && made.contains(&Some(present.id()))
        {
            self.remove(&places.token)?;
        }
        if let (Some(mark), Some(configuration)) = (mark, places.configuration()?) {
            if force || mark.wrote(&configuration) {
                self.remove(&places.config)?;
            } else {
                self.output.print_note(format_args!(
                    "{} was edited since and is kept; --force removes it",
                    places.config.display()
                ));
            }
        }
        remove(&places.pending)?;
        remove(&places.mark)?;
        let made_folder = mark
            .map(|mark| mark.made_folder)
            .or(pending.map(|pending| pending.made_folder));
        if made_folder == Some(true) {
            // Not empty: something else is in it.
            let _ = std::fs::remove_dir(places.folder());
        }
        Ok(())
    }

    fn remove(&self, path: &std::path::Path) -> Result<(), JoinError> {
        if remove(path)? {
            self.output
                .print(format_args!("removed {}", path.display()));
        }
        Ok(())
    }
}

/// Whether the hub knows no such token: it was revoked, or has expired.
fn is_gone(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { status: 404, .. })
        || error.token() == Some(TokenVerdict::Refused)
}
