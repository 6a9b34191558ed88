//! `silo-hub`: parses the command line, runs the command, answers with an exit code.

mod cli;

use std::process::ExitCode;

use silo_shared::program::read_command_line;

/// Reading a rendered silo is mostly small allocations, which this does faster than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    cli::run(read_command_line()).await
}
