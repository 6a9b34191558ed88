//! Stands for `schtasks.exe` in tests under Wine, whose own one drops triggers and actions. It keeps one task in a folder,
//! and writes down how it was called. Never installed or shipped.
//!
//! `FAKE_SCHTASKS` is the folder: `calls` has a line for each call, its words separated by tabs; `task.xml` is the task, in
//! UTF-8; `task.name` its name. A definition that Task Scheduler would not accept is refused.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = std::env::var_os("FAKE_SCHTASKS").map(PathBuf::from) else {
        eprintln!("ERROR: FAKE_SCHTASKS is not set.");
        return ExitCode::from(3);
    };
    match run(&folder, &words) {
        Ok(printed) => {
            print!("{printed}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ERROR: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, words: &[String]) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut calls = fs::OpenOptions::new();
    let mut calls = calls
        .create(true)
        .append(true)
        .open(folder.join("calls"))
        .map_err(failed)?;
    writeln!(calls, "{}", words.join("\t")).map_err(failed)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (task, name_file) = (folder.join("task.xml"), folder.join("task.name"));
    let is_there = |name: &str| fs::read_to_string(&name_file).is_ok_and(|there| there == name);
    let missing = || "The system cannot find the file specified.".to_owned();
    match words[..] {
        ["/create", "/tn", name, "/xml", file, "/f"] => {
            let text = decoded(&fs::read(file).map_err(failed)?)?;
            fs::write(&task, text).map_err(failed)?;
            fs::write(&name_file, name).map_err(failed)?;
            Ok(format!(
                "SUCCESS: The scheduled task \"{name}\" has successfully been created.\r\n"
            ))
        }
        ["/query", "/tn", name, "/xml"] if is_there(name) => fs::read_to_string(&task)
            // In words of its own, as the real one does.
            .map(|text| text.replace('\n', "\r\n"))
            .map_err(failed),
        ["/run", "/tn", name] | ["/end", "/tn", name] if is_there(name) => {
            Ok("SUCCESS.\r\n".to_owned())
        }
        ["/delete", "/tn", name, "/f"] if is_there(name) => {
            fs::remove_file(&name_file).map_err(failed)?;
            fs::remove_file(&task).map_err(failed)?;
            Ok("SUCCESS.\r\n".to_owned())
        }
        ["/query" | "/run" | "/end" | "/delete", "/tn", ..] => Err(missing()),
        _ => Err(format!("Invalid argument/option - {words:?}")),
    }
}

/// UTF-16 with a byte order mark, which the header of the text promises.
fn decoded(bytes: &[u8]) -> Result<String, String> {
    let (mark, rest) = bytes
        .split_at_checked(2)
        .ok_or("The task XML is malformed.")?;
    if mark != [0xff, 0xfe] || rest.len() % 2 != 0 {
        return Err("The task XML is not in UTF-16.".to_owned());
    }
    let words: Vec<u16> = rest
        .chunks(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]))
        .collect();
    let text = String::from_utf16(&words).map_err(|error| error.to_string())?;
    let body = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-16\"?>\n");
    let body = body.ok_or("The task XML is malformed: it does not begin with its encoding.")?;
    check(body).map_err(|error| format!("The task XML contains an unexpected node: {error}."))?;
    Ok(text)
}

