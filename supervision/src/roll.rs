//! The roll: every actor and port of this node, by path, with its state. What `watchtree tree` shows.

use crate::Failure;
use crate::history::History;
use crate::life::Remains;
use crate::steer::Reins;
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
    /// Failed too often or parked by hand; stays down until it is resumed.
    Parked,
    /// Stopped in good order, or finished its work.
    Stopped,
    /// Failed for good; its supervisor failed with it.
    Failed,
}

impl State {
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Running, Self::Backoff, Self::Parked, Self::Stopped, Self::Failed];

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

/// How much waits for an actor, and how much it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Messages waiting now.
    pub depth: usize,
    /// How many may wait.
    pub limit: usize,
    /// Messages handled since the node started, over all incarnations.
    pub handled: u64,
}

#[derive(Debug, Clone)]
pub struct Status {
    /// The kind of actor or port: its label in metrics.
    pub class: &'static str,
    pub state: State,
    pub restarts: u64,
    pub since: SystemTime,
    pub last: Option<Failure>,
    pub note: Option<String>,
    /// Of a port: its process, while it runs.
    pub pid: Option<u32>,
    /// Of an actor with a mailbox.
    pub load: Option<Load>,
    /// Of a parked child: when the slow timer tries it again.
    pub resumes: Option<SystemTime>,
}

pub(crate) type Gauge = Arc<dyn Fn() -> Load + Send + Sync>;

/// One row.
struct Entry {
    status: Status,
    gauge: Option<Gauge>,
    /// `None` for the top and for ports.
    reins: Option<Reins>,
    /// Parked by hand: it stays down when a supervisor above it is restarted, until it is resumed by hand.
    held: bool,
}

/// Cheap to clone; one per node.
#[derive(Clone, Default)]
pub struct Roll(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rows: Mutex<BTreeMap<String, Entry>>,
    history: History,
    /// Incarnations that were given up for lost, by path, also those whose supervisor is no more. One each at most for
    /// a path and its successor: who leaves two behind is not started.
    left_behind: Mutex<BTreeMap<String, Vec<Remains>>>,
}

impl Roll {
    /// One whose failures outlive the process.
    pub fn with_history(history: History) -> Self {
        Self(Arc::new(Inner { history, ..Inner::default() }))
    }

    pub fn history(&self) -> &History {
        &self.0.history
    }

    pub fn snapshot(&self) -> Vec<(String, Status)> {
        let rows: Vec<_> = self.lock().iter().map(|(path, entry)| (path.clone(), entry.reading())).collect();
        // Gauges lock their mailboxes: not while the roll is locked.
        rows.into_iter().map(|(path, (status, gauge))| (path, read(status, gauge))).collect()
    }

    pub fn get(&self, path: &str) -> Option<Status> {
        let (status, gauge) = self.lock().get(path)?.reading();
        Some(read(status, gauge))
    }

    /// What keeps the actor at `path` down: itself or what it is part of, if parked, and why.
    pub fn parked(&self, path: &str) -> Option<(String, Option<Failure>)> {
        let rows = self.lock();
        let mut above = Some(path);
        while let Some(path) = above {
            if let Some(entry) = rows.get(path).filter(|entry| entry.status.state == State::Parked) {
                return Some((path.to_owned(), entry.status.last.clone()));
            }
            above = path.rsplit_once('/').map(|(parent, _)| parent);
        }
        None
    }

    /// A child takes its place; what is known of earlier ones at this path stays.
    pub(crate) fn enroll(&self, path: &str, class: &'static str, gauge: Option<Gauge>, reins: Option<Reins>) {
        let mut rows = self.lock();
        let entry = rows.entry(path.to_owned()).or_insert_with(|| Entry::new(class));
        (entry.status.class, entry.gauge, entry.reins) = (class, gauge, reins);
    }

    /// Removes a row and those below it.
    pub(crate) fn strike(&self, path: &str) {
        let below = format!("{path}/");
        let mut rows = self.lock();
        rows.remove(path);
        let from = rows.range(below.clone()..);
        let gone: Vec<_> = from.map(|(row, _)| row.clone()).take_while(|row| row.starts_with(&below)).collect();
        gone.iter().for_each(|row| drop(rows.remove(row)));
    }

    /// Nobody waits for it any more; it is counted until it is gone.
    pub(crate) fn leave_behind(&self, path: &str, remains: Remains) {
        remains.give_up();
        self.lock_left_behind().entry(path.to_owned()).or_default().push(remains);
    }

    /// How many incarnations at `path` were left behind and are still there: a thread each, or more.
    pub(crate) fn left_behind(&self, path: &str) -> usize {
        let mut left = self.lock_left_behind();
        let Some(remains) = left.get_mut(path) else { return 0 };
        remains.retain_mut(|remains| !remains.are_gone());
        let count = remains.len();
        if count == 0 {
            left.remove(path);
        }
        count
    }

    /// How many were left behind on this node and are still there.
    pub fn blocked(&self) -> usize {
        let mut left = self.lock_left_behind();
        left.retain(|_, remains| {
            remains.retain_mut(|remains| !remains.are_gone());
            !remains.is_empty()
        });
        left.values().map(Vec::len).sum()
    }

    pub(crate) fn reins(&self, path: &str) -> Option<Reins> {
        self.lock().get(path)?.reins.clone()
    }

    pub(crate) fn hold(&self, path: &str, held: bool) {
        if let Some(entry) = self.lock().get_mut(path) {
            entry.held = held;
        }
    }

    pub(crate) fn is_held(&self, path: &str) -> bool {
        self.lock().get(path).is_some_and(|entry| entry.held)
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub(crate) fn set(&self, path: &str, state: State, failure: Option<Failure>) {
        let mut rows = self.lock();
        let Some(entry) = rows.get_mut(path) else { return };
        let status = &mut entry.status;
        if status.state != state {
            status.since = SystemTime::now();
        }
        status.state = state;
        status.resumes = None;
        if failure.is_some() {
            status.last = failure;
            status.note = None;
        }
    }

    pub(crate) fn set_pid(&self, path: &str, pid: Option<u32>) {
        self.change(path, |status| status.pid = pid);
    }

    pub(crate) fn set_resumes(&self, path: &str, at: Option<SystemTime>) {
        self.change(path, |status| status.resumes = at);
    }

    pub(crate) fn count_restart(&self, path: &str) {
        self.change(path, |status| status.restarts += 1);
    }

    pub(crate) fn note(&self, path: &str, text: String) {
        self.change(path, |status| status.note = Some(text));
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Status)) {
        if let Some(entry) = self.lock().get_mut(path) {
            change(&mut entry.status);
        }
    }

    fn lock_left_behind(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Remains>>> {
        self.0.left_behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new(class: &'static str) -> Self {
        let status = Status {
            class,
            state: State::Starting,
            restarts: 0,
            since: SystemTime::now(),
            last: None,
            note: None,
            pid: None,
            load: None,
            resumes: None,
        };
        Self { status, gauge: None, reins: None, held: false }
    }

    fn reading(&self) -> (Status, Option<Gauge>) {
        (self.status.clone(), self.gauge.clone())
    }
}

fn read(status: Status, gauge: Option<Gauge>) -> Status {
    Status { load: gauge.map(|gauge| gauge()), ..status }
}
