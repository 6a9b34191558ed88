//! The binary: everything is in the library, where fuzzing reaches it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    silo_downstream::run()
}
