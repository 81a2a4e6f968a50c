//! The schedule of the scene `squares`: who is in view when, and where.
//!
//!   lane 0  ──▶ ■──────────▶        ◀──────■ ◀──
//!   lane 1        ◀───■ ◀──    ──▶ ■ turns ◀─┘
//!
//! Every square keeps to its lane, so two never meet. A visit is one track: it comes in over an edge, and
//! leaves over one. Short visits turn round instead of crossing, so that no square is too fast to follow.

use serde::Serialize;
use std::str::FromStr;
use std::time::Duration;

/// A square's side in pixels where the picture is 640 wide; scales with the picture.
const SIDE_PX_AT_640: f64 = 64.0;

/// Picture widths a second. At 5 frames a second a square then moves less than a third of its side.
const SPEED_WIDTHS_MAX: f64 = 0.15;

/// A square shorter in view would never show whole.
pub const LIFETIME_S_MIN: f64 = 1.5;

/// Between two visits of a lane, so that a tracker takes the second for a new one.
pub const PAUSE_S_MIN: f64 = 2.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size; use an even width and height, like 640x360");
        let (width, height) = text.split_once('x').ok_or_else(wrong)?;
        let side = |text: &str| text.parse().ok().filter(|px: &u32| (32..=3840).contains(px) && px.is_multiple_of(2));
        Ok(Self { width: side(width).ok_or_else(wrong)?, height: side(height).ok_or_else(wrong)? })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    Red,
    Green,
    Blue,
}

impl Colour {
    const ALL: [Colour; 3] = [Colour::Red, Colour::Green, Colour::Blue];

    /// Each is brighter than the background, so that motion shows in the luma alone.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [220, 30, 30],
            Self::Green => [30, 220, 30],
            Self::Blue => [40, 60, 230],
        }
    }
}

/// One square from the moment its first pixel shows to the moment its last is gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Visit {
    pub object: u32,
    pub colour: Colour,
    pub begin: Duration,
    pub end: Duration,
    lane: u32,
    from_left: bool,
    /// Leaves over the edge it came in by.
    turns: bool,
}

/// A visit as the `ready` line tells it, in time since the first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VisitLine {
    pub object: u32,
    pub colour: Colour,
    pub begin_us: u64,
    pub end_us: u64,
}

/// A square in a picture; `x` is its left side and may lie outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Square {
    pub colour: Colour,
    pub x: i64,
    pub y: i64,
    pub side: i64,
}

/// How a lane's squares come and go, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// In view, on average.
    pub lifetime_s: f64,
    /// Out of view, at least.
    pub pause_s: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    size: Size,
    length: Duration,
    visits: Vec<Visit>,
}

impl Schedule {
    /// The same seed gives the same schedule. Nobody is in view when `length` ends, so it can start again.
    pub fn new(seed: u64, objects: u32, habits: Habits, size: Size, length: Duration) -> Self {
        let mut schedule = Self { size, length, visits: Vec::new() };
        let lanes = schedule.lanes().min(objects.max(1));
        for lane in 0..lanes {
            let mates: Vec<u32> = (lane..objects).step_by(lanes as usize).collect();
            schedule.fill_lane(lane, &mates, habits, &mut Rng::new(seed, u64::from(lane)));
        }
        schedule.visits.sort_by_key(|visit| visit.begin);
        schedule
    }

    /// One visit after the other, the lane's objects taking turns.
    fn fill_lane(&mut self, lane: u32, mates: &[u32], habits: Habits, rng: &mut Rng) {
        if mates.is_empty() {
            return;
        }
        let lifetime_s = habits.lifetime_s.max(LIFETIME_S_MIN);
        let pause_s = habits.pause_s.max(PAUSE_S_MIN);
        // The first comes soon, so that a short test need not wait.
        let mut begin_s = pause_s - PAUSE_S_MIN + 0.5 + 0.3 * lifetime_s * rng.unit();
        let mut from_left = rng.unit() < 0.5;
        for object in mates.iter().copied().cycle() {
            let stay_s = lifetime_s * (0.7 + 0.6 * rng.unit());
            let end_s = begin_s + stay_s;
            if end_s > self.length.as_secs_f64() {
                return;
            }
            let crossing_px = f64::from(self.size.width) + self.side();
            let turns = stay_s * SPEED_WIDTHS_MAX * f64::from(self.size.width) < crossing_px;
            let colour = Colour::ALL[object as usize % Colour::ALL.len()];
            let (begin, end) = (Duration::from_secs_f64(begin_s), Duration::from_secs_f64(end_s));
            self.visits.push(Visit { object, colour, begin, end, lane, from_left, turns });
            // The next comes in over the other edge than this one left by.
            from_left = if turns { !from_left } else { from_left };
            begin_s = end_s + pause_s + 0.5 * lifetime_s * rng.unit();
        }
    }

