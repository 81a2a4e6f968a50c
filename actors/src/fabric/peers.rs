//! Peers: who is linked to this node, and how to ask them: for their tree, their failures, for an act.
//!
//!   admin, http ──call──▶ [peers] ──▶ the peer's control stream ══▶ link of the peer
//!               ◀─answer────────────────────────────────────────◀═

use super::clips::fetch::{ClipBytes, ClipError, Coming};
use super::facts::{Outcome, STEER_WITHIN, Steering};
use crate::api::health::Finding;
use protocol::admin::{FailureRecord, NodeLine, NodeSnapshot, Steered};
use protocol::cameras::{CameraChange, CameraSheet};
use protocol::transport::{CloseCode, Connection, Version};
use protocol::{Act, CameraId, Epoch, EventId, Identity, Role, Timestamp, limits};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use supervision::steer::is_at_or_below;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::info;

/// Peers remembered, those that are gone included; beyond it those gone longest are forgotten.
const PEERS_MAX: usize = 2000;
/// A peer that does not show its tree within this is shown without it.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(2);
/// For the message on its way, there and back.
const ON_THE_WAY: Duration = Duration::from_secs(2);
/// What is told of one act: at first, and at the end of what was under way.
const TOLD_MAX: usize = 2;

/// A question to a peer's control stream.
#[derive(Debug)]
pub enum Call {
    Snapshot { path: Option<String>, reply: oneshot::Sender<NodeSnapshot> },
    Failures { path: Option<String>, limit: u32, reply: oneshot::Sender<(Vec<FailureRecord>, u32)> },
    Steer { path: String, act: Act, by: Identity, reply: mpsc::Sender<Outcome> },
    Cameras { camera: Option<CameraId>, reply: oneshot::Sender<Sheets> },
    ChangeCamera { camera: Option<CameraId>, change: CameraChange, by: Identity, reply: mpsc::Sender<Outcome> },
}

/// An edge's cameras, and how many of them did not fit.
pub type Sheets = (Result<Vec<CameraSheet>, String>, u32);

/// Cheap to clone; one per node.
#[derive(Clone, Default)]
pub struct Peers(Arc<Mutex<BTreeMap<Identity, Peer>>>, Coming);

struct Peer {
    /// Of the process that speaks for it.
    boot: Epoch,
    software: String,
    since: Timestamp,
    link: Option<(Connection, mpsc::Sender<Call>)>,
}

