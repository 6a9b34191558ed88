//! The two readers. They note what they show; [`Truth`](super::truth::Truth) judges it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use silo_e2e::{Caller, PATIENCE};

use super::SILO;
use super::breaker::Random;

/// The pause before a client asks again.
const PAUSE: Duration = Duration::from_millis(5);
/// The longest `Prefer: wait`, in seconds.
const LONGEST_WAIT: u64 = 3;

/// A state that a client came to show.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// The silo.
    Silo {
        /// Its revision.
        revision: i64,
        /// The client's reason to believe that, up to here, it has missed nothing.
        position: i64,
        /// Its records.
        records: Value,
    },
    /// An event said that it was deleted, with this revision.
    Deleted(i64),
    /// An answer said that there is none.
    Missing(Instant),
}

/// What a client showed, in order.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The states, in order.
    pub(super) states: Vec<State>,
    not_modified: usize,
}

impl Shown {
    fn show(&mut self, state: State) {
        self.states.push(state);
    }

    /// The revision that is shown; `None`: there is no silo.
    pub(super) fn present(&self) -> Option<i64> {
        match self.states.last()? {
            State::Silo { revision, .. } => Some(*revision),
            State::Deleted(_) | State::Missing(_) => None,
        }
    }

    /// How often each kind of state was shown.
    pub(super) fn summary(&self) -> String {
        let count = |is: fn(&&State) -> bool| self.states.iter().filter(is).count();
        format!(
            "{} silos, {} deletions, {} times missing, {} times not modified",
            count(|state| matches!(state, State::Silo { .. })),
            count(|state| matches!(state, State::Deleted(_))),
            count(|state| matches!(state, State::Missing(_))),
            self.not_modified,
        )
    }
}

fn silo_state(silo: &Value, position: i64) -> State {
    State::Silo {
        revision: silo["revision"].as_i64().unwrap(),
        position,
        records: silo["dnsrecords"].clone(),
    }
}

/// Follows the stream of events, resumed by the last event's id. Ends only by a panic.
pub(super) async fn follow_events(caller: Caller, shown: Arc<Mutex<Shown>>) {
    let mut last: Option<String> = None;
    loop {
        let mut request = caller.request(Method::GET, &format!("{SILO}/events"));
        request = request.timeout(PATIENCE * 4);
        if let Some(last) = &last {
            request = request.header("last-event-id", last);
        }
        if let Ok(answer) = request.send().await {
            // The silo may be deleted before its first event has come.
            let is_missing = last.is_none() && answer.status() == StatusCode::NOT_FOUND;
            assert!(answer.status() == 200 || is_missing, "{answer:?}");
            if !is_missing {
                read_events(answer, &mut last, &shown).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads events until the connection breaks. An event without its empty line does not count.
async fn read_events(mut answer: Response, last: &mut Option<String>, shown: &Mutex<Shown>) {
    let mut unread = Vec::new();
    while let Ok(Some(part)) = answer.chunk().await {
        unread.extend_from_slice(&part);
        while let Some(end) = unread.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = unread.drain(..end + 2).collect();
            let event = String::from_utf8(event).unwrap();
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            let Some(kind) = field("event: ") else {
                continue;
            };
            let data: Value = serde_json::from_str(field("data: ").unwrap()).unwrap();
            // Nothing was purged or imported, so that every earlier event can be resumed from.
            let id = field("id: ").unwrap_or_else(|| panic!("an event without an id: {event}"));
            let position = id.parse().unwrap();
            *last = Some(id.to_owned());
            let state = match kind {
                "silo" => silo_state(&data, position),
                "deleted" => {
                    assert_eq!(data["revision"], position, "{event}");
                    State::Deleted(position)
                }
                _ => panic!("an unknown event: {event}"),
            };
            shown.lock().unwrap().show(state);
        }
    }
}

/// Asks again and again, with the tag of the last answer that had one. Ends only by a panic.
pub(super) async fn long_poll(caller: Caller, shown: Arc<Mutex<Shown>>, mut random: Random) {
    let mut tag: Option<String> = None;
    loop {
        let mut request = caller.request(Method::GET, SILO);
        if let Some(tag) = &tag {
            let wait = format!("wait={}", 1 + random.below(LONGEST_WAIT));
            request = request.header("if-none-match", tag).header("prefer", wait);
        }
        if let Ok(answer) = request.send().await {
            note_answer(answer, &mut tag, &shown).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn note_answer(answer: Response, tag: &mut Option<String>, shown: &Mutex<Shown>) {
    let now = answer.headers().get("etag");
    let now = now.map(|tag| tag.to_str().unwrap().to_owned());
    match answer.status().as_u16() {
        200 => {
            // The rest may be lost: then the answer does not count.
            let Ok(silo) = answer.json::<Value>().await else {
                return;
            };
            let position = silo["revision"].as_i64().unwrap();
            assert_eq!(now, Some(format!("\"{position}\"")));
            shown.lock().unwrap().show(silo_state(&silo, position));
            *tag = now;
        }
        304 => {
            assert_eq!(now, *tag);
            shown.lock().unwrap().not_modified += 1;
        }
        404 => {
            let mut shown = shown.lock().unwrap();
            if !matches!(shown.states.last(), Some(State::Missing(_))) {
                shown.show(State::Missing(Instant::now()));
            }
        }
        status => panic!("a waiting read was answered {status}"),
    }
}
