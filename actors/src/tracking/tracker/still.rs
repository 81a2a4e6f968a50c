//! What stands still costs nothing: while nothing moves at it, it is there.

use super::{Change, Tracker};
use crate::tracking::Attention;
use crate::tracking::geometry::{hull, overlap};
use protocol::Timestamp;

/// How many things are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub moving: usize,
    pub stationary: usize,
}

impl Tracker {
    /// Motion was judged and no model asked. What stands is still there unless something moved at it, in one of these
    /// areas; of what does not stand, this says nothing.
    pub fn still(&mut self, at: Timestamp, moving: &[[f32; 4]]) -> Vec<Change> {
        let mut changes = Vec::new();
        let at = self.advance(at, self.hole_max(), &mut changes);
        (self.judged, self.told, self.rested) = (Some(at), Some(at), true);
        let after = self.settings.stationary.after;
        for track in self.tracks.iter_mut().filter(|track| track.rests(after)) {
            let place = track.path.seen().fractions(self.aspect);
            if moving.iter().any(|area| overlap(*area, place)) {
                track.rest.disturbed = true;
                continue;
            }
            track.vouch(at);
            changes.extend(track.confirmed.then(|| Change::Updated(track.view())));
        }
        self.end_lost(at, &mut changes);
        changes
    }

    /// Where a model has to look although nothing may be moving there.
    pub fn attention(&self) -> Attention {
        let mut attention = Attention::default();
        let Some(now) = self.told else { return attention };
        for track in &self.tracks {
            let rests = track.rests(self.settings.stationary.after);
            let due = rests && now.since(track.rest.looked) >= self.settings.stationary.check_every;
            attention.due |= due;
            if due || !rests {
                let expected = track.path.predict(now.since(track.last_seen)).fractions(self.aspect);
                attention.areas.push(hull(expected, track.path.seen().fractions(self.aspect)));
            }
        }
        attention
    }

    pub fn counts(&self) -> Counts {
        let after = self.settings.stationary.after;
        let stationary = self.tracks.iter().filter(|track| track.rests(after)).count();
        Counts { moving: self.tracks.len() - stationary, stationary }
    }
}

#[cfg(test)]
mod tests {
    use crate::tracking::Attention;
    use crate::tracking::tracker::tests::{HEIGHT, WIDTH, at_ms, labelled};
    use crate::tracking::tracker::{Change, Tracker, TrackerSettings};
    use protocol::{Detection, EndReason};

    const WHOLE: [f32; 4] = [0.0, 0.0, 1.0, 1.0];
    /// Where the car stands, and elsewhere.
    const AT_IT: [f32; 4] = [0.3, 0.4, 0.4, 0.5];
    const ELSEWHERE: [f32; 4] = [0.8, 0.8, 0.9, 0.9];

    fn car() -> Detection {
        labelled("car", 0.9, [160.0, 120.0, 320.0, 240.0])
    }

    /// A car that was looked at for eleven seconds, at five frames a second.
    fn parked() -> (Tracker, i64) {
        let mut tracker = Tracker::new(TrackerSettings::default());
        for frame in 0..55 {
            tracker.judged(at_ms(frame * 200), &[car()], (WIDTH, HEIGHT), &[]);
        }
        (tracker, 55 * 200)
    }

    fn judge(tracker: &mut Tracker, ms: i64, found: &[Detection]) -> Vec<Change> {
        tracker.judged(at_ms(ms), found, (WIDTH, HEIGHT), &[])
    }

    #[test]
    fn a_thing_needs_attention_until_it_has_stood_for_a_while() {
        let mut tracker = Tracker::new(TrackerSettings::default());
        for frame in 0..50 {
            judge(&mut tracker, frame * 200, &[car()]);
            assert_eq!(tracker.attention().areas.len(), 1, "frame {frame}");
        }
        judge(&mut tracker, 10_000, &[car()]);
        assert_eq!((tracker.attention(), tracker.counts().stationary), (Attention::default(), 1));
    }

    #[test]
    fn what_stands_is_there_as_long_as_nothing_moves_at_it() {
        let (mut tracker, begin) = parked();
        for step in 0..14 {
            let at = begin + step * 4000;
            let changes = tracker.still(at_ms(at), &[ELSEWHERE]);
            assert!(matches!(&changes[..], [Change::Updated(view)] if view.last_seen == at_ms(at)), "{changes:?}");
            assert_eq!(tracker.attention(), Attention::default());
        }
    }

