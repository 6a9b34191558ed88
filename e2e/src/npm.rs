//! Packages of npm that tests run programs with.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that holds these packages (`NAME@VERSION`); installs them the first time.
///
/// # Panics
///
/// If npm cannot install them.
pub fn packages(names: &[&str]) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/npm-packages");
    let output = Command::new(&script)
        .args(names)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{names:?}: {out}{err}");
    PathBuf::from(out.trim())
}
