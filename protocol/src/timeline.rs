//! When somebody looked at a camera, and when nobody did: "nothing moved" and "nobody looked" are two answers.

use crate::{CameraId, NodeName, Timestamp};
use serde::{Deserialize, Serialize};

/// Intervals that follow each other without a gap, from `from` to `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    pub edge: NodeName,
    pub camera: CameraId,
    pub from: Timestamp,
    pub to: Timestamp,
    pub intervals: Vec<Interval>,
    /// From where to ask on, where not all that was asked for fits; `to` is there then.
    pub next: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    pub from: Timestamp,
    pub to: Timestamp,
    pub state: Sight,
    /// Why nobody looked.
    pub reason: Option<String>,
    /// Events that began in it; `None` where nobody counts them.
    pub events: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sight {
    /// Somebody looked all the time: without events, nothing happened.
    Covered,
    /// Nobody looked, though somebody should have.
    Blind,
    /// Nobody was to look.
    Unwatched,
    /// Whether somebody looked is not on this record.
    Unknown,
}

impl Sight {
    pub const ALL: [Self; 4] = [Self::Covered, Self::Blind, Self::Unwatched, Self::Unknown];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Blind => "blind",
            Self::Unwatched => "unwatched",
            Self::Unknown => "unknown",
        }
    }
}
