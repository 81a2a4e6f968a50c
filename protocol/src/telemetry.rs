//! What a node tells of itself at set intervals: its machine, its cameras, its queues. Newest wins.
//!
//!   edge, gpu ──beat, a datagram──▶ relay      it lives
//!   edge, gpu ──Up::Telemetry──────▶ relay      how it is

use crate::{CameraId, Epoch, Timestamp, limits};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Between two beats of a node on its link.
pub const BEAT_EVERY: Duration = Duration::from_secs(2);
/// Between two telemetry messages of a node on its link.
pub const TELEMETRY_EVERY: Duration = Duration::from_secs(10);
/// A node of which nothing was heard for so long is down.
pub const DOWN_AFTER: Duration = Duration::from_secs(5);

/// A sign of life, on a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    pub boot: Epoch,
    /// Counts from 1 within the boot; one that is not newer than the last is ignored.
    pub seq: u64,
    pub ready: bool,
}

/// How a node is. Counters count from the node's start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    pub boot: Epoch,
    /// By the sender's wall clock: how far it is off is told from this.
    pub at: Timestamp,
    pub ready: bool,
    /// What is not well, at most [`limits::TELEMETRY_NOTES_MAX`].
    pub notes: Vec<String>,
    pub system: System,
    /// On an edge; at most [`limits::TELEMETRY_CAMERAS_MAX`].
    pub cameras: Vec<CameraFigures>,
    /// On an edge: what waits for the relay.
    pub spool: Option<SpoolFigures>,
    /// Of frames: asked on an edge, judged on a gpu node.
    pub inference: Option<InferenceFigures>,
    /// Of the node's own certificate.
    pub certificate_until: Option<Timestamp>,
}

/// The node's machine and its process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct System {
    /// Of all cores together, 0 to 100, since the last message.
    pub cpu_pct: f32,
    pub memory_used_bytes: u64,
    pub memory_total_bytes: u64,
    /// Of the disk with the node's data.
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
    /// Of the machine's interfaces, loopback left out, since the machine's start.
    pub net_in_bytes: u64,
    pub net_out_bytes: u64,
    /// Of the node's own process, without its ports.
    pub process_cpu_ms: u64,
    pub process_memory_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CameraFigures {
    pub camera: CameraId,
    /// Frames come and are judged.
    pub on_line: bool,
    /// Why it is blind.
    pub why: Option<String>,
    pub frames_per_s: f32,
    /// What is stored of it on this node.
    pub storage_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SpoolFigures {
    /// Entries that the relay has not acknowledged.
    pub waiting: u64,
    /// How long the oldest of them has waited.
    pub oldest_ms: u64,
    /// Entries given up since the outbox was full.
    pub dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct InferenceFigures {
    /// Mean time from question to answer of the frames answered since the last message; 0 where none was.
    pub answer_ms_mean: f32,
    /// Frames submitted and frames judged.
    pub submitted: u64,
    pub judged: u64,
    /// Frames that wait now.
    pub waiting: u32,
}

impl Telemetry {
    /// Cut to what one message has room for, and without figures that are none: a peer's words are as long as words are
    /// here.
    pub fn short(mut self) -> Self {
        let text = |text: &str| limits::short(text, limits::TELEMETRY_TEXT_CHARS_MAX);
        self.notes.truncate(limits::TELEMETRY_NOTES_MAX);
        self.notes.iter_mut().for_each(|note| *note = text(note));
        self.cameras.truncate(limits::TELEMETRY_CAMERAS_MAX);
        for camera in &mut self.cameras {
            camera.why = camera.why.as_deref().map(text);
            camera.frames_per_s = figure(camera.frames_per_s);
        }
        self.system.cpu_pct = figure(self.system.cpu_pct).min(100.0);
        if let Some(inference) = &mut self.inference {
            inference.answer_ms_mean = figure(inference.answer_ms_mean);
        }
        // Kept for as long as its node is known.
        self.notes.shrink_to_fit();
        self.cameras.shrink_to_fit();
        self
    }
}

/// What is not a number, or below zero, is nothing.
fn figure(value: f32) -> f32 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}
