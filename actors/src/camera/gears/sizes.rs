//! Sizes: what the encoded pictures' sizes say of what they show, without decoding one. Pure.
//!
//!   sizes of delta frames ──▶ means of the last 3 and 16, as logarithms ──▶ farther from the usual than noise ──▶ unusual
//!                                                 ▲
//!                      [the last 512 of a quiet scene: median, 1st and 99th percentile]
//!
//! An encoder spends bytes on what it could not foretell: on a clean picture, something that moves makes frames many times
//! larger. Where noise takes most bytes the series is so steady that a few percent tell, in either direction. Where the
//! encoder fills a fixed rate, sizes say nothing: then key frames are what wakes a camera.

use std::collections::VecDeque;
use std::time::Duration;

/// Frames whose mean is compared: few for what comes suddenly, which has to be as much larger as is set; and about a
/// second's for what is small, which one picture alone hardly moves.
const SPANS: [usize; 2] = [3, SPAN_MAX];
const SPAN_MAX: usize = 16;

/// Frames behind a key frame that are skipped: they mend what it left, and are larger or smaller than others.
const AFTER_KEY: u32 = 3;

/// Means that are remembered: of 34 s at fifteen frames a second, so of several groups of pictures with their rhythms.
const REMEMBERED: usize = 512;

/// Means that wait until it is known whether something moved: what moves first is judged after its size is told.
const DOUBTED: usize = 20;

/// Means that have to be known before anything is said.
const LEARNT_FROM: usize = 48;

/// What is usual is found anew after so many means.
const FIND_EVERY: u32 = 16;

/// As much is added to each size: of a picture in which nothing at all changes a handful of bytes is left, and twice that
/// is still nothing.
const BASE_BYTES: f32 = 256.0;

/// Of the longer span, less than a tenth more or less is never unusual.
const DEVIATION_MIN: f32 = 0.10;

/// Of the distance between the median and the 1st or 99th percentile: about six standard deviations.
const SPREADS: f32 = 2.5;

/// Of so many means the percentiles are worth half: what is seldom has hardly been seen.
const HALF_KNOWN: f32 = 48.0;

/// A false alarm has to be outdone by so much, and half of that is forgotten in so long: in twice the time after each
/// further one, up to a limit. What comes too small for it still wakes the camera by a key frame.
const FALSE_ALARM_FACTOR: f32 = 1.2;
const FALSE_ALARM_HALVES: Duration = Duration::from_secs(600);
const FALSE_ALARM_HALVES_MAX: Duration = Duration::from_secs(4 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Not enough is known yet, or this one is not compared.
    Nothing,
    Usual,
    Unusual,
}

pub(super) struct Sizes {
    /// Logarithm of the ratio above which a rise is unusual, if it is farther than noise goes.
    rise: f32,
    /// The newest sizes, `SPAN_MAX` of them.
    recent: [f32; SPAN_MAX],
    seen: usize,
    since_key: u32,
    usual: [Usual; SPANS.len()],
    /// What the last picture's means were, if they can be compared.
    means: [Option<f32>; SPANS.len()],
    /// How far off the last unusual one was.
    alarm: f32,
    /// How far off those were that turned out to be nothing, and when that was known.
    taught: (f32, Duration),
    /// In which time half of that is forgotten.
    halves: Duration,
}

impl Sizes {
    pub(super) fn new(ratio: f32) -> Self {
        Self {
            rise: ratio.max(1.0 + DEVIATION_MIN).ln(),
            recent: [0.0; SPAN_MAX],
            seen: 0,
            since_key: 0,
            usual: Default::default(),
            means: [None; SPANS.len()],
            alarm: 0.0,
            taught: (0.0, Duration::ZERO),
            halves: FALSE_ALARM_HALVES / 2,
        }
    }

    /// Another stream: nothing is known of it.
    pub(super) fn forget(&mut self) {
        (self.seen, self.since_key, self.means) = (0, 0, [None; SPANS.len()]);
        self.usual = Default::default();
        (self.taught, self.halves) = ((0.0, Duration::ZERO), FALSE_ALARM_HALVES / 2);
    }

    pub(super) fn learnt(&self) -> bool {
        self.usual.iter().all(Usual::learnt)
    }

