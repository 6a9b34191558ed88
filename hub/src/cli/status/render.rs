//! A status for people: aligned, in colours that can be read on light and dark backgrounds.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::domain::time::Time;
use crate::http::status::{AgentFacts, SinkFacts, SinkState, Status};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
/// Yellow can't be read on white.
const DOUBTFUL: Style = AnsiColor::Magenta.on_default().bold();
const STRONG: Style = Style::new().bold();

/// The column of the values.
const VALUES: usize = 13;
/// A certificate or token that ends sooner than this is marked.
const ENDS_SOON_MS: i64 = 14 * DAY_MS;
const DAY_MS: i64 = 86_400_000;

/// The whole text, with colours. `width`: that of the terminal; without one, lines are not wrapped.
pub(super) fn render(status: &Status, width: Option<usize>) -> String {
    let mut page = Page {
        text: String::new(),
        width: width.unwrap_or(usize::MAX),
    };
    heading(status, &mut page);
    database(status, &mut page);
    stored(status, &mut page);
    clients(status, &mut page);
    agents(status, &mut page);
    sinks(status, &mut page);
    expires(status, &mut page);
    findings(status, &mut page);
    page.text
}

struct Page {
    text: String,
    width: usize,
}

impl Page {
    /// Adds a row; the value continues below itself where it is longer than the line.
    fn row(&mut self, name: &str, value: &str) {
        self.styled(name, "", Style::new(), value);
    }

    /// The same, with a word in a style before the value.
    fn styled(&mut self, name: &str, mark: &str, style: Style, value: &str) {
        let used = match mark.chars().count() {
            0 => 0,
            mark => mark + 2,
        };
        let mut lines = wrapped(value, self.width.saturating_sub(VALUES), used).into_iter();
        let line = lines.next().unwrap_or_default();
        let gap = if used == 0 || line.is_empty() {
            ""
        } else {
            "  "
        };
        let _ = writeln!(self.text, "{name:VALUES$}{style}{mark}{style:#}{gap}{line}");
        for line in lines {
            let _ = writeln!(self.text, "{:VALUES$}{line}", "");
        }
    }

    fn gap(&mut self) {
        self.text.push('\n');
    }
}

/// A text in lines of at most `width` characters, if its words allow; the first line has `used` fewer.
fn wrapped(text: &str, width: usize, used: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = used;
    for word in text.split(' ') {
        let more = word.chars().count();
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() && (length == 0 || length + more <= width) {
            line.push_str(word);
            length += more;
        } else if length + 1 + more <= width {
            line.push(' ');
            line.push_str(word);
            length += 1 + more;
        } else {
            lines.push(word.to_owned());
            length = more;
        }
    }
    lines
}

fn heading(status: &Status, page: &mut Page) {
    let (mark, style) = if status.is_well {
        ("well".to_owned(), GOOD)
    } else {
        let number = status.findings.len();
        let noun = if number == 1 {
            "thing needs"
        } else {
            "things need"
        };
        (format!("{number} {noun} a hand"), BAD)
    };
    let _ = writeln!(
        page.text,
        "{STRONG}silo-hub {}{STRONG:#}: {style}{mark}{style:#}",
        status.version
    );
    let up = duration(status.now.as_millis() - status.started_at.as_millis());
    page.gap();
    page.row(
        "Up",
        &format!(
            "for {up}, since {}; process {}",
            minute(status.started_at),
            status.pid
        ),
    );
    page.row("Listens at", &status.listen.join(", "));
}

fn database(status: &Status, page: &mut Page) {
    let database = &status.database;
    let (mark, style) = match (database.is_up, database.is_writable) {
        _ if database.is_file_gone => ("file gone", BAD),
        (false, _) => ("does not answer", BAD),
        (true, false) => ("takes no writes", BAD),
        (true, true) => ("answers", GOOD),
    };
    let size = database.bytes.map(|bytes| format!(", {}", size(bytes)));
    let value = format!("{}{}", database.address, size.unwrap_or_default());
    page.styled("Database", mark, style, &value);
    page.row("Revision", &status.revision.to_string());
}

fn stored(status: &Status, page: &mut Page) {
    if let Some(stored) = &status.stored {
        let age = status.now.as_millis() - stored.counted_at.as_millis();
        let age = if age > 60_000 {
            format!(" ({} ago)", duration(age))
        } else {
            String::new()
        };
        let counts = [
            counted(stored.silos, "silo"),
            counted(stored.records, "record"),
            counted(stored.tokens, "token"),
        ];
        page.row("Stored", &format!("{}{age}", counts.join(", ")));
    }
}

