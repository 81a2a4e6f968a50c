//! What is typed to look at an edge's cameras and to change them.

use super::{Access, Output};
use clap::{Args, Subcommand};
use protocol::limits::check_path;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum CameraCommand {
    /// List the cameras of an edge: how each is, and what of it was changed here
    #[command(after_help = "\
STATE is sees, blind, or disabled; removed, if the edge's own file has it and it was removed through the API;
incomplete, if it was changed and that file does not have it any more.

Examples:
  watchtree camera list yard
  watchtree camera list yard -o json | jq -r '.[] | select(.state == \"blind\") | .camera, .reason'")]
    List(CameraListArgs),
    /// Print a camera's section as it counts, without secrets
    #[command(after_help = "\
Example:
  watchtree camera show yard/door")]
    Show(CameraArgs),
    /// Set keys of a camera, or add one; it counts at once
    #[command(after_help = "\
KEY and VALUE are as in the edge's configuration; config/samples/edge.toml explains each. Values are TOML, and
what is no TOML is text. Zones are set one by one, by their names. Only the parts of this camera that a key
concerns start anew. The edge's own file is not rewritten: what is set here counts over it, and outlives
restarts. A change that is refused changes nothing. Only operators may. The edge logs who did it.
Files of the edge (password_file, file:///) are named in its own file alone.

Examples:
  watchtree camera set yard/door labels='[\"person\", \"car\"]' priority=high
  watchtree camera set yard/door enabled=false
  watchtree camera set yard/door --file zone.toml      [[zones]] name = \"gate\", polygon = ...
  watchtree camera set yard/barn url=rtsp://10.0.0.23/stream1 user=watch password=\"$PASSWORD\"")]
    Set(CameraSetArgs),
    /// Remove a camera, a zone, or a key of it
    #[command(after_help = "\
The edge's own file is not rewritten: `watchtree camera reset` brings back what that has. Without a key its
default counts. Only operators may. The edge logs who did it.

Examples:
  watchtree camera remove yard/barn
  watchtree camera remove yard/door zones.gate motion_masks")]
    Remove(CameraKeysArgs),
    /// Take back what was set or removed: the edge's own file counts again
    #[command(after_help = "\
Examples:
  watchtree camera reset yard/door labels      one key
  watchtree camera reset yard/door             one camera
  watchtree camera reset yard                  all cameras of the edge")]
    Reset(CameraKeysArgs),
}

impl CameraCommand {
    pub fn access(&self) -> &Access {
        match self {
            Self::List(args) => &args.access,
            Self::Show(args) => &args.access,
            Self::Set(args) => &args.camera.access,
            Self::Remove(args) | Self::Reset(args) => &args.camera.access,
        }
    }

    pub(super) fn output(&self) -> Output {
        match self {
            Self::List(args) => args.output,
            Self::Show(args) => args.output,
            Self::Set(args) => args.camera.output,
            Self::Remove(args) | Self::Reset(args) => args.camera.output,
        }
    }
}

#[derive(Debug, Args)]
pub struct CameraListArgs {
    /// The edge, as `watchtree nodes` shows it
    #[arg(value_name = "EDGE", value_parser = path)]
    pub edge: String,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Debug, Args)]
pub struct CameraArgs {
    /// The edge and the camera: yard/door
    #[arg(value_name = "EDGE/CAMERA", value_parser = path)]
    pub path: String,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Debug, Args)]
pub struct CameraSetArgs {
    #[command(flatten)]
    pub camera: CameraArgs,
    /// What to set
    #[arg(value_name = "KEY=VALUE", required_unless_present = "file")]
    pub pairs: Vec<String>,
    /// A TOML file with keys, such as a zone
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CameraKeysArgs {
    #[command(flatten)]
    pub camera: CameraArgs,
    /// Of the camera: labels, zones.gate [default: all of it]
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
}

fn path(text: &str) -> Result<String, String> {
    check_path(text.trim_end_matches('/')).map(|()| text.trim_end_matches('/').to_owned())
}
