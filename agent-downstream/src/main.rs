//! The binary: all code is in the library, where fuzzing can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    silo_downstream::run()
}