impl Peers {
    /// A peer has said hello. An older connection of the same identity is closed first: a box that was power-cycled
    /// gets in at once, and two never speak for one. One of the same boot ends the older one itself, when what is under
    /// way on it is done: its certificate was renewed.
    pub fn arrive(&self, connection: &Connection, boot: Epoch, software: String, calls: mpsc::Sender<Call>) {
        let id = connection.peer().clone();
        let software = limits::short_text(&software).chars().take(limits::SOFTWARE_CHARS_MAX).collect();
        let mut peers = self.lock();
        let before = peers.remove(&id);
        let overlaps = before.as_ref().filter(|peer| peer.boot == boot && peer.link.is_some());
        let since = overlaps.map_or_else(Timestamp::now, |peer| peer.since);
        if let Some((old, _)) = before.filter(|peer| peer.boot != boot).and_then(|peer| peer.link) {
            old.close(CloseCode::Replaced, "a newer connection of the same node took over");
        }
        let link = Some((connection.clone(), calls));
        peers.insert(id.clone(), Peer { boot, software, since, link });
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

    /// Of each link that is up: the packets that came over it, and its round-trip time.
    pub fn links(&self) -> Vec<(Identity, u64, Duration)> {
        let look = |connection: &Connection| (connection.stats().udp_rx.datagrams, connection.rtt());
        let peers = self.lock();
        let up = peers.iter().filter_map(|(id, peer)| Some((id, look(&peer.link.as_ref()?.0))));
        up.map(|(id, (packets, rtt))| (id.clone(), packets, rtt)).collect()
    }

    /// All that are remembered.
    pub fn ids(&self) -> Vec<Identity> {
        self.lock().keys().cloned().collect()
    }

    /// Its tree, or what is at or below `path`, under the name in its certificate; or why it does not show it.
    pub async fn snapshot(&self, id: &Identity, path: Option<String>) -> Result<NodeSnapshot, String> {
        let (reply, answer) = oneshot::channel();
        self.call(id, Call::Snapshot { path, reply })?;
        let snapshot = answered(id, SNAPSHOT_WITHIN, async { answer.await.ok() }).await?;
        Ok(of_itself(id, snapshot))
    }

    /// Its failures, oldest first, and how many older ones of them it left out; or why it does not tell them.
    pub async fn failures(
        &self,
        id: &Identity,
        path: Option<String>,
        limit: u32,
    ) -> Result<(Vec<FailureRecord>, u32), String> {
        let (reply, answer) = oneshot::channel();
        self.call(id, Call::Failures { path, limit, reply })?;
        let (mut records, omitted) = answered(id, SNAPSHOT_WITHIN, async { answer.await.ok() }).await?;
        records.truncate(limits::FAILURES_MAX);
        // It tells of its own actors alone.
        records.retain(|record| is_at_or_below(&record.path, id.name.as_str()));
        let records = records.into_iter().map(|record| FailureRecord { node: id.clone(), ..record }.short()).collect();
        Ok((records, omitted))
    }

    /// What it did, or why not.
    pub async fn steer(&self, id: &Identity, path: String, act: Act, by: Identity) -> Steering {
        let (reply, mut answers) = mpsc::channel(TOLD_MAX);
        if let Err(why) = self.call(id, Call::Steer { path, act, by, reply }) {
            return Steering::ended(Err(why));
        }
        let told = match answered(id, STEER_WITHIN + ON_THE_WAY, answers.recv()).await {
            Ok(outcome) => short(outcome),
            Err(why) => return Steering::ended(Err(why)),
        };
        if told.as_ref().map_or(true, |told| told.done) {
            return Steering::ended(told);
        }
        let unknown = format!("the link to {id} was lost before it told what came of it; its own log does");
        let end = async move { answers.recv().await.map_or(Ok(Steered::under_way(unknown)), short) };
        Steering { told, end: Some(Box::pin(end)) }
    }

    /// The cameras of the edge `id`, or one of them with its section; or why it does not show them.
    pub async fn cameras(&self, id: &Identity, camera: Option<CameraId>) -> Result<(Vec<CameraSheet>, u32), String> {
        self.knows_cameras(id)?;
        let (reply, answer) = oneshot::channel();
        self.call(id, Call::Cameras { camera, reply })?;
        let (sheets, omitted) = answered(id, SNAPSHOT_WITHIN, async { answer.await.ok() }).await?;
        let sheets = sheets.map_err(|why| limits::short_text(&why))?;
        Ok((sheets.into_iter().map(CameraSheet::short).collect(), omitted))
    }

    /// What it did, or why not.
    pub async fn change_camera(
        &self,
        id: &Identity,
        camera: Option<CameraId>,
        change: CameraChange,
        by: Identity,
    ) -> Outcome {
        self.knows_cameras(id)?;
        let (reply, mut answers) = mpsc::channel(TOLD_MAX);
        self.call(id, Call::ChangeCamera { camera, change, by, reply })?;
        short(answered(id, STEER_WITHIN + ON_THE_WAY, answers.recv()).await?)
    }

    /// Whether it understands such a question. One that is not linked is told of by whoever asks it.
    fn knows_cameras(&self, id: &Identity) -> Result<(), String> {
        if id.role != Role::Edge {
            return Err(format!("{id} has no cameras; name an edge"));
        }
        let version = self.lock().get(id).and_then(|peer| Some(peer.link.as_ref()?.0.version()));
        match version {
            Some(version) if version < Version::EDGE => {
                Err(format!("the software of {id} is too old to show or change its cameras; upgrade it"))
            }
            _ => Ok(()),
        }
    }

    /// A clip of the edge `id`, from byte `offset` on, over the link that the edge has now.
    pub async fn clip(&self, id: &Identity, clip: EventId, offset: u64) -> Result<ClipBytes, ClipError> {
        let linked = self.lock().get(id).and_then(|peer| Some(peer.link.as_ref()?.0.clone()));
        let Some(connection) = linked else {
            let why = format!("{id} is not linked now; `watchtree nodes` shows since when");
            return Err(ClipError::Cut { at: offset, why });
        };
        self.1.fetch(&connection, clip, offset).await
    }

    fn call(&self, id: &Identity, call: Call) -> Result<(), String> {
        let calls = self.lock().get(id).and_then(|peer| Some(peer.link.as_ref()?.1.clone()));
        let calls = calls.ok_or_else(|| format!("{id} is not linked now; `watchtree nodes` shows since when"))?;
        calls.try_send(call).map_err(|_| format!("{id} has too many calls to answer already; ask again"))
    }

    /// For health: one part a peer.
    pub fn checks(&self) -> Vec<(String, Finding)> {
        self.lock().iter().map(|(id, peer)| (format!("peer {id}"), peer.finding())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Identity, Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn finding(&self) -> Finding {
        match &self.link {
            Some((connection, _)) => Ok(format!("linked, {:.1} ms away", connection.rtt().as_secs_f64() * 1e3)),
            None => Err(format!("is gone since {}", self.since)),
        }
    }

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

/// Who it is, the certificate says; and it tells of its own actors and, as an edge, of its own frames alone.
fn of_itself(id: &Identity, snapshot: NodeSnapshot) -> NodeSnapshot {
    let mut snapshot = NodeSnapshot { node: id.clone(), ..snapshot };
    snapshot.actors.retain(|actor| is_at_or_below(&actor.path, id.name.as_str()));
    if id.role == Role::Edge {
        let own = id.to_string();
        snapshot.ledgers.retain(|ledger| ledger.edge == own);
    }
    snapshot
}

/// The peer's answer to a call; `None` of `answer` means that nobody gives one any more.
async fn answered<R>(id: &Identity, within: Duration, answer: impl Future<Output = Option<R>>) -> Result<R, String> {
    match timeout(within, answer).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(format!("the link to {id} was lost before it answered; it may have heard all the same")),
        Err(_) => Err(format!("{id} did not answer within {} s", within.as_secs())),
    }
}

/// A peer's words, as long as words are here.
fn short(outcome: Outcome) -> Outcome {
    outcome.map(Steered::short).map_err(|why| limits::short_text(&why))
}
