//! Facts: what a node knows of itself and tells others: its tree, its failures, its health, its books.
//!
//!   roll, health, books ──▶ [facts] ──snapshot, failures──▶ http, admin, link
//!                              ◀──steer── an operator, here or through the relay

use crate::api::health::{self, Health};
use crate::camera::coverage::Coverages;
use crate::events::outbox::Outbox;
use crate::telemetry::process;
use protocol::admin::{ActorStatus, FailureRecord, NodeSnapshot};
use protocol::frame::Ledger;
use protocol::link::{VIEWERS_LOOK, may_steer};
use protocol::{Act, Epoch, Fault, Identity, Timestamp, codec, limits};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use supervision::history::Record;
use supervision::steer::{self, is_at_or_below};
use supervision::{Roll, Status, SteerError};
use tokio::time::timeout;
use tracing::{info, warn};

/// The version that nodes tell each other.
pub const SOFTWARE: &str = concat!("watchtree ", env!("CARGO_PKG_VERSION"));

/// Room for the message around it. Actors that do not fit are counted and left out.
const SNAPSHOT_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX - 1024;

/// An act that takes longer goes on: whoever asked is told to look for himself.
pub const STEER_WITHIN: Duration = Duration::from_secs(15);

/// On the audit log.
const NOT_STEERED: &str = "not steered";

/// An operator's orders come through these, and so would the order to resume them.
const WAYS_HERE: [&str; 3] = ["relay-link", "gateway", "peers"];

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
    /// On an edge: who looks at which camera.
    pub coverage: Coverages,
    /// Operators may make actors of this node fail, for drills.
    pub allow_faults: bool,
    /// The node as a whole stops, not one of its actors.
    stopping: Arc<AtomicBool>,
}

impl Facts {
    pub fn new(node: Identity, roll: Roll, health: Health) -> Self {
        let (boot, up_since) = (Epoch::random(), Timestamp::now());
        Self {
            node,
            boot,
            up_since,
            roll,
            health,
            ledgers: Arc::new(Vec::new),
            outbox: None,
            coverage: Coverages::default(),
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

    /// This node, with what is at or below `path` of its tree.
    pub async fn snapshot(&self, path: Option<&str>) -> NodeSnapshot {
        let checks = self.health.checks();
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
            notes: checks.iter().filter(|check| !check.ok).map(|check| check.line()).collect(),
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

    /// The newest `limit` failures at or below `path`, oldest first; as many as fit one message.
    pub fn failures(&self, path: Option<&str>, limit: usize) -> Vec<FailureRecord> {
        let records = self.roll.history().of(path, limit.min(limits::FAILURES_MAX));
        records.into_iter().map(|record| self.remembered(record)).collect()
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

    /// Does `act` to an actor of this node and says what was done. Whatever comes of it is on the audit log, also
    /// when it ends the very link or connection it was asked over, and when whoever asked no longer waits.
    pub async fn steer(&self, path: String, act: Act, by: Identity) -> Result<String, String> {
        self.steer_within(STEER_WITHIN, path, act, by).await
    }

    async fn steer_within(&self, within: Duration, path: String, act: Act, by: Identity) -> Result<String, String> {
        let (facts, at, who) = (self.clone(), path.clone(), by.clone());
        let mut steering = tokio::spawn(async move { facts.steer_and_tell(&at, act, &who).await });
        if let Ok(done) = timeout(within, &mut steering).await {
            return done.unwrap_or_else(|error| Err(format!("steering failed: {error}")));
        }
        let told = format!("{act} of {path} is under way and goes on; `watchtree tree {path}` shows how it is");
        info!(target: "audit", %by, node = %self.node, path, %act, result = told, "under way");
        Ok(told)
    }

    async fn steer_and_tell(&self, path: &str, act: Act, by: &Identity) -> Result<String, String> {
        let result = match self.may(path, act, by) {
            Ok(()) => self.roll.steer(path, same(act), &by.to_string()).await.map_err(|error| {
                // Its supervisor has the order, and obeys when it can.
                let word = if matches!(error, SteerError::Busy(_)) { "under way" } else { NOT_STEERED };
                (word, error.to_string())
            }),
            Err(why) => Err((NOT_STEERED, why)),
        };
        match &result {
            Ok(done) => {
                metrics::counter!("watchtree_steered_total", "act" => act.as_str()).increment(1);
                info!(target: "audit", %by, node = %self.node, path, %act, result = done, "steered");
            }
            Err((word, why)) => warn!(target: "audit", %by, node = %self.node, path, %act, result = why, "{word}"),
        }
        result.map_err(|(_, why)| why)
    }

    /// The relay has asked the same. A relay that was taken over asks in an operator's name at least.
    fn may(&self, path: &str, act: Act, by: &Identity) -> Result<(), String> {
        limits::check_path(path)?;
        if !may_steer(by.role) {
            return Err(VIEWERS_LOOK.to_owned());
        }
        if by.tenant != self.node.tenant {
            return Err(format!("{by} is an operator of another tenant than {}", self.node));
        }
        let name = path.split_once('/').map_or("", |(_, rest)| rest.split('/').next().unwrap_or(rest));
        if act == Act::Park && WAYS_HERE.contains(&name) {
            return Err(format!(
                "{path} is on the way by which this node is reached: parked, nobody could resume it; use restart"
            ));
        }
        if matches!(act, Act::Inject(_)) && !self.allow_faults {
            return Err(format!(
                "{} takes no injected faults; set supervision.allow_faults = true in its configuration for a drill",
                self.node
            ));
        }
        Ok(())
    }
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

/// The wire's word for it, in supervision's.
fn same(act: Act) -> steer::Act {
    match act {
        Act::Restart => steer::Act::Restart,
        Act::Park => steer::Act::Park,
        Act::Resume => steer::Act::Resume,
        Act::Inject(fault) => steer::Act::Inject(match fault {
            Fault::Panic => steer::Fault::Panic,
            Fault::Error => steer::Fault::Error,
            Fault::Hang => steer::Fault::Hang,
            Fault::Block => steer::Fault::Block,
        }),
    }
}

#[cfg(test)]
mod tests;