/// An element with others in it, and their names.
type Parent = (&'static str, &'static [&'static str]);

/// The elements that a task may have, by \[MS-TSCH\] section 2.5, as far as tasks of Silo have them. Those of a trigger are a
/// sequence; all others may be in any order.
const PARENTS: [Parent; 13] = [
    ("", &["Task"]),
    (
        "Task",
        &[
            "RegistrationInfo",
            "Triggers",
            "Principals",
            "Settings",
            "Actions",
        ],
    ),
    ("RegistrationInfo", &["Author", "Description", "URI"]),
    ("Triggers", &["TimeTrigger", "BootTrigger", "EventTrigger"]),
    (
        "TimeTrigger",
        &[
            "Enabled",
            "StartBoundary",
            "EndBoundary",
            "Repetition",
            "ExecutionTimeLimit",
            "RandomDelay",
        ],
    ),
    (
        "BootTrigger",
        &[
            "Enabled",
            "StartBoundary",
            "EndBoundary",
            "Repetition",
            "ExecutionTimeLimit",
            "Delay",
        ],
    ),
    (
        "EventTrigger",
        &[
            "Enabled",
            "StartBoundary",
            "EndBoundary",
            "Repetition",
            "ExecutionTimeLimit",
            "Subscription",
            "Delay",
        ],
    ),
    ("Repetition", &["Interval", "Duration", "StopAtDurationEnd"]),
    ("Principals", &["Principal"]),
    ("Principal", &["UserId", "RunLevel"]),
    (
        "Settings",
        &[
            "MultipleInstancesPolicy",
            "DisallowStartIfOnBatteries",
            "StopIfGoingOnBatteries",
            "StartWhenAvailable",
            "RunOnlyIfNetworkAvailable",
            "Enabled",
            "ExecutionTimeLimit",
            "RestartOnFailure",
        ],
    ),
    ("RestartOnFailure", &["Interval", "Count"]),
    ("Actions", &["Exec"]),
];

/// What the schema allows as the text of an element; of others, anything.
fn is_valid(name: &str, text: &str) -> bool {
    let is_duration = || {
        let number = text
            .strip_prefix("PT")
            .and_then(|rest| rest.strip_suffix(['S', 'M', 'H']));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    match name {
        "Interval" | "ExecutionTimeLimit" | "Delay" | "RandomDelay" => is_duration(),
        "DisallowStartIfOnBatteries"
        | "StopIfGoingOnBatteries"
        | "StartWhenAvailable"
        | "RunOnlyIfNetworkAvailable"
        | "Enabled" => ["true", "false"].contains(&text),
        // An unsignedByte, at least 1.
        "Count" => text.parse::<u8>().is_ok_and(|count| count > 0),
        "MultipleInstancesPolicy" => text == "IgnoreNew",
        "RunLevel" => ["LeastPrivilege", "HighestAvailable"].contains(&text),
        "UserId" => text.starts_with("S-1-"),
        _ => !text.is_empty(),
    }
}

/// Whether each element is closed, allowed where it is, once, and has a valid text.
fn check(body: &str) -> Result<(), String> {
    // Each open element, and what is in it so far.
    let mut open: Vec<(String, Vec<String>)> = vec![(String::new(), Vec::new())];
    let mut rest = body;
    while let Some((text, tail)) = rest.split_once('<') {
        let (tag, after) = tail.split_once('>').ok_or("a tag does not end")?;
        rest = after;
        let (parent, children) = open.last_mut().ok_or("an end too much")?;
        if let Some(name) = tag.strip_prefix('/') {
            if name != parent {
                return Err(format!("/{name} in {parent}"));
            }
            if children.is_empty() && !is_valid(name, text) {
                return Err(format!("{name}: {text}"));
            }
            open.pop();
            continue;
        }
        if !text.trim().is_empty() {
            return Err(format!("text in {parent}"));
        }
        let name = tag.split(' ').next().unwrap_or_default().to_owned();
        let allowed = PARENTS.iter().find(|(of, _)| of == parent);
        // "Exec" has no row of its own: its elements are texts.
        let allowed = allowed.map_or(&["Command", "Arguments"][..], |(_, names)| names);
        let place = |name: &str| allowed.iter().position(|known| *known == name);
        let here = place(&name).ok_or_else(|| format!("{name} in {parent}"))?;
        let is_sequence = parent.ends_with("Trigger");
        let is_late =
            |earlier: &String| *earlier == name || (is_sequence && place(earlier) > Some(here));
        if children.iter().any(is_late) {
            return Err(format!("{name} after another in {parent}"));
        }
        children.push(name.clone());
        open.push((name, Vec::new()));
    }
    match open.as_slice() {
        [(_, all)] if all.len() == 1 && rest.trim().is_empty() => Ok(()),
        _ => Err("an element is not closed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = include_str!("../../../shared/src/install/tasks/upstream-watch.xml");

    fn encoded(text: &str) -> Vec<u8> {
        let words = "\u{feff}".encode_utf16().chain(text.encode_utf16());
        words.flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn only_what_task_scheduler_accepts_is_taken() {
        assert_eq!(decoded(&encoded(TASK)).as_deref(), Ok(TASK));
        assert!(decoded(TASK.as_bytes()).is_err(), "UTF-8");
        for (part, other) in [
            ("UTF-16", "UTF-8"),
            ("</Task>", ""),
            ("<Count>255</Count>", "<Count>256</Count>"),
            ("PT0S", "0"),
            ("IgnoreNew", "Ignore"),
            ("<Delay>PT5S</Delay>", "<Delay>5</Delay>"),
            ("<URI>", "<Uri>"),
            ("<StartWhenAvailable>true", "<StartWhenAvailable>yes"),
            ("    <BootTrigger>", "    x<BootTrigger>"),
        ] {
            assert!(TASK.contains(part), "{part}");
            let changed = TASK.replace(part, other);
            assert!(decoded(&encoded(&changed)).is_err(), "{other}");
        }
        // In another order than the schema's.
        let delay = "      <RandomDelay>PT30S</RandomDelay>\n";
        let first = TASK.replace(delay, "");
        let first = first.replace("<TimeTrigger>\n", &format!("<TimeTrigger>\n{delay}"));
        assert!(decoded(&encoded(&first)).is_err());
    }
}
