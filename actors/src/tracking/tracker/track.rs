//! One followed thing: what is known about it, and where it should be next.

use super::area::Area;
use super::label::Label;
use super::matching::Sighting;
use super::{Glimpse, TrackView};
use protocol::Timestamp;
use std::time::Duration;

pub(super) struct Track {
    number: u64,
    label: Label,
    /// Was its start reported?
    pub confirmed: bool,
    pub hits: u32,
    /// Judged frames in a row without it.
    pub misses: u32,
    /// Judged time without it.
    pub unseen: Duration,
    pub last_seen: Timestamp,
    /// When a model last looked at its place, or the lack of motion there spoke for it.
    pub judged: Timestamp,
    pub path: Path,
    pub rest: Rest,
    begin: Timestamp,
    first: Glimpse,
    score: f32,
    seen: [f32; 4],
    best: Glimpse,
}

impl Track {
    pub(super) fn new(number: u64, at: Timestamp, sighting: &Sighting) -> Self {
        let first = Glimpse { score: sighting.score, area: sighting.fractions };
        Self {
            number,
            label: Label::new(sighting.label, sighting.score),
            confirmed: false,
            hits: 1,
            misses: 0,
            unseen: Duration::ZERO,
            last_seen: at,
            judged: at,
            path: Path::new(sighting.area),
            rest: Rest::new(at, sighting.area),
            begin: at,
            first,
            score: first.score,
            seen: first.area,
            best: first,
        }
    }

    pub(super) fn label(&self) -> &str {
        self.label.current()
    }

    pub(super) fn see(&mut self, at: Timestamp, sighting: &Sighting) {
        self.path.observe(sighting.area, at.since(self.last_seen));
        self.rest.observe(at, sighting.area);
        self.label.vote(sighting.label, sighting.score);
        self.hits = self.hits.saturating_add(1);
        (self.misses, self.unseen, self.last_seen) = (0, Duration::ZERO, at);
        (self.judged, self.score, self.seen) = (at, sighting.score, sighting.fractions);
        if sighting.score > self.best.score {
            self.best = Glimpse { score: sighting.score, area: sighting.fractions };
        }
    }

    /// Nothing moved at its place: it is still there.
    pub(super) fn vouch(&mut self, at: Timestamp) {
        (self.last_seen, self.judged) = (at, at);
    }

    /// It stands, was found when a model last looked for it, and nothing has moved at it since.
    pub(super) fn rests(&self, after: Duration) -> bool {
        self.misses == 0 && !self.rest.disturbed && self.rest.lasts(self.last_seen) >= after
    }

    pub(super) fn view(&self) -> TrackView {
        TrackView {
            track: self.number,
            label: self.label.current().to_owned(),
            hits: self.hits,
            score: self.score,
            seen: self.seen,
            top_score: self.best.score,
            area: self.best.area,
            first: self.first,
            begin: self.begin,
            last_seen: self.last_seen,
        }
    }
}

/// Whether a thing stands still.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    anchor: Area,
    since: Timestamp,
    /// When a model last looked at its place.
    pub looked: Timestamp,
    /// Something has moved at it since then.
    pub disturbed: bool,
}

/// A box that overlaps the anchor less has moved. Boxes of what stands jitter by a tenth of their sides, which is 0.8.
const MOVED_IOU_MAX: f32 = 0.6;

impl Rest {
    fn new(at: Timestamp, seen: Area) -> Self {
        Self { anchor: seen, since: at, looked: at, disturbed: false }
    }

    fn observe(&mut self, at: Timestamp, seen: Area) {
        (self.looked, self.disturbed) = (at, false);
        if self.anchor.iou(seen) < MOVED_IOU_MAX {
            (self.anchor, self.since) = (seen, at);
        }
    }

    fn lasts(&self, until: Timestamp) -> Duration {
        until.since(self.since)
    }
}

/// Where a thing goes: an alpha-beta filter on its centre.
///
/// That is SORT's Kalman filter for constant velocity once its gains have settled, and it takes frames at
/// uneven intervals. The size is taken as last seen: people at the picture's edge change theirs in jumps.
#[derive(Debug, Clone)]
pub(super) struct Path {
    seen: Area,
    /// Its size when more of it was to be seen, not long ago.
    size: f32,
    centre: [f32; 2],
    /// Frame heights a second; `None` until it was seen twice.
    speed: Option<[f32; 2]>,
}

