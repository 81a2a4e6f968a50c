//! Launch: what every node does before its tree and after it.
//!
//!   read configuration ▸ log ▸ certificate ▸ start the tree ▸ wait for a signal or a failure ▸ stop in reverse

use actors::api::health::Health;
use actors::fabric::facts::Facts;
use actors::telemetry::Recorder;
use clap::Parser;
use config::{Faults, LogFormat};
use protocol::transport::{Credentials, TlsFiles};
use protocol::{Identity, Role};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use supervision::{Roll, Root, State, Tree};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

/// The configuration is wrong (EX_CONFIG of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// The command line of a node.
#[derive(Debug, Parser)]
#[command(version)]
pub struct NodeArgs {
    /// The node's configuration file; config/samples has one with every key explained
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
    /// End when the process that started this one ends
    #[arg(long)]
    pub die_with_parent: bool,
}

/// What launch has made by the time the tree is built.
pub struct Ground {
    pub credentials: Credentials,
    pub facts: Facts,
    pub recorder: Recorder,
    pub ports_dir: PathBuf,
}

impl Ground {
    /// The node does its job only while this actor runs.
    pub fn needs_actor(&self, class: &'static str) {
        let (roll, path) = (self.facts.roll.clone(), format!("{}/{class}", self.facts.node.name));
        self.facts.health.needs(class, move || match roll.get(&path) {
            Some(status) if status.state == State::Running => Ok("runs".to_owned()),
            Some(status) => {
                let last = status.last.map(|failure| format!(": {failure}")).unwrap_or_default();
                Err(format!("{}{last}", status.state.as_str()))
            }
            None => Err("was not started".to_owned()),
        });
    }
}

/// Ends the process with the configuration's faults, all of them.
pub fn read_config<C>(path: &Path, read: impl Fn(&Path) -> Result<C, Faults>) -> Result<C, ExitCode> {
    read(path).map_err(|faults| {
        eprintln!("{faults}");
        ExitCode::from(EXIT_CONFIG)
    })
}

/// Runs a node of `role` until a signal ends it or its tree fails.
pub fn run(
    args: &NodeArgs,
    role: Role,
    node: &config::Node,
    tls: &config::Tls,
    build: impl AsyncFnOnce(Ground) -> anyhow::Result<Tree>,
) -> ExitCode {
    start_log(node.log, &node.log_level);
    if args.die_with_parent
        && let Err(why) = die_with_parent()
    {
        error!("{why}");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(why) => {
            error!("the runtime does not start: {why}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(live(role, node, tls, build)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!("{why:#}");
            ExitCode::FAILURE
        }
    };
    // Blocking work that does not end must not keep a stopped node.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    code
}

async fn live(
    role: Role,
    node: &config::Node,
    tls: &config::Tls,
    build: impl AsyncFnOnce(Ground) -> anyhow::Result<Tree>,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let files = TlsFiles { ca: tls.ca.clone(), cert: tls.cert.clone(), key: tls.key.clone() };
    let credentials = Credentials::load(&files)?;
    check_identity(credentials.identity(), role, node)?;
    std::fs::create_dir_all(&node.data_dir).map_err(|why| {
        anyhow::anyhow!(
            "node.data_dir {}: {why}; make it, or name one that this user may write",
            node.data_dir.display()
        )
    })?;
    let roll = Roll::default();
    let facts = Facts::new(credentials.identity().clone(), roll.clone(), Health::default());
    info!(node = %facts.node, boot = %facts.boot, version = env!("CARGO_PKG_VERSION"), "starting");
    let ground = Ground { credentials, facts, recorder: Recorder::install(), ports_dir: ports_dir(node)? };
    let tree = build(ground).await?;
    let mut root = tokio::select! {
        root = Root::start(tree, roll) => root.map_err(anyhow::Error::msg)?,
        _ = terminate.recv() => return stopped_early(),
        _ = interrupt.recv() => return stopped_early(),
    };
    info!("started");
    tokio::select! {
        failure = root.failed() => anyhow::bail!("the node's tree failed: {failure}"),
        _ = terminate.recv() => info!("told to stop"),
        _ = interrupt.recv() => info!("told to stop"),
    }
    tokio::select! {
        () = root.stop() => info!("stopped"),
        _ = terminate.recv() => info!("told twice: stopped at once"),
        _ = interrupt.recv() => info!("told twice: stopped at once"),
    }
    Ok(())
}

fn stopped_early() -> anyhow::Result<()> {
    info!("told to stop before everything had started");
    Ok(())
}

fn check_identity(identity: &Identity, role: Role, node: &config::Node) -> anyhow::Result<()> {
    if identity.role != role {
        let have = identity.role;
        anyhow::bail!(
            "tls.cert is of a node of role {have}, this is watchtree-{role}; issue one with `watchtree ca issue --role {role}`"
        );
    }
    if let Some(name) = &node.name
        && *name != identity.name
    {
        anyhow::bail!("node.name is {name}, tls.cert says {}; correct one of them", identity.name);
    }
    Ok(())
}

/// Where the port programs are: as configured, else beside this program.
pub fn ports_dir(node: &config::Node) -> anyhow::Result<PathBuf> {
    match &node.ports_dir {
        Some(dir) => Ok(dir.clone()),
        None => own_dir(),
    }
}

/// The directory of this program.
pub fn own_dir() -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    Ok(me.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf))
}

fn die_with_parent() -> Result<(), String> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|why| format!("cannot be tied to the parent process: {why}"))?;
    // It may have ended before the line above.
    if rustix::process::getppid() != parent { Err("the parent process is gone".to_owned()) } else { Ok(()) }
}

/// To stderr; `RUST_LOG` wins over the configuration.
pub fn start_log(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // ractor wraps every line in spans of its own; ours carries the actor's path.
    let filter = filter.add_directive("ractor=warn".parse().expect("a well-formed directive"));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    // One line with a place, in the log's own format; the supervisor names the actor.
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("panicked");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panic: {text}");
    }));
}
