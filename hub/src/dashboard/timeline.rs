//! The picture of a record's addresses over a time: a lane for each family, a span for each address. Places are percents
//! of the width, so that the picture fits any screen while its text keeps its size.

use std::net::IpAddr;

use jiff::tz::TimeZone;
use silo_shared::silo::Family;

use crate::domain::time::Time;
use crate::store::HistoryRow;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Into how many parts the ticks divide the picture.
const PARTS: i64 = 4;
/// The width of a character, in percents of a usual screen.
const CHARACTER: f64 = 0.95;

/// The least width of the present address, in percents.
const LEAST_PRESENT: f64 = 1.0;

/// The time that a picture covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Range {
    /// The last 24 hours.
    #[default]
    Day,
    /// The last 30 days.
    Month,
    /// All that the history has.
    All,
}

/// The picture.
#[derive(Debug, PartialEq)]
pub(super) struct Timeline {
    pub(super) lanes: Vec<Lane>,
    pub(super) ticks: Vec<Tick>,
}

/// One family.
#[derive(Debug, PartialEq)]
pub(super) struct Lane {
    pub(super) name: &'static str,
    pub(super) spans: Vec<Span>,
}

/// One address.
#[derive(Debug, PartialEq)]
pub(super) struct Span {
    /// Where it begins, in percents.
    pub(super) x: f64,
    pub(super) width: f64,
    /// `None`: there was no address.
    pub(super) address: Option<IpAddr>,
    /// Whether it is the present one.
    pub(super) is_present: bool,
    /// From when to when.
    pub(super) title: String,
}

/// A time on the axis.
#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) x: f64,
    pub(super) text: String,
    /// `text-anchor` of SVG.
    pub(super) anchor: &'static str,
}

impl Range {
    /// All of them, with their names.
    pub(super) const ALL: [(Self, &'static str); 3] = [
        (Self::Day, "24 hours"),
        (Self::Month, "30 days"),
        (Self::All, "All"),
    ];

    /// Its name in the query.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::All => "all",
        }
    }

    /// Parses that name.
    pub(super) fn parse(text: &str) -> Self {
        let mut all = Self::ALL.into_iter().map(|(range, _)| range);
        all.find(|range| range.key() == text).unwrap_or_default()
    }

    /// When it begins.
    fn start(self, rows: &[HistoryRow], now: Time) -> Time {
        let ago = |ms: i64| Time::from_millis(now.as_millis() - ms);
        match self {
            Self::Day => ago(DAY_MS),
            Self::Month => ago(30 * DAY_MS),
            // With some time before the first change, so that it is seen.
            Self::All => {
                let first = rows.last().map_or(now, |row| row.at).as_millis();
                let length = (now.as_millis() - first).max(HOUR_MS);
                ago(length + length / 20)
            }
        }
    }

    /// A time, as exactly as a picture of this length needs it.
    fn words(time: Time, length_ms: i64) -> String {
        const MONTHS_MS: i64 = 100 * DAY_MS;
        let format = if length_ms <= DAY_MS {
            "%H:%M"
        } else if length_ms <= MONTHS_MS {
            "%b %-d"
        } else {
            "%Y-%m-%d"
        };
        let time = jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or_default();
        time.to_zoned(TimeZone::UTC).strftime(format).to_string()
    }
}

impl Span {
    /// The text in it, if there is room.
    pub(super) fn label(&self) -> Option<String> {
        let text = self.address?.to_string();
        let width = (text.len() + 2) as f64 * CHARACTER;
        (width <= self.width).then_some(text)
    }
}

impl Timeline {
    /// The picture of the rows of a hostname's history, newest first, and of its present addresses.
    pub(super) fn new(
        range: Range,
        rows: &[HistoryRow],
        present: [Option<IpAddr>; 2],
        now: Time,
    ) -> Self {
        let start = range.start(rows, now);
        let length = (now.as_millis() - start.as_millis()).max(1);
        let families = [(Family::V4, "IPv4"), (Family::V6, "IPv6")];
        let lanes = families
            .into_iter()
            .zip(present)
            .map(|((family, name), present)| {
                let rows = rows.iter();
                let rows = rows.filter(|row| row.family == i64::from(family.number()));
                Lane {
                    name,
                    spans: spans(rows, present, start, now),
                }
            })
            .filter(|lane| lane.spans.iter().any(|span| span.address.is_some()))
            .collect();
        let ticks = (0..=PARTS).map(|part| {
            let at = Time::from_millis(start.as_millis() + length * part / PARTS);
            Tick {
                x: 100.0 * part as f64 / PARTS as f64,
                text: if part == PARTS {
                    "now".to_owned()
                } else {
                    Range::words(at, length)
                },
                anchor: match part {
                    0 => "start",
                    PARTS => "end",
                    _ => "middle",
                },
            }
        });
        Self {
            lanes,
            ticks: ticks.collect(),
        }
    }
}

