//! Facts: what a node knows of itself and tells others: its tree, its failures, its health, its books.
//!
//!   roll, health, books ──▶ [facts] ──snapshot, failures──▶ http, admin, link
//!                              ◀──steer── an operator, here or through the relay

mod cameras;
mod steering;
#[cfg(test)]
mod tests;

use crate::api::health::{self, Check, Health};
use crate::camera::coverage::Coverages;
use crate::camera::desk::Desk;
use crate::events::outbox::Outbox;
use crate::fabric::core::Core;
use crate::fleet::Fleet;
use crate::telemetry::process;
use protocol::admin::{ActorStatus, FailureRecord, NodeSnapshot};
use protocol::core::GpuNode;
use protocol::frame::Ledger;
use protocol::{Epoch, Identity, Role, Timestamp, codec, limits};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
pub use steering::{Outcome, STEER_WITHIN, Steering, audit};
use supervision::history::Record;
use supervision::steer::is_at_or_below;
use supervision::{Roll, Status};
use tokio::sync::watch;

/// The version that nodes tell each other.
pub const SOFTWARE: &str = concat!("watchtree ", env!("CARGO_PKG_VERSION"));

/// Lines on what is not well; the others are counted.
const NOTES_MAX: usize = 50;

/// Room for the message around it. Actors that do not fit are counted and left out.
const SNAPSHOT_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX - 1024;

type Ledgers = Arc<dyn Fn() -> Vec<Ledger> + Send + Sync>;

/// Cheap to clone; made once at launch.
#[derive(Clone)]
pub struct Facts {
    pub node: Identity,
    pub boot: Epoch,
    pub up_since: Timestamp,
    pub roll: Roll,
    pub health: Health,
    pub ledgers: Ledgers,
    /// On an edge.
    pub outbox: Option<Outbox>,
    /// On a relay and on a gpu node: the others.
    pub core: Option<Core>,
    /// On an edge: the gpu nodes that its relay told of last; `None` before it has.
    pub directory: watch::Sender<Option<Vec<GpuNode>>>,
    /// On an edge: who looks at which camera.
    pub coverage: Coverages,
    /// On an edge: where cameras are listed and changed.
    pub desk: Option<Desk>,
    /// How this node is, and those linked to it.
    pub fleet: Fleet,
    /// Operators may make actors of this node fail, for drills.
    pub allow_faults: bool,
    /// The node as a whole stops, not one of its actors.
    stopping: Arc<AtomicBool>,
}

impl Facts {
    pub fn new(node: Identity, roll: Roll, health: Health) -> Self {
        let (boot, up_since) = (Epoch::random(), Timestamp::now());
        let fleet = Fleet::new(node.clone(), SOFTWARE);
        Self {
            node,
            boot,
            up_since,
            roll,
            health,
            ledgers: Arc::new(Vec::new),
            outbox: None,
            core: None,
            directory: watch::Sender::new(None),
            coverage: Coverages::default(),
            desk: None,
            fleet,
            allow_faults: false,
            stopping: Arc::default(),
        }
    }

