//! Log lines of the formatters of `tracing-subscriber`, with the id of the request that they belong to.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::request_id;

/// Adds `request_id` to the lines of a formatter.
#[derive(Debug)]
pub(crate) struct WithRequest<F> {
    pub(crate) inner: F,
    /// Whether each line is a JSON object.
    pub(crate) is_json: bool,
}

impl<S, N, F> FormatEvent<S, N> for WithRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(id) = request_id::current() else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        let inner = Writer::new(&mut line);
        self.inner.format_event(context, inner, event)?;
        let line = line.trim_end_matches('\n');
        match (self.is_json, line.strip_suffix('}')) {
            (true, Some(object)) => {
                writeln!(writer, "{object},\"request_id\":\"{id}\"}}")
            }
            _ => writeln!(writer, "{line} request_id={id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::format;

    use super::*;
    use crate::request_id::RequestScope;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(is_json: bool, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let builder = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone());
        if is_json {
            let inner = format::json().flatten_event(true);
            let builder = builder
                .fmt_fields(format::JsonFields::new())
                .event_format(WithRequest { inner, is_json });
            tracing::subscriber::with_default(builder.finish(), log);
        } else {
            let inner = format::Format::default().with_ansi(false);
            let builder = builder.event_format(WithRequest { inner, is_json });
            tracing::subscriber::with_default(builder.finish(), log);
        }
        let lines = lines.0.lock().unwrap();
        String::from_utf8(lines.clone()).unwrap()
    }

    #[test]
    fn lines_within_a_request_end_with_its_id() {
        let mut request = RequestScope::default();
        let text = logged(false, || {
            tracing::warn!(silo = "office", "outside");
            request.enter(|| tracing::warn!(silo = "office", "inside"));
        });
        let id = request.id().unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].ends_with("outside silo=\"office\""), "{text}");
        let end = format!("inside silo=\"office\" request_id={id}");
        assert!(lines[1].ends_with(&end), "{text}");
        let text = logged(true, || {
            tracing::warn!(silo = "office", "outside");
            request.enter(|| tracing::warn!(silo = "office", "inside"));
        });
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["request_id"], serde_json::Value::Null);
        assert_eq!(lines[1]["request_id"], id.to_string());
        assert_eq!(lines[1]["message"], "inside");
        assert_eq!(lines[1]["silo"], "office");
    }
}
