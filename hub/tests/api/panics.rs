//! A command that panics harms no other.

use std::sync::Arc;

use serde_json::json;
use silo_hub::internals::domain::time::Time;
use silo_hub::internals::registry::{ApplyError, Command, SpendNonceOnly};
use silo_hub::internals::store::WriteTransaction;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::common::TestHub;

/// Panics once it has written, as a bug would.
struct Panics(Arc<Semaphore>);

impl Command for Panics {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        transaction.prove_writable().await?;
        self.0.add_permits(1);
        panic!("a bug")
    }
}

#[tokio::test]
async fn a_panicking_command_is_answered_500_and_the_rest_of_its_batch_runs() {
    const OTHERS: usize = 20;
    let (hub, open) = TestHub::start_in_parts().await;
    let ran = Arc::new(Semaphore::new(0));
    // All of them wait while this holds the counter's lock, and so share the batches after it.
    let held = open.store.begin_write(&[]).await.unwrap();
    let mut calls = JoinSet::new();
    for number in 0..OTHERS {
        let registry = open.registry.clone();
        let command = Panics(Arc::clone(&ran));
        calls.spawn(async move {
            let panicked = registry.apply(command).await;
            assert!(
                matches!(panicked, Err(ApplyError::Panicked)),
                "{panicked:?}"
            );
        });
        let call = hub
            .put(&format!("/silos/office/records/h{number}"))
            .json(&json!({"ip": "10.0.0.6"}));
        calls.spawn(async move {
            let answer = call.await;
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        });
    }
    drop(held);
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert_eq!(
        ran.available_permits(),
        OTHERS,
        "a command that panicked does not run again"
    );
    open.registry.apply(SpendNonceOnly).await.unwrap();
    let office = hub.get("/silos/office").await.json();
    assert_eq!(office["dnsrecords"].as_array().unwrap().len(), OTHERS);
}
