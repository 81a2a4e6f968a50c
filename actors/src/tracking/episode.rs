//! Episode: motion without a model, from when it begins to when it has been quiet for a while. Pure.

use super::geometry::{hull, surface};
use super::tracker::{Change, Glimpse, TrackView};
use protocol::{EndReason, Timestamp};
use std::time::Duration;

/// Frames in a row with motion before it counts: one is a flicker.
const FRAMES_TO_BEGIN: u32 = 2;

/// Motion anywhere in the picture is one episode at a time.
pub struct Episode {
    lost_after: Duration,
    number: u64,
    moving: u32,
    first: Timestamp,
    current: Option<TrackView>,
}

impl Episode {
    pub fn new(lost_after: Duration) -> Self {
        Self { lost_after, number: 0, moving: 0, first: Timestamp::default(), current: None }
    }

    pub fn live(&self) -> bool {
        self.current.is_some()
    }

    /// `areas` is empty if nothing moved.
    pub fn see(&mut self, at: Timestamp, areas: &[[f32; 4]]) -> Vec<Change> {
        let Some(area) = areas.iter().copied().reduce(hull) else {
            self.moving = 0;
            let over = self.current.as_ref().is_some_and(|view| at.since(view.last_seen) >= self.lost_after);
            return if over { self.end(EndReason::Left) } else { Vec::new() };
        };
        if self.moving == 0 {
            self.first = at;
        }
        self.moving += 1;
        match &mut self.current {
            Some(view) => {
                view.last_seen = at;
                view.hits = view.hits.saturating_add(1);
                view.seen = area;
                // All scores are alike: where most of it was to be seen is where it was seen best.
                if surface(area) > surface(view.area) {
                    view.area = area;
                }
                vec![Change::Updated(view.clone())]
            }
            None if self.moving >= FRAMES_TO_BEGIN => {
                self.number += 1;
                let view = begun(self.number, area, self.first, at);
                self.current = Some(view.clone());
                vec![Change::Started(view)]
            }
            None => Vec::new(),
        }
    }

    /// Nobody looked at this time; once this has gone on for `blind_after`, whether it is over is unknown.
    pub fn blind(&mut self, at: Timestamp, blind_after: Duration) -> Vec<Change> {
        let unknown = self.current.as_ref().is_some_and(|view| at.since(view.last_seen) >= blind_after);
        if unknown { self.end(EndReason::Blind) } else { Vec::new() }
    }

    pub fn end(&mut self, reason: EndReason) -> Vec<Change> {
        self.current.take().map(|view| Change::Ended(view, reason)).into_iter().collect()
    }
}

fn begun(track: u64, area: [f32; 4], begin: Timestamp, at: Timestamp) -> TrackView {
    // Motion is certain; it has no score of its own.
    let score = 1.0;
    TrackView {
        track,
        label: "motion".to_owned(),
        hits: FRAMES_TO_BEGIN,
        score,
        seen: area,
        top_score: score,
        area,
        first: Glimpse { score, area },
        begin,
        last_seen: at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: [f32; 4] = [0.1, 0.1, 0.2, 0.2];

    /// What happens over frames 200 ms apart: `x` moves, `.` does not; `S`, `u`, `E` or `-` for each.
    fn check(frames: &str, expected: &str) {
        let mut episode = Episode::new(Duration::from_millis(600));
        let mut story = String::new();
        for (index, frame) in frames.chars().enumerate() {
            let at = Timestamp::from_micros(1_000_000 + index as i64 * 200_000);
            let areas: &[[f32; 4]] = if frame == 'x' { &[AREA] } else { &[] };
            story.push(match episode.see(at, areas).first() {
                Some(Change::Started(_)) => 'S',
                Some(Change::Updated(_)) => 'u',
                Some(Change::Ended(..)) => 'E',
                None => '-',
            });
        }
        assert_eq!(story, expected, "for {frames}");
    }

    #[test]
    fn one_frame_of_motion_is_a_flicker() {
        check(".x..x...", "--------");
    }

    #[test]
    fn an_episode_lasts_until_it_has_been_quiet_long_enough() {
        check("xxx...", "-Su--E");
    }

    #[test]
    fn a_short_pause_does_not_split_an_episode() {
        check("xx..xx...", "-S--uu--E");
    }

    #[test]
    fn an_episode_begins_with_its_first_frame() {
        let mut episode = Episode::new(Duration::from_secs(1));
        episode.see(Timestamp::from_micros(1), &[AREA]);
        let changes = episode.see(Timestamp::from_micros(2), &[AREA]);
        assert!(matches!(&changes[0], Change::Started(view) if view.begin == Timestamp::from_micros(1)));
    }

    #[test]
    fn an_episode_ends_as_blind_when_nobody_looked_for_too_long() {
        let mut episode = Episode::new(Duration::from_secs(1));
        let at = |s: i64| Timestamp::from_micros(s * 1_000_000);
        episode.see(at(1), &[AREA]);
        episode.see(at(2), &[AREA]);
        assert!(episode.blind(at(5), Duration::from_secs(10)).is_empty(), "not for too long yet");
        let changes = episode.blind(at(13), Duration::from_secs(10));
        assert!(matches!(&changes[..], [Change::Ended(view, EndReason::Blind)] if view.last_seen == at(2)));
        assert!(!episode.live());
    }
}