/// Kalata's pair (1984): beta = 2(2 - alpha) - 4 sqrt(1 - alpha). Detectors are exact to a few pixels, so
/// the new observation counts for much.
const ALPHA: f32 = 0.75;
const BETA: f32 = 0.5;

/// A thing out of sight is expected to go on for so long, and then to stand: most do not leave in a line.
const COAST_S_MAX: f32 = 1.0;

/// Who walked steadily into what hides him comes out at its other side; who walks out of the picture is gone for good.
/// For no longer than this: it is what a pillar or a van hides, and `lost_after`'s default.
const HIDDEN_S_MAX: f32 = 2.5;

/// In so long the memory of a larger size halves.
const SIZE_HALVES_S: f32 = 2.0;

/// Two frames with the same time would give an endless speed.
const INTERVAL_S_MIN: f32 = 0.02;

impl Path {
    fn new(seen: Area) -> Self {
        Self { seen, size: seen.size(), centre: seen.centre(), speed: None }
    }

    /// Where it was really seen last.
    pub(super) fn seen(&self) -> Area {
        self.seen
    }

    pub(super) fn size(&self) -> f32 {
        self.size
    }

    pub(super) fn predict(&self, after: Duration) -> Area {
        self.seen.moved_to(self.predict_centre(after.as_secs_f32().min(COAST_S_MAX)))
    }

    /// If it did not stand after [`COAST_S_MAX`].
    pub(super) fn predict_far(&self, after: Duration) -> Area {
        self.seen.moved_to(self.predict_centre(after.as_secs_f32().min(HIDDEN_S_MAX)))
    }

    fn predict_centre(&self, after_s: f32) -> [f32; 2] {
        let [vx, vy] = self.speed.unwrap_or_default();
        [self.centre[0] + vx * after_s, self.centre[1] + vy * after_s]
    }

    fn observe(&mut self, seen: Area, after: Duration) {
        let after_s = after.as_secs_f32().max(INTERVAL_S_MIN);
        let (was, is) = (self.predict_centre(after_s.min(COAST_S_MAX)), seen.centre());
        let off = [is[0] - was[0], is[1] - was[1]];
        match self.speed {
            None => {
                self.centre = is;
                self.speed = Some([off[0] / after_s, off[1] / after_s]);
            }
            Some([vx, vy]) => {
                self.centre = [was[0] + ALPHA * off[0], was[1] + ALPHA * off[1]];
                let gain = BETA / after_s;
                self.speed = Some([vx + gain * off[0], vy + gain * off[1]]);
            }
        }
        self.size = seen.size().max(self.size * (-after_s / SIZE_HALVES_S).exp2());
        self.seen = seen;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square_at(x: f32) -> Area {
        Area { x0: x, y0: 0.4, x1: x + 0.1, y1: 0.5 }
    }

    #[test]
    fn a_steady_walker_is_predicted_within_a_tenth_of_its_step() {
        let interval = Duration::from_millis(200);
        let mut path = Path::new(square_at(0.0));
        for step in 1..8 {
            path.observe(square_at(0.05 * step as f32), interval);
        }
        let [x, _] = path.predict(interval).centre();
        assert!((x - (0.05 * 8.0 + 0.05)).abs() < 0.005, "predicted {x}");
    }

    #[test]
    fn a_thing_out_of_sight_goes_on_for_a_second_and_stands() {
        let mut path = Path::new(square_at(0.0));
        path.observe(square_at(0.1), Duration::from_millis(200));
        let [x, _] = path.predict(Duration::from_secs(60)).centre();
        assert!((x - 0.65).abs() < 0.001, "coasted to {x}");
    }

    #[test]
    fn two_frames_at_one_time_give_no_endless_speed() {
        let mut path = Path::new(square_at(0.0));
        path.observe(square_at(0.1), Duration::ZERO);
        path.observe(square_at(0.2), Duration::ZERO);
        assert!(path.predict(Duration::from_secs(1)).x0.is_finite());
    }
}
