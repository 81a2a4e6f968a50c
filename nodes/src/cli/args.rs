//! The command line: what can be asked, and the help that teaches it.

mod cameras;
mod enrol;
mod files;
mod supervise;

pub use cameras::{CameraArgs, CameraCommand, CameraKeysArgs, CameraListArgs, CameraSetArgs};
pub use enrol::{RevokeArgs, RevokedArgs, TokenCommand, TokenCreateArgs};
pub use files::{CaCommand, CaInitArgs, CaIssueArgs, ConfigCommand};
pub use supervise::{FailuresArgs, FaultArg, InjectArgs, SteerArgs, TopArgs, TreeArgs};

use super::render::time;
use clap::{Args, Parser, Subcommand, ValueEnum};
use config::HostPort;
use protocol::{CameraId, Epoch, NodeName, Timestamp};
use std::path::PathBuf;

/// Where a relay on this machine listens.
const CONNECT_DEFAULT: &str = "127.0.0.1:7443";

const EXAMPLES: &str = "\
Examples:
  watchtree ca init                               a new site: its certificate authority
  watchtree ca issue --role operator --name me    your own certificate
  watchtree token create --role edge --name yard  let a new box in
  watchtree nodes                                 who is there, and who lacks what
  watchtree tree yard/cameras                     the cameras of the edge `yard`, and why one is down
  watchtree top                                   the same as a screen, with loads and rates
  watchtree failures yard                         what failed there, and what followed
  watchtree restart yard/cameras/door             start a part afresh
  watchtree camera set yard/door priority=high    change a camera while it runs
  watchtree events -f --label person              people, as they come

Credentials:
  ca.pem and an operator's certificate with its key are looked for in $WATCHTREE_DIR, else in
  ~/.config/watchtree: operator.pem and operator.key, or the only operator's pair that is there;
  without any, a viewer's in the same way. Viewers look, operators steer.
  --ca, --cert and --key name others.

Exit codes:
  0 done    1 failed    2 wrong command line    75 an act is under way    78 wrong configuration
Where the answer is JSON, stderr is too, an object a line: {\"error\": \"...\"} or {\"warning\": \"...\"}.";

/// Scripts and tests use it; people use `events`.
const RECORD_HINT: &str = "
For programs: `watchtree record --edge yard` prints an edge's raw record, one JSON object a line.
For drills: `watchtree inject PATH panic|error|hang|block` makes an actor fail, where supervision.allow_faults is on.";

/// Watches the watchers: asks relays and gpu nodes, issues certificates, checks configurations.
#[derive(Debug, Parser)]
#[command(
    name = "watchtree",
    version,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n{RECORD_HINT}"),
    max_term_width = 110
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the nodes: the relays asked, and those linked to them, and how each is
    #[command(after_help = "\
STATE is as the relay judges it: healthy, degraded or down, SINCE when, and below each line why. FREE is room
on the disk with its data, CAMERAS those that see of all, SPOOL what waits there for the relay; SKEW shows
where a clock is off by a second or more. On a narrow terminal MEM goes first, then CPU and RTT.
A node that judges nobody, such as a gpu node or an older relay, lists who is linked, what each lacks, and
whether it is READY.

Examples:
  watchtree nodes
  watchtree nodes --connect hub.example:7443,hub-2.example:7443
  watchtree nodes -o json | jq '.[] | select(.state != \"healthy\") | .node.name, .reasons'")]
    Nodes(NodesArgs),
    /// Draw every actor of every node: its state, restarts, and why it last failed
    #[command(after_help = "\
On a terminal long lines are cut, unless a PATH is given. MAILBOX is what waits and how much may; CPU and
MEMORY are those of ports, CPU as time since the process started (with --watch: of one core, over a second).
Where these leave too little room, they are left out. PATH begins with a node's name; where two nodes have
the same, with all of TENANT/ROLE/NAME. A node that does not show its tree is `gone` or `silent`: in JSON it
has that as its state, is not ready, and has no actors.

Examples:
  watchtree tree                       all nodes
  watchtree tree yard                  one node
  watchtree tree yard/cameras/door     one camera
  watchtree tree main/gpu/yard         of two nodes called yard, the gpu node
  watchtree tree yard --watch          again each second, in place
  watchtree tree -w | tee changes      one line for each change
  watchtree tree -o json | jq '.[].actors[] | select(.state != \"running\")'")]
    Tree(TreeArgs),
    /// Show every actor on a screen: state, load, rates, and the CPU and memory of ports
    #[command(after_help = "\
Keys: q quits; arrows, PgUp, PgDn, Home and End scroll; f shows only what is not running, and again all;
Ctrl-Z steps aside until `fg`. On a narrow screen the age goes first, then the rate, then the mailbox.
Steering is left to `watchtree restart`, `park` and `resume`.
Where stdout is no terminal, one snapshot is printed, with the rates of one second.

Examples:
  watchtree top
  watchtree top yard/cameras
  watchtree top -o json | jq '.[].actors[] | select(.cpu_percent > 50) | .path'")]
    Top(TopArgs),
    /// List what failed: when, why, what followed, and how long it had lived; the newest last
    #[command(after_help = "\
Times are those of this machine's zone. KIND is panic, error, hang, signal, oom, protocol or start; escalated
when what is below it failed too often; stopped when somebody parked it. THEN is what followed: restarted,
parked, escalated, ended, or exited for the node's process itself.

Examples:
  watchtree failures                          the newest 50 of all nodes
  watchtree failures yard/cameras/door        of one camera and its parts
  watchtree failures --limit 500 -o json | jq -r .kind | sort | uniq -c")]
    Failures(FailuresArgs),
    /// Restart an actor and what is below it
    #[command(after_help = "\
It stops in good order and starts again; its neighbours are not touched, and no restart budget is spent.
Only operators may. The node logs who did it.

Examples:
  watchtree restart yard/cameras/door
  watchtree restart hub/store && echo done")]
    Restart(SteerArgs),
    /// Stop an actor and leave it down until it is resumed, or its node is started again
    #[command(after_help = "\
Only operators may. The node logs who did it.

Example:
  watchtree park yard/cameras/door        while somebody works on that camera")]
    Park(SteerArgs),
    /// Start what is parked
    #[command(after_help = "\
What was parked for failing too often is also tried again by itself, with growing pauses: `watchtree tree`
says when. Only operators may resume. The node logs who did it.

Example:
  watchtree tree yard -o json | jq -r '.[].actors[] | select(.state == \"parked\").path' |
    xargs -n1 watchtree resume")]
    Resume(SteerArgs),
    /// Make an actor fail, for drills
    #[command(
        hide = true,
        after_help = "\
The node refuses unless `supervision.allow_faults = true` is in its configuration. Only operators may.
What followed is told by `watchtree failures PATH`.

Examples:
  watchtree inject yard/cameras/door/session panic
  watchtree inject yard/cameras/door/watch block"
    )]
    Inject(InjectArgs),
    /// List what happened in front of the cameras, oldest first
    #[command(after_help = "\
