//! Combines events that follow each other closely: DHCP, or a laptop that joins a network, changes several addresses.

use std::time::Duration;

use tokio::time::Instant;

/// Events are reported after this time without another one.
const SILENCE: Duration = Duration::from_millis(200);
/// Events are reported at the latest this long after the first one.
const LONGEST: Duration = Duration::from_secs(1);

/// Events that are not reported yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Burst {
    first: Instant,
    last: Instant,
}

impl Burst {
    /// When to report them.
    fn due(self) -> Instant {
        (self.last + SILENCE).min(self.first + LONGEST)
    }
}

/// Where events come from.
pub(super) trait Events {
    /// Waits for the next one. Cancel-safe.
    async fn next(&mut self);
}

/// Reports bursts of events.
#[derive(Debug)]
pub(super) struct Debounced<E> {
    events: E,
    burst: Option<Burst>,
}

impl<E: Events> Debounced<E> {
    /// No event yet.
    pub(super) fn new(events: E) -> Self {
        Self {
            events,
            burst: None,
        }
    }

    /// Waits for the end of the next burst. Cancel-safe.
    pub(super) async fn next(&mut self) {
        loop {
            let Some(burst) = self.burst else {
                self.events.next().await;
                let now = Instant::now();
                self.burst = Some(Burst {
                    first: now,
                    last: now,
                });
                continue;
            };
            tokio::select! {
                // The timer first: events that never pause must not delay it.
                biased;
                () = tokio::time::sleep_until(burst.due()) => {
                    self.burst = None;
                    return;
                }
                () = self.events.next() => {
                    let last = Instant::now();
                    self.burst = Some(Burst { last, ..burst });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    struct Sent(mpsc::UnboundedReceiver<()>);

    impl Events for Sent {
        async fn next(&mut self) {
            if self.0.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// When events at these milliseconds are reported, within ten seconds.
    async fn reported(events: &[u64]) -> Vec<u128> {
        let (send, receive) = mpsc::unbounded_channel();
        let mut debounced = Debounced::new(Sent(receive));
        let began = Instant::now();
        let sending = async {
            for at in events {
                tokio::time::sleep_until(began + Duration::from_millis(*at)).await;
                send.send(()).unwrap();
            }
            std::future::pending::<()>().await;
        };
        let mut all = Vec::new();
        let reporting = async {
            loop {
                // Dropped and begun again, as in a loop with other branches: nothing is lost.
                let patience = Duration::from_millis(70);
                if tokio::time::timeout(patience, debounced.next())
                    .await
                    .is_ok()
                {
                    all.push(began.elapsed().as_millis());
                }
            }
        };
        tokio::select! {
            () = sending => {}
            () = reporting => {}
            () = tokio::time::sleep(Duration::from_secs(10)) => {}
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_reported_after_silence_and_after_a_second_at_the_latest() {
        let flood: Vec<u64> = (0..30).map(|step| step * 90).collect();
        for (events, expected) in [
            (&[][..], &[][..]),
            (&[1000], &[1200]),
            (&[1000, 1100], &[1300]),
            (&[1000, 1199], &[1399]),
            (&[1000, 1201], &[1200, 1401]),
            (&[1000, 1150, 1300, 1450, 1600, 1750, 1900], &[2000]),
            (&flood, &[1000, 2080, 2810]),
            (&[1000, 5000], &[1200, 5200]),
        ] {
            assert_eq!(reported(events).await, expected, "{events:?}");
        }
    }
}
