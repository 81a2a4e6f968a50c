//! watchtree-relay: keeps the record of what happened.

use clap::Parser;
use nodes::launch::{self, NodeArgs};
use nodes::trees;
use std::process::ExitCode;

/// Keeps the record of events and serves it.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    node: NodeArgs,
}

fn main() -> ExitCode {
    launch::heaps::few();
    let args = Args::parse();
    let config = match launch::read_config(&args.node.config, config::relay) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (node, tls) = (config.node.clone(), config.tls.clone());
    launch::run(&args.node, protocol::Role::Relay, &node, &tls, async |ground| trees::relay::tree(config, ground))
}