Columns: begin (UTC), edge/camera, label, score, best score, phase, duration, reason of its end, id,
what its edge keeps of it, and the zones it entered.
An event is printed as it stands now; with -f once more for each change.

Examples:
  watchtree events --from 2h --label person
  watchtree events --camera door --from 2026-11-20T18:00:00Z --until 2026-11-20T19:00:00Z
  watchtree events -f --from 10m            the last ten minutes, then what comes
  watchtree events -f -o json | jq .event   one JSON object a line")]
    Events(EventsArgs),
    /// Show when somebody looked at a camera, and when nobody did
    #[command(after_help = "\
One bar a camera, the oldest left: █ somebody looked, ░ nobody did though somebody should have, · nobody was to,
? nothing is known. Below it, each time in which nobody looked, why, and how long; and what happened meanwhile is
`watchtree events`. Without events under █, nothing happened.

Examples:
  watchtree timeline yard                         each camera of the edge `yard`, the last day
  watchtree timeline yard/door --from 2h
  watchtree timeline yard -o json | jq '.[].intervals[] | select(.state == \"blind\")'")]
    Timeline(TimelineArgs),
    /// Print an edge's raw record, one JSON object a line
    #[command(hide = true)]
    Record(RecordArgs),
    /// Print who may do what: every stream, message, request and HTTP route, by role
    #[command(after_help = "\
What is not listed is denied. `local` is whoever is on the node's machine, `stranger` who has no certificate.

Examples:
  watchtree roles
  watchtree roles -o json | jq -r '.[] | select(.on.relay // [] | index(\"viewer\")) | .name'")]
    Roles(RolesArgs),
    /// List an edge's cameras, and change them while it runs
    #[command(subcommand)]
    Camera(CameraCommand),
    /// Make tokens, with which new nodes join
    #[command(subcommand)]
    Token(TokenCommand),
    /// Put a node or a person out: its certificates are worth nothing from now on
    #[command(after_help = "\
Its connections are closed at once, on every core node, and it is refused from then on. A box that was revoked
joins again with a new token. Only operators may. The node logs who did it.\n
Examples:
  watchtree revoke yard
  watchtree revoke yard --role edge       where a gpu node is called yard too
  watchtree revoke eve --role operator    somebody whose laptop was stolen")]
    Revoke(RevokeArgs),
    /// List who is revoked, since when, and by whom
    Revoked(RevokedArgs),
    /// Make a certificate authority, and certificates
    #[command(subcommand)]
    Ca(CaCommand),
    /// Check configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
}

