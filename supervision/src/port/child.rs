//! The port's side: what a port program does first, and how it talks to its node.
//!
//!   node ──orders──▶ stdin socket ──▶ [Listener]
//!   node ◀──reports, beats── stdin socket ◀── [Speaker]
//!
//! Plain threads and blocking calls: a port is native code with a loop around it.

use super::wire::{self, Kind};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a port says that it lives.
pub const BEAT_EVERY: Duration = Duration::from_millis(250);

/// Set by the node: its process id, so that a port orphaned during start-up notices.
pub const PARENT_ENV: &str = "WATCHTREE_PORT_PARENT";
/// Set by the node: the longest message in bytes.
pub const BYTES_MAX_ENV: &str = "WATCHTREE_PORT_BYTES_MAX";

/// A port holds a few sockets, plugin files and pipes; more is a leak.
const OPEN_FILES_MAX: u64 = 512;

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
    confine(program, parent)?;

    let io_error = |error| EnterError::Io(program.to_owned(), error);
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().map_err(io_error)?);
    let writer = stream.try_clone().map_err(io_error)?;
    let speaker = Speaker { stream: Arc::new(Mutex::new(writer)), progress: Arc::new(AtomicU64::new(0)), bytes_max };
    let hello = [&wire::VERSION.to_be_bytes()[..], program.as_bytes()].concat();
    speaker.write(Kind::Hello, &hello).map_err(io_error)?;
    speaker.clone().beat_for_ever(program).map_err(io_error)?;
    Ok((speaker, Listener { stream, bytes_max }))
}

fn read_env<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Dies with the node, dumps no core, gains no privileges, opens few files.
fn confine(program: &str, parent: i32) -> Result<(), EnterError> {
    let io_error = |error: rustix::io::Errno| EnterError::Io(program.to_owned(), error.into());
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(io_error)?;
    // The parent may have died before the line above.
    if rustix::process::getppid().map(Pid::as_raw_nonzero).map(std::num::NonZero::get) != Some(parent) {
        return Err(EnterError::Orphan(program.to_owned()));
    }
    rustix::thread::set_no_new_privs(true).map_err(io_error)?;
    die_of_faults();
    let limit = |value| Rlimit { current: Some(value), maximum: Some(value) };
    rustix::process::setrlimit(Resource::Core, limit(0)).map_err(io_error)?;
    rustix::process::setrlimit(Resource::Nofile, limit(OPEN_FILES_MAX)).map_err(io_error)
}

/// Rust's handler for SIGSEGV and SIGBUS swallows one that another process sent: it looks for a stack
/// overflow, finds none, and returns to an instruction that does not fault. A port dies of it at once.
#[allow(unsafe_code)]
fn die_of_faults() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: SIG_DFL is a valid disposition for both, and no other thread runs yet that could
        // depend on the one it replaces.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Talks to the node. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Speaker {
    stream: Arc<Mutex<UnixStream>>,
    progress: Arc<AtomicU64>,
    bytes_max: usize,
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
        self.progress.fetch_add(1, Ordering::Relaxed);
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
                let done = self.progress.load(Ordering::Relaxed);
                if self.write(Kind::Beat, &done.to_be_bytes()).is_err() {
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
