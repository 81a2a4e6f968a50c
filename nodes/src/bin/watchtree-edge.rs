//! watchtree-edge: sits by the cameras.

use clap::Parser;
use nodes::launch::{self, NodeArgs};
use nodes::trees;
use std::process::ExitCode;

/// Watches cameras, tracks what moves, keeps events until a relay has them.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    node: NodeArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match launch::read_config(&args.node.config, config::edge) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (node, tls) = (config.node.clone(), config.tls.clone());
    launch::run(&args.node, protocol::Role::Edge, &node, &tls, async |ground| trees::edge::tree(config, ground))
}
