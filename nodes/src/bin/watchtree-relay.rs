//! watchtree-relay: keeps the record of what happened.

use clap::{Parser, Subcommand};
use nodes::join::{self, JoinArgs};
use nodes::launch::{self, NodeArgs};
use nodes::trees;
use std::process::ExitCode;

/// Keeps the record of events and serves it.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    node: Option<NodeArgs>,
}

#[derive(Subcommand)]
enum Command {
    /// Join a site with a token: make this box's key, and get its certificate
    #[command(after_help = join::HELP)]
    Join(JoinArgs),
}

fn main() -> ExitCode {
    launch::heaps::few();
    let cli = Cli::parse();
    if let Some(Command::Join(args)) = cli.command {
        return join::run(&args, protocol::Role::Relay);
    }
    let Some(args) = cli.node else { unreachable!("clap asks for --config unless there is a subcommand") };
    let config = match launch::read_config(&args.config, config::relay) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (node, tls) = (config.node.clone(), config.tls.clone());
    launch::run(&args, protocol::Role::Relay, &node, &tls, async |ground| trees::relay::tree(config, ground))
}
