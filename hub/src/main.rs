//! `silo-hub`: parses the command line, runs the command, answers with an exit code.

use std::process::ExitCode;

use silo_shared::program::read_command_line;

/// Reading a rendered silo is mostly small allocations, which this does faster than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Carries out what the command line asks for.
fn main() -> ExitCode {
    // An error would mean that a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("silo-hub: cannot start its threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(silo_hub::cli::run(read_command_line()));
    // Nothing is waited for that may never end, such as the look-up of a database's name.
    runtime.shutdown_background();
    code
}
