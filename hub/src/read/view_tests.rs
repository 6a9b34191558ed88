//! The view's results while silos change.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::http::HeaderValue;
use tokio::sync::oneshot;

use super::*;

use crate::domain::revision::Revision;

fn key() -> Key {
    (SiloId::parse("office").unwrap(), Format::Json)
}

fn rendered(revision: i64) -> Rendered {
    Rendered {
        revision: revision.into(),
        tag: revision.to_string(),
        etag: HeaderValue::from_static("\"\""),
        body: axum::body::Bytes::new(),
    }
}

async fn loads(revision: i64) -> Result<Option<Rendered>, Infallible> {
    Ok(Some(rendered(revision)))
}

fn shelf() -> Shelf {
    Shelf::new(1_000_000)
}

async fn read(shelf: &Shelf, revision: i64) -> i64 {
    let Ok(held) = shelf.get(&key(), loads(revision)).await;
    held.unwrap().revision.into()
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// How a key is invalidated: the generation alone must suffice, however the cache treats a removal.
#[derive(Clone, Copy, Debug)]
enum Forget {
    Wholly,
    ByGenerationAlone,
    Everything,
}

const WAYS: [Forget; 3] = [
    Forget::Wholly,
    Forget::ByGenerationAlone,
    Forget::Everything,
];

impl Forget {
    fn forget(self, shelf: &Shelf) {
        match self {
            Self::Wholly => shelf.forget(&key()),
            Self::ByGenerationAlone => {
                shelf.generation(&key()).fetch_add(1, Ordering::AcqRel);
            }
            Self::Everything => shelf.forget_all(),
        }
    }
}

#[tokio::test]
async fn cached_values_are_returned_until_forgotten() {
    for way in WAYS {
        let shelf = shelf();
        assert_eq!(read(&shelf, 1).await, 1);
        assert_eq!(read(&shelf, 2).await, 1, "it is held");
        assert_eq!(shelf.revision(&key()), Some(1.into()));
        way.forget(&shelf);
        assert_eq!(shelf.revision(&key()), None, "{way:?}");
        assert_eq!(read(&shelf, 2).await, 2, "{way:?}");
        assert_eq!(read(&shelf, 3).await, 2, "{way:?}: it is held again");
    }
}

#[tokio::test]
async fn a_load_under_way_is_no_answer_to_reads_after_the_change() {
    for way in WAYS {
        let shelf = shelf();
        let (found, load) = oneshot::channel();
        let slow = async { Ok::<_, Infallible>(Some(rendered(load.await.unwrap()))) };
        let place = key();
        let mut before = pin!(shelf.get(&place, slow));
        assert!(poll(before.as_mut()).is_pending(), "it loads");
        let mut joined = pin!(shelf.get(&place, loads(9)));
        assert!(poll(joined.as_mut()).is_pending(), "it waits for that load");
        // The load read the state before this commit.
        way.forget(&shelf);
        let mut after = pin!(shelf.get(&place, loads(2)));
        let early = poll(after.as_mut());
        found.send(1).unwrap();
        let Ok(first) = before.await;
        assert_eq!(
            first.unwrap().revision,
            1.into(),
            "{way:?}: who asked before"
        );
        let Ok(second) = joined.await;
        assert!(
            [1, 9]
                .map(Revision::from)
                .contains(&second.unwrap().revision),
            "{way:?}"
        );
        let third = match early {
            Poll::Ready(held) => held,
            Poll::Pending => after.await,
        };
        let third = third.unwrap().unwrap().revision;
        assert!(
            [2, 9].map(Revision::from).contains(&third),
            "{way:?}: {third} was loaded before"
        );
        assert_ne!(read(&shelf, 3).await, 1, "{way:?}");
    }
}

#[tokio::test]
async fn a_change_during_the_second_load_is_seen_too() {
    for way in WAYS {
        let shelf = shelf();
        let place = key();
        for round in 1..=3 {
            let (found, load) = oneshot::channel();
            let slow = async { Ok::<_, Infallible>(Some(rendered(load.await.unwrap()))) };
            way.forget(&shelf);
            let mut loading = pin!(shelf.get(&place, slow));
            assert!(poll(loading.as_mut()).is_pending());
            way.forget(&shelf);
            found.send(round * 10).unwrap();
            let Ok(_) = loading.await;
            assert_eq!(
                read(&shelf, round * 10 + 1).await,
                round * 10 + 1,
                "{way:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_cancelled_load_does_not_affect_other_readers() {
    let shelf = shelf();
    let place = key();
    let mut joined = pin!(shelf.get(&place, loads(2)));
    {
        let mut given_up = pin!(shelf.get(&place, std::future::pending::<Result<_, Infallible>>()));
        assert!(poll(given_up.as_mut()).is_pending());
        assert!(poll(joined.as_mut()).is_pending());
    }
    let Ok(held) = joined.await;
    assert_eq!(held.unwrap().revision, 2.into());
}

#[tokio::test]
async fn a_failed_load_is_an_error_for_one_reader_only() {
    let shelf = shelf();
    let place = key();
    let failed = shelf.get(&place, std::future::ready(Err("away")));
    assert_eq!(failed.await.unwrap_err(), "away");
    assert_eq!(read(&shelf, 1).await, 1);
}
