//! The far side, a process of its own: a relay's gateway with its actors, a raw QUIC echo, and NATS's responder.
//!
//! It says its ports; then each line is an order (`clip`, `taken`, `end`), answered by a line. It ends with its input.

use super::near::{self, EDGE, RELAY};
use super::{nats, raw};
use actors::api::health::Health;
use actors::fabric::clips::fetch::ClipBytes;
use actors::fabric::facts::Facts;
use actors::fabric::gateway::{Gateway, Served};
use actors::fabric::peers::Peers;
use actors::fabric::site::Site;
use actors::telemetry::Recorder;
use config::LogFormat;
use protocol::transport::{Credentials, Endpoint};
use protocol::{EventId, Identity};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use supervision::{Intensity, Roll, Root, service};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// The first argument that makes this program the far side; the directory and NATS's port follow.
pub const MODE: &str = "far";

pub fn serve(dir: &Path, nats_port: &str) -> ExitCode {
    nodes::launch::start_log(LogFormat::Text, "warn");
    let _recorder = Recorder::install(&"hub".parse().expect("a name"));
    let runtime = near::runtime().expect("a runtime");
    match obey(&runtime, dir, nats_port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("far: {why}");
            ExitCode::FAILURE
        }
    }
}

fn obey(runtime: &Runtime, dir: &Path, nats_port: &str) -> Result<(), String> {
    let nats_port = nats_port.parse().map_err(|error| format!("{error}"))?;
    let (_root, peers, relay_port) = runtime.block_on(relay(dir))?;
    let raw_port = runtime.block_on(async { raw::echo(dir) })?;
    runtime.block_on(nats::respond(nats_port))?;
    println!("{relay_port} {raw_port}");
    let (begun, taken) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut taking: Option<JoinHandle<()>> = None;
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match order.as_str() {
            "clip" => match runtime.block_on(begin(&peers)) {
                Ok(clip) => {
                    taking = Some(runtime.spawn(take(clip, taken.clone())));
                    "begun".to_owned()
                }
                Err(why) => why,
            },
            "taken" => format!("{} {}", taken.load(Ordering::Relaxed), begun.elapsed().as_micros()),
            _ => {
                taking.take().inspect(JoinHandle::abort);
                "ended".to_owned()
            }
        };
        println!("{answer}");
    }
    Ok(())
}

/// All that a relay has for the edges' control streams, as its tree has it.
async fn relay(dir: &Path) -> Result<(Root, Peers, u16), String> {
    let facts: Facts = Facts::new(RELAY.parse().expect("an identity"), Roll::default(), Health::default());
    let credentials = Credentials::load(&near::tls_files(dir, &facts.node)).map_err(|error| error.to_string())?;
    let endpoint = Endpoint::listen((Ipv4Addr::LOCALHOST, 0).into(), &credentials).map_err(|e| e.to_string())?;
    let port = endpoint.local_addr().map_err(|error| error.to_string())?.port();
    let (peers, roll) = (Peers::default(), facts.roll.clone());
    let site = Site { facts, peers: peers.clone() };
    let gateway = Gateway::new(endpoint, Served { site, store: None, desk: None, enrolment: None });
    let intensity = Intensity { restarts: 3, within: Duration::from_secs(60) };
    let children =
        vec![gateway.peers(intensity), gateway.echo(), service("gateway", move |cx| gateway.clone().run(cx))];
    let root = Root::start(near::tree("hub", children), roll).await.map_err(|error| error.to_string())?;
    Ok((root, peers, port))
}

async fn begin(peers: &Peers) -> Result<ClipBytes, String> {
    let edge: Identity = EDGE.parse().expect("the bench's names are right");
    peers.clip(&edge, EventId(1), 0).await.map_err(|error| error.to_string())
}

async fn take(mut clip: ClipBytes, taken: Arc<AtomicU64>) {
    while let Ok(Some(piece)) = clip.next().await {
        taken.fetch_add(piece.as_ref().len() as u64, Ordering::Relaxed);
    }
}

/// The far side as the bench holds it. It ends when this is dropped.
pub struct Far {
    pub relay_port: u16,
    pub raw_port: u16,
    child: RefCell<Child>,
    talk: RefCell<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
}

/// What was taken of clips so far, and when.
pub struct Taken {
    pub bytes: u64,
    pub us: u64,
}

impl Far {
    pub fn start(dir: &Path, nats_port: u16) -> Result<Self, String> {
        let me = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(me)
            .arg(MODE)
            .arg(dir)
            .arg(nats_port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let orders = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut far =
            Self { relay_port: 0, raw_port: 0, child: RefCell::new(child), talk: RefCell::new((orders, answers)) };
        let (relay_port, raw_port) = pair(&far.answer()?)?;
        (far.relay_port, far.raw_port) = (relay_port as u16, raw_port as u16);
        Ok(far)
    }

    /// A clip of the edge that is linked begins to come.
    pub fn clip_begins(&self) -> Result<(), String> {
        self.order("clip").and_then(|answer| if answer == "begun" { Ok(()) } else { Err(answer) })
    }

    pub fn clip_taken(&self) -> Result<Taken, String> {
        let (bytes, us) = pair(&self.order("taken")?)?;
        Ok(Taken { bytes, us })
    }

    pub fn clip_ends(&self) -> Result<(), String> {
        self.order("end").map(drop)
    }

    fn order(&self, order: &str) -> Result<String, String> {
        writeln!(self.talk.borrow_mut().0, "{order}").map_err(|error| error.to_string())?;
        self.answer()
    }

    fn answer(&self) -> Result<String, String> {
        let line = self.talk.borrow_mut().1.next().and_then(Result::ok);
        line.ok_or_else(|| "the far side ended".to_owned())
    }

    pub fn end(self) -> Result<(), String> {
        let Self { child, talk, .. } = self;
        drop(talk);
        let status = child.into_inner().wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the far side ended with {status}")) }
    }
}

fn pair(line: &str) -> Result<(u64, u64), String> {
    let parsed = line.split_once(' ').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed.ok_or_else(|| format!("the far side said {line}"))
}
