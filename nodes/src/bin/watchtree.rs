//! watchtree: what an operator types.

use clap::Parser;
use nodes::cli::{self, args::Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
