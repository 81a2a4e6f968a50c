//! Ports: native code in a child process, supervised like an actor.
//!
//!   actor ──send──▶ [port] ──socket on its stdin──▶ child process
//!   actor ◀──recv── [port] ◀──reports, beats──────┘
//!
//! A C abort, a segfault or a leak ends the child and nothing else. The child beats four times a
//! second; one that is silent for longer than its limit hangs and is killed. Whoever drops a
//! [`Port`] kills the process.

pub mod child;
mod inbound;
mod process;
pub mod wire;

use crate::Failure;
use inbound::{End, Frame, Inbound};
use process::{command, exit_failure, forward_lines, not_started, spawn_from_lasting_thread};
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};
use wire::Kind;

/// How long a port that closed its socket may take to exit.
const EXIT_GRACE: Duration = Duration::from_secs(1);
/// If nobody listened for a while, what the port said meanwhile is in the socket and is read first.
const CATCH_UP: Duration = Duration::from_millis(100);

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
    inbound: Inbound<OwnedReadHalf>,
    outbound: OwnedWriteHalf,
    message_bytes_max: usize,
    beat_within: Duration,
    heard: Instant,
    /// Set once when the port seems silent because nobody listened.
    catch_up_until: Option<Instant>,
    progress: u64,
}

impl Port {
    /// Starts the program and waits for its hello.
    pub async fn spawn(spec: &PortSpec) -> Result<Self, Failure> {
        let name = spec.name();
        let (stream, theirs) = socket_pair().map_err(|error| Failure::start(format!("{name}: {error}")))?;
        let child = spawn_from_lasting_thread(command(spec, theirs)).await;
        let (from, outbound) = stream.into_split();
        let mut port = Self {
            name,
            child: child.map_err(|error| not_started(&spec.program, &error))?,
            inbound: Inbound::new(from, spec.message_bytes_max),
            outbound,
            message_bytes_max: spec.message_bytes_max,
            beat_within: spec.beat_within,
            heard: Instant::now(),
            catch_up_until: None,
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
        let (bytes, bytes_max) = (data.len(), self.message_bytes_max);
        if bytes > bytes_max {
            // Nothing was sent, so the port can go on.
            return Err(Failure::protocol(format!(
                "message for {} is {bytes} B, the limit is {bytes_max} B",
                self.name
            )));
        }
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
                None => return self.exit_result().await.map(|()| None),
            }
        }
    }

    /// Asks it to end, then TERM after three quarters of `within`, then KILL.
    pub async fn stop(mut self, within: Duration) {
        let until_term = Instant::now() + within * 3 / 4;
        let orderly = async {
            if self.write(Kind::Stop, &[]).await.is_ok() {
                // What it still says is read, or it could block on its socket and never hear us.
                while self.inbound.step().await.is_ok() {}
            }
            let _ = self.child.wait().await;
        };
        if timeout_at(until_term, orderly).await.is_ok() {
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
        let head = wire::head(kind, payload.len()).map_err(|error| Failure::protocol(error.to_string()))?;
        let outbound = &mut self.outbound;
        let writing = timeout(self.beat_within, async {
            outbound.write_all(&head).await?;
            outbound.write_all(payload).await
        });
        // Two that both write and do not read would wait for each other.
        let listening = async {
            let _ = self.inbound.listen_ahead().await;
            pending::<()>().await;
        };
        let written = tokio::select! {
            biased;
            written = writing => written,
            () = listening => unreachable!("listening is pending for ever"),
        };
        match written {
            Err(_) => Err(Failure::hang(format!("{} takes no message for {:?}", self.name, self.beat_within))),
            Ok(Ok(())) => Ok(()),
            // The socket is closed: what the process died of says more than EPIPE.
            Ok(Err(error)) => match self.exit_result().await {
                Ok(()) => Err(Failure::error(format!("{} ended while it was asked: {error}", self.name))),
                Err(failure) => Err(failure),
            },
        }
    }

    async fn next_frame(&mut self) -> Result<Option<Frame>, Failure> {
        loop {
            let mut until = self.heard + self.beat_within;
            if until <= Instant::now() {
                until = *self.catch_up_until.get_or_insert_with(|| Instant::now() + CATCH_UP);
            }
            let step = match timeout_at(until, self.inbound.step()).await {
                Err(_) => {
                    self.child.start_kill().ok();
                    return Err(Failure::hang(format!("{} is silent for {:?}", self.name, self.beat_within)));
                }
                Ok(step) => step,
            };
            match step {
                Ok(frame) => {
                    (self.heard, self.catch_up_until) = (Instant::now(), None);
                    if frame.is_some() {
                        return Ok(frame);
                    }
                }
                Err(End::Closed) => return Ok(None),
                Err(End::Cut) => {
                    self.exit_result().await?;
                    return Err(Failure::protocol(format!("{} ended in the middle of a message", self.name)));
                }
                Err(End::Refused(text)) => {
                    self.child.start_kill().ok();
                    return Err(Failure::protocol(format!("{}: {text}", self.name)));
                }
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
        match hello {
            Some((Kind::Hello, body)) if body.get(..2) == Some(&wire::VERSION.to_be_bytes()) => Ok(()),
            Some((Kind::Hello, _)) => {
                Err(Failure::start(format!("{} is of another version; install matching programs", self.name)))
            }
            Some(_) => Err(Failure::start(format!("{} did not say hello first", self.name))),
            None => match self.exit_result().await {
                Ok(()) => Err(Failure::start(format!("{} ended before it said hello", self.name))),
                Err(failure) => Err(Failure::start(failure.text)),
            },
        }
    }

    /// What the process died of, once its socket is closed; fine is code 0.
    async fn exit_result(&mut self) -> Result<(), Failure> {
        match timeout(EXIT_GRACE, self.child.wait()).await {
            Err(_) => {
                self.child.start_kill().ok();
                Err(Failure::hang(format!("{} closed its socket and did not exit", self.name)))
            }
            Ok(Err(error)) => Err(Failure::error(format!("{}: {error}", self.name))),
            Ok(Ok(status)) => exit_failure(&self.name, status).map_or(Ok(()), Err),
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

fn socket_pair() -> io::Result<(UnixStream, std::os::unix::net::UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}
