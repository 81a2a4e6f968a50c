//! What operators and viewers ask a core node, and the answers.

use crate::cameras::{CameraChange, CameraSheet};
use crate::codec::Record;
use crate::core::Revocation;
use crate::enrol::TokenText;
use crate::event::v3;
use crate::frame::Ledger;
use crate::limits;
use crate::telemetry::Telemetry;
use crate::timeline::Timeline;
use crate::{Act, CameraId, Entry, Epoch, Event, Identity, NodeName, Role, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// This node and those linked to it. Answered by `Nodes`, some at a time, then `Done`.
    Nodes,
    /// Their trees: of all of them, or what is at or below `path`. Answered by one `Node` each, then `Done`.
    /// A path where nothing is gets `Refused`, with the nearest ones; one of a node that does not answer, `Missing`.
    Tree { path: Option<String> },
    /// Events on the record, oldest first. Answered by `Event`s, then `Done` (or never, if following).
    Events { filter: EventFilter, follow: bool },
    /// The raw record of one edge, in order, `limit` entries after `after`. Answered by `Entry`s, then `Done`.
    Record { edge: NodeName, epoch: Option<Epoch>, after: u64, limit: u32 },
    /// The newest `limit` failures of all nodes, or of what is at or below `path`. Answered by `Failure`s, oldest
    /// first, a `Missing` for each node that has more to tell, then `Done`.
    Failures { path: Option<String>, limit: u32 },
    /// Do this to the actor at `path`. Answered by one `Steered`; operators only.
    Steer { path: String, act: Act },
    /// Make a token for one new node. Answered by `Token`; operators only.
    CreateToken { role: Role, name: NodeName, ttl_s: u64 },
    /// Certificates of these nodes, operators or viewers are worth nothing from now on. Answered by `Revoked` with
    /// those that were meant; operators only.
    Revoke { name: NodeName, role: Option<Role> },
    /// Who is revoked. Answered by `Revoked`s, then `Done`.
    Revoked,
    /// How the nodes are. Answered by `Fleet`s, then `Done`.
    Fleet,
    /// The cameras of the edge at `path`, as they are configured and how each is; or one camera, `EDGE/CAMERA`, with its
    /// section. Answered by one `Cameras`. Since version 4.
    Cameras { path: String },
    /// Change the camera at `path`, `EDGE/CAMERA`; to reset all of an edge, `EDGE`. Answered by one `Steered`; operators
    /// only. Since version 4.
    ChangeCamera { path: String, change: CameraChange },
    /// When somebody looked at this camera, or at each of this edge. Answered by one `Timeline` each, then `Done`. Since
    /// version 4.
    Timeline { edge: NodeName, camera: Option<CameraId>, from: Timestamp, to: Timestamp },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// At most [`limits::NODES_MAX`] of them.
    Nodes(Vec<NodeLine>),
    Node(Box<NodeSnapshot>),
    /// To a program that speaks a version before 4.
    OldEvent(Box<v3::RecordedEvent>),
    /// To a program that speaks a version before 4.
    OldEntry(Box<v3::Entry>),
    Done,
    /// Why the request was not served.
    Refused(String),
    Failure(Box<FailureRecord>),
    Steered(Steered),
    /// What belongs to the answer and is not in it: of which node, and why.
    Missing {
        node: Identity,
        why: String,
    },
    /// Told once: the relay keeps a hash of it.
    Token {
        token: TokenText,
        until: Timestamp,
    },
    /// At most [`limits::REVOCATIONS_MAX`] of them.
    Revoked(Vec<Revocation>),
    /// At most [`limits::FLEET_MAX`] of them.
    Fleet(Vec<NodeHealth>),
    /// Since version 4.
    Event(Box<RecordedEvent>),
    /// Since version 4.
    Entry(Box<Entry>),
    /// Since version 4.
    Timeline(Box<Timeline>),
    /// And so many that do not fit. Since version 4.
    Cameras {
        cameras: Vec<CameraSheet>,
        omitted: u32,
    },
}

