//! Cli: the command `watchtree`. Asks and steers core nodes as a person; issues certificates; checks files.
//!
//!   args ─▶ run ─┬─ nodes · tree · top · failures · events · timeline ─▶ credentials ▸ session ══QUIC══▶ relay or gpu node
//!                ├─ restart · park · resume · inject · camera · token · revoke ▶ (operators)  render ◀══replies══┘
//!                └─ ca · config                       files alone, no network
//!
//! Answers go to stdout, everything else to stderr, under `-o json` as objects too. Exit codes: 0 done, 1 failed,
//! 2 wrong command line, 75 an act that is under way and goes on, 78 wrong configuration.

pub mod args;
mod authority;
mod bookmark;
mod cameras;
mod changes;
mod credentials;
mod enrol;
mod events;
mod failures;
mod fleet;
mod follow;
mod gather;
mod inventory;
mod out;
mod rates;
mod record;
mod render;
mod roles;
mod say;
mod screen;
mod session;
mod steering;
mod timeline;
mod top;
mod tree;
mod watch;

use args::{Access, CaCommand, Cli, Command, ConfigCommand, SteerArgs, TokenCommand};
use out::Out;
use protocol::Act;
use say::warn;
use session::Dialler;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

/// EX_TEMPFAIL of sysexits.h.
const EXIT_UNDER_WAY: u8 = 75;

/// Why a command ended before its work was done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// Whoever read our output has left, as `| head` does: end quietly.
    Unread,
    /// Told to the operator: the thing and the way out.
    Failed(String),
    /// A configuration file is wrong; its faults, one a line.
    Config(String),
    /// An act takes longer than anyone waits, and what was told says so: whatever follows on it must wait.
    UnderWay,
}

impl Failure {
    fn new(text: impl Display) -> Self {
        Self::Failed(text.to_string())
    }
}

/// Does what was asked; says on stderr why not.
pub fn run(cli: Cli) -> ExitCode {
    say::as_json(cli.command.speaks_json());
    obey(cli.command).map_or_else(ended, |()| ExitCode::SUCCESS)
}

fn ended(failure: Failure) -> ExitCode {
    match failure {
        Failure::Unread => ExitCode::SUCCESS,
        Failure::UnderWay => ExitCode::from(EXIT_UNDER_WAY),
        Failure::Config(faults) => {
            eprintln!("{faults}");
            ExitCode::from(crate::launch::EXIT_CONFIG)
        }
        Failure::Failed(text) => {
            say::error(text);
            ExitCode::FAILURE
        }
    }
}

fn obey(command: Command) -> Result<(), Failure> {
    let mut out = Out::stdout();
    match command {
        Command::Nodes(args) => online(&args.access, async |dialler| inventory::nodes(&args, dialler, &mut out).await),
        Command::Tree(args) => online(&args.access, async |dialler| tree::tree(&args, dialler, &mut out).await),
        Command::Top(args) => online(&args.access, async |dialler| top::top(&args, dialler, &mut out).await),
        Command::Failures(args) => online(&args.access, async |dialler| failures::list(&args, dialler, &mut out).await),
        Command::Restart(args) => steer(&args, Act::Restart, &mut out),
        Command::Park(args) => steer(&args, Act::Park, &mut out),
        Command::Resume(args) => steer(&args, Act::Resume, &mut out),
        Command::Inject(args) => steer(&args.steer, Act::Inject(args.fault.into()), &mut out),
        Command::Events(args) => online(&args.access, async |dialler| match args.follow {
            true => follow::follow(&args, dialler, &mut out).await,
            false => events::list(&args, dialler, &mut out).await,
        }),
        Command::Timeline(args) => online(&args.access, async |dialler| timeline::show(&args, dialler, &mut out).await),
        Command::Record(args) => online(&args.access, async |dialler| record::list(&args, dialler, &mut out).await),
        Command::Camera(command) => {
            online(command.access(), async |dialler| cameras::obey(&command, dialler, &mut out).await)
        }
        Command::Token(TokenCommand::Create(args)) => {
            online(&args.access, async |dialler| enrol::create(&args, dialler, &mut out).await)
        }
        Command::Revoke(args) => online(&args.access, async |dialler| enrol::revoke(&args, dialler, &mut out).await),
        Command::Revoked(args) => online(&args.access, async |dialler| enrol::revoked(&args, dialler, &mut out).await),
        Command::Ca(CaCommand::Init(args)) => authority::init(&args, &mut out),
        Command::Ca(CaCommand::Issue(args)) => authority::issue(&args, &mut out),
        Command::Roles(args) => roles::roles(&args, &mut out),
        Command::Config(ConfigCommand::Check { file }) => check(&file, &mut out),
    }
}

fn steer(args: &SteerArgs, act: Act, out: &mut Out) -> Result<(), Failure> {
    online(&args.access, async |dialler| steering::steer(args, act, dialler, out).await)
}

fn online(access: &Access, work: impl AsyncFnOnce(Dialler) -> Result<(), Failure>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Failure::new(format!("the runtime does not start: {why}")))?;
    runtime.block_on(async {
        let dialler = Dialler::new(access)?;
        let ended = work(dialler.clone()).await;
        // However it ended: a node that is not told keeps our connection until its silence is noticed.
        dialler.hang_up().await;
        ended
    })
}

fn check(file: &Path, out: &mut Out) -> Result<(), Failure> {
    let kind = config::check(file).map_err(|faults| Failure::Config(faults.to_string()))?;
    out.line(&format!("{}: no fault found, a configuration for watchtree-{}", file.display(), kind.as_str()))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// The code of `watchtree config check` for a file with this text.
    fn checked(text: &str) -> ExitCode {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("node.toml");
        std::fs::write(&file, text).expect("a file");
        run(Cli::parse_from(["watchtree".as_ref(), "config".as_ref(), "check".as_ref(), file.as_os_str()]))
    }

    #[test]
    fn a_good_configuration_is_told_by_the_exit_code() {
        assert_eq!(checked(include_str!("../../config/samples/relay.toml")), ExitCode::SUCCESS);
    }

    #[test]
    fn a_faulty_configuration_has_an_exit_code_of_its_own() {
        assert_eq!(checked("[node]\nrole = \"relay\"\n"), ExitCode::from(78));
        assert_eq!(checked("not toml"), ExitCode::from(78));
    }

    #[test]
    fn a_missing_configuration_is_a_configuration_fault() {
        let gone = Cli::parse_from(["watchtree", "config", "check", "/nonexistent/relay.toml"]);
        assert_eq!(run(gone), ExitCode::from(78));
    }

    #[test]
    fn a_reader_that_leaves_is_no_failure() {
        assert_eq!(ended(Failure::Unread), ExitCode::SUCCESS);
        assert_eq!(ended(Failure::new("no")), ExitCode::from(1));
    }
}
