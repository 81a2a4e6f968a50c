//! Script: what one edge has to tell, by number. Made again whenever it is needed, and never kept.
//!
//!   seq 1, 2, 3 ▸ start, update, end of the first visit      seq 4, 5, 6 ▸ of the second      …

use crate::test_camera::squares::Rng;
use protocol::{CameraId, EndReason, Entry, Epoch, Event, EventId, Evidence, Phase, Timestamp};
use std::time::Duration;

/// Entries of one visit.
const REVISIONS: u64 = 3;
/// Cameras of an edge; visits go round them.
const CAMERAS: u64 = 4;

#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    pub epoch: Epoch,
    /// When entry 0 would have been due.
    pub begins: Timestamp,
    /// From one entry to the next.
    pub every: Duration,
}

impl Script {
    /// How long after the script's begin entry `seq` is due.
    pub fn due(&self, seq: u64) -> Duration {
        Duration::from_nanos(u64::try_from(self.every.as_nanos()).unwrap_or(u64::MAX).saturating_mul(seq))
    }

    /// The newest entry that is due so long after the begin.
    pub fn newest(&self, after: Duration) -> u64 {
        u64::try_from(after.as_nanos() / self.every.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    /// The same whenever it is asked for. The first is 1.
    pub fn entry(&self, seq: u64) -> Entry {
        let (visit, revision) = ((seq - 1) / REVISIONS, (seq - 1) % REVISIONS);
        let phase = match revision {
            0 => Phase::Start,
            last if last == REVISIONS - 1 => Phase::End,
            _ => Phase::Update,
        };
        let (begin, accepted) = (self.at(visit * REVISIONS + 1), self.at(seq));
        let mut rng = Rng::new(self.epoch.0, visit);
        let (x, y) = (rng.unit() as f32 * 0.7, rng.unit() as f32 * 0.7);
        let top_score = 0.5 + rng.unit() as f32 / 2.0;
        let event = Event {
            id: EventId(first_id(begin) | u128::from(rng.draw())),
            camera: camera(visit % CAMERAS),
            phase,
            revision: u32::try_from(revision).expect("there are three"),
            label: if rng.draw().is_multiple_of(4) { "car" } else { "person" }.to_owned(),
            evidence: Evidence::Model { model: "yolox-nano".to_owned(), node: "main/gpu/engine".to_owned() },
            score: top_score - 0.1,
            top_score,
            area: [x, y, x + 0.2, y + 0.3],
            begin,
            end: accepted,
            reason: (phase == Phase::End).then_some(EndReason::Left),
            zones: Vec::new(),
            has_clip: false,
            has_snapshot: false,
        };
        Entry { epoch: self.epoch, seq, accepted, event }
    }

    fn at(&self, seq: u64) -> Timestamp {
        self.begins.plus(self.due(seq))
    }
}

pub fn camera(nth: u64) -> CameraId {
    format!("camera-{nth}").parse().expect("a name")
}

pub fn cameras() -> impl Iterator<Item = CameraId> {
    (0..CAMERAS).map(camera)
}

/// Ids sort by their begin: 48 bits of milliseconds, then what is random.
fn first_id(begin: Timestamp) -> u128 {
    u128::from((begin.micros().max(0).unsigned_abs() / 1000) & 0xffff_ffff_ffff) << 80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        Script { epoch: Epoch(7), begins: Timestamp::from_micros(1_000_000_000), every: Duration::from_millis(500) }
    }

    #[test]
    fn an_entry_is_the_same_each_time_and_no_two_are_alike() {
        let script = script();
        assert_eq!(script.entry(5), script.entry(5));
        assert_ne!(script.entry(5), script.entry(8));
        assert_ne!(script.entry(5).event.id, Script { epoch: Epoch(8), ..script.clone() }.entry(5).event.id);
    }

    #[test]
    fn a_visit_is_a_start_an_update_and_an_end() {
        let entries: Vec<Entry> = (1..=6).map(|seq| script().entry(seq)).collect();
        let faults = crate::harness::checks::record_faults(&entries, 6, &std::collections::BTreeSet::new());
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(entries[3].event.phase, Phase::Start);
        assert_ne!(entries[2].event.id, entries[3].event.id);
    }

    #[test]
    fn what_is_due_is_counted_from_the_begin() {
        let script = script();
        assert_eq!([0, 499, 500, 1700].map(|ms| script.newest(Duration::from_millis(ms))), [0, 0, 1, 3]);
        assert_eq!(script.due(3), Duration::from_millis(1500));
    }
}
