//! What is typed where no node is asked: to issue certificates, and to check configurations.

use clap::{Args, Subcommand};
use protocol::{NodeName, Role, TenantId};
use std::path::PathBuf;

/// A CA is renewed after ten years; no certificate should outlive it.
const DAYS_MAX: i64 = 3650;

#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Make a certificate authority: ca.pem for every node, ca.key to be kept here
    #[command(after_help = "\
ca.key signs every certificate of the site: keep a copy in a safe place and give it to no node.
Nothing is ever overwritten.\n
Example:
  watchtree ca init --dir site-ca --name \"our site\"")]
    Init(CaInitArgs),
    /// Issue a certificate, NAME.pem and NAME.key
    #[command(after_help = "\
Roles: edge (by the cameras), relay (keeps the record), gpu (runs models), operator (you), viewer (looks,\nand changes nothing).\n
Examples:
  watchtree ca issue --role operator --name me
  watchtree ca issue --role viewer --name guard --out guard-tls
  watchtree ca issue --role relay --name hub --out hub-tls
  watchtree ca issue --role edge --name yard --out yard-tls --days 90")]
    Issue(CaIssueArgs),
}

#[derive(Debug, Args)]
pub struct CaInitArgs {
    /// Where to put ca.pem and ca.key [default: $WATCHTREE_DIR or ~/.config/watchtree]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What the authority is called in certificates
    #[arg(long, default_value = "watchtree CA")]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct CaIssueArgs {
    /// What it is for: edge, relay, gpu, operator or viewer
    #[arg(long)]
    pub role: Role,
    /// The node's name: a-z, 0-9 and -
    #[arg(long)]
    pub name: NodeName,
    /// Whose it is
    #[arg(long, default_value_t = TenantId::default())]
    pub tenant: TenantId,
    /// Where the authority is [default: $WATCHTREE_DIR or ~/.config/watchtree]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Where to put the two files [default: beside the authority]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How long it is valid
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=DAYS_MAX))]
    pub days: u32,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a node's configuration: exit code 0, or 78 and every fault at once
    #[command(after_help = "\
WATCHTREE_EDGE__..., WATCHTREE_RELAY__... and WATCHTREE_GPU__... variables count, as they do for the node.\n
Example:
  watchtree config check edge.toml && systemctl restart watchtree-edge")]
    Check {
        /// The file; its node.role says which node it is for
        file: PathBuf,
    },
}
