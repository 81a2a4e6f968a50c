//! Launch: what every node does before its tree and after it.
//!
//!   read configuration ▸ log ▸ certificate ▸ history ▸ start the tree ▸ wait for a signal or a failure ▸ stop

pub mod heaps;

use actors::api::health::{Finding, Health};
use actors::api::sd_notify::Notify;
use actors::fabric::facts::Facts;
use actors::telemetry::Recorder;
use clap::Parser;
use config::{Faults, LogFormat};
use protocol::transport::{Credentials, TlsFiles};
use protocol::{Identity, Role, Timestamp};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use supervision::{Failure, FailureKind, History, LastEnd, Roll, Root, State, Tree};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};
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
    pub notify: Notify,
}

impl Ground {
    /// The node does its job only while this actor runs.
    pub fn needs_actor(&self, class: &'static str) {
        self.facts.health.needs(class, self.state_of(class));
    }

    /// Its state and its reason are worth knowing; `path` is below the node.
    pub fn shows_actor(&self, path: &str) {
        self.facts.health.shows(path, self.state_of(path));
    }

    /// Why this actor is parked, or what it is part of, if so; `path` is below the node.
    pub fn parked(&self, path: &str) -> impl Fn() -> Option<String> + Send + Sync + use<> {
        let (roll, path) = (self.facts.roll.clone(), format!("{}/{path}", self.facts.node.name));
        move || why_parked(&roll, &path)
    }

    fn state_of(&self, path: &str) -> impl Fn() -> Finding + Send + Sync + 'static {
        let (roll, path) = (self.facts.roll.clone(), format!("{}/{path}", self.facts.node.name));
        move || state_of(&roll, &path)
    }
}

/// Of the actor at a whole path.
pub fn state_of(roll: &Roll, path: &str) -> Finding {
    match roll.get(path) {
        Some(status) if status.state == State::Running => Ok(status.note.unwrap_or_else(|| "runs".to_owned())),
        Some(status) => {
            let last = status.last.map(|failure| format!(": {failure}")).unwrap_or_default();
            Err(format!("{}{last}", status.state.as_str()))
        }
        None => Err("was not started".to_owned()),
    }
}

/// Why the actor at a whole path is parked, or what it is part of, if so.
pub fn why_parked(roll: &Roll, path: &str) -> Option<String> {
    roll.parked(path).map(|(path, why)| parked(&path, why))
}

fn parked(path: &str, why: Option<Failure>) -> String {
    match why {
        // Its text says who did it.
        Some(by_hand) if by_hand.kind == FailureKind::Stopped => format!("{path}: {}", by_hand.text),
        Some(failure) => format!("{path} is parked: {failure}"),
        None => format!("{path} is parked"),
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .thread_keep_alive(SPARE_THREADS_LIVE)
        .enable_all()
        .build();
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
    runtime.shutdown_timeout(Duration::from_millis(500));
    code
}

/// Threads for blocking work end when none comes for so long. A store's commits take turns on all there are, each of
/// which keeps memory of its own: after a rush thirty would stay for ever.
const SPARE_THREADS_LIVE: Duration = Duration::from_millis(200);

/// A thread that an actor blocks is gone until the watchdog's fence frees it, if ever. With as many threads as
/// cores, two of those would stop a small machine; some idle ones cost their stacks, which are never touched.
pub fn worker_threads() -> usize {
    const SPARE: usize = 4;
    std::thread::available_parallelism().map_or(2, usize::from).max(2) + SPARE
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
    let credentials = credentials(&files, role)?;
    check_identity(credentials.identity(), role, node)?;
    std::fs::create_dir_all(&node.data_dir).map_err(|why| {
        anyhow::anyhow!(
            "node.data_dir {}: {why}; make it, or name one that this user may write",
            node.data_dir.display()
        )
    })?;
    let recorder = Recorder::install(&credentials.identity().name);
    let history = history(&node.data_dir);
    let roll = Roll::with_history(history.clone());
    let facts = Facts::new(credentials.identity().clone(), roll, Health::default());
    let last_end = history.last_end().as_str();
    info!(node = %facts.node, boot = %facts.boot, version = env!("CARGO_PKG_VERSION"), last_end, "starting");
    let ports_dir = ports_dir(node)?;
    let ground = Ground { credentials, facts: facts.clone(), recorder, ports_dir, notify: Notify::from_env() };
    let notify = ground.notify.clone();
    // What fails before the tree runs is a wrong configuration or a busy port, and no tree gave up.
    let tree_ran = Cell::new(false);
    let ended = async {
        let tree = build(ground).await?;
        let mut root = tokio::select! {
            root = Root::start(tree, facts.roll.clone()) => root.map_err(anyhow::Error::msg)?,
            () = told(&mut terminate, &mut interrupt) => return stopped_early(),
        };
        tree_ran.set(true);
        info!("started");
        notify.ready();
        tokio::select! {
            failure = root.failed() => anyhow::bail!("the node's tree failed: {failure}"),
            () = told(&mut terminate, &mut interrupt) => info!("told to stop"),
        }
        facts.node_stops();
        notify.stopping();
        tokio::select! {
            () = root.stop() => info!("stopped"),
            () = told(&mut terminate, &mut interrupt) => info!("told twice: stopped at once"),
        }
        Ok(())
    };
    let ended = ended.await;
    history.end(if ended.is_err() && tree_ran.get() { LastEnd::Escalated } else { LastEnd::Stopped });
    ended
}

/// An edge watches its cameras also when nobody lets it in any more; a relay that has the authority issues its next
/// certificate itself.
fn credentials(files: &TlsFiles, role: Role) -> anyhow::Result<Credentials> {
    if !matches!(role, Role::Edge | Role::Relay) {
        return Ok(Credentials::load(files)?);
    }
    let credentials = Credentials::load_even_if_ended(files)?;
    let until = credentials.certificate().until;
    if until < Timestamp::now() {
        let cert = files.cert.display();
        warn!("{cert} ended at {until}: other nodes refuse this one until it has a new one; check this host's clock");
    }
    Ok(credentials)
}

async fn told(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// What failed in earlier lives, and how the last one ended. Not to have it is no reason not to start.
fn history(data_dir: &Path) -> History {
    let dir = data_dir.join("failures");
    History::open(&dir).unwrap_or_else(|why| {
        warn!("{}: {why}; failures are kept in memory alone", dir.display());
        History::default()
    })
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
    // Who steered what is told at every log level.
    let filter = filter.add_directive("audit=info".parse().expect("a well-formed directive"));
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
