//! Seats: which ractor_cluster session belongs to which connection, and so to whom.
//!
//!   connection ──stream──▶ [seat] ◀──opened, authenticated, ready, disconnected── node server
//!
//! What a session says its name is proves nothing: its seat's certificate says who it is, and a session that says
//! otherwise is ended together with its connection. A session without a seat came in by the loopback listener, which
//! ractor_cluster cannot do without, and is ended at once.

use super::stream::Heard;
use protocol::Identity;
use protocol::transport::{CloseCode, Connection};
use ractor::ActorRef;
use ractor_cluster::node::NodeServerSessionInformation;
use ractor_cluster::{NodeEventSubscription, NodeId, NodeSessionMessage};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

/// The session before it has to be gone by then, when a newer one of the same node takes over.
const TAKEOVER_WITHIN: Duration = Duration::from_secs(2);

/// Looks without a byte from the peer until its session is ended. Each look follows a question that it has to answer, so
/// a peer that is frozen, or whose streams nobody reads, is gone after 3.5 to 4 s.
const SILENT_LOOKS_MAX: u32 = 7;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Seats(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// By label. As many as there are connections between core nodes, which the gateway limits.
    taken: Mutex<BTreeMap<String, Seat>>,
    numbers: std::sync::atomic::AtomicU64,
    changes: watch::Sender<u64>,
    /// One takes a seat at a time: of two connections of one node, the later finds the earlier.
    door: tokio::sync::Mutex<()>,
}

struct Seat {
    peer: Identity,
    connection: Connection,
    /// This side opened the stream.
    dialled: bool,
    session: Option<(NodeId, ActorRef<NodeSessionMessage>)>,
    ready: bool,
    /// Told what a newcomer has to know.
    greeted: bool,
    /// It is being ended and counts no more.
    leaving: bool,
    heard: Heard,
    heard_before: u64,
    silent_looks: u32,
}

impl Seat {
    fn ends(&mut self, why: &str) {
        self.leaving = true;
        if let Some((_, session)) = &self.session {
            session.stop(Some(why.to_owned()));
        }
    }
}

/// A place for one session, for as long as it is held.
pub(super) struct Taken {
    seats: Seats,
    pub label: String,
    pub heard: Heard,
}

impl Seats {
    /// Makes room for a session with this connection's peer: an older one is ended first, and its end is waited for,
    /// since ractor_cluster itself would draw lots between the two. Between two nodes that dial each other the stream
    /// of the one whose name comes first is kept.
    pub async fn take(&self, here: &Identity, connection: &Connection, dialled: bool) -> Result<Taken, String> {
        let peer = connection.peer();
        let _one_at_a_time = self.0.door.lock().await;
        let before: Vec<String> = {
            let mut taken = self.lock();
            let of_peer = || taken.iter().filter(|(_, seat)| seat.peer == *peer);
            let other_way = of_peer().any(|(_, seat)| seat.dialled != dialled && !seat.leaving);
            if other_way && dialled == (here > peer) {
                return Err(format!("{peer} and this node dial each other, and another stream is kept"));
            }
            let before = of_peer().map(|(label, _)| label.clone()).collect();
            taken.values_mut().filter(|seat| seat.peer == *peer).for_each(|seat| seat.ends("replaced"));
            before
        };
        for label in before {
            let gone = timeout(TAKEOVER_WITHIN, self.gone(&label)).await;
            gone.map_err(|_| format!("an older session with {peer} does not end"))?;
        }
        let (number, heard) = (self.0.numbers.fetch_add(1, Ordering::Relaxed), Heard::default());
        let label = format!("{number} {peer}");
        let seat = Seat {
            peer: peer.clone(),
            connection: connection.clone(),
            dialled,
            session: None,
            ready: false,
            greeted: false,
            leaving: false,
            heard: heard.clone(),
            heard_before: 0,
            silent_looks: 0,
        };
        self.lock().insert(label.clone(), seat);
        Ok(Taken { seats: self.clone(), label, heard })
    }

