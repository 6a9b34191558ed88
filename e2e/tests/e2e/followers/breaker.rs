//! A forwarder before hubs, at which each connection leads to one of them and breaks at a random moment, or when the
//! test says so.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Most connections last so long at most, ...
const LONGEST: Duration = Duration::from_millis(600);
/// ... and one of this many up to as many times as long, so that some waits end by themselves.
const ONE_OF: u32 = 8;
/// So many bytes of the hub's come through it at most.
const MOST_BYTES: u64 = 12_000;

/// Random numbers that a seed repeats (SplitMix64; Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        // Neighbouring seeds must not give the same numbers one step later.
        let mut this = Self(seed);
        Self(this.next().rotate_left(17) ^ seed)
    }

    pub(super) fn new_seed() -> u64 {
        RandomState::new().hash_one(())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A place in a list of this length.
    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// A duration below `bound`, which is at least a millisecond.
    pub(super) fn duration(&mut self, bound: Duration) -> Duration {
        let micros = u64::try_from(bound.as_micros()).unwrap();
        Duration::from_micros(self.below(micros))
    }
}

/// A running forwarder; it ends with the test's runtime.
#[derive(Debug)]
pub(super) struct Breaker {
    url: String,
    counts: Arc<Counts>,
    is_closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Counts {
    /// The connections to each hub.
    connections: Vec<AtomicUsize>,
    broken: AtomicUsize,
}

impl Breaker {
    /// Starts one before hubs at these addresses.
    pub(super) fn start(hubs: &[String], seed: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let listener = TcpListener::from_std(listener).unwrap();
        let counts = Arc::new(Counts {
            connections: hubs.iter().map(|_| AtomicUsize::new(0)).collect(),
            broken: AtomicUsize::new(0),
        });
        let (hubs, of_task) = (hubs.to_vec(), Arc::clone(&counts));
        let (is_closed, closed) = watch::channel(false);
        tokio::spawn(async move {
            let mut random = Random::new(seed);
            let mut at = 0;
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let mut closed = closed.clone();
                if *closed.borrow() {
                    continue;
                }
                // Mostly to the next hub, so that the client moves often.
                at = (at + usize::from(random.below(4) != 0)) % hubs.len();
                of_task.connections[at].fetch_add(1, Ordering::Relaxed);
                // The hubs end before the runtime does.
                let Ok(hub) = TcpStream::connect(&hubs[at]).await else {
                    continue;
                };
                let bytes = random.below(MOST_BYTES);
                let is_long = random.below(u64::from(ONE_OF)) == 0;
                let lasts = random.duration(LONGEST * if is_long { ONE_OF } else { 1 });
                let counts = Arc::clone(&of_task);
                tokio::spawn(async move {
                    let ended = tokio::select! {
                        ended = pass(client, hub, bytes) => ended,
                        () = tokio::time::sleep(lasts) => End::Broken,
                        _ = closed.wait_for(|closed| *closed) => End::Broken,
                    };
                    if ended == End::Broken {
                        counts.broken.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self {
            url,
            counts,
            is_closed,
        }
    }

    /// Breaks all connections, and each new one, until it is opened again.
    pub(super) fn close(&self) {
        self.is_closed.send_replace(true);
    }

    /// See [`Breaker::close`].
    pub(super) fn open(&self) {
        self.is_closed.send_replace(false);
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn summary(&self) -> String {
        let Counts {
            connections,
            broken,
        } = &*self.counts;
        format!("connections {connections:?}, broken {broken:?}")
    }

    /// Otherwise a test has not shown much.
    pub(super) fn has_broken_connections_to_all(&self) {
        let Counts {
            connections,
            broken,
        } = &*self.counts;
        let is_used = |count: &AtomicUsize| count.load(Ordering::Relaxed) > 0;
        assert!(connections.iter().all(is_used), "{}", self.summary());
        assert!(broken.load(Ordering::Relaxed) > 1, "{}", self.summary());
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By either side.
    Closed,
    /// By the forwarder.
    Broken,
}

/// Passes bytes on until a side closes or so many have come from the hub; both are then closed, mostly amid an answer.
async fn pass(mut client: TcpStream, mut hub: TcpStream, mut left: u64) -> End {
    let (mut from_client, mut from_hub) = (vec![0; 4096], vec![0; 4096]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(count @ 1..) if hub.write_all(&from_client[..count]).await.is_ok() => {}
                _ => return End::Closed,
            },
            read = hub.read(&mut from_hub) => match read {
                Ok(count @ 1..) => {
                    let count = count.min(usize::try_from(left).unwrap());
                    left -= count as u64;
                    if client.write_all(&from_hub[..count]).await.is_err() {
                        return End::Closed;
                    }
                    if left == 0 {
                        return End::Broken;
                    }
                }
                _ => return End::Closed,
            },
        }
    }
}
