//! Tests which connection is closed against a model in the terms of the documentation: after any events, no more are
//! open than the limit, a connection with a running request is never closed, and the others are closed in order.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::time::Instant;

use super::connections::{Connection, Connections, Running, UnauthenticatedRead};
use crate::config::limits::Limits;

const MOST: usize = 4;
const HEAD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(75);
const STALL: Duration = Duration::from_secs(30);
/// A connection counts as new for this long.
const NEW: Duration = Duration::from_secs(3);

/// Possible events; numbers select an existing connection.
#[derive(Clone, Debug)]
enum Event {
    Connect,
    HangUp(usize),
    Request(usize),
    /// A request's response starts to wait for the client, or continues.
    HandOver(usize),
    WaitForMore(usize),
    Finish(usize),
    /// The hub starts to wait for content of an unauthenticated sender, or stops.
    ReadUnauthenticated(usize),
    ReadEnough(usize),
    /// The kernel's buffers become full, or not full.
    SetWriting(usize, bool),
    Pass(u64),
    LookForSlow,
}

fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    let one = 0..16_usize;
    prop_oneof![
        4 => Just(Connect),
        1 => one.clone().prop_map(HangUp),
        3 => one.clone().prop_map(Request),
        2 => one.clone().prop_map(HandOver),
        1 => one.clone().prop_map(WaitForMore),
        2 => one.clone().prop_map(Finish),
        1 => one.clone().prop_map(ReadUnauthenticated),
        1 => one.clone().prop_map(ReadEnough),
        1 => (one, any::<bool>()).prop_map(|(one, writing)| SetWriting(one, writing)),
        2 => (1..40_u64).prop_map(Pass),
        1 => Just(LookForSlow),
    ]
}

/// A connection in the model, with the real one.
struct Modelled {
    real: Arc<Connection>,
    requests: Vec<(Running, bool)>,
    readings: Vec<UnauthenticatedRead>,
    /// There was a request on it.
    is_used: bool,
    is_writing: bool,
    /// When its current wait began, and the sequence number of that.
    waits_since: (Instant, usize),
    is_cut: bool,
}

impl Modelled {
    fn is_busy(&self) -> bool {
        let waiting = self.requests.iter().filter(|(_, is_sending)| *is_sending);
        self.requests.len() > waiting.count() + self.readings.len()
    }

    fn is_sending(&self) -> bool {
        self.requests.iter().any(|(_, is_sending)| *is_sending)
    }

    /// How long its client may stay silent.
    fn patience(&self) -> Option<Duration> {
        match (self.is_sending(), self.readings.is_empty()) {
            (true, _) => Some(STALL),
            (false, false) => None,
            (false, true) if self.is_used => Some(IDLE),
            (false, true) => Some(HEAD),
        }
    }

    fn is_slow(&self, now: Instant) -> bool {
        let is_over = self
            .patience()
            .is_some_and(|patience| now - self.waits_since.0 >= patience);
        !self.is_busy() && is_over && (self.is_sending() || !self.is_writing)
    }

    fn is_really_cut(&self) -> bool {
        self.real
            .switch()
            .is_cut(&Context::from_waker(Waker::noop()))
    }
}

struct World {
    real: Connections,
    all: Vec<Modelled>,
    turn: usize,
}

impl World {
    fn new() -> Self {
        let real = Connections::new(Limits {
            connections: MOST,
            body_bytes: 4 * 1024 * 1024,
            head: HEAD,
            idle: IDLE,
            stall: STALL,
            requests_per_minute: None,
        });
        Self {
            real,
            all: Vec::new(),
            turn: 0,
        }
    }

    /// The connection to close: of those that wait, the one that has waited longest; but preferably one without unsent
    /// data, unless it is new.
    fn gives_way(&self, now: Instant) -> Option<usize> {
        let mut waiting: Vec<usize> = (0..self.all.len())
            .filter(|one| !self.all[*one].is_cut && !self.all[*one].is_busy())
            .collect();
        waiting.sort_by_key(|one| self.all[*one].waits_since.1);
        let is_old = |one: &&usize| now - self.all[**one].waits_since.0 >= NEW;
        let takes_all = |one: &&usize| !self.all[**one].is_sending() && !self.all[**one].is_writing;
        let old = waiting.iter().take_while(is_old);
        old.into_iter().find(takes_all).or(waiting.first()).copied()
    }

