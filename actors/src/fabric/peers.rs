//! Peers: who is linked to this node, and how to ask them for their tree.

use protocol::admin::{NodeLine, NodeSnapshot};
use protocol::transport::{CloseCode, Connection};
use protocol::{Epoch, Identity, Timestamp, limits};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::info;

/// Peers remembered, those that are gone included; beyond it those gone longest are forgotten.
const PEERS_MAX: usize = 2000;
/// A peer that does not show its tree within this is shown without it.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(2);

/// What a peer calls itself; longer text is cut, so that a list of all peers fits one message.
const SOFTWARE_CHARS_MAX: usize = 60;

/// A question to a peer's control stream.
pub type SnapshotCall = oneshot::Sender<NodeSnapshot>;

/// Cheap to clone; one per node.
#[derive(Clone, Default)]
pub struct Peers(Arc<Mutex<BTreeMap<Identity, Peer>>>);

struct Peer {
    software: String,
    since: Timestamp,
    link: Option<(Connection, mpsc::Sender<SnapshotCall>)>,
}

impl Peers {
    /// A peer has said hello. An older connection of the same identity is closed: a box that was
    /// power-cycled gets in at once, and two never speak for one.
    pub fn arrive(&self, connection: &Connection, boot: Epoch, software: String, calls: mpsc::Sender<SnapshotCall>) {
        let id = connection.peer().clone();
        let software = limits::short_text(&software).chars().take(SOFTWARE_CHARS_MAX).collect();
        let link = Some((connection.clone(), calls));
        let mut peers = self.lock();
        let before = peers.insert(id.clone(), Peer { software, since: Timestamp::now(), link });
        if let Some((old, _)) = before.and_then(|peer| peer.link) {
            old.close(CloseCode::Replaced, "a newer connection of the same node took over");
        }
        if peers.len() > PEERS_MAX {
            let gone = peers.iter().filter(|(_, peer)| peer.link.is_none()).min_by_key(|(_, peer)| peer.since);
            let gone = gone.map(|(id, _)| id.clone());
            gone.map(|id| peers.remove(&id));
        }
        info!(peer = %id, %boot, "peer is here");
    }

    /// The connection is lost; a newer one of the same peer stays, even one from the same socket.
    pub fn leave(&self, connection: &Connection, reason: &str) {
        let id = connection.peer();
        let mut peers = self.lock();
        let Some(peer) = peers.get_mut(id) else { return };
        let same = peer.link.as_ref().is_some_and(|(mine, _)| mine.id() == connection.id());
        if same {
            peer.link = None;
            peer.since = Timestamp::now();
            info!(peer = %id, "peer is gone: {reason}");
        }
    }

    pub fn lines(&self) -> Vec<NodeLine> {
        self.lock().iter().map(|(id, peer)| peer.line(id)).collect()
    }

    /// The trees of all that are here and answer in time, each under the name in its certificate.
    pub async fn snapshots(&self) -> Vec<NodeSnapshot> {
        let link = |(id, peer): (&Identity, &Peer)| Some((id.clone(), peer.link.as_ref()?.1.clone()));
        let calls: Vec<_> = self.lock().iter().filter_map(link).collect();
        let asked = calls.into_iter().map(|(id, calls)| async move {
            let (reply, answer) = oneshot::channel();
            calls.try_send(reply).ok()?;
            let snapshot = timeout(SNAPSHOT_WITHIN, answer).await.ok()?.ok()?;
            // What it says of itself: who it is, the certificate says.
            Some(NodeSnapshot { node: id, ..snapshot })
        });
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }

    pub fn count_linked(&self) -> usize {
        self.lock().values().filter(|peer| peer.link.is_some()).count()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Identity, Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn line(&self, id: &Identity) -> NodeLine {
        let rtt = self.link.as_ref().map(|(connection, _)| connection.rtt());
        NodeLine {
            node: id.clone(),
            state: if self.link.is_some() { "linked" } else { "gone" }.to_owned(),
            since: self.since,
            rtt_us: rtt.map(|rtt| rtt.as_micros() as u64),
            software: self.software.clone(),
        }
    }
}
