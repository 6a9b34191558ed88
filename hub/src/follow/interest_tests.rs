//! Tests the table against a model, with random sequences of steps.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;

const TOPICS: u8 = 3;

/// A step of the test.
#[derive(Clone, Debug)]
enum Step {
    /// A watcher starts: watches, reads, and waits.
    Watch(u8),
    /// A watcher is dropped in any state.
    Leave(usize),
    /// A topic changes, with the next number or one already used.
    Change(u8, bool),
    /// Everything changes.
    ChangeAll,
    /// The notifier runs, or a woken watcher does.
    Notify,
    Run(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..TOPICS).prop_map(Step::Watch),
        2 => any::<usize>().prop_map(Step::Leave),
        4 => (0..TOPICS, any::<bool>()).prop_map(|(topic, again)| Step::Change(topic, again)),
        1 => Just(Step::ChangeAll),
        4 => Just(Step::Notify),
        4 => any::<usize>().prop_map(Step::Run),
    ]
}

/// Records that its task was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// A task that runs once woken.
struct Task<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    flag: Arc<Flag>,
}

impl<T> Task<T> {
    fn new(future: impl Future<Output = T> + 'static) -> Self {
        let flag = Arc::<Flag>::default();
        flag.0.store(true, Ordering::Release);
        let future = Box::pin(future);
        Self { future, flag }
    }

    fn run_if_woken(&mut self) -> Option<T> {
        if !self.flag.0.swap(false, Ordering::AcqRel) {
            return None;
        }
        let waker = Waker::from(Arc::clone(&self.flag));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }
}

/// The states that watchers read.
type States = Arc<[AtomicI64; TOPICS as usize]>;

/// Reads until the states end, as a long poll does; records the last value read.
async fn read_on(mut interest: Interest<u8>, states: States, seen: Arc<AtomicI64>) {
    let state = usize::from(*interest.key());
    loop {
        interest.mark_known();
        seen.store(states[state].load(Ordering::Acquire), Ordering::Release);
        if !interest.changed().await {
            return;
        }
    }
}

struct Watcher {
    topic: u8,
    seen: Arc<AtomicI64>,
    task: Task<()>,
}

