//! Which flags of the command line go into a schedule.

use std::path::Path;

use clap::{ArgAction, ArgMatches, Command, parser::ValueSource};

use super::InstallError;

/// The flags whose value is a path. A schedule has another working directory.
const PATHS: [&str; 6] = [
    "config",
    "token_file",
    "ca_file",
    "hosts_file",
    "state_dir",
    "log_file",
];

/// The flags that were given, as `--flag=value`, with absolute paths. `force` belongs to `install` itself.
///
/// `matches` must be read without environment variables. There is no flag for a token.
pub(super) fn arguments(
    command: &Command,
    matches: &ArgMatches,
) -> Result<Vec<String>, InstallError> {
    let mut arguments = Vec::new();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let (Some(flag), true) = (arg.get_long(), is_given(matches, id)) else {
            continue;
        };
        match (id, arg.get_action()) {
            ("force", _) => {}
            ("adopt", _) => return Err(InstallError::SingleRun("--adopt")),
            (_, ArgAction::SetTrue) => arguments.push(format!("--{flag}")),
            _ => {
                for value in matches.get_raw(id).into_iter().flatten() {
                    let value = value
                        .to_str()
                        .ok_or_else(|| InstallError::ValueNotUnicode(flag.to_owned()))?;
                    let value = if PATHS.contains(&id) {
                        absolute(value)?
                    } else {
                        value.to_owned()
                    };
                    arguments.push(format!("--{flag}={value}"));
                }
            }
        }
    }
    Ok(arguments)
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.try_contains_id(id).is_ok_and(|is_known| is_known)
        && matches.value_source(id) == Some(ValueSource::CommandLine)
}

fn absolute(path: &str) -> Result<String, InstallError> {
    let path = Path::new(path);
    let absolute = std::path::absolute(path).map_err(InstallError::io(path))?;
    super::text(&absolute).map(str::to_owned)
}

/// The names of the variables with this prefix that are set, which a schedule does not have. Never their values.
pub(super) fn variables(prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = std::env::vars_os()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::flags::{ConnectionFlags, OutputFlags};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        verb: Option<Verb>,
        #[arg(long, global = true)]
        config: Option<std::path::PathBuf>,
        #[arg(long, global = true, value_delimiter = ',')]
        silo: Vec<String>,
        #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        in_place: Option<String>,
        #[arg(long, global = true)]
        adopt: bool,
        #[arg(long, global = true)]
        force: bool,
        #[command(flatten)]
        connection: ConnectionFlags,
        #[command(flatten)]
        output: OutputFlags,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Verb {
        Install {
            #[arg(long)]
            watch: bool,
        },
    }

    fn carried(words: &str) -> Result<Vec<String>, InstallError> {
        let command = Cli::command();
        let matches = command.clone().get_matches_from(words.split(' '));
        arguments(&command, &matches)
    }

    // Its paths are those of Unix.
    #[cfg(unix)]
    #[test]
    fn flags_are_carried_wherever_they_were_given() {
        let here = std::env::current_dir().unwrap();
        let config = format!("--config={}", here.join("a.yaml").display());
        for (words, expected) in [
            ("x install", vec![]),
            ("x install --watch --force", vec![]),
            ("x install --config a.yaml", vec![config.as_str()]),
            ("x --config=a.yaml install", vec![config.as_str()]),
            (
                "x install --silo a,b --silo c",
                vec!["--silo=a", "--silo=b", "--silo=c"],
            ),
            ("x install --in-place", vec!["--in-place=true"]),
            (
                "x install -q --log-format=json",
                vec!["--quiet=true", "--log-format=json"],
            ),
            (
                "x install --hub http://h:8053 --token-file=/etc/silo/token --auth signed --trust-owner 7",
                vec![
                    "--hub=http://h:8053",
                    "--token-file=/etc/silo/token",
                    "--trust-owner=7",
                    "--auth=signed",
                ],
            ),
        ] {
            // Windows has no numbers of users.
            let is_sid = |word: &str| {
                word.replace("owner 7", "owner S-1-5-19")
                    .replace("owner=7", "owner=S-1-5-19")
            };
            let (words, expected) = if cfg!(windows) {
                (is_sid(words), expected.into_iter().map(is_sid).collect())
            } else {
                (
                    words.to_owned(),
                    expected.into_iter().map(str::to_owned).collect::<Vec<_>>(),
                )
            };
            assert_eq!(carried(&words).unwrap(), expected, "{words}");
        }
    }

    #[test]
    fn a_flag_for_one_run_is_refused() {
        let error = carried("x install --adopt").unwrap_err().to_string();
        assert!(error.starts_with("--adopt "), "{error}");
    }
}
