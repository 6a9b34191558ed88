//! Runs a fuzz target for a moment, as an ordinary test: on its seeds in `fuzz/seeds`, and on what becomes
//! of them when bytes are changed at random. `scripts/fuzz` runs the same targets for longer, led by coverage.

use std::path::Path;
use std::{fmt, fs};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

/// How many inputs are tried beside the seeds.
const INPUTS: u32 = 2000;
/// The most changes to one seed.
const MAX_CHANGES: usize = 6;

/// One change to an input.
#[derive(Clone, Debug)]
enum Change {
    /// Other bytes in place of some.
    Replace(Index, u8, Vec<u8>),
    /// A part of a seed, taken from anywhere, put in anywhere.
    Splice(Index, Vec<u8>, Index, u8),
    /// The end is missing.
    Cut(Index),
}

impl Change {
    fn apply(self, input: &mut Vec<u8>) {
        let size = input.len();
        match self {
            Self::Replace(at, length, bytes) => {
                let at = at.index(size + 1);
                let end = size.min(at + usize::from(length));
                input.splice(at..end, bytes);
            }
            Self::Splice(at, seed, from, length) => {
                let from = from.index(seed.len() + 1);
                let end = seed.len().min(from + usize::from(length));
                let at = at.index(size + 1);
                input.splice(at..at, seed[from..end].iter().copied());
            }
            Self::Cut(at) => input.truncate(at.index(size + 1)),
        }
    }
}

fn changes(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<Change>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        "[ -~\n]{0,6}".prop_map(String::into_bytes),
    ];
    let change = prop_oneof![
        4 => (any::<Index>(), 0_u8..4, bytes).prop_map(|(at, n, with)| Change::Replace(at, n, with)),
        2 => (any::<Index>(), select(seeds), any::<Index>(), any::<u8>())
            .prop_map(|(at, seed, from, n)| Change::Splice(at, seed, from, n)),
        1 => any::<Index>().prop_map(Change::Cut),
    ];
    prop::collection::vec(change, 1..=MAX_CHANGES)
}

/// Runs a target, which panics when something does not hold, on every file in `fuzz/seeds/NAME` and on
/// some thousand inputs made of them. Panics with the smallest input that failed.
pub fn try_target(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(name);
    let read = |path: &Path| fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder can be listed").path())
        .collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| read(path)).collect();
    assert!(!seeds.is_empty(), "{} has no seeds", folder.display());
    target(b"");
    for (path, seed) in paths.iter().zip(&seeds) {
        let outcome = std::panic::catch_unwind(|| target(seed));
        assert!(outcome.is_ok(), "the seed {} fails", path.display());
    }
    let inputs = (select(seeds.clone()), changes(seeds)).prop_map(|(mut input, changes)| {
        for change in changes {
            change.apply(&mut input);
        }
        Input(input)
    });
    let config = Config {
        cases: INPUTS,
        // What failed becomes a seed, which says more than a number.
        failure_persistence: None,
        ..Config::default()
    };
    if let Err(failure) = TestRunner::new(config).run(&inputs, |input| {
        target(&input.0);
        Ok(())
    }) {
        panic!("{name}: {failure}");
    }
}

/// Prints as the text that it mostly is.
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}