fn run(steps: Vec<Step>) {
    let (wakers, notifier) = Wakers::new();
    let table = Interests::new(wakers.clone());
    let states: States = Arc::default();
    let mut notifier = Task::new(notifier.run());
    let mut watchers: Vec<Watcher> = Vec::new();
    let mut number = 0;
    for step in steps {
        match step {
            Step::Watch(topic) => {
                let seen = Arc::<AtomicI64>::default();
                let reads = read_on(table.watch(topic), Arc::clone(&states), Arc::clone(&seen));
                let task = Task::new(reads);
                watchers.push(Watcher { topic, seen, task });
            }
            Step::Leave(which) if !watchers.is_empty() => {
                watchers.swap_remove(which % watchers.len());
            }
            Step::Change(topic, again) => {
                number += 1;
                // Another program commits, and this hub then takes a higher number for another topic.
                states[usize::from(topic)].store(number, Ordering::Release);
                table.changed_at(&topic, number);
                if again {
                    let given = wakers.given();
                    table.changed_at(&topic, number);
                    assert_eq!(wakers.given(), given);
                }
            }
            Step::ChangeAll => {
                number += 1;
                for state in states.iter() {
                    state.store(number, Ordering::Release);
                }
                table.all_changed();
            }
            Step::Notify => {
                notifier.run_if_woken();
            }
            Step::Run(which) if !watchers.is_empty() => {
                let which = which % watchers.len();
                watchers[which].task.run_if_woken();
            }
            Step::Leave(_) | Step::Run(_) => {}
        }
        let mut counts = HashMap::<u8, usize>::new();
        for watcher in &watchers {
            *counts.entry(watcher.topic).or_default() += 1;
        }
        let topics = table.0.lock();
        let kept: HashMap<_, _> = topics
            .iter()
            .map(|(topic, kept)| (*topic, kept.watchers.load(Ordering::Acquire)))
            .collect();
        assert_eq!(kept, counts, "a topic is kept as long as it is watched");
    }
    // Once all woken tasks have run, no watcher waits despite a change.
    while notifier.flag.0.load(Ordering::Acquire)
        || watchers
            .iter()
            .any(|watcher| watcher.task.flag.0.load(Ordering::Acquire))
    {
        notifier.run_if_woken();
        for watcher in &mut watchers {
            watcher.task.run_if_woken();
        }
    }
    for Watcher { topic, seen, .. } in &watchers {
        let state = states[usize::from(*topic)].load(Ordering::Acquire);
        assert_eq!(seen.load(Ordering::Acquire), state, "topic {topic}");
    }
    table.end();
    for mut watcher in watchers {
        assert!(watcher.task.run_if_woken().is_some(), "the end wakes all");
    }
    assert!(table.watched().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn every_watcher_wakes_for_a_change(steps in prop::collection::vec(step(), 1..60)) {
        run(steps);
    }
}

#[test]
fn a_change_wakes_only_the_watchers_of_its_topic() {
    let (wakers, notifier) = Wakers::new();
    let table = Interests::new(wakers.clone());
    let mut notifier = Task::new(notifier.run());
    let states: States = Arc::default();
    let mut tasks: Vec<_> = [0, 0, 0, 1, 1]
        .map(|topic| {
            let reads = read_on(table.watch(topic), Arc::clone(&states), Arc::default());
            Task::new(reads)
        })
        .into();
    tasks.iter_mut().for_each(|task| {
        task.run_if_woken();
    });
    let woken = |tasks: &[Task<()>]| {
        let woken = |task: &&Task<()>| task.flag.0.load(Ordering::Acquire);
        tasks.iter().filter(woken).count()
    };
    table.changed_at(&1, 10);
    table.changed(&2);
    notifier.run_if_woken();
    assert_eq!((woken(&tasks), wakers.given()), (2, 2));
    // A number already used for a wake-up, or a lower one, is not a change.
    table.changed_at(&1, 10);
    table.changed_at(&1, 9);
    notifier.run_if_woken();
    assert_eq!((woken(&tasks), wakers.given()), (2, 2));
    table.changed(&0);
    notifier.run_if_woken();
    assert_eq!((woken(&tasks), wakers.given()), (5, 5));
}

#[test]
fn many_watchers_of_one_topic_do_not_hold_up_another() {
    const MANY: usize = 1000;
    let (wakers, notifier) = Wakers::new();
    let table = Interests::new(wakers.clone());
    let mut notifier = Task::new(notifier.run());
    let states: States = Arc::default();
    let watch = |topic| {
        let reads = read_on(table.watch(topic), Arc::clone(&states), Arc::default());
        let mut task = Task::new(reads);
        task.run_if_woken();
        task
    };
    let many: Vec<_> = (0..MANY).map(|_| watch(0)).collect();
    let one = watch(1);
    table.changed(&0);
    table.changed(&1);
    let mut rounds = 0;
    while !one.flag.0.load(Ordering::Acquire) {
        notifier.run_if_woken();
        rounds += 1;
    }
    let is_woken = |task: &&Task<()>| task.flag.0.load(Ordering::Acquire);
    assert!(rounds <= 2, "{rounds}");
    assert!(many.iter().filter(is_woken).count() <= 2 * TOGETHER);
    while notifier.flag.0.load(Ordering::Acquire) {
        notifier.run_if_woken();
    }
    assert_eq!(many.iter().filter(is_woken).count(), MANY);
}

#[test]
fn watchers_are_woken_when_the_notifier_has_ended() {
    let (wakers, notifier) = Wakers::new();
    let table = Interests::new(wakers);
    drop(notifier);
    let mut task = Task::new(read_on(table.watch(0), States::default(), Arc::default()));
    task.run_if_woken();
    for _ in 0..2 {
        // Whether or not it is still in the queue of the dropped notifier.
        table.changed(&0);
        assert!(task.flag.0.load(Ordering::Acquire));
        task.run_if_woken();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_lose_no_change() {
    const CHANGES: i64 = 20_000;
    const WATCHERS: usize = 16;
    let (wakers, notifier) = Wakers::new();
    let table = Interests::new(wakers);
    let notifier = tokio::spawn(notifier.run());
    let states: States = Arc::default();
    let mut tasks = JoinSet::new();
    for number in 0..WATCHERS {
        let topic = u8::try_from(number).unwrap() % TOPICS;
        let (table, states) = (table.clone(), Arc::clone(&states));
        tasks.spawn(async move {
            let mut seen = 0;
            let mut interest = table.watch(topic);
            while seen < CHANGES {
                if number % 4 == 0 {
                    // A repeated long poll.
                    interest = table.watch(topic);
                }
                interest.mark_known();
                seen = states[usize::from(topic)].load(Ordering::Acquire);
                if seen < CHANGES {
                    assert!(interest.changed().await);
                }
            }
        });
    }
    let changing = {
        let table = table.clone();
        tokio::task::spawn_blocking(move || {
            for number in 1..=CHANGES {
                for topic in 0..TOPICS {
                    states[usize::from(topic)].store(number, Ordering::Release);
                    table.changed_at(&topic, number);
                }
            }
        })
    };
    tokio::time::timeout(Duration::from_secs(60), async {
        changing.await.unwrap();
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    })
    .await
    .expect("each watcher hears of the last change");
    assert!(table.watched().is_empty());
    notifier.abort();
}
