//! `silo-hub`: parses the command line, runs the command, answers with an exit code.

mod cli;

use std::process::ExitCode;

use silo_shared::program::read_command_line;

/// Reading a rendered silo is mostly small allocations, which this does faster than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Carries out what the command line asks for.
#[tokio::main]
async fn main() -> ExitCode {
    // An error would mean that a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::run(read_command_line()).await
}
