//! The streams of one QUIC connection, and what is said on each.
//!
//! Every stream opens with one [`Open`] message that says what it is; the accepting side checks
//! the peer's role against the table in [`crate::roles`] before it reads further.

use crate::admin::{FailureRecord, NodeSnapshot, Request, Steered};
use crate::cameras::{CameraChange, CameraSheet};
use crate::codec::Blob;
use crate::core::GpuNode;
use crate::event::v3;
use crate::roles::{self, Listed};
use crate::telemetry::Telemetry;
use crate::{Act, CameraId, Entry, Epoch, EventId, Identity, Role, Verdict};
use serde::{Deserialize, Serialize};

/// The first message on every stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Open {
    /// Bidirectional, one per connection: [`Up`] one way, [`Down`] the other.
    Control,
    /// Bidirectional, one per edge: [`EventsUp`] and [`EventsDown`].
    Events,
    /// Bidirectional, one per asker: [`AskerUp`] and [`Verdict`]s.
    Verdicts { asker: Epoch },
    /// Unidirectional, one a frame: a [`crate::FrameHeader`], then the pixels.
    Frame,
    /// Bidirectional, one per call: [`crate::admin::Request`], then replies.
    Admin,
    /// Bidirectional, one per call: [`crate::enrol::RenewUp`], then [`crate::enrol::RenewDown`].
    Renew,
    /// Bidirectional, one per connection between core nodes: `ractor_cluster`'s own bytes.
    Core,
    /// Bidirectional, one a transfer, relay to edge: [`ClipDown`], then the clip's bytes from `offset`.
    Clip { clip: EventId, offset: u64 },
}

impl Open {
    pub fn name(&self) -> &'static str {
        self.row().name
    }
}

/// Whether `peer` may open this stream on a node of role `here`: a look into the role table.
pub fn may_open(here: Role, peer: Role, stream: &Open) -> bool {
    roles::may(here, peer, stream.row())
}

/// Who may restart, park and resume. Whoever may not is told: [`VIEWERS_LOOK`].
pub fn may_steer(peer: Role) -> bool {
    // The same on each node that takes such requests.
    roles::may(Role::Relay, peer, Request::Steer { path: String::new(), act: Act::Restart }.row())
}

/// Who may change an edge's cameras. Whoever may not is told: [`VIEWERS_LOOK`].
pub fn may_change_cameras(peer: Role) -> bool {
    let change = CameraChange::Reset { keys: Vec::new() };
    roles::may(Role::Relay, peer, Request::ChangeCamera { path: String::new(), change }.row())
}

/// Why a viewer's act is refused, and the way out.
pub const VIEWERS_LOOK: &str = "viewers look, operators steer: use an operator's certificate";

/// What a dialling node says on its control stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Up {
    /// First. `boot` is drawn at process start.
    Hello { boot: Epoch, software: String },
    /// Answers `Down::Snapshot`.
    Snapshot { call: u64, snapshot: Box<NodeSnapshot> },
    /// Leaving in good order.
    Bye,
    /// Answers `Down::Steer`: what was done, or why not. Comes a second time, with the end of it, for what was under
    /// way the first time.
    Steered { call: u64, result: Result<Steered, String> },
    /// Answers `Down::Failures`, oldest first; [`crate::limits::FAILURES_MAX`] at most, and so many older ones of
    /// those asked for were left out.
    Failures { call: u64, failures: Vec<FailureRecord>, omitted: u32 },
    /// How this node is. Since version 3.
    Telemetry(Box<Telemetry>),
    /// Answered by `Down::Pong`: is anybody there, behind the transport? Since version 3.
    Ping { call: u64, payload: Blob },
    /// Answers `Down::Cameras`, and so many that do not fit; or why not. Since version 4.
    Cameras { call: u64, cameras: Result<Vec<CameraSheet>, String>, omitted: u32 },
}

/// What the accepting node says on the control stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Down {
    /// The link is up.
    Welcome { node: String, software: String },
    /// Send your health and your tree, or what is at or below `path` of it; all of it where nothing is.
    Snapshot { call: u64, path: Option<String> },
    /// Do this to the actor at `path` of yours; `by` goes into your log.
    Steer { call: u64, path: String, act: Act, by: Identity },
    /// Send your newest `limit` failures, or those at or below `path`.
    Failures { call: u64, path: Option<String>, limit: u32 },
    /// To an edge: the gpu nodes there are, the least loaded first. Since version 3.
    Directory(Vec<GpuNode>),
    /// Answers `Up::Ping` with its payload, by an actor of this node; or why none does. Since version 3.
    Pong { call: u64, answer: Result<Blob, String> },
    /// To an edge: show your cameras, or this one with its section. Since version 4.
    Cameras { call: u64, camera: Option<CameraId> },
    /// To an edge: change this camera, or reset all; `by` goes into your log. Answered by `Up::Steered`. Since version 4.
    ChangeCamera { call: u64, camera: Option<CameraId>, change: CameraChange, by: Identity },
}

/// Edge to relay on the events stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventsUp {
    /// First: which outbox this is. Answered by `Resume`.
    Outbox { epoch: Epoch },
    /// Consecutive entries of that epoch, from or to a peer that speaks a version before 4.
    OldEntries(Vec<v3::Entry>),
    /// Consecutive entries of that epoch. Since version 4.
    Entries(Vec<Entry>),
}

/// Relay to edge on the events stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventsDown {
    /// Everything through `seq` is on the record; send what follows.
    Resume { through: u64 },
    /// Everything through `seq` is on the record.
    Ack { through: u64 },
}

/// Edge to gpu on the verdicts stream; verdicts come back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AskerUp {
    /// The asker ends in good order: no frame follows and every one has its outcome.
    Bye,
}

/// Gpu to edge on the verdicts stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AskerDown {
    Verdict(Verdict),
}

/// Edge to relay on a clip's stream, ahead of its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ClipDown {
    /// The clip has so many bytes in all; those from the offset asked for follow, to the stream's end.
    Begins { bytes: u64 },
    /// Why there is none.
    Refused(String),
}
