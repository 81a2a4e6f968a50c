//! A port's process: how it is started, what it prints, what it died of.

use super::{PortSpec, child};
use crate::Failure;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tracing::info;

/// A line of a port's stderr; longer lines are cut, the rest of the line is dropped.
const LOG_LINE_BYTES_MAX: usize = 2000;

pub(super) fn command(spec: &PortSpec, socket: UnixStream) -> Command {
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

pub(super) fn not_started(program: &Path, error: &io::Error) -> Failure {
    Failure::start(format!("cannot start {}: {error}; set node.ports_dir to where it is", program.display()))
}

/// `None` for a clean end.
pub(super) fn exit_failure(name: &str, status: ExitStatus) -> Option<Failure> {
    if let Some(signal) = status.signal() {
        return Some(Failure::signal(format!("{name} was ended by {}", signal_name(signal))));
    }
    match status.code() {
        Some(0) => None,
        code => Some(Failure::error(format!("{name} exited with code {}", code.unwrap_or(-1)))),
    }
}

fn signal_name(signal: i32) -> String {
    let known =
        [(4, "SIGILL"), (6, "SIGABRT"), (7, "SIGBUS"), (8, "SIGFPE"), (9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM")];
    let name = known.iter().find(|(number, _)| *number == signal).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("signal {signal}"))
}

type SpawnOrder = (Command, tokio::runtime::Handle, oneshot::Sender<io::Result<Child>>);

/// The parent-death signal is sent when the *thread* that forked ends, and runtime threads come and go.
pub(super) async fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<SpawnOrder>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<SpawnOrder>();
        let work = move || inbox.into_iter().for_each(spawn_one);
        std::thread::Builder::new()
            .name("port-spawner".to_owned())
            .spawn(work)
            .expect("a thread can be started at launch");
        orders
    });
    let gone = || io::Error::other("the port spawner is gone");
    let (reply, answer) = oneshot::channel();
    spawner.send((command, tokio::runtime::Handle::current(), reply)).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

/// tokio panics if the runtime that asked is shutting down; the thread has to outlive that.
fn spawn_one((mut command, runtime, reply): SpawnOrder) {
    let spawned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _entered = runtime.enter();
        command.spawn()
    }));
    let _ = reply.send(spawned.unwrap_or_else(|_| Err(io::Error::other("the runtime is shutting down"))));
}

/// Puts what a port prints into the node's log, under the port's name.
pub(super) async fn forward_lines(mut from: impl AsyncRead + Unpin, port: String) {
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
