//! The `debros` command.

use std::process::ExitCode;

/// Many small allocations from many threads: requests, log entries, rows.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    debros::cli::main()
}
