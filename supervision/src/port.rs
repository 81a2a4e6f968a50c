//! Ports: native code in a child process, supervised like an actor.
//!
//!   actor ──send──▶ [port] ──socket on its stdin──▶ child process
//!   actor ◀──recv── [port] ◀──reports, beats──────┘
//!                   watch: memory, stopped?   log: stdout, stderr
//!
//! A C abort, a segfault or a leak ends the child and nothing else. The child beats four times a
//! second; one that is silent, or beats and does nothing, for longer than its limit hangs and is killed.
//! Whoever drops a [`Port`] kills the process.

pub mod child;
mod ending;
mod inbound;
mod last_words;
mod log;
mod process;
mod pulse;
mod spec;
mod spent;
mod starter;
mod verdict;
mod watch;
pub mod wire;

pub use spec::PortSpec;
pub use spent::cpu_of_ended;

use crate::actor::{Place, PortRow};
use crate::{Failure, FailureKind};
use ending::not_started;
use inbound::{End, Frame, Inbound};
use log::Log;
use process::Process;
use pulse::{Pulse, in_looks};
use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};
use watch::{Watch, Watched};
use wire::{Beat, Kind};

/// A running port. Dropping it kills the process.
pub struct Port {
    name: &'static str,
    process: Process,
    watch: Watch,
    log: Log,
    inbound: Inbound<OwnedReadHalf>,
    outbound: OwnedWriteHalf,
    message_bytes_max: usize,
    beat_within: Duration,
    memory_bytes_max: u64,
    pulse: Pulse,
    row: PortRow,
}

impl Port {
    /// Starts the program as a part of the actor in that place, and waits for its hello.
    pub async fn spawn(spec: &PortSpec, place: &Place) -> Result<Self, Failure> {
        let name = lasting(spec.name());
        let (stream, theirs) = socket_pair().map_err(|error| Failure::start(format!("{name}: {error}")))?;
        let process = Process::spawn(spec.command(theirs), name, spec.start_within).await;
        let mut process = process.map_err(|error| not_started(&spec.program, &error))?;
        let pid = process.id().ok_or_else(|| Failure::start(format!("{name} has no process")))?;
        let row = place.port_row(name, pid);
        let mut log = Log::new();
        log.forward_all(process.output(), row.path(), name).map_err(|e| Failure::start(format!("{name}: {e}")))?;
        let (handle, memory_bytes_max) = (process.handle(), spec.memory_bytes_max);
        let watch = Watch::begin(Watched { name, pid, handle, memory_bytes_max, stopped_max: spec.beat_within });
        let (from, outbound) = stream.into_split();
        let mut port = Self {
            name,
            process,
            watch,
            log,
            inbound: Inbound::new(from, spec.message_bytes_max),
            outbound,
            message_bytes_max: spec.message_bytes_max,
            beat_within: spec.beat_within,
            memory_bytes_max,
            pulse: Pulse::new(spec.beat_within, spec.progress_within, Instant::now()),
            row,
        };
        let hello = port.expect_hello(spec.start_within).await;
        port.told(hello)?;
        debug!(path = port.row.path(), program = name, pid, "port started");
        Ok(port)
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// What it took of the machine's memory when last seen, at most a quarter of a second ago.
    pub fn memory_bytes(&self) -> u64 {
        self.watch.memory_bytes()
    }

    /// How much work the port says it has done.
    pub fn progress(&self) -> u64 {
        self.pulse.progress()
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
        let written = self.write(Kind::Data, data).await;
        self.told(written)
    }

    /// The next message; `None` when the port has ended with code 0. Safe to drop half-way.
    pub async fn recv(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let message = self.next_message().await;
        self.told(message)
    }

    /// Asks it to end, then TERM after three quarters of `within`, then KILL.
    pub async fn stop(mut self, within: Duration) {
        let until_term = Instant::now() + within * 3 / 4;
        let orderly = async {
            if self.write(Kind::Stop, &[]).await.is_ok() {
                // What it still says is read, or it could block on its socket and never hear us.
                while self.inbound.step().await.is_ok() {}
            }
            let _ = self.process.wait().await;
        };
        if timeout_at(until_term, orderly).await.is_ok() {
            return;
        }
        self.process.terminate();
        if timeout(within / 4, self.process.wait()).await.is_err() {
            info!(path = self.row.path(), program = self.name, "port did not end in time and is killed");
            self.process.kill();
            let _ = self.process.wait().await;
        }
    }

    /// A failure is the end of the port, and stands in its row.
    fn told<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.inspect_err(|failure| {
            self.process.kill();
            if failure.kind == FailureKind::Hang {
                metrics::counter!("watchtree_actor_hangs_total", "class" => self.name, "what" => "port").increment(1);
            }
            self.row.failed(failure);
        })
    }

    async fn write(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Failure> {
        let head = wire::head(kind, payload.len()).map_err(|error| Failure::protocol(error.to_string()))?;
        let outbound = &mut self.outbound;
        let writing = in_looks(self.beat_within, async {
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
            Err(_) => Err(self.hang(&format!("takes no message for {:?}", self.beat_within))),
            Ok(Ok(())) => Ok(()),
            // The socket is closed: what the process died of says more than EPIPE.
            Ok(Err(error)) => match self.exit_result().await {
                Ok(()) => Err(Failure::error(format!("{} ended while it was asked: {error}", self.name))),
                Err(failure) => Err(failure),
            },
        }
    }

    async fn next_message(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            match self.next_frame().await? {
                Some((Kind::Data, data)) => return Ok(Some(data)),
                Some((Kind::Beat, beat)) => self.note_beat(&beat)?,
                Some((Kind::Hello | Kind::Stop, _)) => {
                    return Err(Failure::protocol(format!("{} sent a frame out of place", self.name)));
                }
                None => return self.exit_result().await.map(|()| None),
            }
        }
    }

    async fn next_frame(&mut self) -> Result<Option<Frame>, Failure> {
        loop {
            let Ok(step) = timeout_at(self.pulse.look_at(), self.inbound.step()).await else {
                if self.pulse.looked_in_vain(Instant::now()) {
                    return Err(self.hang(&format!("is silent for {:?}", self.beat_within)));
                }
                continue;
            };
            match step {
                Ok(frame) => {
                    self.pulse.heard(Instant::now());
                    if frame.is_some() {
                        return Ok(frame);
                    }
                }
                Err(End::Closed) => return Ok(None),
                Err(End::Cut) => {
                    self.exit_result().await?;
                    return Err(Failure::protocol(format!("{} ended in the middle of a message", self.name)));
                }
                Err(End::Refused(text)) => return Err(Failure::protocol(format!("{}: {text}", self.name))),
            }
        }
    }

    fn note_beat(&mut self, beat: &[u8]) -> Result<(), Failure> {
        let beat = Beat::decode(beat);
        let beat = beat.ok_or_else(|| Failure::protocol(format!("{} sent a beat that is none", self.name)))?;
        let beaten = self.pulse.beat(beat);
        beaten.map_err(|within| self.hang(&format!("answers and does nothing for {within:?}")))
    }
}

fn socket_pair() -> io::Result<(UnixStream, std::os::unix::net::UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}

/// Metric labels and the tree's classes last as long as the process: one copy for each program.
fn lasting(name: String) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = names.get(name.as_str()) {
        return name;
    }
    let name: &'static str = name.leak();
    names.insert(name);
    name
}

/// `1,100 MiB`, for people.
fn mib(bytes: u64) -> String {
    let mib = bytes >> 20;
    if mib < 1000 { format!("{mib} MiB") } else { format!("{},{:03} MiB", mib / 1000, mib % 1000) }
}