    /// Told once, before the tree is stopped.
    pub fn node_stops(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// An actor that is told to stop is restarted, by an operator, or goes with the node; only then it says goodbye.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// A relay says which gpu nodes there are; nobody else is asked.
    pub fn told_directory(&self, mut list: Vec<GpuNode>, by: Role) {
        if by == Role::Relay {
            list.truncate(limits::DIRECTORY_MAX);
            self.directory.send_replace(Some(list));
        }
    }

    /// This node, with what is at or below `path` of its tree. Where nothing is, the whole of it: whoever mistyped
    /// is told what is near.
    pub async fn snapshot(&self, path: Option<&str>) -> NodeSnapshot {
        let checks = self.health.checks();
        let path = path.filter(|path| self.roll.get(path).is_some());
        let meant = |(row, _): &(String, Status)| path.is_none_or(|path| is_at_or_below(row, path));
        let rows = self.roll.snapshot().into_iter().filter(meant);
        let mut actors: Vec<_> = rows.map(|(path, status)| told(path, status)).collect();
        let all = actors.len();
        actors.truncate(limits::SNAPSHOT_ACTORS_MAX);
        let outbox = match &self.outbox {
            Some(outbox) => outbox.status().await.ok(),
            None => None,
        };
        let mut snapshot = NodeSnapshot {
            node: self.node.clone(),
            boot: self.boot,
            up_since: self.up_since,
            software: SOFTWARE.to_owned(),
            ready: health::ready(&checks),
            notes: notes(&checks),
            actors,
            actors_omitted: 0,
            ledgers: (self.ledgers)(),
            outbox,
        };
        // Reasons and notes are of any length up to their limit: count bytes, not actors.
        while codec::encode(&snapshot).len() > SNAPSHOT_BYTES_MAX && !snapshot.actors.is_empty() {
            snapshot.actors.truncate(snapshot.actors.len() * 3 / 4);
        }
        snapshot.actors_omitted = (all - snapshot.actors.len()) as u32;
        snapshot
    }

    /// The newest `limit` failures at or below `path`, oldest first.
    pub fn failures(&self, path: Option<&str>, limit: usize) -> Vec<FailureRecord> {
        let records = self.roll.history().of(path, limit);
        records.into_iter().map(|record| self.remembered(record)).collect()
    }

    /// As [`Self::failures`], as many of the newest as fit one message, and how many of them do not.
    pub fn failures_that_fit(&self, path: Option<&str>, limit: usize) -> (Vec<FailureRecord>, u32) {
        let mut records = self.roll.history().of(path, limit);
        let omitted = records.len().saturating_sub(limits::FAILURES_MAX);
        let fit = records.split_off(omitted).into_iter().map(|record| self.remembered(record)).collect();
        (fit, u32::try_from(omitted).unwrap_or(u32::MAX))
    }

    fn remembered(&self, record: Record) -> FailureRecord {
        let lived_ms = record.lived.map(|lived| lived.as_millis() as u64);
        let record = FailureRecord {
            node: self.node.clone(),
            at: at(record.at),
            path: record.path,
            kind: record.failure.kind.as_str().to_owned(),
            text: record.failure.text,
            then: record.then.as_str().to_owned(),
            lived_ms,
        };
        record.short()
    }
}

/// What is not well, what is needed first; of a hundred parts some stand for all. Other nodes are not told of here: this
/// goes to every tenant, and each sees its own nodes in their list.
fn notes(checks: &[Check]) -> Vec<String> {
    let mut failing: Vec<&Check> = checks.iter().filter(|check| !check.ok && !check.is_a_node).collect();
    failing.sort_by_key(|check| !check.needed);
    let more = failing.len().saturating_sub(NOTES_MAX);
    let notes = failing.into_iter().take(NOTES_MAX).map(|check| limits::short_text(&check.line()));
    notes.chain((more > 0).then(|| format!("and {more} more; see /health/deep"))).collect()
}

fn told(path: String, status: Status) -> ActorStatus {
    let usage = status.pid.and_then(process::read);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ActorStatus {
        path: limits::short_path(&path),
        state: status.state.as_str().to_owned(),
        restarts: status.restarts,
        since: at(status.since),
        last_reason: status.last.map(|failure| limits::short_text(&failure.to_string())),
        note: status.note.map(|note| limits::short_text(&note)),
        class: status.class.to_owned(),
        pid: status.pid,
        waiting: status.load.map(|load| count(load.depth)),
        waiting_max: status.load.map(|load| count(load.limit)),
        handled: status.load.map(|load| load.handled),
        cpu_ms: usage.as_ref().map(|usage| usage.cpu.as_millis() as u64),
        memory_bytes: usage.map(|usage| usage.memory_bytes),
        resumes: status.resumes.map(at),
    }
}

fn at(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(since.as_micros() as i64)
}