/// The spans of one family from `start` to `now`; rows are newest first.
fn spans<'a>(
    rows: impl Iterator<Item = &'a HistoryRow>,
    present: Option<IpAddr>,
    start: Time,
    now: Time,
) -> Vec<Span> {
    let length = (now.as_millis() - start.as_millis()).max(1) as f64;
    let place = |time: Time| {
        let place = (time.as_millis() - start.as_millis()) as f64 / length;
        (place * 100.0).clamp(0.0, 100.0)
    };
    let mut spans = Vec::new();
    let mut add = |from: Time, to: Time, address: Option<IpAddr>| {
        let end = place(to);
        // The first one that is added is the newest.
        let is_present = spans.is_empty() && address.is_some();
        // The present address is seen however new it is.
        let least = if is_present { LEAST_PRESENT } else { 0.0 };
        let x = place(from).min(end - least).max(0.0);
        let words = address.map_or_else(|| "no address".to_owned(), |ip| ip.to_string());
        let since = if from <= start {
            String::new()
        } else {
            format!(", from {from}")
        };
        let until = if to >= now {
            String::new()
        } else {
            format!(", until {to}")
        };
        spans.push(Span {
            x,
            width: end - x,
            address,
            is_present,
            title: format!("{words}{since}{until}"),
        });
    };
    let mut end = now;
    let mut address = present;
    for row in rows {
        // A clock may have been ahead.
        let at = row.at.min(end);
        if at <= start {
            break;
        }
        add(at, end, row.new);
        end = at;
        address = row.old;
    }
    if end > start {
        add(start, end, address);
    }
    spans.reverse();
    spans
}

#[cfg(test)]
mod tests {
    use silo_shared::silo::Hostname;

    use super::*;

    const NOW: Time = Time::from_millis(1_767_323_045_678);

    fn row(hours_ago: i64, old: &str, new: &str) -> HistoryRow {
        let ip = |text: &str| (!text.is_empty()).then(|| text.parse::<IpAddr>().unwrap());
        let (old, new) = (ip(old), ip(new));
        HistoryRow {
            at: Time::from_millis(NOW.as_millis() - hours_ago * HOUR_MS),
            revision: 1.into(),
            hostname: Hostname::parse("db").unwrap(),
            family: if old.or(new).unwrap().is_ipv4() { 4 } else { 6 },
            old,
            new,
            via: "rest".to_owned(),
            token: None,
            client_ip: None,
        }
    }

    fn shown(range: Range, rows: &[HistoryRow], present: [&str; 2]) -> Vec<String> {
        let present = present.map(|text| text.parse().ok());
        let timeline = Timeline::new(range, rows, present, NOW);
        let lanes = timeline.lanes.iter().map(|lane| {
            let spans = lane.spans.iter().map(|span| {
                let address = span.address.map_or("-".to_owned(), |ip| ip.to_string());
                let now = if span.is_present { "!" } else { "" };
                format!("{:.0}+{:.0} {address}{now}", span.x, span.width)
            });
            let spans: Vec<_> = spans.collect();
            format!("{}: {}", lane.name, spans.join(", "))
        });
        lanes.collect()
    }

    #[test]
    fn addresses_are_spans_of_the_time_that_is_shown() {
        let rows = [
            row(6, "10.0.0.1", "10.0.0.2"),
            row(12, "", "10.0.0.1"),
            row(18, "fd00::1", ""),
            row(20, "10.0.0.9", ""),
            row(100, "", "fd00::1"),
        ];
        assert_eq!(
            shown(Range::Day, &rows, ["10.0.0.2", ""]),
            [
                "IPv4: 0+17 10.0.0.9, 17+33 -, 50+25 10.0.0.1, 75+25 10.0.0.2!",
                "IPv6: 0+25 fd00::1, 25+75 -",
            ]
        );
        assert_eq!(
            shown(Range::Day, &[], ["10.0.0.2", ""]),
            ["IPv4: 0+100 10.0.0.2!"]
        );
        assert_eq!(shown(Range::Day, &[], ["", ""]), Vec::<String>::new());
        // Changed after what the clock shows now.
        assert_eq!(
            shown(
                Range::Day,
                &[row(-2, "10.0.0.1", "10.0.0.2")],
                ["10.0.0.2", ""]
            ),
            ["IPv4: 0+100 10.0.0.1, 99+1 10.0.0.2!"]
        );
    }

    #[test]
    fn all_of_the_history_has_room_before_it() {
        let rows = [row(50, "10.0.0.1", "10.0.0.2"), row(100, "", "10.0.0.1")];
        assert_eq!(
            shown(Range::All, &rows, ["10.0.0.2", ""]),
            ["IPv4: 0+5 -, 5+48 10.0.0.1, 52+48 10.0.0.2!"]
        );
    }

    #[test]
    fn ticks_name_times() {
        for (range, first) in [
            (Range::Day, "03:04"),
            (Range::Month, "Dec 3"),
            (Range::All, "02:01"),
        ] {
            let timeline = Timeline::new(range, &[], [None, None], NOW);
            assert_eq!(timeline.ticks[0].text, first);
            assert_eq!(timeline.ticks[4].text, "now");
        }
    }

    #[test]
    fn labels_need_room() {
        let span = |width| Span {
            x: 0.0,
            width,
            address: "10.0.0.5".parse().ok(),
            is_present: false,
            title: String::new(),
        };
        assert_eq!(span(5.0).label(), None);
        assert_eq!(span(20.0).label().as_deref(), Some("10.0.0.5"));
    }
}
