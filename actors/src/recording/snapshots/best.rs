//! The best frame of each track, while it lasts. Pure.
//!
//! Best is where score times surface is most; where the picture's edge cuts the box, a quarter of that. A frame that is
//! hardly better does not take the place of an older one.

use crate::tracking::geometry::surface;
use protocol::camera::Frame;
use std::collections::HashMap;
use std::sync::Arc;

/// Tracks of one camera whose best frame is kept, at 0.8 MB a frame of 960x540; tracks in one frame share it. When full,
/// one whose frame is written already goes without until it has a better one; if there is none, a new one is not
/// kept, and has no snapshot.
pub const FRAMES_MAX: usize = 16;

/// What a box is worth that the picture's edge cuts, and how near to the edge it is taken for cut.
const CUT_FACTOR: f32 = 0.25;
const EDGE: f32 = 0.01;

/// A new best has to be so many times better.
const BETTER_RATIO: f32 = 1.1;

/// Nothing of worth has a box smaller than this.
const WORTH_MIN: f32 = 1e-9;

#[derive(Default)]
pub struct Best {
    kept: HashMap<u64, Kept>,
    /// What the best of a track was worth whose frame had to go.
    gone: HashMap<u64, f32>,
}

struct Kept {
    frame: Arc<Frame>,
    area: [f32; 4],
    worth: f32,
    written: bool,
}

impl Best {
    /// This track was found in this frame.
    pub fn offer(&mut self, track: u64, frame: &Arc<Frame>, area: [f32; 4], score: f32) {
        let worth = worth(area, score);
        let before = self.kept.get(&track).map(|kept| kept.worth).or_else(|| self.gone.get(&track).copied());
        if worth < WORTH_MIN || before.is_some_and(|before| worth <= before * BETTER_RATIO) {
            return;
        }
        if !self.kept.contains_key(&track) && self.kept.len() >= FRAMES_MAX && !self.make_room() {
            return;
        }
        self.gone.remove(&track);
        self.kept.insert(track, Kept { frame: frame.clone(), area, worth, written: false });
    }

    /// What is to be written of a track, if it is not yet.
    pub fn take(&mut self, track: u64) -> Option<(Arc<Frame>, [f32; 4])> {
        let kept = self.kept.get_mut(&track).filter(|kept| !kept.written)?;
        kept.written = true;
        Some((kept.frame.clone(), kept.area))
    }

    pub fn forget(&mut self, track: u64) {
        self.kept.remove(&track);
        self.gone.remove(&track);
    }

    fn make_room(&mut self) -> bool {
        let written = self.kept.iter().find(|(_, kept)| kept.written).map(|(track, kept)| (*track, kept.worth));
        let Some((track, worth)) = written else { return false };
        self.kept.remove(&track);
        self.gone.insert(track, worth);
        true
    }
}

fn worth(area: [f32; 4], score: f32) -> f32 {
    let [x0, y0, x1, y1] = area;
    let cut = x0 < EDGE || y0 < EDGE || x1 > 1.0 - EDGE || y1 > 1.0 - EDGE;
    score * surface(area) * if cut { CUT_FACTOR } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::super::picture::tests::frame;
    use super::*;

    const SMALL: [f32; 4] = [0.4, 0.4, 0.5, 0.5];
    const LARGE: [f32; 4] = [0.4, 0.4, 0.6, 0.6];

    fn offer(best: &mut Best, track: u64, index: u64, area: [f32; 4], score: f32) {
        let frame = Frame { index, ..frame(2, 2, |_, _| 0, [0, 0]) };
        best.offer(track, &Arc::new(frame), area, score);
    }

    /// Which of these boxes with scores is the best, counted from 0.
    #[track_caller]
    fn check(offers: &[([f32; 4], f32)], expected: Option<u64>) {
        let mut best = Best::default();
        for (index, (area, score)) in (0..).zip(offers) {
            offer(&mut best, 1, index, *area, *score);
        }
        assert_eq!(best.take(1).map(|(frame, _)| frame.index), expected);
        assert_eq!(best.take(1).map(|(frame, _)| frame.index), None, "it is written once");
    }

    #[test]
    fn the_largest_with_a_good_score_is_best() {
        check(&[(SMALL, 0.9), (LARGE, 0.8), (SMALL, 0.95)], Some(1));
        check(&[(SMALL, 0.5), (SMALL, 0.9)], Some(1));
        check(&[(SMALL, 0.9), (SMALL, 0.91)], Some(0));
        check(&[([0.5, 0.5, 0.5, 0.9], 0.9), ([f32::NAN; 4], 0.9)], None);
    }

    #[test]
    fn what_the_edge_cuts_is_not_best() {
        check(&[(SMALL, 0.9), ([0.0, 0.4, 0.15, 0.6], 0.9)], Some(0));
        check(&[([0.0, 0.4, 0.2, 0.6], 0.9)], Some(0));
    }

    #[test]
    fn a_better_frame_is_written_again() {
        let mut best = Best::default();
        offer(&mut best, 1, 1, SMALL, 0.9);
        assert!(best.take(1).is_some());
        offer(&mut best, 1, 2, LARGE, 0.9);
        assert_eq!(best.take(1).map(|(frame, area)| (frame.index, area)), Some((2, LARGE)));
    }

    #[test]
    fn with_too_many_tracks_those_that_are_written_make_room() {
        let mut best = Best::default();
        for track in 0..FRAMES_MAX as u64 {
            offer(&mut best, track, track, SMALL, 0.9);
        }
        offer(&mut best, 99, 99, SMALL, 0.9);
        assert!(best.take(99).is_none(), "all others are still to be written");
        assert!(best.take(3).is_some());
        offer(&mut best, 99, 99, SMALL, 0.9);
        assert!(best.take(99).is_some());
        // What is no better than what was written is not written again.
        offer(&mut best, 3, 100, SMALL, 0.9);
        assert!(best.take(3).is_none());
        offer(&mut best, 3, 101, LARGE, 0.9);
        assert!(best.take(3).is_some());
        assert_eq!(best.kept.len(), FRAMES_MAX);
    }
}
