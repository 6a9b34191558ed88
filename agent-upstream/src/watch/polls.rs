//! Waits for changes of the silos at the hub: a long poll for each (`Prefer: wait`, RFC 7240 section 4.3).

use std::time::Duration;

use silo_shared::api::SiloDocument;
use silo_shared::client::{ClientError, Fetched, HubClient, Poll, TokenVerdict};
use silo_shared::silo::SiloId;
use silo_shared::stay::{Backoff, SystemJitter, spread};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::failures::by_silo;
use crate::settings::Settings;

/// How long the hub holds a poll back: less than the minute after which proxies give up.
const WAIT: (Duration, Duration) = (Duration::from_secs(40), Duration::from_secs(50));
/// A hub that answers "not modified" sooner than this does not wait: it is not asked again at once.
const TOO_SOON: Duration = Duration::from_secs(1);
/// The pause after such an answer, and after one that the silo does not exist.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// How many silos are waited for; changes of the others are corrected with the heartbeat.
const MOST: usize = 16;

/// The polls of all silos.
#[derive(Debug, Default)]
pub(super) struct Polls {
    tasks: JoinSet<Polled>,
    silos: Vec<Polling>,
}

#[derive(Debug)]
struct Polling {
    silo: SiloId,
    tag: Option<String>,
    backoff: Backoff,
}

/// The end of a poll.
#[derive(Debug)]
pub(super) struct Polled {
    at: usize,
    result: Result<Fetched<SiloDocument>, ClientError>,
    took: Duration,
}

/// What a poll says.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The silo, if it has changed, or is known for the first time.
    pub(super) document: Option<SiloDocument>,
    /// Whether the hub answers again.
    pub(super) is_back: bool,
    /// Whether the hub refused the token.
    pub(super) is_token_refused: bool,
}

impl Polls {
    /// Ends all polls, and begins new ones.
    pub(super) fn begin(&mut self, client: &HubClient, settings: &Settings) {
        // Dropping the tasks ends them.
        self.tasks = JoinSet::new();
        let silos = by_silo(&settings.records).into_iter().take(MOST);
        self.silos = silos
            .map(|(silo, _)| Polling {
                silo: silo.clone(),
                tag: None,
                backoff: Backoff::default(),
            })
            .collect();
        for at in 0..self.silos.len() {
            self.poll(at, client, Duration::ZERO);
        }
    }

    /// Waits for the end of a poll. Cancel-safe.
    pub(super) async fn next(&mut self) -> Polled {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(polled)) => return polled,
                // It panicked, which is printed.
                Some(Err(_)) => {}
                None => return std::future::pending().await,
            }
        }
    }

    /// Takes the end of a poll in, and begins the next one of the same silo.
    pub(super) fn hear(&mut self, polled: Polled, client: &HubClient) -> Heard {
        let Polled { at, result, took } = polled;
        let polling = &mut self.silos[at];
        let is_back = result.is_ok() && polling.backoff.failures() > 0;
        let mut heard = Heard {
            is_back,
            ..Heard::default()
        };
        let pause = match result {
            Ok(Fetched::Found(document, tag)) => {
                polling.backoff.succeeded();
                heard.document = Some(document);
                // Without a tag there is nothing to wait for; a proxy that drops the condition answers the same at once.
                let is_same = tag.is_some() && tag == polling.tag && took < TOO_SOON;
                polling.tag = tag;
                (polling.tag.is_none() || is_same).then_some(PAUSE)
            }
            Ok(Fetched::NotModified) => {
                polling.backoff.succeeded();
                (took < TOO_SOON).then_some(PAUSE)
            }
            Err(ClientError::Status { status: 404, .. }) => Some(PAUSE),
            Err(error) => {
                tracing::debug!(silo = %polling.silo, "cannot wait for changes: {error}");
                heard.is_token_refused = error.token() == Some(TokenVerdict::Refused);
                let pause = polling.backoff.failed();
                Some((pause, pause))
            }
        };
        let pause = pause.map(|(least, most)| spread(&SystemJitter, least, most));
        self.poll(at, client, pause.unwrap_or_default());
        heard
    }

    fn poll(&mut self, at: usize, client: &HubClient, pause: Duration) {
        let Polling { silo, tag, .. } = &self.silos[at];
        let (client, silo, tag) = (client.clone(), silo.clone(), tag.clone());
        self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            let poll = Poll {
                tag: tag.as_deref(),
                wait: tag.as_ref().map(|_| spread(&SystemJitter, WAIT.0, WAIT.1)),
                ..Poll::default()
            };
            Polled {
                at,
                result: client.silo(&silo, poll).await,
                took: began.elapsed(),
            }
        });
    }
}
