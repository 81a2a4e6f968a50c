//! Where an actor stands in the tree, and where it says how it is.

use crate::Failure;
use crate::roll::{Roll, State};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Cheap to clone.
#[derive(Clone)]
pub struct Place {
    pub path: Arc<str>,
    roll: Roll,
    /// Cancelled when a successor took over: what an incarnation that was given up for lost says is void.
    fence: CancellationToken,
}

impl Place {
    pub(crate) fn new(path: &str, roll: Roll, fence: CancellationToken) -> Self {
        Self { path: path.into(), roll, fence }
    }

    /// On a roll of its own: for tools and tests that run a port without a tree.
    pub fn detached(path: &str) -> Self {
        let roll = Roll::default();
        roll.enroll(path, "detached", None, None);
        roll.set(path, State::Running, None);
        Self::new(path, roll, CancellationToken::new())
    }

    /// What `watchtree tree` shows beside the state.
    pub fn note(&self, text: impl Into<String>) {
        if !self.fence.is_cancelled() {
            self.roll.note(&self.path, text.into());
        }
    }

    pub(crate) fn says(&self, state: State) {
        if !self.fence.is_cancelled() {
            self.roll.set(&self.path, state, None);
        }
    }

    /// A row for a process of this actor, below it in the tree.
    pub fn port_row(&self, program: &'static str, pid: u32) -> PortRow {
        let path = format!("{}/port", self.path);
        let again = self.roll.get(&path).is_some();
        self.roll.enroll(&path, program, None, None);
        self.roll.set(&path, State::Running, None);
        self.roll.set_pid(&path, Some(pid));
        if again {
            self.roll.count_restart(&path);
        }
        metrics::counter!("watchtree_port_starts_total", "class" => program).increment(1);
        PortRow { path, roll: self.roll.clone(), pid }
    }
}

/// The row of a running port. Dropped, the row says that it stopped.
pub struct PortRow {
    path: String,
    roll: Roll,
    pid: u32,
}

impl PortRow {
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it ended with stays readable.
    pub fn failed(&self, failure: &Failure) {
        self.close(State::Failed, Some(failure.clone()));
    }

    fn close(&self, state: State, failure: Option<Failure>) {
        // A successor of this port may have the row by now.
        if self.roll.get(&self.path).is_some_and(|status| status.pid == Some(self.pid)) {
            self.roll.set(&self.path, state, failure);
            self.roll.set_pid(&self.path, None);
        }
    }
}

impl Drop for PortRow {
    fn drop(&mut self) {
        self.close(State::Stopped, None);
    }
}
