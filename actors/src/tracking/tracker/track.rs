//! One followed thing: what is known about it, and where it should be next.

use super::TrackView;
use super::area::Area;
use super::matching::Sighting;
use protocol::Timestamp;
use std::time::Duration;

pub(super) struct Track {
    number: u64,
    pub label: String,
    /// Was its start reported?
    pub confirmed: bool,
    pub hits: u32,
    /// Judged frames in a row without it.
    pub misses: u32,
    /// Judged time without it.
    pub unseen: Duration,
    pub last_seen: Timestamp,
    pub path: Path,
    begin: Timestamp,
    score: f32,
    area: [f32; 4],
}

impl Track {
    pub(super) fn new(number: u64, at: Timestamp, sighting: &Sighting) -> Self {
        Self {
            number,
            label: sighting.label.to_owned(),
            confirmed: false,
            hits: 1,
            misses: 0,
            unseen: Duration::ZERO,
            last_seen: at,
            path: Path::new(sighting.area),
            begin: at,
            score: sighting.score,
            area: sighting.fractions,
        }
    }

    pub(super) fn see(&mut self, at: Timestamp, sighting: &Sighting) {
        self.path.observe(sighting.area, at.since(self.last_seen));
        self.hits = self.hits.saturating_add(1);
        (self.misses, self.unseen, self.last_seen) = (0, Duration::ZERO, at);
        if sighting.score > self.score {
            (self.score, self.area) = (sighting.score, sighting.fractions);
        }
    }

    pub(super) fn view(&self) -> TrackView {
        TrackView {
            track: self.number,
            label: self.label.clone(),
            score: self.score,
            area: self.area,
            begin: self.begin,
            last_seen: self.last_seen,
        }
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
        self.seen.moved_to(self.predict_centre(after.as_secs_f32()))
    }

    fn predict_centre(&self, after_s: f32) -> [f32; 2] {
        let [vx, vy] = self.speed.unwrap_or_default();
        let after_s = after_s.min(COAST_S_MAX);
        [self.centre[0] + vx * after_s, self.centre[1] + vy * after_s]
    }

    fn observe(&mut self, seen: Area, after: Duration) {
        let after_s = after.as_secs_f32().max(INTERVAL_S_MIN);
        let (was, is) = (self.predict_centre(after_s), seen.centre());
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
