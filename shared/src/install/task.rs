//! The task of Task Scheduler (Windows), as XML for `schtasks /create /xml`.
//!
//! The elements and their order are those of the schema in \[MS-TSCH\] section 2.5, XML Task Definition Format.

use std::path::Path;

use super::job::{Agent, Job};
use super::plan::{Item, Manager, Plan};
use super::quote;
use super::schedule::Schedule;
use super::{InstallError, text};

/// A run ends after 30 s; Task Scheduler ends one that hangs.
const TIME_LIMIT: &str = "PT5M";
/// What stays has no limit; without this element it would be three days.
const NO_LIMIT: &str = "PT0S";
/// The first run of a repeating trigger; any time in the past will do.
const START: &str = "2020-01-01T00:00:00";

/// The account that runs the agent.
///
/// The downstream is SYSTEM, since only administrators can write the hosts file. The upstream is LOCAL SERVICE, which
/// has few privileges. Both are given by their SIDs, which do not depend on the language of Windows.
fn account(agent: Agent) -> &'static str {
    match agent {
        Agent::Upstream => "S-1-5-19",
        Agent::Downstream => "S-1-5-18",
    }
}

/// The task's path in the task library.
pub(super) fn name(agent: Agent) -> String {
    format!(r"\Silo\{}", agent.program())
}

/// The log file, in the agent's own folder: what a task prints is lost.
fn log_file(agent: Agent, data: &str) -> String {
    let folder = match agent {
        Agent::Upstream => "upstream",
        Agent::Downstream => "downstream",
    };
    format!(r"{data}\{folder}\{}.log", agent.program())
}

/// The task. `data` is `%ProgramData%\Silo`.
pub(super) fn plan(job: &Job, schedule: Schedule, data: &Path) -> Result<Plan, InstallError> {
    let mut notes = Vec::new();
    let secret = job.files.token.as_ref();
    let secret = secret.or(job
        .files
        .config
        .as_ref()
        .filter(|_| job.files.has_inline_token));
    if let (Agent::Upstream, Some(file)) = (job.agent, secret) {
        notes.push(format!(
            "the task runs as LOCAL SERVICE, which must be able to read the token: icacls \"{}\" /grant *{}:R",
            file.display(),
            account(job.agent)
        ));
    }
    if job.agent == Agent::Upstream {
        let log = job
            .arguments
            .iter()
            .find_map(|word| word.strip_prefix("--log-file="));
        let log = log.and_then(|log| Path::new(log).parent());
        for folder in log.into_iter().chain(job.files.state.as_deref()) {
            if !folder.starts_with(data.join("upstream")) {
                notes.push(format!(
                    "the task runs as LOCAL SERVICE, which must be able to write here: icacls \"{}\" /grant *{}:(OI)(CI)M",
                    folder.display(),
                    account(job.agent)
                ));
            }
        }
    }
    Ok(Plan {
        manager: Manager::TaskScheduler,
        items: vec![Item::Task {
            name: name(job.agent),
            contents: xml(job, schedule, text(data)?)?,
        }],
        unit: None,
        notes,
    })
}

/// The definition of the task. Lines end with LF; the file that `schtasks` reads is UTF-16.
pub(super) fn xml(job: &Job, schedule: Schedule, data: &str) -> Result<String, InstallError> {
    let (verb, trigger, limit, restart) = match schedule {
        Schedule::Every(interval) => ("once", every(interval.minutes()), TIME_LIMIT, ""),
        Schedule::Watch => ("watch", every(RESTARTED_WITHIN), NO_LIMIT, RESTART),
    };
    let mut words = job.words(verb);
    if !words.iter().any(|word| word.starts_with("--log-file=")) {
        words.push(format!("--log-file={}", log_file(job.agent, data)));
    }
    let words: Result<Vec<String>, InstallError> =
        words.iter().map(|word| quote::windows(word)).collect();
    let program = quote::windows(text(&job.program)?)?;
    let description = match job.agent {
        Agent::Upstream => "Reports the addresses of this machine to a Silo hub.",
        Agent::Downstream => "Keeps blocks of the hosts file equal to silos of a Silo hub.",
    };
    let level = match job.agent {
        Agent::Upstream => "LeastPrivilege",
        Agent::Downstream => "HighestAvailable",
    };
    Ok(format!(
        r#"<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Author>{author}</Author>
    <Description>{description} Written by `{author} install`; `{author} uninstall` removes it.</Description>
    <URI>{uri}</URI>
  </RegistrationInfo>
  <Triggers>
{trigger}{AT_START}{AT_CONNECTION}  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{account}</UserId>
      <RunLevel>{level}</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <RunOnlyIfNetworkAvailable>false</RunOnlyIfNetworkAvailable>
    <Enabled>true</Enabled>
    <ExecutionTimeLimit>{limit}</ExecutionTimeLimit>
{restart}  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{command}</Command>
      <Arguments>{arguments}</Arguments>
    </Exec>
  </Actions>
</Task>
"#,
        author = job.agent.program(),
        uri = escape(&name(job.agent)),
        account = account(job.agent),
        command = escape(&program),
        arguments = escape(&words?.join(" ")),
    ))
}

