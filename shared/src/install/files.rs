//! The files that a job uses, from its flags and its configuration.
//!
//! The configuration was checked by the agent itself; here only the paths in it are of interest. Under `--root` the
//! files may not be there yet.

use std::path::{Path, PathBuf};

use serde_yaml::Value;

use super::InstallError;
use super::job::Agent;
pub(super) use super::job::Files;
use crate::config::{ConfigError, read_yaml};
use crate::folders;

/// The value of a flag, if it was given.
fn flag(arguments: &[String], name: &str) -> Option<PathBuf> {
    let start = format!("--{name}=");
    let mut words = arguments.iter().rev();
    words
        .find_map(|word| word.strip_prefix(&start))
        .map(PathBuf::from)
}

/// Those that flags name, but for configuration and token.
pub(super) fn of_flags(arguments: &[String]) -> Files {
    Files {
        ca: flag(arguments, "ca-file"),
        state: flag(arguments, "state-dir"),
        hosts: flag(arguments, "hosts-file"),
        ..Files::default()
    }
}

/// Finds them. `root` is the folder in which the paths begin.
pub(super) fn find(
    agent: Agent,
    arguments: &[String],
    root: Option<&Path>,
) -> Result<Files, InstallError> {
    let flag = |name: &str| flag(arguments, name);
    let given = flag("config");
    let is_given = given.is_some();
    let config = given.unwrap_or_else(|| folders::config_file(agent.config_name()));
    let settings: Value = match read_yaml(&super::place::below(root, &config)) {
        Ok(settings) => settings,
        Err(ConfigError::Missing(_)) => Value::Null,
        Err(cause) => {
            return Err(InstallError::Config {
                cause: Box::new(cause),
                variables: Vec::new(),
            });
        }
    };
    let is_there = !settings.is_null();
    let setting = |name: &str| {
        let path = settings.get(name)?.as_str()?;
        // As the agent resolves it.
        Some(config.parent().unwrap_or(Path::new("/")).join(path))
    };
    let either = |flag_name: &str, key: &str| flag(flag_name).or_else(|| setting(key));
    let token = either("token-file", "token_file");
    let has_secret = ["token", "password"]
        .iter()
        .any(|key| settings.get(key).is_some());
    Ok(Files {
        has_inline_token: has_secret && flag("token-file").is_none(),
        token,
        ca: either("ca-file", "ca_file"),
        state: either("state-dir", "state_dir"),
        hosts: either("hosts-file", "hosts_file"),
        config: Some(config).filter(|_| is_there || is_given),
    })
}

// Their paths are those of Unix.
#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_from_flags_else_from_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("a.yaml");
        let flag = format!("--config={}", config.display());
        let find = |text: &str, more: &[&str]| {
            std::fs::write(&config, text).unwrap();
            let mut words = vec![flag.clone()];
            words.extend(more.iter().map(|word| (*word).to_owned()));
            super::find(Agent::Downstream, &words, None).unwrap()
        };
        let found = find(
            "token_file: token\nhosts_file: /srv/hosts\nstate_dir: s\n",
            &[],
        );
        assert_eq!(found.token, Some(folder.path().join("token")));
        assert_eq!(found.hosts, Some(PathBuf::from("/srv/hosts")));
        assert_eq!(found.state, Some(folder.path().join("s")));
        assert_eq!(found.config, Some(config.clone()));
        assert!(!found.has_inline_token);
        let found = find(
            "token_file: token\nca_file: ca.pem\n",
            &["--token-file=/t", "--ca-file=/c"],
        );
        assert_eq!(found.token, Some(PathBuf::from("/t")));
        assert_eq!(found.ca, Some(PathBuf::from("/c")));
        assert!(find("token: silo_a_b\n", &[]).has_inline_token);
        assert!(find("endpoint: http://h\npassword: silo_a_b\n", &[]).has_inline_token);
        assert!(!find("token: silo_a_b\n", &["--token-file=/t"]).has_inline_token);
    }

    #[test]
    fn under_a_root_the_configuration_is_read_there() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/silo");
        std::fs::create_dir_all(&etc).unwrap();
        let nothing = find(Agent::Upstream, &[], Some(root.path())).unwrap();
        assert_eq!(nothing, Files::default());
        std::fs::write(etc.join("upstream.yaml"), "token_file: token\n").unwrap();
        let found = find(Agent::Upstream, &[], Some(root.path())).unwrap();
        assert_eq!(found.token, Some(PathBuf::from("/etc/silo/token")));
        assert_eq!(found.config, Some(PathBuf::from("/etc/silo/upstream.yaml")));
    }
}