impl Reply {
    /// As a node of this version says it: events of before are events.
    pub fn up_to_date(self) -> Self {
        match self {
            Self::OldEvent(event) => Self::Event(Box::new((*event).into())),
            Self::OldEntry(entry) => Self::Entry(Box::new((*entry).into())),
            other => other,
        }
    }
}

/// One node as its relay judges it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeHealth {
    pub node: Identity,
    pub state: HealthState,
    /// When it came into this state.
    pub since: Timestamp,
    /// Why it is not healthy, the most important first, at most [`limits::HEALTH_REASONS_MAX`]. Of one that is: what is
    /// worth knowing all the same.
    pub reasons: Vec<String>,
    pub software: String,
    /// Round-trip time of its link; `None` while it has none.
    pub rtt_us: Option<u64>,
    /// Its wall clock minus the relay's; `None` before it has told.
    pub clock_skew_ms: Option<i64>,
    /// Its newest; `None` before the first.
    pub telemetry: Option<Box<Telemetry>>,
}

impl NodeHealth {
    /// Cut to what a message of [`limits::FLEET_MAX`] has room for; those left out are counted.
    pub fn short(mut self) -> Self {
        let all = self.reasons.len();
        if all > limits::HEALTH_REASONS_MAX {
            self.reasons.truncate(limits::HEALTH_REASONS_MAX - 1);
            self.reasons.push(format!("and {} more", all - self.reasons.len()));
        }
        self.reasons.iter_mut().for_each(|reason| *reason = limits::short_text(reason));
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    Healthy,
    /// It works, and something of it does not.
    Degraded,
    /// Nothing was heard of it for [`crate::telemetry::DOWN_AFTER`].
    Down,
}

impl HealthState {
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Degraded, Self::Down];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// What an act did, so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steered {
    /// `false`: it is under way and goes on; the tree shows what comes of it.
    pub done: bool,
    /// For people.
    pub text: String,
}

impl Steered {
    pub fn done(text: impl Into<String>) -> Self {
        Self { done: true, text: text.into() }
    }

    pub fn under_way(text: impl Into<String>) -> Self {
        Self { done: false, text: text.into() }
    }

    /// Cut to what a message has room for.
    pub fn short(self) -> Self {
        Self { text: limits::short_text(&self.text), ..self }
    }
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

impl Record for RecordedEvent {
    type Before = v3::RecordedEvent;

    fn from_before(before: v3::RecordedEvent) -> Self {
        before.into()
    }
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
    /// The kind of actor or port, its label in metrics: `session`, `watchtree-camera-port`.
    pub class: String,
    /// Of a port: its process, while it runs.
    pub pid: Option<u32>,
    /// Messages in its mailbox now, and how many fit; `None` without a mailbox.
    pub waiting: Option<u32>,
    pub waiting_max: Option<u32>,
    /// Messages handled since the node started, over all its incarnations.
    pub handled: Option<u64>,
    /// Of a port: CPU time of the running process since it started.
    pub cpu_ms: Option<u64>,
    /// Of a port: resident memory.
    pub memory_bytes: Option<u64>,
    /// Of a parked one: when the slow timer tries it again. `None`: only by hand.
    pub resumes: Option<Timestamp>,
}

/// One failure of one actor or port, as its node remembers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureRecord {
    pub node: Identity,
    pub at: Timestamp,
    pub path: String,
    /// `panic`, `error`, `hang`, `signal`, `oom`, `start`, …
    pub kind: String,
    pub text: String,
    /// What followed: `restarted`, `parked`, `escalated`, `ended`.
    pub then: String,
    /// How long it had run; `None` if it never did.
    pub lived_ms: Option<u64>,
}

impl FailureRecord {
    /// Cut to what a message of [`limits::FAILURES_MAX`] has room for.
    pub fn short(self) -> Self {
        Self {
            path: limits::short_path(&self.path),
            kind: limits::short_text(&self.kind).chars().take(limits::WORD_CHARS_MAX).collect(),
            text: limits::short_text(&self.text),
            then: limits::short_text(&self.then).chars().take(limits::WORD_CHARS_MAX).collect(),
            ..self
        }
    }
}
