//! The hub's side of the spool folder, with handwritten results.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use silo_e2e::clock::STEPS;

use super::super::job::Verdict;
use super::super::zone_name::ZoneName;
use super::*;

struct Bench {
    folder: tempfile::TempDir,
    passed: Arc<AtomicI64>,
    stepped: Arc<AtomicI64>,
    spool: Spool,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["jobs", "results"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let passed = Arc::new(AtomicI64::new(Clock::System.now().as_millis()));
        let stepped = Arc::new(AtomicI64::new(0));
        let clock = Clock::Stepped {
            passed: Arc::clone(&passed),
            stepped: Arc::clone(&stepped),
        };
        let spool = Spool::new(folder.path(), clock);
        Self {
            folder,
            passed,
            stepped,
            spool,
        }
    }

    fn pass(&self, minutes: i64) {
        self.passed.fetch_add(minutes * 60_000, Ordering::AcqRel);
    }

    /// The spool as another process begins with it.
    fn restart(&mut self) {
        self.spool = Spool::new(self.folder.path(), self.spool.clock.clone());
    }

    /// Gives job and results the time that the wall clock shows.
    fn touch(&self, task: &Task) {
        let now = u64::try_from(self.spool.clock.now().as_millis()).unwrap();
        let at = std::time::UNIX_EPOCH + Duration::from_millis(now);
        let job = self.spool.jobs.join(JobId::of(&task.zone_name).job_file());
        for path in [&job, &self.spool.results] {
            File::open(path).unwrap().set_modified(at).unwrap();
        }
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    fn job(&self, task: &Task) -> Job {
        let id = JobId::of(&task.zone_name);
        self.spool.job(&id).unwrap().unwrap()
    }

    fn answer(&self, task: &Task, nonce: &Nonce, verdict: Verdict) {
        let result = JobResult {
            nonce: nonce.clone(),
            verdict,
            why: String::new(),
        };
        let path = self
            .spool
            .results
            .join(JobId::of(&task.zone_name).result_file());
        fs::write(path, result.to_bytes()).unwrap();
    }
}

fn task(label: &str, wanted: &str) -> Task {
    Task {
        zone_name: ZoneName::parse("example.com", label).unwrap(),
        wanted: wanted
            .split_whitespace()
            .map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
            .collect(),
        published: Vec::new(),
    }
}

#[test]
fn a_task_is_handed_over_once_and_answered_once() {
    let bench = Bench::new();
    let task = task("db", "10.0.0.6");
    assert_eq!(bench.spool.hand_over(&task).unwrap(), Progress::Waiting);
    let job = bench.job(&task);
    assert_eq!(bench.spool.hand_over(&task).unwrap(), Progress::Waiting);
    assert_eq!(bench.job(&task), job, "the same job, not another one");
    assert_eq!(bench.names("jobs").len(), 1);
    bench.answer(&task, &job.nonce, Verdict::Done);
    let progress = bench.spool.hand_over(&task).unwrap();
    assert!(matches!(progress, Progress::Answered(result) if result.verdict == Verdict::Done));
    assert!(bench.names("jobs").is_empty());
    // The worker has not removed the old result yet, which does not apply to the next job.
    assert_eq!(bench.spool.hand_over(&task).unwrap(), Progress::Waiting);
    assert_eq!(bench.spool.hand_over(&task).unwrap(), Progress::Waiting);
    assert_ne!(bench.job(&task).nonce, job.nonce);
}

#[test]
fn a_newer_task_takes_the_place_of_an_older_one_of_its_name() {
    let bench = Bench::new();
    let (old, new, other) = (
        task("db", "10.0.0.5"),
        task("db", "10.0.0.6"),
        task("web", "10.0.0.5"),
    );
    bench.spool.hand_over(&old).unwrap();
    let old_job = bench.job(&old);
    bench.spool.hand_over(&other).unwrap();
    assert_eq!(bench.spool.hand_over(&new).unwrap(), Progress::Waiting);
    assert_eq!(bench.job(&new).task, new);
    assert_eq!(bench.names("jobs").len(), 2);
    bench.answer(&old, &old_job.nonce, Verdict::Done);
    assert_eq!(bench.spool.hand_over(&new).unwrap(), Progress::Waiting);
}

#[test]
fn files_that_are_not_jobs_or_results_are_ignored() {
    let bench = Bench::new();
    let task = task("db", "10.0.0.6");
    let id = JobId::of(&task.zone_name);
    for broken in [&b""[..], b"{\"version\":1", &[b' '; 5000]] {
        fs::write(bench.spool.jobs.join(id.job_file()), broken).unwrap();
        assert_eq!(bench.spool.hand_over(&task).unwrap(), Progress::Waiting);
        assert_eq!(bench.job(&task).task, task);
        fs::write(bench.spool.results.join(id.result_file()), broken).unwrap();
        assert_eq!(bench.spool.hand_over(&task).unwrap(), Progress::Waiting);
    }
    // A temporary file left by a killed hub does no harm.
    let draft = bench.spool.jobs.join(format!(".{id}.tmp"));
    fs::create_dir_all(&bench.spool.jobs).unwrap();
    fs::write(&draft, b"half a j").unwrap();
    fs::remove_file(bench.spool.jobs.join(id.job_file())).unwrap();
    bench.spool.hand_over(&task).unwrap();
    assert_eq!(bench.names("jobs"), [id.job_file()]);
}

#[test]
fn an_untaken_job_is_reported_unless_the_worker_answers_others() {
    let bench = Bench::new();
    let task = task("db", "10.0.0.6");
    bench.spool.hand_over(&task).unwrap();
    bench.pass(14);
    assert_eq!(bench.spool.hand_over(&task).unwrap(), Progress::Waiting);
    bench.pass(2);
    assert_eq!(bench.spool.hand_over(&task).unwrap(), Progress::Forgotten);
    bench.touch(&task);
    assert_eq!(bench.spool.hand_over(&task).unwrap(), Progress::Waiting);
    bench.pass(16);
    assert_eq!(bench.spool.hand_over(&task).unwrap(), Progress::Forgotten);
    // Another task of the name is another job.
    let other = self::task("db", "10.0.0.7");
    assert_eq!(bench.spool.hand_over(&other).unwrap(), Progress::Waiting);
}

#[test]
fn a_clock_step_neither_forgets_nor_keeps_a_job() {
    for step in STEPS {
        for restarts in [false, true] {
            for steps_back in [false, true] {
                let what = format!("{step} {restarts} {steps_back}");
                let mut bench = Bench::new();
                let task = task("db", "10.0.0.6");
                // The files have the times of a clock that is wrong.
                bench.stepped.store(step * 1000, Ordering::Release);
                bench.spool.hand_over(&task).unwrap();
                bench.touch(&task);
                if restarts {
                    bench.restart();
                }
                assert_eq!(bench.spool.hand_over(&task).unwrap(), Progress::Waiting);
                if steps_back {
                    bench.stepped.store(0, Ordering::Release);
                }
                let progress = |minutes| {
                    bench.pass(minutes);
                    bench.spool.hand_over(&task).unwrap()
                };
                assert_eq!(progress(14), Progress::Waiting, "{what}");
                assert_eq!(progress(2), Progress::Forgotten, "{what}");
            }
        }
    }
}

#[test]
fn a_missing_folder_is_named() {
    let bench = Bench::new();
    bench.spool.hand_over(&task("db", "10.0.0.6")).unwrap();
    assert_eq!(bench.spool.check().unwrap(), 1);
    for gone in ["results", "jobs"] {
        let folder = bench.folder.path().join(gone);
        fs::remove_dir_all(&folder).unwrap();
        let error = bench.spool.check().unwrap_err().to_string();
        fs::create_dir(&folder).unwrap();
        assert!(error.contains(&format!("{gone}: No such file")), "{error}");
    }
    fs::remove_dir_all(bench.folder.path().join("jobs")).unwrap();
    let error = bench.spool.hand_over(&task("db", "10.0.0.6")).unwrap_err();
    assert!(error.to_string().contains("jobs"), "{error}");
}
