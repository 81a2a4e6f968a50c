//! A port's process: started, waited for, killed and reaped, whatever becomes of whoever asked.
//!
//!   [Process] ──spawn──▶ [starter] ──▶ child
//!   [Process] ──dropped─▶ [starter] ──▶ reaped
//!
//! Whoever holds one may be aborted at any moment: the child is killed then, and reaped all the same.

use super::spent;
use super::starter::{ended, starter};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Dropping it kills the process and whatever that has started.
pub(super) struct Process {
    child: Owned,
    /// Readable once the process has ended. A pid may be given to another process, this may not.
    handle: AsyncFd<Arc<OwnedFd>>,
    status: Option<ExitStatus>,
}

impl Process {
    pub async fn spawn(command: Command, program: &'static str, within: Duration) -> io::Result<Self> {
        let child = starter().start(command, program, within).await?;
        let pid = child.pid().ok_or_else(|| io::Error::other("it has no process"))?;
        let handle = watched(pidfd_open(pid, PidfdFlags::NONBLOCK)?)?;
        Ok(Self { child, handle, status: None })
    }

    /// While it is not reaped.
    pub fn id(&self) -> Option<u32> {
        self.child.pid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned())
    }

    /// For whoever has to kill it from elsewhere.
    pub fn handle(&self) -> Arc<OwnedFd> {
        self.handle.get_ref().clone()
    }

    pub fn output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        let child = self.child.0.as_mut();
        child.map_or((None, None), |Offspring { child, .. }| (child.stdout.take(), child.stderr.take()))
    }

    /// Safe to drop half-way, and may be asked again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            let mut ready = self.handle.readable().await?;
            let Some(child) = &mut self.child.0 else { return Err(io::Error::other("the process was given up")) };
            // Its pid names its group until it is reaped, and no longer.
            child.kill();
            match child.reap()? {
                Some(status) => (self.status, self.child.0) = (Some(status), None),
                None => ready.clear_ready(),
            }
        }
    }

    pub fn terminate(&self) {
        let _ = pidfd_send_signal(self.handle.get_ref(), Signal::TERM);
    }

    pub fn kill(&self) {
        self.child.kill();
    }
}

#[allow(unsafe_code)]
fn watched(handle: OwnedFd) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: what is in the `Arc` is one descriptor for good, and stays open while the `AsyncFd` holds it.
    Ok(unsafe { AsyncFd::register_with_interest(Arc::new(handle), Interest::READABLE) }?)
}

/// A child that is killed and reaped when it is dropped. Empty once it is reaped.
pub(super) struct Owned(Option<Offspring>);

impl Owned {
    pub fn new(child: Child, program: &'static str) -> Self {
        Self(Some(Offspring { child, program }))
    }

    fn pid(&self) -> Option<Pid> {
        self.0.as_ref().and_then(Offspring::pid)
    }

    fn kill(&self) {
        self.0.iter().for_each(Offspring::kill);
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
        if let Some(child) = self.0.take() {
            ended().push(child);
            starter().reap();
        }
    }
}

/// A child, and whose time it takes.
pub(super) struct Offspring {
    child: Child,
    program: &'static str,
}

impl Offspring {
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// It leads a group of its own. Fails if it has ended, which is as good.
    fn kill(&self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// `None` while it has not ended.
    pub fn reap(&mut self) -> io::Result<Option<ExitStatus>> {
        let cpu = spent::cpu(self.child.id());
        let status = self.child.try_wait()?;
        if status.is_some() {
            spent::add(self.program, cpu);
        }
        Ok(status)
    }
}
