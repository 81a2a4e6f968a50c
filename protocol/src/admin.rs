//! What an operator asks a core node, and the answers.

use crate::frame::Ledger;
use crate::{CameraId, Entry, Epoch, Event, Identity, NodeName, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// This node and those linked to it. Answered by one `Nodes`.
    Nodes,
    /// Their trees. Answered by one `Node` each, then `Done`.
    Tree,
    /// Events on the record, oldest first. Answered by `Event`s, then `Done` (or never, if following).
    Events { filter: EventFilter, follow: bool },
    /// The raw record of one edge, in order, `limit` entries after `after`. Answered by `Entry`s, then `Done`.
    Record { edge: NodeName, epoch: Option<Epoch>, after: u64, limit: u32 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Nodes(Vec<NodeLine>),
    Node(Box<NodeSnapshot>),
    Event(Box<RecordedEvent>),
    Entry(Box<Entry>),
    Done,
    /// Why the request was not served.
    Refused(String),
}

/// Which events are meant; an empty filter means all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EventFilter {
    pub camera: Option<CameraId>,
    pub label: Option<String>,
    /// Begins at this time or later.
    pub from: Option<Timestamp>,
    /// Begins before this time.
    pub until: Option<Timestamp>,
    pub limit: Option<u32>,
}

impl EventFilter {
    pub fn matches(&self, event: &Event) -> bool {
        self.camera.as_ref().is_none_or(|camera| *camera == event.camera)
            && self.label.as_ref().is_none_or(|label| *label == event.label)
            && self.from.is_none_or(|from| event.begin >= from)
            && self.until.is_none_or(|until| event.begin < until)
    }
}

/// An event as the relay has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedEvent {
    pub tenant: TenantId,
    pub edge: NodeName,
    /// Of the entry that brought this revision.
    pub epoch: Epoch,
    pub seq: u64,
    pub event: Event,
}

/// One line of `watchtree nodes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeLine {
    pub node: Identity,
    /// `linked`, `self`, or `gone`.
    pub state: String,
    pub since: Timestamp,
    /// Round-trip time of its link; `None` for the node asked.
    pub rtt_us: Option<u64>,
    pub software: String,
}

/// One node: its tree, its health, its books.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeSnapshot {
    pub node: Identity,
    pub boot: Epoch,
    pub up_since: Timestamp,
    pub software: String,
    pub ready: bool,
    /// One line for each thing that keeps it from being ready, or is worth knowing.
    pub notes: Vec<String>,
    pub actors: Vec<ActorStatus>,
    /// Actors left out to keep the message within its limit.
    pub actors_omitted: u32,
    pub ledgers: Vec<Ledger>,
    /// On an edge: its outbox.
    pub outbox: Option<OutboxStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxStatus {
    pub epoch: Epoch,
    /// The newest sequence number accepted; 0 before the first.
    pub accepted: u64,
    /// The newest one the relay has acknowledged.
    pub acked: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActorStatus {
    /// `yard/cameras/front-door/session`
    pub path: String,
    /// `starting`, `running`, `backoff`, `parked`, `stopped`, `failed`
    pub state: String,
    pub restarts: u64,
    /// When it came into this state.
    pub since: Timestamp,
    /// Why it last failed, `kind: text`.
    pub last_reason: Option<String>,
    /// What it says of itself, such as "1280x720 h264, 5.0 fps".
    pub note: Option<String>,
}