/// A `watch` that has ended is started again by a trigger, too: Task Scheduler does not take every exit code for a failure.
/// In minutes.
const RESTARTED_WITHIN: u32 = 5;

/// Restarts a service that ended: at most 255 times by the schema, each a minute later.
const RESTART: &str = "    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>255</Count>
    </RestartOnFailure>
";

/// Runs from now on, without an end. The delay keeps the machines of a network apart.
fn every(minutes: u32) -> String {
    format!(
        "    <TimeTrigger>
      <StartBoundary>{START}</StartBoundary>
      <Repetition>
        <Interval>PT{minutes}M</Interval>
      </Repetition>
      <RandomDelay>PT30S</RandomDelay>
    </TimeTrigger>
"
    )
}

/// When Windows has started. What is already running goes on (`IgnoreNew`).
const AT_START: &str = "    <BootTrigger>
      <Delay>PT30S</Delay>
    </BootTrigger>
";

/// When a network is connected: event 10000 of Network List Manager. The address may take a moment.
const AT_CONNECTION: &str = "    <EventTrigger>
      <Subscription>&lt;QueryList&gt;&lt;Query Id=\"0\" Path=\"Microsoft-Windows-NetworkProfile/Operational\"&gt;&lt;Select Path=\"Microsoft-Windows-NetworkProfile/Operational\"&gt;*[System[Provider[@Name='Microsoft-Windows-NetworkProfile'] and EventID=10000]]&lt;/Select&gt;&lt;/Query&gt;&lt;/QueryList&gt;</Subscription>
      <Delay>PT5S</Delay>
    </EventTrigger>
";

/// Text in an element (XML 1.0 section 2.4).
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The bytes of the file that `schtasks /create /xml` reads: UTF-16 with a byte order mark.
pub(super) fn file_bytes(xml: &str) -> Vec<u8> {
    "\u{feff}"
        .encode_utf16()
        .chain(xml.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::install::job::Files;
    use crate::install::schedule::Interval;

    const DATA: &str = r"C:\ProgramData\Silo";

    fn job(agent: Agent) -> Job {
        Job {
            agent,
            program: PathBuf::from(format!(r"C:\Program Files\Silo\{}.exe", agent.program())),
            arguments: vec![
                r"--config=C:\Program Files\A & B\<a>.yaml".to_owned(),
                "--silo=home".to_owned(),
            ],
            files: Files {
                token: Some(PathBuf::from(r"C:\Silo\token")),
                ..Files::default()
            },
        }
    }

    /// `SILO_TEST_WRITE_GOLDEN=1` writes the files instead, to be read before they are committed.
    #[test]
    fn each_variant_is_as_in_its_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/install/tasks");
        let every = |text: &str| Schedule::Every(text.parse().unwrap());
        for (name, agent, schedule) in [
            ("upstream-every-5m", Agent::Upstream, every("5m")),
            ("upstream-watch", Agent::Upstream, Schedule::Watch),
            ("downstream-every-5m", Agent::Downstream, every("5m")),
            ("downstream-every-1d", Agent::Downstream, every("1d")),
            ("downstream-watch", Agent::Downstream, Schedule::Watch),
        ] {
            let written = xml(&job(agent), schedule, DATA).unwrap();
            let file = folder.join(format!("{name}.xml"));
            if std::env::var_os("SILO_TEST_WRITE_GOLDEN").is_some() {
                std::fs::write(&file, &written).unwrap();
            }
            let expected = std::fs::read_to_string(&file).unwrap();
            assert_eq!(written, expected, "{name}");
            // What `schtasks` reads says the same.
            let words: Vec<u16> = file_bytes(&written)
                .chunks(2)
                .map(|two| u16::from_le_bytes([two[0], two[1]]))
                .collect();
            let read = String::from_utf16(&words).unwrap();
            assert_eq!(read.strip_prefix('\u{feff}'), Some(written.as_str()));
        }
    }

    /// The elements of `triggerBaseType` are an `xs:sequence`, and those of `timeTriggerType` follow them.
    #[test]
    fn the_parts_of_a_trigger_are_in_the_order_of_the_schema() {
        let xml = xml(
            &job(Agent::Downstream),
            Schedule::Every(Interval::DEFAULT),
            DATA,
        )
        .unwrap();
        let at = |part: &str| xml.find(part).unwrap_or_else(|| panic!("{part}"));
        let parts = ["<StartBoundary>", "<Repetition>", "<RandomDelay>"];
        assert!(parts.windows(2).all(|two| at(two[0]) < at(two[1])), "{xml}");
    }

    #[test]
    fn the_upstream_says_who_must_read_the_token() {
        let plan = plan(&job(Agent::Upstream), Schedule::Watch, Path::new(DATA)).unwrap();
        let expected = r#"icacls "C:\Silo\token" /grant *S-1-5-19:R"#;
        assert!(plan.notes[0].contains(expected), "{:?}", plan.notes);
        let other = super::plan(&job(Agent::Downstream), Schedule::Watch, Path::new(DATA)).unwrap();
        assert!(other.notes.is_empty());
        assert_eq!(other.to_string(), other.items[0].text());
    }

    #[test]
    fn the_file_is_utf_16_with_a_mark() {
        assert_eq!(file_bytes("aé"), [0xff, 0xfe, 0x61, 0, 0xe9, 0]);
    }
}
