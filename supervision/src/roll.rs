//! The roll: every actor of this node, by path, with its state. What `watchtree tree` shows.

use crate::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Starting,
    Running,
    /// Failed, and waiting for its restart.
    Backoff,
    /// Failed too often; stays down until it is resumed.
    Parked,
    /// Stopped in good order.
    Stopped,
    /// Failed for good; its supervisor failed with it.
    Failed,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Backoff => "backoff",
            Self::Parked => "parked",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Status {
    pub state: State,
    pub restarts: u64,
    pub since: SystemTime,
    pub last: Option<Failure>,
    pub note: Option<String>,
}

/// Cheap to clone; one per node.
#[derive(Clone, Default)]
pub struct Roll(Arc<Mutex<BTreeMap<String, Status>>>);

impl Roll {
    pub fn snapshot(&self) -> Vec<(String, Status)> {
        self.lock().iter().map(|(path, status)| (path.clone(), status.clone())).collect()
    }

    pub fn get(&self, path: &str) -> Option<Status> {
        self.lock().get(path).cloned()
    }

    pub(crate) fn set(&self, path: &str, state: State, failure: Option<Failure>) {
        let mut roll = self.lock();
        let new = || Status { state, restarts: 0, since: SystemTime::now(), last: None, note: None };
        let status = roll.entry(path.to_owned()).or_insert_with(new);
        if status.state != state {
            status.since = SystemTime::now();
        }
        status.state = state;
        if failure.is_some() {
            status.last = failure;
            status.note = None;
        }
    }

    pub(crate) fn count_restart(&self, path: &str) {
        if let Some(status) = self.lock().get_mut(path) {
            status.restarts += 1;
        }
    }

    pub(crate) fn note(&self, path: &str, text: String) {
        if let Some(status) = self.lock().get_mut(path) {
            status.note = Some(text);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Status>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
