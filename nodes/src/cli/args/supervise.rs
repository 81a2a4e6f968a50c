//! What is typed to look at the tree and to steer it.

use super::{Access, Output};
use clap::{Args, ValueEnum};
use protocol::limits::check_path;

#[derive(Debug, Args)]
pub struct TreeArgs {
    /// Only what is at or below this path, such as yard/cameras
    #[arg(value_parser = path)]
    pub path: Option<String>,
    /// Go on looking, each second; on a terminal in place, else one line a change. Ctrl-C ends it
    #[arg(short, long)]
    pub watch: bool,
    /// How to print it; json is an array of nodes, with --watch one object a change
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Debug, Args)]
pub struct SteerArgs {
    /// The actor, as `watchtree tree` shows it: yard/cameras/door
    #[arg(value_parser = path)]
    pub path: String,
    /// How to say what was done
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Debug, Args)]
pub struct InjectArgs {
    #[command(flatten)]
    pub steer: SteerArgs,
    /// How it is made to fail
    #[arg(value_enum)]
    pub fault: FaultArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FaultArg {
    /// It panics
    Panic,
    /// It ends with an error
    Error,
    /// It awaits for ever; the watchdog kills and restarts it
    Hang,
    /// Its thread is blocked; the watchdog fences and replaces it
    Block,
}

impl From<FaultArg> for protocol::Fault {
    fn from(fault: FaultArg) -> Self {
        match fault {
            FaultArg::Panic => Self::Panic,
            FaultArg::Error => Self::Error,
            FaultArg::Hang => Self::Hang,
            FaultArg::Block => Self::Block,
        }
    }
}

#[derive(Debug, Args)]
pub struct FailuresArgs {
    /// Only of what is at or below this path
    #[arg(value_parser = path)]
    pub path: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// How to print it; json is one object a line
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Debug, Args)]
pub struct TopArgs {
    /// Only what is at or below this path, such as yard/cameras
    #[arg(value_parser = path)]
    pub path: Option<String>,
    /// json: no screen, one array of nodes with their rates over a second
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

/// A path as people type it: slashes at its ends mean nothing.
fn path(text: &str) -> Result<String, String> {
    let path = text.trim_matches('/');
    check_path(path).map(|()| path.to_owned())
}
