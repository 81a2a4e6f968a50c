//! Verdicts: how a port began, how it ended, and what it hangs in.

use super::Port;
use super::ending::{self, Memory};
use super::log::Said;
use super::pulse::in_looks;
use super::watch::{self, STOPPED};
use super::wire::{self, Kind};
use crate::{Failure, FailureKind};
use std::time::Duration;
use tokio::time::Instant;

/// How long a port that closed its socket may take to exit. The kernel closes it when next to nothing is left to do;
/// only a machine that is out of breath needs more than moments.
const EXIT_GRACE: Duration = Duration::from_secs(2);

impl Port {
    pub(super) async fn expect_hello(&mut self, within: Duration) -> Result<(), Failure> {
        self.pulse.grace(Instant::now() + within);
        let hello = match in_looks(within, self.next_frame()).await {
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
                Err(failure) if failure.kind == FailureKind::Oom => Err(failure),
                Err(failure) => Err(Failure::start(failure.text)),
            },
        }
    }

    /// What the process died of, once its socket is closed; fine is code 0.
    pub(super) async fn exit_result(&mut self) -> Result<(), Failure> {
        let status = match in_looks(EXIT_GRACE, self.process.wait()).await {
            Err(_) => return Err(self.hang("closed its socket and did not exit")),
            Ok(status) => status.map_err(|error| Failure::error(format!("{}: {error}", self.name)))?,
        };
        if let Some(found) = self.watch.verdict() {
            return Err(found);
        }
        let memory = Memory {
            last_bytes: self.watch.memory_bytes(),
            bytes_max: self.memory_bytes_max,
            kernel_killed: self.watch.kernel_killed(),
        };
        // Nobody asks what a port that ended well has said.
        let said = if status.success() { Said::default() } else { self.log.of_the_end().await };
        ending::failure(self.name, status, &said, memory).map_or(Ok(()), Err)
    }

    /// Named before it is killed: whether it was stopped can be seen only now.
    pub(super) fn hang(&self, what: &str) -> Failure {
        if let Some(found) = self.watch.verdict() {
            return found;
        }
        let stopped = if watch::is_stopped(self.pid()) { format!(": {STOPPED}") } else { String::new() };
        Failure::hang(format!("{} {what}{stopped}", self.name))
    }
}