    #[test]
    fn it_is_looked_for_all_the_same_now_and_then() {
        let (mut tracker, begin) = parked();
        for step in 0..15 {
            tracker.still(at_ms(begin + step * 4000), &[]);
            assert!(!tracker.attention().due);
        }
        tracker.still(at_ms(begin + 60_000), &[]);
        let Attention { areas, due } = tracker.attention();
        assert_eq!((areas.len(), due), (1, true));
        judge(&mut tracker, begin + 60_200, &[car()]);
        assert_eq!(tracker.attention(), Attention::default());
    }

    #[test]
    fn looks_may_be_as_far_apart_as_key_frames() {
        let (mut tracker, begin) = parked();
        tracker.still(at_ms(begin), &[]);
        for step in 1..5 {
            assert!(matches!(&tracker.still(at_ms(begin + step * 30_000), &[])[..], [Change::Updated(_)]));
        }
        assert!(matches!(&judge(&mut tracker, begin + 140_000, &[car()])[..], [Change::Updated(_)]));
        assert!(matches!(&tracker.blind(at_ms(begin + 151_000))[..], [Change::Ended(_, EndReason::Blind)]));
    }

    #[test]
    fn what_stands_outlasts_looks_at_what_moves_elsewhere() {
        let (mut tracker, begin) = parked();
        for step in 0..250 {
            let changes = tracker.judged(at_ms(begin + step * 200), &[], (WIDTH, HEIGHT), &[ELSEWHERE]);
            assert!(matches!(&changes[..], [Change::Updated(_)]), "{step}: {changes:?}");
        }
        assert_eq!(tracker.attention(), Attention::default());
    }

    #[test]
    fn who_moves_at_it_calls_for_a_look() {
        let (mut tracker, begin) = parked();
        tracker.still(at_ms(begin), &[AT_IT]);
        assert_eq!(tracker.attention().areas.len(), 1);
        // Nothing moves any more, but nobody has looked: whether it is there is unknown.
        assert_eq!(tracker.still(at_ms(begin + 200), &[]), []);
        judge(&mut tracker, begin + 400, &[car()]);
        assert_eq!(tracker.attention(), Attention::default());
    }

    #[test]
    fn what_a_look_did_not_find_is_not_vouched_for() {
        let (mut tracker, begin) = parked();
        assert_eq!(judge(&mut tracker, begin, &[]), []);
        assert_eq!(tracker.attention().areas.len(), 1);
        assert_eq!(tracker.still(at_ms(begin + 200), &[]), []);
        let looks = (2..20).flat_map(|step| judge(&mut tracker, begin + step * 200, &[]));
        let ends: Vec<_> = looks.collect();
        assert!(matches!(&ends[..], [Change::Ended(view, EndReason::Left)] if view.last_seen == at_ms(54 * 200)));
        assert!(!tracker.live());
    }

    /// A car that has just come, and what is told of it in so many frames that find nothing in these parts.
    fn looks(parts: &[[f32; 4]], frames: i64) -> Vec<Change> {
        let mut tracker = Tracker::new(TrackerSettings::default());
        judge(&mut tracker, 0, &[car()]);
        judge(&mut tracker, 200, &[car()]);
        let looks = (2..2 + frames).flat_map(|frame| tracker.judged(at_ms(frame * 200), &[], (WIDTH, HEIGHT), parts));
        looks.collect()
    }

    #[test]
    fn what_was_not_looked_at_is_not_missed_and_in_the_end_unknown() {
        assert_eq!(looks(&[ELSEWHERE], 48), []);
        let changes = looks(&[ELSEWHERE], 60);
        assert!(matches!(&changes[..], [Change::Ended(view, EndReason::Blind)] if view.last_seen == at_ms(200)));
    }

    #[test]
    fn what_was_looked_at_in_part_counts_for_what_is_there() {
        for part in [[0.2, 0.3, 0.6, 0.8], WHOLE] {
            let changes = looks(&[ELSEWHERE, part], 14);
            assert!(matches!(&changes[..], [Change::Ended(_, EndReason::Left)]), "{changes:?}");
        }
    }
}
