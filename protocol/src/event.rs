//! What happened in front of a camera: one event per track, from its first frame to its last.

pub mod v3;

use crate::codec::Record;
use crate::{CameraId, Epoch, EventId, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The label of an event about entries that an outbox gave up.
pub const DROPPED_LABEL: &str = "events-dropped";

/// The label of an event about a camera whose pictures nobody judged, though somebody should have.
pub const BLIND_LABEL: &str = "blind";

/// The label of one about a camera whose pictures nobody was to judge.
pub const UNWATCHED_LABEL: &str = "unwatched";

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
    /// In the newest frame, 0 to 1.
    pub score: f32,
    /// The best so far.
    pub top_score: f32,
    /// Where it was when it scored best: x0, y0, x1, y1 as fractions of the frame.
    #[serde(rename = "box")]
    pub area: [f32; 4],
    pub begin: Timestamp,
    /// When it was last seen; for an ended event, its end.
    pub end: Timestamp,
    /// Why it ended; `None` while it goes on.
    pub reason: Option<EndReason>,
    /// Those it has entered, in the order of entry; [`crate::limits::EVENT_ZONES_MAX`] at most.
    pub zones: Vec<String>,
    /// Its edge keeps footage of it, or will.
    pub has_clip: bool,
    /// Its edge keeps its best picture.
    pub has_snapshot: bool,
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
    /// The edge itself: its outbox was full, and gave up so many entries of this severity between its last such report
    /// and this one.
    #[serde(rename = "dropped")]
    Dropped { entries: u64, severity: Severity },
    /// The edge itself: from begin to end nobody judged this camera's pictures, and this is why.
    #[serde(rename = "blind")]
    Blind { reason: String },
}

/// How much an entry is worth when not all can be kept; the lowest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// An update: a later revision says all of it again.
    Low,
    /// The start or end of what moved.
    Normal,
    /// The start or end of what a model recognised.
    High,
    /// What the edge says of itself.
    Critical,
}

impl Severity {
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl Event {
    pub fn severity(&self) -> Severity {
        match (&self.evidence, self.phase) {
            (Evidence::Dropped { .. }, _) => Severity::Critical,
            (_, Phase::Update) => Severity::Low,
            (Evidence::Motion, _) => Severity::Normal,
            (Evidence::Model { .. } | Evidence::Blind { .. }, _) => Severity::High,
        }
    }

    /// Not of what was in front of the camera, but of whether somebody looked.
    pub fn tells_of_coverage(&self) -> bool {
        matches!(self.evidence, Evidence::Blind { .. })
    }

    /// Its label, and what was dropped or why nobody looked where it tells of that: `events-dropped 1234 low`.
    pub fn title(&self) -> Cow<'_, str> {
        match &self.evidence {
            Evidence::Blind { reason } => format!("{}: {reason}", self.label).into(),
            Evidence::Dropped { entries, severity } => format!("{} {entries} {}", self.label, severity.as_str()).into(),
            Evidence::Model { .. } | Evidence::Motion => self.label.as_str().into(),
        }
    }
}

/// An event as the edge's outbox accepted it. (`edge`, `epoch`, `seq`) is unique for ever.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub epoch: Epoch,
    /// Counts from 1 within an epoch. Those are missing that a full outbox had to drop.
    pub seq: u64,
    pub accepted: Timestamp,
    pub event: Event,
}

impl Record for Event {
    type Before = v3::Event;

    fn from_before(before: v3::Event) -> Self {
        before.into()
    }
}

impl Record for Entry {
    type Before = v3::Entry;

    fn from_before(before: v3::Entry) -> Self {
        before.into()
    }
}

impl Record for Vec<Entry> {
    type Before = Vec<v3::Entry>;

    fn from_before(before: Vec<v3::Entry>) -> Self {
        before.into_iter().map(Entry::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn example() -> Event {
        Event {
            id: EventId(1),
            camera: CameraId::outbox(),
            phase: Phase::End,
            revision: 0,
            label: "person".to_owned(),
            evidence: Evidence::Motion,
            score: 0.0,
            top_score: 0.0,
            area: [0.0; 4],
            begin: Timestamp::from_micros(0),
            end: Timestamp::from_micros(9),
            reason: None,
            zones: Vec::new(),
            has_clip: false,
            has_snapshot: false,
        }
    }

    #[test]
    fn what_is_dropped_last_is_what_tells_of_it() {
        let evidence = Evidence::Dropped { entries: 1234, severity: Severity::Low };
        let dropped = Event { label: DROPPED_LABEL.to_owned(), evidence, ..example() };
        assert_eq!(dropped.severity(), Severity::Critical);
        assert_eq!(dropped.title(), "events-dropped 1234 low");
        assert!(Severity::ALL.is_sorted());
        assert_eq!("outbox".parse(), Ok(CameraId::outbox()));
    }

    #[test]
    fn blindness_is_worth_as_much_as_what_a_model_recognised() {
        let blind = Event { evidence: Evidence::Blind { reason: "no frames".to_owned() }, ..example() };
        assert_eq!(blind.severity(), Severity::High);
    }
}
