//! Whole programs whose wall clock is wrong or stepped, by libfaketime; the monotonic clock is unchanged.

mod shared;
mod steps;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;
use silo_e2e::{Caller, Hub, PATIENCE};
use tokio::task::JoinSet;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A wall clock that a test steps.
pub(crate) struct WallClock {
    file: PathBuf,
    wrapper: Vec<String>,
}

impl WallClock {
    /// A clock that is off by so many seconds, for programs started under [`Self::wrapper`].
    pub(crate) fn off_by(folder: &Path, seconds: i64) -> Self {
        let library = glob_one("/usr/lib", "faketime/libfaketimeMT.so.1");
        let file = folder.join("faketime");
        let wrapper = [
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            // Else the monotonic clock would be stepped too, which no system does.
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "DONT_FAKE_MONOTONIC=1".to_owned(),
        ];
        let clock = Self {
            file,
            wrapper: wrapper.into(),
        };
        clock.set(seconds);
        clock
    }

    pub(crate) fn set(&self, seconds: i64) {
        // Read as a whole: a reader never sees half of it.
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, &self.file).unwrap();
    }

    pub(crate) fn wrapper(&self) -> Vec<&str> {
        self.wrapper.iter().map(String::as_str).collect()
    }
}

/// The one file of a name in a folder's subfolders, as Debian's folders of libraries are named after the machine.
fn glob_one(folder: &str, name: &str) -> PathBuf {
    let folders = std::fs::read_dir(folder).unwrap().map_while(Result::ok);
    let mut paths = folders.map(|entry| entry.path().join(name));
    paths
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not in {folder}: install faketime"))
}

/// Waits until the hub has looked so many times more for records that are overdue.
async fn wait_for_looks(hub: &Hub, more: usize) {
    const LOOK: &str = "looked for overdue records";
    let looks = || hub.log().matches(LOOK).count();
    let wanted = looks() + more;
    let deadline = Instant::now() + 4 * PATIENCE;
    while looks() < wanted {
        assert!(
            Instant::now() < deadline,
            "the hub does not look for overdue records"
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn date(caller: &Caller) -> String {
    let answer = caller
        .request(reqwest::Method::GET, "/ip")
        .send()
        .await
        .unwrap();
    answer.headers()["date"].to_str().unwrap().to_owned()
}

async fn year(caller: &Caller) -> String {
    date(caller).await.split(' ').nth(3).unwrap().to_owned()
}

#[tokio::test]
async fn a_hub_whose_clock_is_corrected_after_its_start_removes_nothing() {
    // Side by side: a hub looks for overdue records every ten seconds.
    let cases = [(-8 * HOUR, 0), (-500 * DAY, 0), (0, 2 * DAY), (0, -2 * DAY)];
    let mut cases: JoinSet<()> = cases
        .into_iter()
        .map(|(at_start, later)| nothing_is_removed(at_start, later))
        .collect();
    while let Some(ended) = cases.join_next().await {
        ended.unwrap();
    }
}

async fn nothing_is_removed(at_start: i64, later: i64) {
    let folder = tempfile::tempdir().unwrap();
    let clock = WallClock::off_by(folder.path(), at_start);
    let hub = Hub::start_under(&clock.wrapper(), folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    let body = json!({"ip": "10.0.0.5", "expires_after": 4 * HOUR});
    let put = admin
        .request(reqwest::Method::PUT, "/silos/office/records/db")
        .json(&body);
    assert_eq!(put.send().await.unwrap().status(), 201);
    wait_for_looks(&hub, 1).await;
    clock.set(later);
    wait_for_looks(&hub, 2).await;
    let (status, record) = admin.get("/silos/office/records/db").await;
    assert_eq!(status, 200, "{at_start} {later}: {record}");
    assert_eq!(hub.stop(), Some(0));
}

#[tokio::test]
async fn dates_follow_the_clock_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let clock = WallClock::off_by(folder.path(), 0);
    let hub = Hub::start_under(&clock.wrapper(), folder.path());
    let caller = Caller::new(&hub, &hub.admin_token());
    let present = year(&caller).await;
    clock.set(1000 * DAY);
    // A request that comes while the connection is still at work on the one before it has that one's date.
    let deadline = Instant::now() + PATIENCE;
    let mut ahead = year(&caller).await;
    while ahead == present && Instant::now() < deadline {
        ahead = year(&caller).await;
    }
    assert_ne!(ahead, present);
    // Every worker thread of the hub has shown the later date.
    for _ in 0..50 {
        assert_eq!(year(&caller).await, ahead);
    }
    clock.set(0);
    for _ in 0..50 {
        assert_eq!(year(&caller).await, present);
    }
}
