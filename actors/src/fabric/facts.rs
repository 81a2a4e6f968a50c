//! Facts: what a node knows of itself and tells others: its tree, its health, its books.

use crate::api::health::Health;
use crate::events::outbox::Outbox;
use protocol::admin::{ActorStatus, NodeSnapshot};
use protocol::frame::Ledger;
use protocol::{Epoch, Identity, Timestamp, limits};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use supervision::{Roll, Status};

/// The version that nodes tell each other.
pub const SOFTWARE: &str = concat!("watchtree ", env!("CARGO_PKG_VERSION"));

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
}

impl Facts {
    pub fn new(node: Identity, roll: Roll, health: Health) -> Self {
        let (boot, up_since) = (Epoch::random(), Timestamp::now());
        Self { node, boot, up_since, roll, health, ledgers: Arc::new(Vec::new), outbox: None }
    }

    pub async fn snapshot(&self) -> NodeSnapshot {
        let checks = self.health.checks();
        let mut actors: Vec<_> = self.roll.snapshot().into_iter().map(|(path, status)| told(path, status)).collect();
        let omitted = actors.len().saturating_sub(limits::SNAPSHOT_ACTORS_MAX);
        actors.truncate(limits::SNAPSHOT_ACTORS_MAX);
        let outbox = match &self.outbox {
            Some(outbox) => outbox.status().await.ok(),
            None => None,
        };
        NodeSnapshot {
            node: self.node.clone(),
            boot: self.boot,
            up_since: self.up_since,
            software: SOFTWARE.to_owned(),
            ready: checks.iter().all(|check| check.ok || !check.needed),
            notes: checks.iter().filter(|check| !check.ok).map(|check| check.line()).collect(),
            actors,
            actors_omitted: omitted as u32,
            ledgers: (self.ledgers)(),
            outbox,
        }
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
