//! What is typed to let a node in, and to put one out.

use super::{Access, Output};
use crate::cli::render::time;
use clap::{Args, Subcommand};
use protocol::{NodeName, Role};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token with which one new node may join
    #[command(after_help = "\
The token is printed once and kept nowhere: the relay remembers a hash of it. It lets in one node of this role
and name, once, until it ends. On the new box: `watchtree-ROLE join TOKEN HOST:PORT`; its key is made there
and stays there. Only operators may. The relay needs `enrol.ca_dir` in its configuration.\n
Examples:
  watchtree token create --role edge --name yard
  watchtree token create --role gpu --name engine --ttl 15m -o json | jq -r .token
  ssh yard watchtree-edge join $(watchtree token create --role edge --name yard) hub.example:7443")]
    Create(TokenCreateArgs),
}

#[derive(Debug, Args)]
pub struct TokenCreateArgs {
    /// What the node is for: edge, relay or gpu
    #[arg(long)]
    pub role: Role,
    /// The node's name: a-z, 0-9 and -
    #[arg(long)]
    pub name: NodeName,
    /// For how long it is good, such as 15m, 2h, 1d
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = time::span_typed)]
    pub ttl: Duration,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The name in its certificate
    pub name: NodeName,
    /// Whose it is, where several have this name: edge, relay, gpu, operator or viewer
    #[arg(long)]
    pub role: Option<Role>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Debug, Args)]
pub struct RevokedArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}