    /// Of the next picture in decoding order.
    pub(super) fn see(&mut self, at: Duration, key: bool, bytes: u32) -> Said {
        self.means = [None; SPANS.len()];
        if key {
            self.since_key = 0;
            return Said::Nothing;
        }
        self.since_key = self.since_key.saturating_add(1);
        if self.since_key <= AFTER_KEY {
            return Said::Nothing;
        }
        self.recent.rotate_left(1);
        self.recent[SPAN_MAX - 1] = bytes as f32;
        self.seen = self.seen.saturating_add(1);
        if self.seen < SPAN_MAX {
            return Said::Nothing;
        }
        let [short, long] = SPANS.map(|span| mean(&self.recent[SPAN_MAX - span..]));
        // Pictures of a rhythm, as P among B is one, are compared with as many of each: none are missing in between.
        let whole = self.since_key >= AFTER_KEY + SPANS[0] as u32;
        self.means = [whole.then_some(short), Some(long)];
        if !self.learnt() {
            return Said::Nothing;
        }
        let tolerated = self.tolerated(at);
        let tolerated = [self.rise.max(tolerated), tolerated];
        let off = |((usual, mean), tolerated): ((&Usual, Option<f32>), f32)| usual.excess(mean?, self.rise, tolerated);
        let off = self.usual.iter().zip(self.means).zip(tolerated).filter_map(off).fold(0.0, f32::max);
        if off == 0.0 {
            return Said::Usual;
        }
        self.alarm = off;
        Said::Unusual
    }

    /// Something moved, lately or a moment ago.
    pub(super) fn moved(&mut self) {
        self.usual.iter_mut().for_each(|usual| usual.doubted.clear());
    }

    /// The picture seen last is not known to show anything that moved.
    pub(super) fn learn(&mut self) {
        for (usual, mean) in self.usual.iter_mut().zip(self.means) {
            mean.into_iter().for_each(|mean| usual.learn(mean));
        }
    }

    /// Nothing was to be seen after the last alarm.
    pub(super) fn was_false(&mut self, at: Duration) {
        self.taught = (self.tolerated(at).max(self.alarm * FALSE_ALARM_FACTOR), at);
        self.halves = (self.halves * 2).min(FALSE_ALARM_HALVES_MAX);
    }

    fn tolerated(&self, at: Duration) -> f32 {
        let (off, since) = self.taught;
        let halves = at.saturating_sub(since).as_secs_f32() / self.halves.as_secs_f32();
        (off * (-halves).exp2()).max(DEVIATION_MIN)
    }
}

fn mean(sizes: &[f32]) -> f32 {
    (sizes.iter().sum::<f32>() / sizes.len() as f32 + BASE_BYTES).ln()
}

/// The means of a quiet scene.
#[derive(Default)]
struct Usual {
    /// The newest, which may be of something that moved.
    doubted: VecDeque<f32>,
    /// `REMEMBERED` before them, the oldest of which is replaced first.
    means: Vec<f32>,
    at: usize,
    until_found: u32,
    /// 1st percentile, median, 99th percentile.
    quantiles: Option<[f32; 3]>,
}

impl Usual {
    fn learnt(&self) -> bool {
        self.quantiles.is_some()
    }

    fn learn(&mut self, mean: f32) {
        self.doubted.push_back(mean);
        if self.doubted.len() <= DOUBTED {
            return;
        }
        let Some(mean) = self.doubted.pop_front() else { return };
        if self.means.len() < REMEMBERED {
            self.means.push(mean);
        } else {
            self.means[self.at] = mean;
            self.at = (self.at + 1) % REMEMBERED;
        }
        self.until_found = self.until_found.saturating_sub(1);
        if self.means.len() >= LEARNT_FROM && self.until_found == 0 {
            let mut sorted = self.means.clone();
            sorted.sort_unstable_by(f32::total_cmp);
            self.quantiles = Some([1, 50, 99].map(|percent| sorted[sorted.len() * percent / 100]));
            self.until_found = FIND_EVERY;
        }
    }

    /// How far a mean is off, if that is farther than is usual, and than is tolerated.
    fn excess(&self, mean: f32, rise: f32, tolerated: f32) -> Option<f32> {
        let [low, median, high] = self.quantiles?;
        let off = mean - median;
        let spreads = SPREADS * (1.0 + HALF_KNOWN / self.means.len() as f32);
        let limit = if off > 0.0 {
            (spreads * (high - median)).max(tolerated.min(rise))
        } else {
            (spreads * (median - low)).max(tolerated)
        };
        (off.abs() > limit).then_some(off.abs())
    }
}
