//! Ports: native code in a child process, supervised like an actor.
//!
//!   actor ──send──▶ [port] ──socket on its stdin──▶ child process
//!   actor ◀──recv── [port] ◀──reports, beats──────┘
//!
//! A C abort, a segfault or a leak ends the child and nothing else. The child beats four times a
//! second; one that is silent for longer than its limit hangs and is killed. Whoever drops a
//! [`Port`] kills the process.

pub mod child;
pub mod wire;

use crate::Failure;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};
use wire::Kind;

/// A line of a port's stderr; longer lines are cut, the rest of the line is dropped.
const LOG_LINE_BYTES_MAX: usize = 2000;
/// How long a port that closed its socket may take to exit.
const EXIT_GRACE: Duration = Duration::from_secs(1);
/// A socket is read in pieces of at least this size.
const READ_BYTES: usize = 64 * 1024;

/// How to start a port and what it is allowed.
#[derive(Debug, Clone)]
pub struct PortSpec {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// The longest message either side may send.
    pub message_bytes_max: usize,
    /// From spawn to hello.
    pub start_within: Duration,
    /// Silence longer than this is a hang.
    pub beat_within: Duration,
}

impl PortSpec {
    pub fn new(program: impl Into<PathBuf>, message_bytes_max: usize) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            message_bytes_max,
            start_within: Duration::from_secs(10),
            beat_within: Duration::from_secs(2),
        }
    }

    fn name(&self) -> String {
        self.program.file_name().map_or_else(|| "port".to_owned(), |name| name.to_string_lossy().into_owned())
    }
}

/// A running port. Dropping it kills the process.
pub struct Port {
    name: String,
    child: Child,
    stream: UnixStream,
    inbound: Inbound,
    beat_within: Duration,
    heard: Instant,
    progress: u64,
}

impl Port {
    /// Starts the program and waits for its hello.
    pub async fn spawn(spec: &PortSpec) -> Result<Self, Failure> {
        let name = spec.name();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(|e| Failure::start(format!("{name}: {e}")))?;
        ours.set_nonblocking(true).map_err(|e| Failure::start(format!("{name}: {e}")))?;
        let stream = UnixStream::from_std(ours).map_err(|e| Failure::start(format!("{name}: {e}")))?;
        let child = spawn_from_lasting_thread(command(spec, theirs)).await.map_err(|error| not_started(&spec.program, &error))?;
        let mut port = Self {
            name,
            child,
            stream,
            inbound: Inbound::new(spec.message_bytes_max),
            beat_within: spec.beat_within,
            heard: Instant::now(),
            progress: 0,
        };
        port.forward_logs();
        port.expect_hello(spec.start_within).await?;
        debug!(port = %port.name, pid = port.pid(), "port started");
        Ok(port)
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// How much work the port says it has done.
    pub fn progress(&self) -> u64 {
        self.progress
    }

    /// Sends one message. Not to be dropped half-way: part of a message would remain in the socket.
    pub async fn send(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.write(Kind::Data, data).await
    }

    /// The next message; `None` when the port has ended with code 0. Safe to drop half-way.
    pub async fn recv(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            match self.next_frame().await? {
                Some((Kind::Data, data)) => return Ok(Some(data)),
                Some((Kind::Beat, beat)) => self.note_beat(&beat),
                Some((Kind::Hello | Kind::Stop, _)) => {
                    return Err(Failure::protocol(format!("{} sent a frame out of place", self.name)));
                }
                None => return self.exit_result().await,
            }
        }
    }

    /// Asks it to end, then TERM after half of `within`, then KILL.
    pub async fn stop(mut self, within: Duration) {
        let _ = timeout(within / 4, self.write(Kind::Stop, &[])).await;
        if timeout(within / 2, self.child.wait()).await.is_ok() {
            return;
        }
        if let Some(pid) = self.pid().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if timeout(within / 4, self.child.wait()).await.is_err() {
            info!(port = %self.name, "port did not end in time and is killed");
            let _ = self.child.kill().await;
        }
    }

