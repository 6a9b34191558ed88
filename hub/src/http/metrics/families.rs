//! The metrics that the hub exports: one table, from which the export is made and with which the documentation is
//! compared.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::domain::counting::Observed;

/// A metric: its name without the suffix that its kind adds, its kind, its labels, and what it is.
#[derive(Debug)]
pub(super) struct Metric {
    name: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    help: &'static str,
}

macro_rules! metrics {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) static $id: Metric = Metric {
            name: $name,
            kind: MetricType::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// Every metric.
        #[cfg(test)]
        static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    BUILD: Info "silo_build" ["version"] "The version of the hub; always 1";
    HTTP_REQUESTS: Counter "silo_http_requests" ["method", "route", "status"] "Requests by route, not by path; `none` is no route, `canceled` a client that left before the response";
    HTTP_SECONDS: Histogram "silo_http_request_seconds" ["route"] "Time from a request to the head of its response, without requests that may wait for a change";
    CONNECTIONS: Gauge "silo_connections" [] "Open connections of all listeners";
    WATCHERS: Gauge "silo_watchers" ["kind"] "Clients that wait for changes: `read` with Prefer: wait, `silo_events` and `all_events`";
    REFUSED: Counter "silo_refused_credentials" [] "Wrong credentials and signatures";
    COMMITS: Counter "silo_commits" [] "Commits of this hub";
    COMMIT_SECONDS: Histogram "silo_commit_seconds" [] "Time from the beginning of a transaction until it was durable";
    COMMIT_BATCH: Histogram "silo_commit_batch_size" [] "Writes that one commit made durable";
    REVISION: Gauge "silo_revision" [] "The last committed revision that this hub knows of";
    SILOS: Gauge "silo_silos" [] "Silos; counted once a minute";
    RECORDS: Gauge "silo_records" [] "Records; counted once a minute";
    TOKENS: Gauge "silo_tokens" [] "Tokens that are neither revoked nor expired; counted once a minute";
    AGENTS: Gauge "silo_agents" ["kind", "state"] "Agents of all silos: `current`, `behind` (has applied another revision) or `silent` (no request for two hours); counted once a minute";
    VIEW_BYTES: Gauge "silo_view_bytes" [] "Memory of rendered silos";
    VIEW_HITS: Counter "silo_view_hits" [] "Reads of a silo from memory";
    VIEW_MISSES: Counter "silo_view_misses" [] "Reads of a silo from the database";
    DATABASE_UP: Gauge "silo_database_up" [] "1 if the database answers, otherwise 0";
    DATABASE_BYTES: Gauge "silo_database_bytes" [] "The size of the database; measured once a minute";
    DELIVERIES: Gauge "silo_deliveries" ["sink", "state"] "Deliveries that are `pending` or `failed`; counted once a minute";
    OLDEST_PENDING: Gauge "silo_delivery_oldest_pending_seconds" ["sink"] "Age of the oldest pending delivery; 0 without one";
    ATTEMPTS: Counter "silo_delivery_attempts" ["sink", "outcome"] "Attempts of this hub to deliver: `done`, `retry` or `failed`";
    TLS_NOT_AFTER: Gauge "silo_tls_not_after_seconds" [] "When the certificate expires, as a Unix time";
    START_TIME: Gauge "process_start_time_seconds" [] "When the hub started, as a Unix time";
    CPU: Counter "process_cpu_seconds" [] "Processor time (Linux)";
    RESIDENT: Gauge "process_resident_memory_bytes" [] "Memory in use (Linux)";
    VIRTUAL: Gauge "process_virtual_memory_bytes" [] "Address space (Linux)";
    OPEN_FDS: Gauge "process_open_fds" [] "Open files and sockets (Linux)";
    MAX_FDS: Gauge "process_max_fds" [] "The limit of open files and sockets (Linux)";
}

/// A value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A whole number.
    Count(u64),
    /// Any number.
    Number(f64),
    /// A histogram.
    Observed(Observed),
}

/// The values of the label set that a metric has.
type Labels = Vec<(&'static str, String)>;

/// The values of all metrics at one time.
#[derive(Debug, Default)]
pub(super) struct Snapshot(Vec<(&'static Metric, Vec<(Labels, Value)>)>);

impl Snapshot {
    /// Adds a metric without labels.
    pub(super) fn one(&mut self, metric: &'static Metric, value: Value) {
        self.many(metric, [(Vec::new(), value)]);
    }

    /// Adds a metric without labels, if its value is known.
    pub(super) fn known(&mut self, metric: &'static Metric, value: Option<f64>) {
        if let Some(value) = value {
            self.one(metric, Value::Number(value));
        }
    }

    /// Adds a metric with its values by label; the labels' values are in the order of the metric's labels.
    pub(super) fn many(
        &mut self,
        metric: &'static Metric,
        values: impl IntoIterator<Item = (Vec<String>, Value)>,
    ) {
        let values = values.into_iter().map(|(labels, value)| {
            let names = metric.labels.iter().copied();
            (names.zip(labels).collect(), value)
        });
        self.0.push((metric, values.collect()));
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        for (metric, values) in &self.0 {
            let mut family =
                encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)?;
            for (labels, value) in values {
                if metric.kind == MetricType::Info {
                    family.encode_info(labels)?;
                } else if labels.is_empty() {
                    encode_value(&mut family, metric.kind, value)?;
                } else {
                    encode_value(&mut family.encode_family(labels)?, metric.kind, value)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_value(
    encoder: &mut MetricEncoder<'_>,
    kind: MetricType,
    value: &Value,
) -> std::fmt::Result {
    match (kind, value) {
        (MetricType::Counter, Value::Count(count)) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(count, None)
        }
        (MetricType::Counter, Value::Number(number)) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(number, None)
        }
        (_, Value::Count(count)) => encoder.encode_gauge(count),
        (_, Value::Number(number)) => encoder.encode_gauge(number),
        (_, Value::Observed(observed)) => encoder.encode_histogram::<NoLabelSet>(
            observed.sum,
            observed.count(),
            &observed.buckets,
            None,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name as it is exported.
    fn exported(metric: &Metric) -> String {
        let suffix = match metric.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        };
        format!("{}{suffix}", metric.name)
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let mut table = "| metric | type | labels | what it is |\n|---|---|---|---|\n".to_owned();
        for metric in ALL {
            let kind = match metric.kind {
                MetricType::Counter => "counter",
                MetricType::Histogram => "histogram",
                _ => "gauge",
            };
            let labels: Vec<_> = metric
                .labels
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let labels = match labels.join(", ") {
                labels if labels.is_empty() => String::new(),
                labels => format!(" {labels}"),
            };
            let (name, help) = (exported(metric), metric.help);
            table += &format!("| `{name}` | {kind} |{labels} | {help} |\n");
        }
        let docs = include_str!("../../../../docs/observability.md");
        assert!(
            docs.contains(&format!("\n{table}\n")),
            "it should have:\n{table}"
        );
    }
}