    /// Waits for the end of a session.
    pub async fn gone(&self, label: &str) {
        let mut changes = self.0.changes.subscribe();
        while self.lock().contains_key(label) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub fn is_ready(&self, label: &str) -> bool {
        self.lock().get(label).is_some_and(|seat| seat.ready)
    }

    /// Another session with this peer is there or on its way.
    pub fn has(&self, peer: &Identity) -> bool {
        self.lock().values().any(|seat| seat.peer == *peer && !seat.leaving)
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Whom the actors of this session belong to.
    pub fn peer_of(&self, node: NodeId) -> Option<Identity> {
        let taken = self.lock();
        let of_node = |seat: &&Seat| seat.session.as_ref().is_some_and(|(id, _)| *id == node);
        taken.values().find(of_node).filter(|seat| seat.ready && !seat.leaving).map(|seat| seat.peer.clone())
    }

    /// Where this peer's packets come from.
    pub fn addr_of(&self, peer: &Identity) -> Option<std::net::SocketAddr> {
        let taken = self.lock();
        let seat = taken.values().find(|seat| seat.peer == *peer && seat.ready && !seat.leaving)?;
        Some(seat.connection.remote_addr())
    }

    /// Those with whom a session is ready.
    pub fn ready(&self) -> Vec<Identity> {
        let taken = self.lock();
        taken.values().filter(|seat| seat.ready && !seat.leaving).map(|seat| seat.peer.clone()).collect()
    }

    #[cfg(test)]
    pub fn ready_labels(&self) -> Vec<String> {
        let taken = self.lock();
        taken.iter().filter(|(_, seat)| seat.ready && !seat.leaving).map(|(label, _)| label.clone()).collect()
    }

    /// Those that became ready since this was asked last.
    pub fn newcomers(&self) -> Vec<Identity> {
        let mut taken = self.lock();
        let new = taken.values_mut().filter(|seat| seat.ready && !seat.greeted && !seat.leaving);
        let told = new.map(|seat| {
            seat.greeted = true;
            seat.peer.clone()
        });
        told.collect()
    }

    /// Ends the sessions whose peers have said nothing for too many looks. Looks are counted and no clock is asked: a
    /// process that was stopped itself blames nobody when it wakes.
    pub fn look(&self) {
        for seat in self.lock().values_mut().filter(|seat| seat.ready && !seat.leaving) {
            let heard = seat.heard.load(Ordering::Relaxed);
            seat.silent_looks = if heard == seat.heard_before { seat.silent_looks + 1 } else { 0 };
            seat.heard_before = heard;
            if seat.silent_looks >= SILENT_LOOKS_MAX {
                warn!(peer = %seat.peer, "its session in the core is silent, and ended");
                metrics::counter!("watchtree_core_sessions_ended_total", "reason" => "silent").increment(1);
                seat.ends("silent");
            }
        }
    }

    /// The node server is gone, and all sessions with it.
    pub fn clear(&self) {
        self.lock().clear();
        self.changed();
    }

    fn changed(&self) {
        self.0.changes.send_modify(|times| *times += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Seat>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        match taken.get_mut(&self.label) {
            // It leaves its seat when its end is told.
            Some(seat) if seat.session.is_some() => seat.ends("connection ended"),
            // Should it still be opened, nobody knows it, and it is ended then.
            Some(_) => drop(taken.remove(&self.label)),
            None => {}
        }
        drop(taken);
        self.seats.changed();
    }
}

impl NodeEventSubscription for Seats {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        match self.lock().get_mut(&session.peer_addr) {
            Some(seat) => seat.session = Some((session.node_id, session.actor)),
            None => {
                warn!(from = session.peer_addr, "a session of the core that came over no link of ours is ended");
                metrics::counter!("watchtree_core_sessions_ended_total", "reason" => "stranger").increment(1);
                session.actor.stop(Some("stranger".to_owned()));
            }
        }
    }

    fn node_session_authenticated(&self, session: NodeServerSessionInformation) {
        let claimed = session.peer_name.as_ref().map(|name| name.name.as_str()).unwrap_or_default();
        let mut taken = self.lock();
        let Some(seat) = taken.get_mut(&session.peer_addr) else { return };
        if node_name(claimed) != name_of(&seat.peer) {
            let claimed = protocol::limits::short_text(node_name(claimed));
            let why = format!("it calls itself {claimed} in the core, its certificate says {}", seat.peer);
            warn!(peer = %seat.peer, "refused: {why}");
            metrics::counter!("watchtree_core_sessions_ended_total", "reason" => "name").increment(1);
            seat.ends("name");
            seat.connection.close(CloseCode::Refused, &why);
        }
    }

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        if let Some(seat) = self.lock().get_mut(&session.peer_addr)
            && !seat.leaving
        {
            seat.ready = true;
            info!(peer = %seat.peer, "is in the core");
        }
        self.changed();
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        if let Some(seat) = self.lock().remove(&session.peer_addr) {
            info!(peer = %seat.peer, was_ready = seat.ready, "has left the core");
        }
        self.changed();
    }
}

/// What ractor_cluster calls a node: `main.relay.hub`. No part can hold a dot.
pub(super) fn name_of(node: &Identity) -> String {
    format!("{}.{}.{}", node.tenant, node.role, node.name)
}

/// Without the host that ractor_cluster adds.
fn node_name(full: &str) -> &str {
    full.split_once('@').map_or(full, |(name, _)| name)
}