    async fn write(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Failure> {
        let head = wire::head(kind, payload.len()).map_err(|e| Failure::protocol(e.to_string()))?;
        let stream = &mut self.stream;
        let written = timeout(self.beat_within, async {
            stream.write_all(&head).await?;
            stream.write_all(payload).await
        });
        match written.await {
            Err(_) => Err(Failure::hang(format!("{} takes no message for {:?}", self.name, self.beat_within))),
            Ok(Ok(())) => Ok(()),
            // The socket is closed: what the process died of says more than EPIPE.
            Ok(Err(error)) => match self.exit_result().await {
                Ok(_) => Err(Failure::error(format!("{} ended while it was asked: {error}", self.name))),
                Err(failure) => Err(failure),
            },
        }
    }

    async fn next_frame(&mut self) -> Result<Option<(Kind, Vec<u8>)>, Failure> {
        loop {
            let frame = self.inbound.take().map_err(|text| Failure::protocol(format!("{}: {text}", self.name)))?;
            if let Some(frame) = frame {
                return Ok(Some(frame));
            }
            // If nobody listened for a while, what the port said meanwhile is waiting in the socket.
            let until = (self.heard + self.beat_within).max(Instant::now() + Duration::from_millis(100));
            match timeout_at(until, self.inbound.fill(&mut self.stream)).await {
                Err(_) => {
                    self.child.start_kill().ok();
                    return Err(Failure::hang(format!("{} is silent for {:?}", self.name, self.beat_within)));
                }
                Ok(Ok(0)) | Ok(Err(_)) => return Ok(None),
                Ok(Ok(_)) => self.heard = Instant::now(),
            }
        }
    }

    fn note_beat(&mut self, beat: &[u8]) {
        if let Ok(bytes) = beat.try_into() {
            self.progress = u64::from_be_bytes(bytes);
        }
    }

    async fn expect_hello(&mut self, within: Duration) -> Result<(), Failure> {
        self.heard = Instant::now() + within;
        let hello = match timeout(within, self.next_frame()).await {
            Err(_) => return Err(Failure::start(format!("{} said nothing for {within:?}", self.name))),
            Ok(frame) => frame?,
        };
        self.heard = Instant::now();
        match hello {
            Some((Kind::Hello, body)) if body.get(..2) == Some(&wire::VERSION.to_be_bytes()) => Ok(()),
            Some((Kind::Hello, _)) => {
                Err(Failure::start(format!("{} is of another version; install matching programs", self.name)))
            }
            Some(_) => Err(Failure::start(format!("{} did not say hello first", self.name))),
            None => match self.exit_result().await {
                Ok(_) => Err(Failure::start(format!("{} ended before it said hello", self.name))),
                Err(failure) => Err(Failure::start(failure.text)),
            },
        }
    }

    /// What the process died of, once its socket is closed.
    async fn exit_result(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match timeout(EXIT_GRACE, self.child.wait()).await {
            Err(_) => {
                self.child.start_kill().ok();
                Err(Failure::hang(format!("{} closed its socket and did not exit", self.name)))
            }
            Ok(Err(error)) => Err(Failure::error(format!("{}: {error}", self.name))),
            Ok(Ok(status)) => exit_failure(&self.name, status).map_or(Ok(None), Err),
        }
    }

    fn forward_logs(&mut self) {
        if let Some(stderr) = self.child.stderr.take() {
            tokio::spawn(forward_lines(stderr, self.name.clone()));
        }
        if let Some(stdout) = self.child.stdout.take() {
            tokio::spawn(forward_lines(stdout, self.name.clone()));
        }
    }
}

fn command(spec: &PortSpec, socket: std::os::unix::net::UnixStream) -> Command {
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .envs(spec.env.iter().map(|(key, value)| (key, value)))
        .env(child::PARENT_ENV, std::process::id().to_string())
        .env(child::BYTES_MAX_ENV, spec.message_bytes_max.to_string())
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn not_started(program: &Path, error: &io::Error) -> Failure {
    Failure::start(format!("cannot start {}: {error}; set node.ports_dir to where it is", program.display()))
}

/// `None` for a clean end.
fn exit_failure(name: &str, status: ExitStatus) -> Option<Failure> {
    if let Some(signal) = status.signal() {
        return Some(Failure::signal(format!("{name} was ended by {}", signal_name(signal))));
    }
    match status.code() {
        Some(0) => None,
        code => Some(Failure::error(format!("{name} exited with code {}", code.unwrap_or(-1)))),
    }
}

fn signal_name(signal: i32) -> String {
    let known = [
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (15, "SIGTERM"),
    ];
    known.iter().find(|(number, _)| *number == signal).map_or(format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

type SpawnOrder = (Command, tokio::runtime::Handle, oneshot::Sender<io::Result<Child>>);

/// The parent-death signal is sent when the *thread* that forked ends, and runtime threads come and go.
async fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<SpawnOrder>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<SpawnOrder>();
        let work = move || {
            for (mut command, runtime, reply) in inbox {
                let _entered = runtime.enter();
                let _ = reply.send(command.spawn());
            }
        };
        std::thread::Builder::new().name("port-spawner".to_owned()).spawn(work).expect("a thread can be started at launch");
        orders
    });
    let (reply, answer) = oneshot::channel();
    let order = (command, tokio::runtime::Handle::current(), reply);
    spawner.send(order).map_err(|_| io::Error::other("the port spawner is gone"))?;
    answer.await.map_err(|_| io::Error::other("the port spawner is gone"))?
}

/// Bytes from the port that are not a whole frame yet.
struct Inbound {
    bytes: Vec<u8>,
    bytes_max: usize,
    ready: VecDeque<(Kind, Vec<u8>)>,
}

impl Inbound {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, ready: VecDeque::new() }
    }

    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        let wanted = self.missing_bytes().max(READ_BYTES);
        self.bytes.reserve(wanted);
        stream.read_buf(&mut self.bytes).await
    }

    /// Bytes missing from the frame whose head has arrived; its length was checked by `take`.
    fn missing_bytes(&self) -> usize {
        let Some(head) = self.head() else { return 0 };
        let length = wire::parse_head(head, self.bytes_max).map_or(0, |(_, length)| length);
        (wire::HEAD_BYTES + length).saturating_sub(self.bytes.len())
    }

    fn head(&self) -> Option<[u8; wire::HEAD_BYTES]> {
        self.bytes.get(..wire::HEAD_BYTES)?.try_into().ok()
    }

    fn take(&mut self) -> Result<Option<(Kind, Vec<u8>)>, String> {
        let mut used = 0;
        while let Some(head) = self.bytes.get(used..used + wire::HEAD_BYTES) {
            let head = head.try_into().expect("the slice has the head's length");
            let (kind, length) = wire::parse_head(head, self.bytes_max)?;
            let start = used + wire::HEAD_BYTES;
            let Some(payload) = self.bytes.get(start..start + length) else { break };
            self.ready.push_back((kind, payload.to_vec()));
            used = start + length;
        }
        self.bytes.drain(..used);
        Ok(self.ready.pop_front())
    }
}

/// Puts what a port prints into the node's log, under the port's name.
async fn forward_lines(mut from: impl AsyncRead + Unpin, port: String) {
    let mut line = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        for &byte in &piece[..count] {
            if byte == b'\n' {
                info!(%port, "{}", String::from_utf8_lossy(&line).trim_end());
                line.clear();
            } else if line.len() < LOG_LINE_BYTES_MAX {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        info!(%port, "{}", String::from_utf8_lossy(&line).trim_end());
    }
}