fn clients(status: &Status, page: &mut Page) {
    let (connections, watchers) = (&status.connections, &status.watchers);
    let waiting = watchers.read + watchers.silo_events + watchers.all_events;
    page.row(
        "Clients",
        &format!(
            "{} of {} connections; {waiting} wait for changes ({} reads, {} streams)",
            connections.open,
            connections.limit,
            watchers.read,
            watchers.silo_events + watchers.all_events
        ),
    );
    if status.refused_credentials > 0 {
        page.row(
            "Refused",
            &format!(
                "{} wrong credentials since the start",
                status.refused_credentials
            ),
        );
    }
}

fn agents(status: &Status, page: &mut Page) {
    let agents = &status.agents;
    let style = if agents.behind + agents.silent > 0 {
        DOUBTFUL
    } else {
        GOOD
    };
    let all = agents.current + agents.behind + agents.silent;
    let mark = format!("{} of {all} current", agents.current);
    let rest = format!("{} behind, {} silent", agents.behind, agents.silent);
    match all {
        0 => page.row("Agents", "none seen"),
        _ => page.styled("Agents", &mark, style, &rest),
    }
    let named = |word: &str, agents: &[AgentFacts], number: i64, page: &mut Page| {
        for agent in agents {
            let seen = duration(status.now.as_millis() - agent.last_seen.as_millis());
            let value = format!("{} of {}, seen {seen} ago", agent.name, agent.silo);
            page.styled("", word, DOUBTFUL, &value);
        }
        let rest = number - i64::try_from(agents.len()).unwrap_or(0);
        if !agents.is_empty() && rest > 0 {
            page.styled("", word, DOUBTFUL, &format!("and {rest} more"));
        }
    };
    named("behind", &agents.some_behind, agents.behind, page);
    named("silent", &agents.some_silent, agents.silent, page);
}

fn sinks(status: &Status, page: &mut Page) {
    if status.sinks.is_empty() {
        page.row("Sinks", "none");
    }
    let longest = status.sinks.iter().map(|sink| sink.name.len()).max();
    for (number, sink) in status.sinks.iter().enumerate() {
        let name = if number == 0 { "Sinks" } else { "" };
        let (word, style) = match sink.state {
            SinkState::Ok => ("ok", GOOD),
            SinkState::Retrying => ("retrying", BAD),
            SinkState::Failed => ("failed", BAD),
        };
        page.styled(
            name,
            &format!("{word:8}"),
            style,
            &sink_words(status, sink, longest.unwrap_or(0)),
        );
    }
}

fn sink_words(status: &Status, sink: &SinkFacts, longest: usize) -> String {
    let mut words = format!(
        "{:longest$}  {}, {} pending, {} failed",
        sink.name, sink.kind, sink.pending, sink.failed
    );
    if let Some(oldest) = sink.oldest_pending_at {
        let age = duration(status.now.as_millis() - oldest.as_millis());
        words += &format!(", oldest {age} old");
    }
    if let Some(since) = sink.failing_since {
        let since = duration(status.now.as_millis() - since.as_millis());
        words += &format!(", failing for {since}");
    }
    words
}

fn expires(status: &Status, page: &mut Page) {
    for (number, expiring) in status.expires.iter().enumerate() {
        let name = if number == 0 { "Expires" } else { "" };
        let left = expiring.at.as_millis() - status.now.as_millis();
        let style = if left < ENDS_SOON_MS {
            BAD
        } else {
            Style::new()
        };
        let when = if left < 0 {
            format!("{} ago", duration(-left))
        } else {
            format!("in {}", duration(left))
        };
        let what = match &expiring.name {
            Some(name) => format!("{} {name}", expiring.what),
            None => expiring.what.clone(),
        };
        let value = format!("{what}, {}", minute(expiring.at));
        page.styled(name, &when, style, &value);
    }
}

fn findings(status: &Status, page: &mut Page) {
    if status.findings.is_empty() {
        return;
    }
    page.gap();
    for finding in &status.findings {
        let lines = wrapped(
            &finding.why,
            page.width.saturating_sub(2),
            finding.what.chars().count() + 4,
        );
        let _ = write!(page.text, "{BAD}! {}{BAD:#}: ", finding.what);
        page.text.push_str(&lines.join("\n  "));
        page.text.push('\n');
    }
}

fn counted(number: i64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A time to the minute, in UTC.
fn minute(time: Time) -> String {
    let text = time.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(date), Some(clock)) => format!("{date} {clock} UTC"),
        _ => text,
    }
}

/// A duration in its largest unit; a negative one is none.
fn duration(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    let (number, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7200 => (seconds / 60, "min"),
        7200..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {unit}")
}

fn size(bytes: i64) -> String {
    let mebibytes = bytes >> 20;
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..10_485_760 => format!("{mebibytes}.{} MiB", ((bytes & 0xf_ffff) * 10) >> 20),
        10_485_760..10_737_418_240 => format!("{mebibytes} MiB"),
        _ => format!("{} GiB", mebibytes >> 10),
    }
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
