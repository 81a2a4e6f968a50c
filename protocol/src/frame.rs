//! A picture to be judged, and the one answer that each gets.

use crate::{CameraId, Epoch, Timestamp, limits};
use serde::{Deserialize, Serialize};

/// In front of the pixels, on the frame's own stream.
///
/// The pixels are I420 without padding: `width * height` of Y, then U, then V, each chroma plane
/// `ceil(width / 2) * ceil(height / 2)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameHeader {
    /// Drawn by the asking process at its start; the books are kept per asker.
    pub asker: Epoch,
    /// Counts from 1 within the asker's epoch.
    pub seq: u64,
    pub camera: CameraId,
    pub captured: Timestamp,
    /// How much longer an answer is of use, counted from when the frame was sent.
    pub deadline_ms: u32,
    pub priority: Priority,
    /// Which model is asked; `None` is the node's first.
    pub model: Option<String>,
    pub width: u32,
    pub height: u32,
}

impl FrameHeader {
    /// The bytes that follow, or why the size is refused.
    pub fn pixel_bytes(&self) -> Result<usize, String> {
        i420_bytes(self.width, self.height)
    }
}

/// Bytes of an I420 picture without padding; refuses what exceeds the limits.
pub fn i420_bytes(width: u32, height: u32) -> Result<usize, String> {
    let max = limits::FRAME_SIDE_PX_MAX;
    if width == 0 || height == 0 || width > max || height > max {
        return Err(format!("frame is {width}x{height}; each side must be 1 to {max} pixels"));
    }
    let (w, h) = (width as usize, height as usize);
    let bytes = w * h + 2 * w.div_ceil(2) * h.div_ceil(2);
    if bytes > limits::FRAME_BYTES_MAX {
        return Err(format!("frame is {bytes} B, the limit is {} B", limits::FRAME_BYTES_MAX));
    }
    Ok(bytes)
}

/// Higher goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
    Critical,
}

/// The answer to a frame. Each frame submitted gets exactly one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub asker: Epoch,
    pub seq: u64,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Judged. An empty list means that nothing is there, and only that.
    Ok { model: String, detections: Vec<Detection> },
    /// Given up for a newer frame, or refused because a queue was full.
    Shed,
    /// Its deadline passed before its turn came.
    Expired,
    /// Could not be judged, and why.
    Failed { reason: String },
}

impl Outcome {
    /// The name used in counters and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ok { .. } => "ok",
            Self::Shed => "shed",
            Self::Expired => "expired",
            Self::Failed { .. } => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub label: String,
    /// 0 to 1.
    pub score: f32,
    /// x0, y0, x1, y1 in pixels of the frame that was sent.
    #[serde(rename = "box")]
    pub area: [f32; 4],
}

/// What became of an asker's frames. `submitted == ok + shed + expired + failed + in_flight`, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    pub submitted: u64,
    pub ok: u64,
    pub shed: u64,
    pub expired: u64,
    pub failed: u64,
    pub in_flight: u64,
}

impl Tally {
    pub fn submit(&mut self) {
        self.submitted += 1;
        self.in_flight += 1;
    }

    /// Counts one outcome of a frame that was in flight. One that was not makes books that do not balance.
    pub fn settle(&mut self, outcome: &Outcome) {
        debug_assert!(self.in_flight > 0, "settled a frame that was not in flight");
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Ok { .. } => self.ok += 1,
            Outcome::Shed => self.shed += 1,
            Outcome::Expired => self.expired += 1,
            Outcome::Failed { .. } => self.failed += 1,
        }
    }

    pub fn balances(&self) -> bool {
        self.submitted == self.ok + self.shed + self.expired + self.failed + self.in_flight
    }
}

/// One asker's books as one side keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub asker: Epoch,
    /// Which edge asks.
    pub edge: String,
    pub state: LedgerState,
    pub tally: Tally,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LedgerState {
    Open,
    /// Ended in good order.
    Closed,
    /// Its process died: frames were in flight and what became of them is not known on this side.
    Cut,
}
