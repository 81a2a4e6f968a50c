//! Events as they were before version 4 of the transport: what old records hold, and what older peers say and read.
//!
//!   old record or peer ──▶ v3 ──into──▶ Event        what it did not say is empty
//!   Event ──into──▶ v3 ──▶ older peer                what it has no word for is told by the label
//!
//! Nothing here changes any more: the order of fields and variants is how they look as bytes.

use super::Severity;
use crate::limits::short_text;
use crate::{CameraId, EndReason, Epoch, EventId, NodeName, Phase, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub camera: CameraId,
    pub phase: Phase,
    pub revision: u32,
    pub label: String,
    pub evidence: Evidence,
    /// The best so far.
    pub score: f32,
    pub area: [f32; 4],
    pub begin: Timestamp,
    pub end: Timestamp,
    pub reason: Option<EndReason>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    Model { model: String, node: String },
    Motion,
    Dropped { entries: u64, severity: Severity },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub epoch: Epoch,
    pub seq: u64,
    pub accepted: Timestamp,
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedEvent {
    pub tenant: TenantId,
    pub edge: NodeName,
    pub epoch: Epoch,
    pub seq: u64,
    pub event: Event,
}

impl Event {
    /// As a peer reads it that speaks a version before [`crate::transport::Version::FABRIC`]: what such a peer has no
    /// word for is told by the label.
    pub fn before_fabric(mut self) -> Self {
        if matches!(self.evidence, Evidence::Dropped { .. }) {
            self.label = super::Event::from(self.clone()).title().into_owned();
            self.evidence = Evidence::Motion;
        }
        self
    }
}

impl From<super::Event> for Event {
    fn from(event: super::Event) -> Self {
        let title = event.title().into_owned();
        let (label, evidence) = match event.evidence {
            super::Evidence::Model { model, node } => (event.label, Evidence::Model { model, node }),
            super::Evidence::Motion => (event.label, Evidence::Motion),
            super::Evidence::Dropped { entries, severity } => (event.label, Evidence::Dropped { entries, severity }),
            // Cut: such a peer refuses a label that is longer than any.
            super::Evidence::Blind { .. } => (short_text(&title), Evidence::Motion),
        };
        Self {
            id: event.id,
            camera: event.camera,
            phase: event.phase,
            revision: event.revision,
            label,
            evidence,
            score: event.top_score,
            area: event.area,
            begin: event.begin,
            end: event.end,
            reason: event.reason,
        }
    }
}

impl From<Event> for super::Event {
    fn from(event: Event) -> Self {
        let evidence = match event.evidence {
            Evidence::Model { model, node } => super::Evidence::Model { model, node },
            Evidence::Motion => super::Evidence::Motion,
            Evidence::Dropped { entries, severity } => super::Evidence::Dropped { entries, severity },
        };
        Self {
            id: event.id,
            camera: event.camera,
            phase: event.phase,
            revision: event.revision,
            label: event.label,
            evidence,
            score: event.score,
            top_score: event.score,
            area: event.area,
            begin: event.begin,
            end: event.end,
            reason: event.reason,
            zones: Vec::new(),
            has_clip: false,
            has_snapshot: false,
        }
    }
}

impl From<super::Entry> for Entry {
    fn from(super::Entry { epoch, seq, accepted, event }: super::Entry) -> Self {
        Self { epoch, seq, accepted, event: event.into() }
    }
}

impl From<Entry> for super::Entry {
    fn from(Entry { epoch, seq, accepted, event }: Entry) -> Self {
        Self { epoch, seq, accepted, event: event.into() }
    }
}

impl From<crate::admin::RecordedEvent> for RecordedEvent {
    fn from(recorded: crate::admin::RecordedEvent) -> Self {
        let crate::admin::RecordedEvent { tenant, edge, epoch, seq, event } = recorded;
        Self { tenant, edge, epoch, seq, event: event.into() }
    }
}

impl From<RecordedEvent> for crate::admin::RecordedEvent {
    fn from(RecordedEvent { tenant, edge, epoch, seq, event }: RecordedEvent) -> Self {
        Self { tenant, edge, epoch, seq, event: event.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BLIND_LABEL, Evidence as Now, tests::example};
    use super::*;
    use crate::limits::TEXT_CHARS_MAX;

    #[test]
    fn what_it_has_words_for_comes_back_as_it_was() {
        let old = Event::from(example());
        assert_eq!(Event::from(super::super::Event::from(old.clone())), old);
    }

    /// Put together by hand, as bincode 2 lays it out.
    #[test]
    fn an_entry_looks_as_it_always_did() {
        let mut event = Event::from(example());
        (event.begin, event.score) = (Timestamp::from_micros(300), 0.5);
        event.reason = Some(EndReason::Blind);
        let entry = Entry { epoch: Epoch(1), seq: 7, accepted: Timestamp::from_micros(-2), event };
        let mut due = vec![1, 1, 7, 3, 1, 6];
        due.extend(b"outbox");
        due.extend([2, 0, 6]);
        due.extend(b"person");
        due.extend([1, 0, 0, 0, 0x3f]);
        due.extend([0; 16]);
        due.extend([251, 0x58, 0x02, 18, 1, 1]);
        assert_eq!(crate::codec::encode(&entry), due);
        let read = crate::codec::decode_record::<super::super::Entry, 512>(&due).expect("is a record");
        assert_eq!((read.seq, read.event.score, read.event.top_score), (7, 0.5, 0.5));
    }

    #[test]
    fn an_older_peer_reads_the_best_score() {
        let mut event = example();
        (event.score, event.top_score) = (0.4, 0.9);
        assert_eq!(Event::from(event).score, 0.9);
    }

    #[test]
    fn blindness_is_told_by_the_label_and_fits_it() {
        let mut event = example();
        event.label = BLIND_LABEL.to_owned();
        event.evidence = Now::Blind { reason: "no frames".to_owned() };
        let told = Event::from(event.clone());
        assert_eq!((told.label.as_str(), told.evidence), ("blind: no frames", Evidence::Motion));
        event.evidence = Now::Blind { reason: "\u{1f980}".repeat(TEXT_CHARS_MAX) };
        assert_eq!(Event::from(event).label.chars().count(), TEXT_CHARS_MAX);
    }

    #[test]
    fn a_peer_without_a_word_for_it_reads_in_the_label_what_was_dropped() {
        let mut event = example();
        event.label = super::super::DROPPED_LABEL.to_owned();
        event.evidence = Now::Dropped { entries: 1234, severity: Severity::Low };
        let told = Event::from(event).before_fabric();
        assert_eq!((told.label.as_str(), &told.evidence), ("events-dropped 1234 low", &Evidence::Motion));
        // Once: what is told already has the label and no evidence.
        assert_eq!(told.clone().before_fabric(), told);
    }
}
