//! Agents that stay, in network namespaces: what `scripts/bench-live` and `scripts/bench-rest` run.
//!
//! `bench_agents changes COUNT` prints how long it takes from a change of an address to the hosts files of two other
//! machines. `bench_agents rest SECONDS` prints what the agents use at rest, and then with a change a second, each for so
//! many seconds.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    lab::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("bench_agents: needs the network namespaces of Linux");
}

#[cfg(target_os = "linux")]
mod lab {
    use std::process::ExitCode;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use silo_e2e::net_lab::{Agent, NetLab, Options, Usage, isolate_program};

    /// How long the agents get to come to rest before they are measured.
    const SETTLING: Duration = Duration::from_secs(5);
    /// The pause between two changes that are timed: no agent is still at work on the one before.
    const PAUSE: Duration = Duration::from_millis(500);

    pub(super) fn main() -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
        let ended = match arguments[..] {
            ["changes", count] if number(count).is_some() => {
                isolate_program(|| changes(number(count).unwrap_or_default()))
            }
            ["rest", seconds] if number(seconds).is_some() => {
                isolate_program(|| rest(Duration::from_secs(seconds.parse().unwrap_or_default())))
            }
            _ => {
                eprintln!("usage: bench_agents changes COUNT | bench_agents rest SECONDS");
                return ExitCode::from(2);
            }
        };
        match ended.map(|status| status.success()) {
            None | Some(true) => ExitCode::SUCCESS,
            Some(false) => ExitCode::FAILURE,
        }
    }

    fn changes(count: u32) {
        let mut lab = NetLab::start(&Options::default());
        let mut times: Vec<Duration> = (0..count)
            .map(|at| {
                sleep(PAUSE);
                let began = Instant::now();
                lab.change(at as usize % lab.upstreams.len());
                lab.converge();
                began.elapsed()
            })
            .collect();
        times.sort();
        let ms = |time: &Duration| format!("{:.0} ms", time.as_secs_f64() * 1000.0);
        let shown = |part: usize| ms(&times[(times.len() - 1) * part / 100]);
        println!(
            "| address event → hosts files of two other machines, {count} changes | median {}, p90 {}, worst {} |",
            shown(50),
            shown(90),
            shown(100)
        );
    }

    /// What the agents use at three moments.
    fn rest(seconds: Duration) {
        let mut lab = NetLab::start(&Options::default());
        sleep(SETTLING);
        println!("| agent | phase | RSS KiB | descriptors | threads | CPU |");
        println!("|---|---|---|---|---|---|");
        phase(&mut lab, "at rest", seconds, |_| {});
        let mut changes = 0;
        phase(&mut lab, "a change a second", seconds, |lab| {
            lab.change(changes % lab.upstreams.len());
            changes += 1;
        });
        lab.converge();
    }

    /// Does `each` every second, and prints what each agent uses at the start, in the middle and at the end.
    fn phase(lab: &mut NetLab, name: &str, seconds: Duration, mut each: impl FnMut(&mut NetLab)) {
        let usages = |lab: &NetLab| -> Vec<Usage> { agents(lab).map(Agent::usage).collect() };
        let began = Instant::now();
        let start = usages(lab);
        let mut middle = None;
        for second in 1_u32.. {
            each(lab);
            let due = began + Duration::from_secs(second.into());
            sleep(due.saturating_duration_since(Instant::now()));
            if middle.is_none() && began.elapsed() >= seconds / 2 {
                middle = Some(usages(lab));
            }
            if began.elapsed() >= seconds {
                break;
            }
        }
        let (middle, end) = (middle.unwrap_or_else(|| start.clone()), usages(lab));
        lab.assert_running();
        for (at, agent) in agents(lab).enumerate() {
            let three = |what: fn(&Usage) -> u64| {
                let at_each = [&start, &middle, &end].map(|usages| what(&usages[at]).to_string());
                at_each.join(" / ")
            };
            println!(
                "| {} | {name}, {} s | {} | {} | {} | {} ms |",
                agent.name(),
                seconds.as_secs(),
                three(|usage| usage.rss_kib),
                three(|usage| usage.descriptors as u64),
                three(|usage| usage.threads),
                (end[at].cpu - start[at].cpu).as_millis()
            );
        }
    }

    fn agents(lab: &NetLab) -> impl Iterator<Item = &Agent> {
        lab.upstreams.iter().chain(&lab.downstreams)
    }
}
