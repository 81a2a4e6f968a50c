//! watchtree-edge: sits by the cameras.

use clap::{Parser, Subcommand};
use nodes::join::{self, JoinArgs};
use nodes::launch::{self, NodeArgs};
use nodes::recordings::{self, RecordingsCommand};
use nodes::trees;
use std::process::ExitCode;

/// Watches cameras, tracks what moves, keeps events until a relay has them.
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
    /// Look after what is recorded, with the node or without it
    #[command(subcommand)]
    Recordings(RecordingsCommand),
}

fn main() -> ExitCode {
    launch::heaps::keeping();
    let cli = Cli::parse();
    match &cli.command {
        Some(Command::Join(args)) => return join::run(args, protocol::Role::Edge),
        Some(Command::Recordings(command)) => return recordings::run(command),
        None => {}
    }
    let Some(args) = cli.node else { unreachable!("clap asks for --config unless there is a subcommand") };
    let plan = match launch::read_config(&args.config, config::Plan::read) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let (node, tls) = (plan.edge.node.clone(), plan.edge.tls.clone());
    launch::run(&args, protocol::Role::Edge, &node, &tls, async |ground| trees::edge::tree(plan, ground))
}
