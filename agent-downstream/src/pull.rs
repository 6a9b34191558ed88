//! Pulls silos from the hub, several at once and all within one deadline.

use std::time::Duration;

use silo_shared::api::SiloDocument;
use silo_shared::client::{ClientError, Fetched, HubClient, Poll};
use silo_shared::silo::{InvalidSiloId, SiloId};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::remembered::Remembered;

/// The deadline for all pulls of a run. With the lock's ten seconds, and Windows' five for a sharing violation, a run
/// takes less than thirty.
const DEADLINE: Duration = Duration::from_secs(14);

/// How many silos are pulled at once: each uses a file descriptor, and a thread while the hub's name is looked up.
const AT_ONCE: usize = 16;

/// Why a silo was not pulled; its block stays as it is.
#[derive(Debug, Error)]
pub(crate) enum PullError {
    /// The call failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The hub exceeded the deadline.
    #[error("{hub}: no complete answer within {seconds} s", hub = .0, seconds = DEADLINE.as_secs())]
    Late(String),
    /// The response contains another silo.
    #[error("{hub}: the answer is silo {id:?} and not this one: check the URL in `hub`")]
    Foreign {
        /// The hub's URL.
        hub: String,
        /// The id in the response.
        id: String,
    },
}

impl PullError {
    /// The kind of failure; see [`ClientError::kind`].
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Client(error) => error.kind(),
            Self::Late(_) => "unreachable".to_owned(),
            Self::Foreign { .. } => "foreign".to_owned(),
        }
    }
}

/// A silo in its current state at the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fresh {
    /// The silo, even if the hub responded that it is unchanged.
    pub(crate) document: SiloDocument,
    /// Its entity tag.
    pub(crate) tag: Option<String>,
    /// The id of the hub's database, if the hub sends it.
    pub(crate) database: Option<String>,
}

impl Fresh {
    /// Whether this is an older state of the same database: a hub of several may be behind the others.
    fn is_older_than(&self, known: &Self) -> bool {
        self.database.is_some()
            && self.database == known.database
            && self.document.revision < known.document.revision
    }
}

/// Pulls silos, using the saved responses; results are in the order of `silos`.
pub(crate) async fn pull(
    client: &HubClient,
    silos: Vec<(SiloId, Option<Remembered>)>,
) -> Vec<(SiloId, Result<Fresh, PullError>)> {
    let order: Vec<SiloId> = silos.iter().map(|(silo, _)| silo.clone()).collect();
    let mut tasks = JoinSet::new();
    let mut next = silos
        .into_iter()
        .enumerate()
        .map(|(at, (silo, remembered))| {
            let client = client.clone();
            async move {
                let known = remembered.as_ref().map(Fresh::from);
                let question = Question {
                    known: known.as_ref(),
                    // It is remembered when the file has it.
                    applied: known.as_ref().and_then(|known| known.tag.as_deref()),
                    ..Question::default()
                };
                let answered = pull_one(&client, &silo, question).await;
                (at, answered.map(|answered| answered.fresh))
            }
        });
    for task in next.by_ref().take(AT_ONCE) {
        tasks.spawn(task);
    }
    let mut results: Vec<Option<Result<Fresh, PullError>>> = order.iter().map(|_| None).collect();
    let all = async {
        while let Some(joined) = tasks.join_next().await {
            if let Some(task) = next.next() {
                tasks.spawn(task);
            }
            match joined {
                Ok((at, result)) => results[at] = Some(result),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    };
    // Pulls that are not finished have failed.
    let _ = tokio::time::timeout(DEADLINE, all).await;
    let late = || Err(PullError::Late(client.hub().to_owned()));
    order
        .into_iter()
        .zip(results)
        .map(|(silo, result)| (silo, result.unwrap_or_else(late)))
        .collect()
}

/// The hub's answer about one silo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The silo in its current state.
    pub(crate) fresh: Fresh,
    /// Whether it is in the state that was known.
    pub(crate) is_unchanged: bool,
}

/// How a silo is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Question<'a> {
    /// The known state.
    pub(crate) known: Option<&'a Fresh>,
    /// How long the hub holds the answer back while the silo is in the known state.
    pub(crate) wait: Option<Duration>,
    /// The entity tag of the state that the hosts file has.
    pub(crate) applied: Option<&'a str>,
}

/// Pulls one silo.
pub(crate) async fn pull_one(
    client: &HubClient,
    silo: &SiloId,
    question: Question<'_>,
) -> Result<Answered, PullError> {
    let Question {
        known,
        wait,
        applied,
    } = question;
    let tag = known.and_then(|known| known.tag.as_deref());
    let fetched = client.silo(silo, Poll { tag, wait, applied }).await?;
    let fresh = match (fetched, known) {
        (Fetched::Found(document, tag), known) => {
            let database = client.database().map(|database| database.id);
            let found = Fresh {
                document,
                tag,
                database,
            };
            match known {
                Some(known) if found.is_older_than(known) => known.clone(),
                _ => found,
            }
        }
        (Fetched::NotModified, Some(known)) => known.clone(),
        (Fetched::NotModified, None) => {
            return Err(client.not_a_hub("304 to an unconditional request").into());
        }
    };
    let id: Result<SiloId, InvalidSiloId> = fresh.document.id.parse();
    if id.as_ref() != Ok(silo) {
        let id = fresh.document.id.chars().take(80).collect();
        let hub = client.hub().to_owned();
        return Err(PullError::Foreign { hub, id });
    }
    let is_unchanged = known == Some(&fresh);
    Ok(Answered {
        fresh,
        is_unchanged,
    })
}

impl From<&Remembered> for Fresh {
    fn from(remembered: &Remembered) -> Self {
        Self {
            document: remembered.document.clone(),
            tag: remembered.tag.clone(),
            database: remembered.database.clone(),
        }
    }
}
