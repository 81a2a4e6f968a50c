//! What happened in front of a camera: one event per track, from its first frame to its last.

use crate::{CameraId, Epoch, EventId, Timestamp};
use serde::{Deserialize, Serialize};

/// One state of one event. The last revision is the whole truth about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub camera: CameraId,
    pub phase: Phase,
    /// 0 for the start, then one more for each update and for the end.
    pub revision: u32,
    /// `person`, `car`, …, or `motion` where no model judged.
    pub label: String,
    pub evidence: Evidence,
    /// The best score so far, 0 to 1.
    pub score: f32,
    /// Where it was when it scored best: x0, y0, x1, y1 as fractions of the frame.
    #[serde(rename = "box")]
    pub area: [f32; 4],
    pub begin: Timestamp,
    /// When it was last seen; for an ended event, its end.
    pub end: Timestamp,
    /// Why it ended; `None` while it goes on.
    pub reason: Option<EndReason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    #[serde(rename = "start")]
    Start,
    #[serde(rename = "update")]
    Update,
    #[serde(rename = "end")]
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// It was looked for and no longer found.
    #[serde(rename = "left")]
    Left,
    /// Nobody could look for so long that whether it left is unknown.
    #[serde(rename = "blind")]
    Blind,
    /// The tracker was cut by a crash; the end is the last time it had been seen.
    #[serde(rename = "restart")]
    Restart,
    /// The node was stopped in good order.
    #[serde(rename = "stopped")]
    Stopped,
}

/// Who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// A model on a gpu node.
    #[serde(rename = "model")]
    Model { model: String, node: String },
    /// Changed pixels alone: no model is configured for this camera.
    #[serde(rename = "motion")]
    Motion,
}

/// An event as the edge's outbox accepted it. (`edge`, `epoch`, `seq`) is unique for ever.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub epoch: Epoch,
    /// Counts from 1 without a gap within an epoch.
    pub seq: u64,
    pub accepted: Timestamp,
    pub event: Event,
}
