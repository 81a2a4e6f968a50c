//! The port's side: what a port program does first, and how it talks to its node.
//!
//!   node ──orders──▶ stdin socket ──▶ [Listener]
//!   node ◀──reports, beats── stdin socket ◀── [Speaker]
//!
//! Plain threads and blocking calls: a port is native code with a loop around it.

mod confine;

use super::wire::{self, Beat, Kind};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a port says that it lives.
pub const BEAT_EVERY: Duration = Duration::from_millis(250);

/// Set by the node: its process id, so that a port orphaned during start-up notices.
pub const PARENT_ENV: &str = "WATCHTREE_PORT_PARENT";
/// Set by the node: the longest message in bytes.
pub const BYTES_MAX_ENV: &str = "WATCHTREE_PORT_BYTES_MAX";
/// Set by the node: the most data in bytes, see [`data_bytes_max`].
pub const DATA_MAX_ENV: &str = "WATCHTREE_PORT_DATA_MAX";

/// 8 MiB of stack for each of a hundred threads, and more.
const DATA_ROOM_BYTES: u64 = 1 << 30;

/// What the kernel lets a port reserve, so that one that takes all at once gets none: the node looks only so
/// often. Far off, as it counts what is reserved and not used too: a camera's pipeline at 1080p reserves 129 MiB
/// and uses 77, YOLOX-nano 38 and 36.
pub fn data_bytes_max(memory_bytes_max: u64) -> u64 {
    memory_bytes_max.saturating_mul(2).saturating_add(DATA_ROOM_BYTES)
}

#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error("{0} is a part of watchtree: a node starts it and talks to it over its standard input")]
    NotAPort(String),
    #[error("the node that started {0} is gone")]
    Orphan(String),
    #[error("{0}: {1}")]
    Io(String, io::Error),
}

/// Call first in a port's `main`: ties this process to its node and says hello.
pub fn enter(program: &str) -> Result<(Speaker, Listener), EnterError> {
    let not_a_port = || EnterError::NotAPort(program.to_owned());
    let parent: i32 = read_env(PARENT_ENV).ok_or_else(not_a_port)?;
    let bytes_max: usize = read_env(BYTES_MAX_ENV).ok_or_else(not_a_port)?;
    let data_bytes_max: u64 = read_env(DATA_MAX_ENV).ok_or_else(not_a_port)?;
    confine::confine(program, parent, data_bytes_max)?;

    let io_error = |error| EnterError::Io(program.to_owned(), error);
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().map_err(io_error)?);
    let writer = stream.try_clone().map_err(io_error)?;
    // What the port starts inherits its standard input. With our socket in its hand the node would wait for it.
    let nothing = std::fs::File::open("/dev/null").map_err(io_error)?;
    rustix::stdio::dup2_stdin(nothing).map_err(|error| io_error(error.into()))?;
    let speaker = Speaker { stream: Arc::new(Mutex::new(writer)), work: Arc::default(), bytes_max };
    let hello = [&wire::VERSION.to_be_bytes()[..], program.as_bytes()].concat();
    speaker.write(Kind::Hello, &hello).map_err(io_error)?;
    speaker.clone().beat_for_ever(program).map_err(io_error)?;
    Ok((speaker, Listener { stream, bytes_max }))
}

fn read_env<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Talks to the node. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Speaker {
    stream: Arc<Mutex<UnixStream>>,
    work: Arc<Work>,
    bytes_max: usize,
}

/// What the beats tell.
#[derive(Default)]
struct Work {
    done: AtomicU64,
    /// Since nothing was ordered yet, a port begins with nothing to do.
    under_way: AtomicBool,
}

impl Speaker {
    /// Returns when the node's socket has taken it; a node that does not read slows its port.
    pub fn send(&self, data: &[u8]) -> io::Result<()> {
        if data.len() > self.bytes_max {
            let text = format!("message is {} B, the limit is {} B", data.len(), self.bytes_max);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.write(Kind::Data, data)
    }

    /// Says that real work was done; carried by the next beat.
    pub fn progress(&self) {
        self.work.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there is nothing to do. A port that is not idle has to show progress.
    pub fn idle(&self, idle: bool) {
        self.work.under_way.store(!idle, Ordering::Relaxed);
    }

    fn beat(&self) -> Beat {
        let idle = !self.work.under_way.load(Ordering::Relaxed);
        Beat { progress: self.work.done.load(Ordering::Relaxed), idle }
    }

    fn write(&self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let head = wire::head(kind, payload.len())?;
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = [IoSlice::new(&head), IoSlice::new(payload)];
        let mut rest = &mut parts[..];
        // Both in one call as a rule, so that the node wakes up once.
        while !rest.is_empty() {
            match stream.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn beat_for_ever(self, program: &str) -> io::Result<()> {
        let program = program.to_owned();
        let beat = move || {
            loop {
                if self.write(Kind::Beat, &self.beat().encode()).is_err() {
                    // The socket closes when the node is gone, whatever became of the death signal.
                    eprintln!("{program}: the node is gone");
                    std::process::exit(0);
                }
                std::thread::sleep(BEAT_EVERY);
            }
        };
        std::thread::Builder::new().name("beat".to_owned()).spawn(beat).map(|_| ())
    }
}

/// Hears the node.
pub struct Listener {
    stream: UnixStream,
    bytes_max: usize,
}

impl Listener {
    /// Waits for the next message; `None` when the node says stop or is gone.
    pub fn recv(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; wire::HEAD_BYTES];
        match self.stream.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let (kind, length) = wire::parse_head(head, self.bytes_max).map_err(io::Error::other)?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        match kind {
            Kind::Data => Ok(Some(payload)),
            Kind::Stop => Ok(None),
            Kind::Hello | Kind::Beat => Err(io::Error::other("the node sent a frame that only ports send")),
        }
    }
}