    fn connect(&mut self) {
        let now = Instant::now();
        let open = self.all.iter().filter(|one| !one.is_cut).count();
        let victim = (open == MOST).then(|| self.gives_way(now));
        let admitted = self.real.admit();
        if let Some(victim) = victim {
            assert_eq!(admitted.is_some(), victim.is_some());
            if let Some(victim) = victim {
                self.all[victim].is_cut = true;
            }
        }
        let Some(real) = admitted else { return };
        self.turn += 1;
        self.all.push(Modelled {
            real,
            requests: Vec::new(),
            readings: Vec::new(),
            is_used: false,
            is_writing: false,
            waits_since: (now, self.turn),
            is_cut: false,
        });
    }

    /// Applies an event to one connection; if it has an effect (`act` returns true), the connection moves to the end of
    /// the order.
    fn to(&mut self, number: usize, act: impl FnOnce(&mut Modelled) -> bool) {
        let count = self.all.len();
        let Some(one) = self.all.get_mut(number % count.max(1)) else {
            return;
        };
        if act(one) {
            self.turn += 1;
            one.is_used = true;
            one.waits_since = (Instant::now(), self.turn);
        }
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Connect => self.connect(),
            Event::HangUp(number) if !self.all.is_empty() => {
                let number = number % self.all.len();
                // Requests end before their connection does.
                let mut gone = self.all.remove(number);
                gone.requests.clear();
                gone.readings.clear();
            }
            Event::HangUp(_) => {}
            Event::Request(number) => self.to(number, |one| {
                let request = one.real.begin();
                one.requests.push((request, false));
                true
            }),
            Event::HandOver(number) => self.to(number, |one| {
                let request = one.requests.last_mut();
                request.is_some_and(|(request, is_sending)| {
                    request.hands_over();
                    *is_sending = true;
                    // The client has taken one more piece.
                    true
                })
            }),
            Event::WaitForMore(number) => self.to(number, |one| {
                let request = one.requests.last_mut();
                request.is_some_and(|(request, is_sending)| {
                    request.waits_for_more();
                    std::mem::take(is_sending)
                })
            }),
            Event::Finish(number) => self.to(number, |one| {
                // A request whose content is being read ends after the reading.
                one.requests.len() > one.readings.len() && one.requests.pop().is_some()
            }),
            Event::ReadUnauthenticated(number) => self.to(number, |one| {
                let handed_over = one.requests.iter().filter(|(_, sending)| *sending).count();
                let may_begin = one.requests.len() > one.readings.len() + handed_over;
                if may_begin {
                    one.readings.push(one.real.read_unauthenticated());
                }
                may_begin
            }),
            Event::ReadEnough(number) => self.to(number, |one| one.readings.pop().is_some()),
            Event::SetWriting(number, is_writing) => {
                let count = self.all.len();
                if let Some(one) = self.all.get_mut(number % count.max(1)) {
                    one.is_writing = is_writing;
                    one.real.switch().set_writing(is_writing);
                }
            }
            Event::Pass(seconds) => tokio::time::advance(Duration::from_secs(seconds)).await,
            Event::LookForSlow => {
                let now = Instant::now();
                self.real.places().cut_late(now);
                for one in &mut self.all {
                    one.is_cut |= one.is_slow(now);
                }
            }
        }
    }

    fn check(&self, event: &Event) {
        let open = self.all.iter().filter(|one| !one.is_cut).count();
        assert!(open <= MOST, "{open} are open after {event:?}");
        assert_eq!(self.real.places().open(), open, "after {event:?}");
        for (number, one) in self.all.iter().enumerate() {
            assert_eq!(one.is_really_cut(), one.is_cut, "{number} after {event:?}");
        }
    }
}

proptest! {
    #[test]
    fn connections_give_way_as_the_model_says(events in vec(event(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for event in events {
                world.happen(event.clone()).await;
                world.check(&event);
            }
        });
    }
}
