//! Facts: what a node knows of itself and tells others: its tree, its health, its books.

use crate::api::health::{self, Health};
use crate::camera::coverage::Coverages;
use crate::events::outbox::Outbox;
use protocol::admin::{ActorStatus, NodeSnapshot};
use protocol::frame::Ledger;
use protocol::{Epoch, Identity, Timestamp, codec, limits};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use supervision::{Roll, Status};

/// The version that nodes tell each other.
pub const SOFTWARE: &str = concat!("watchtree ", env!("CARGO_PKG_VERSION"));

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
    /// On an edge: who looks at which camera.
    pub coverage: Coverages,
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
        }
    }

    pub async fn snapshot(&self) -> NodeSnapshot {
        let checks = self.health.checks();
        let mut actors: Vec<_> = self.roll.snapshot().into_iter().map(|(path, status)| told(path, status)).collect();
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
}

fn told(path: String, status: Status) -> ActorStatus {
    let since = status.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    ActorStatus {
        path,
        state: status.state.as_str().to_owned(),
        restarts: status.restarts,
        since: Timestamp::from_micros(since.as_micros() as i64),
        last_reason: status.last.map(|failure| limits::short_text(&failure.to_string())),
        note: status.note.map(|note| limits::short_text(&note)),
    }
}