impl Command {
    /// Whether its answer is for a program.
    pub fn speaks_json(&self) -> bool {
        match self {
            Self::Nodes(NodesArgs { output, .. })
            | Self::Tree(TreeArgs { output, .. })
            | Self::Top(TopArgs { output, .. })
            | Self::Failures(FailuresArgs { output, .. })
            | Self::Restart(SteerArgs { output, .. })
            | Self::Park(SteerArgs { output, .. })
            | Self::Resume(SteerArgs { output, .. })
            | Self::Inject(InjectArgs { steer: SteerArgs { output, .. }, .. })
            | Self::Token(TokenCommand::Create(TokenCreateArgs { output, .. }))
            | Self::Revoke(RevokeArgs { output, .. })
            | Self::Revoked(RevokedArgs { output, .. })
            | Self::Events(EventsArgs { output, .. })
            | Self::Timeline(TimelineArgs { output, .. })
            | Self::Roles(RolesArgs { output }) => *output == Output::Json,
            Self::Camera(command) => command.output() == Output::Json,
            Self::Record(RecordArgs { output: RecordOutput::Json, .. }) => true,
            Self::Ca(_) | Self::Config(_) => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordOutput {
    /// One object a line
    Json,
}

#[derive(Debug, Args)]
pub struct NodesArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Debug, Args)]
pub struct RolesArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with what comes; starts from now unless --from says otherwise. Ctrl-C ends it
    #[arg(short, long)]
    pub follow: bool,
    /// Only of this camera
    #[arg(long, value_name = "CAMERA")]
    pub camera: Option<CameraId>,
    /// Only what bears this label: person, car, ..., or motion
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
    /// Only what began at this time or later: 2026-11-20T18:30:00Z, or 10m, 2h, 3d ago
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    pub from: Option<Timestamp>,
    /// Only what began before this time
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    pub until: Option<Timestamp>,
    /// Stop after so many, the oldest that fit; with -f, after so many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// How to print it; json is one object a line
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Debug, Args)]
pub struct TimelineArgs {
    /// An edge, or one of its cameras: EDGE/CAMERA
    #[arg(value_name = "EDGE[/CAMERA]", value_parser = edge_or_camera)]
    pub at: (NodeName, Option<CameraId>),
    /// From when on: 2026-11-20T18:30:00Z, or 10m, 2h, 3d ago [default: a day before its end]
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    pub from: Option<Timestamp>,
    /// To when [default: now]
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    pub to: Option<Timestamp>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub access: Access,
}

fn edge_or_camera(text: &str) -> Result<(NodeName, Option<CameraId>), String> {
    let (edge, camera) = text.split_once('/').map_or((text, None), |(edge, camera)| (edge, Some(camera)));
    let edge = edge.parse().map_err(|why| format!("{why}"))?;
    Ok((edge, camera.map(str::parse).transpose().map_err(|why| format!("{why}"))?))
}

#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Whose record
    #[arg(long, value_name = "NAME")]
    pub edge: NodeName,
    /// Only what this outbox sent: 16 hexadecimal digits
    #[arg(long)]
    pub epoch: Option<Epoch>,
    /// Only entries after this sequence number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub after: u64,
    /// Stop after so many entries [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = RecordOutput::Json)]
    pub output: RecordOutput,
    #[command(flatten)]
    pub access: Access,
}

/// Whom to ask, and as whom.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct Access {
    /// Relays or gpu nodes to ask; the answers of several are merged
    #[arg(long, value_name = "HOST:PORT", env = "WATCHTREE_CONNECT", hide_env_values = true)]
    #[arg(value_delimiter = ',', default_value = CONNECT_DEFAULT)]
    pub connect: Vec<HostPort>,
    /// The authority's certificate [default: ca.pem in $WATCHTREE_DIR or ~/.config/watchtree]
    #[arg(long, value_name = "FILE", env = "WATCHTREE_CA", hide_env_values = true)]
    pub ca: Option<PathBuf>,
    /// An operator's or viewer's certificate [default: operator.pem there, or the only operator's there]
    #[arg(long, value_name = "FILE", env = "WATCHTREE_CERT", hide_env_values = true)]
    pub cert: Option<PathBuf>,
    /// The key to it [default: the certificate's name with .key]
    #[arg(long, value_name = "FILE", env = "WATCHTREE_KEY", hide_env_values = true, requires = "cert")]
    pub key: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