    pub fn length(&self) -> Duration {
        self.length
    }

    /// The same visits, drawn larger or smaller.
    pub fn at_size(&self, size: Size) -> Self {
        Self { size, ..self.clone() }
    }

    pub fn visits(&self) -> &[Visit] {
        &self.visits
    }

    pub fn lines(&self) -> Vec<VisitLine> {
        let us = |at: Duration| u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let line =
            |v: &Visit| VisitLine { object: v.object, colour: v.colour, begin_us: us(v.begin), end_us: us(v.end) };
        self.visits.iter().map(line).collect()
    }

    /// What is to be drawn at `at` since the schedule's start.
    pub fn squares_at(&self, at: Duration) -> Vec<Square> {
        self.visits.iter().filter(|v| v.begin <= at && at < v.end).map(|v| self.square(v, at)).collect()
    }

    fn square(&self, visit: &Visit, at: Duration) -> Square {
        let (side, width) = (self.side(), f64::from(self.size.width));
        let gone = (at - visit.begin).as_secs_f64();
        let stay = (visit.end - visit.begin).as_secs_f64();
        let inward_px = if visit.turns {
            let speed = SPEED_WIDTHS_MAX * width;
            speed * gone.min(stay - gone)
        } else {
            (width + side) * gone / stay
        };
        let x = if visit.from_left { inward_px - side } else { width - inward_px };
        let lane_px = f64::from(self.size.height) / f64::from(self.lanes());
        let y = (f64::from(visit.lane) + 0.5) * lane_px - side / 2.0;
        Square { colour: visit.colour, x: x.round() as i64, y: y.round() as i64, side: side as i64 }
    }

    fn side(&self) -> f64 {
        (SIDE_PX_AT_640 * f64::from(self.size.width) / 640.0).round().max(2.0)
    }

    fn lanes(&self) -> u32 {
        ((f64::from(self.size.height) / (self.side() * 1.1)) as u32).max(1)
    }
}

/// SplitMix64: small, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_mul(0xA24B_AED4_963E_E407))
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to, but not, 1.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 640, height: 360 };

    fn schedule(seed: u64, objects: u32, lifetime_s: f64) -> Schedule {
        Schedule::new(seed, objects, Habits { lifetime_s, pause_s: PAUSE_S_MIN }, SIZE, Duration::from_secs(60))
    }

    fn every_frame() -> impl Iterator<Item = Duration> {
        (0..600).map(|i| Duration::from_millis(i * 100))
    }

    #[test]
    fn the_same_seed_gives_the_same_visits_and_another_gives_others() {
        assert_eq!(schedule(7, 4, 8.0), schedule(7, 4, 8.0));
        assert_ne!(schedule(7, 4, 8.0), schedule(8, 4, 8.0));
    }

    #[test]
    fn two_squares_never_touch() {
        for seed in 0..20 {
            let schedule = schedule(seed, 7, 3.0);
            for at in every_frame() {
                let squares = schedule.squares_at(at);
                for (i, a) in squares.iter().enumerate() {
                    for b in &squares[i + 1..] {
                        let apart = (a.y - b.y).abs() >= a.side || (a.x - b.x).abs() >= a.side;
                        assert!(apart, "seed {seed} at {at:?}: {a:?} touches {b:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_square_is_slow_enough_to_follow_at_five_frames_a_second() {
        let schedule = schedule(1, 5, 2.0);
        for visit in schedule.visits() {
            let mut at = visit.begin;
            while at + Duration::from_millis(200) < visit.end {
                let step = schedule.square(visit, at + Duration::from_millis(200)).x - schedule.square(visit, at).x;
                assert!(step.abs() <= 21, "{visit:?} jumps {step} px");
                at += Duration::from_millis(200);
            }
        }
    }

    #[test]
    fn short_lives_make_more_visits_and_nobody_is_left_at_the_end() {
        let (short, long) = (schedule(3, 3, 2.0), schedule(3, 3, 15.0));
        assert!(short.visits().len() > 2 * long.visits().len());
        assert!(short.visits().iter().all(|visit| visit.end <= short.length()));
        assert!(long.visits().iter().any(|visit| !visit.turns), "a long visit crosses the picture");
    }

    #[test]
    fn a_square_comes_from_outside_and_goes_outside() {
        let schedule = schedule(5, 3, 9.0);
        for visit in schedule.visits() {
            for at in [visit.begin, visit.end] {
                let square = schedule.square(visit, at);
                assert!(
                    square.x <= -square.side + 1 || square.x >= 639,
                    "{visit:?} is in view at its edge: {square:?}"
                );
            }
        }
    }
}
