//! The throttle: at most so many frames a second, on a grid of presentation times.
//!
//! A grid, because counting from the last frame let through would round every step up to whole source
//! frames. The tolerance is half a source frame: with less, jitter costs up to a third of the frames.

/// Frames let through come on average no faster than one a step.
#[derive(Debug, Clone)]
pub struct Grid {
    /// 0 lets every frame through.
    step_us: i64,
    next_us: Option<i64>,
    last_us: i64,
    /// Time between two frames of the source, smoothed.
    frame_us: Option<i64>,
}

impl Grid {
    pub fn new(frames_per_s: f32) -> Self {
        let step_us = if frames_per_s > 0.0 { (1e6 / f64::from(frames_per_s)).round() as i64 } else { 0 };
        Self::every_us(step_us)
    }

    /// At most one frame in so many microseconds.
    pub fn every_us(step_us: i64) -> Self {
        Self { step_us, next_us: None, last_us: 0, frame_us: None }
    }

    /// Whether the frame with this presentation time is let through.
    pub fn admits(&mut self, pts_us: i64) -> bool {
        if self.step_us == 0 {
            return true;
        }
        let Some(next_us) = self.next_us else { return self.start(pts_us) };
        let passed_us = pts_us - self.last_us;
        self.last_us = pts_us;
        // Times that run backwards, or over a gap, are of another stretch of the stream. So is each frame of a source that
        // is far slower than the grid, such as key frames alone.
        if passed_us <= 0 || passed_us > 2 * self.step_us {
            return self.start(pts_us);
        }
        let frame_us = self.frame_us.map_or(passed_us, |frame_us| (7 * frame_us + passed_us) / 8);
        self.frame_us = Some(frame_us);
        let tolerance_us = frame_us.min(self.step_us) / 2;
        if pts_us + tolerance_us < next_us {
            return false;
        }
        // A source slower than the grid must not save up steps for a burst.
        self.next_us = Some((next_us + self.step_us).max(pts_us - tolerance_us + self.step_us / 2));
        true
    }

    fn start(&mut self, pts_us: i64) -> bool {
        self.last_us = pts_us;
        self.frame_us = None;
        self.next_us = Some(pts_us + self.step_us);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Frames let through in ten seconds of a source whose frames come up to `jitter` frames late.
    fn passed(source_fps: f64, frames_per_s: f32, jitter: &[f64]) -> usize {
        let mut grid = Grid::new(frames_per_s);
        let frame_us = 1e6 / source_fps;
        let count = (10.0 * source_fps) as usize;
        let late = |i: usize| jitter.get(i % jitter.len().max(1)).copied().unwrap_or(0.0);
        (0..count).filter(|&i| grid.admits(((i as f64 + late(i)) * frame_us) as i64)).count()
    }

    #[test]
    fn a_steady_source_is_thinned_to_the_rate_asked_for() {
        for (source, asked) in [(15.0, 5.0), (30.0, 5.0), (25.0, 5.0), (10.0, 3.0), (30.0, 7.0)] {
            let frames = passed(source, asked, &[]);
            let wanted = f64::from(asked) * 10.0;
            assert!((frames as f64 - wanted).abs() <= 2.0, "{source} fps asked {asked}: {frames} frames in 10 s");
        }
    }

    #[test]
    fn zero_lets_every_frame_through() {
        assert_eq!(passed(30.0, 0.0, &[]), 300);
    }

    #[test]
    fn a_source_slower_than_asked_for_loses_nothing() {
        assert_eq!(passed(10.0, 15.0, &[]), 100);
        assert_eq!(passed(10.0, 10.0, &[]), 100);
    }

    #[test]
    fn after_key_frames_alone_the_grid_begins_at_the_last_of_them() {
        let mut grid = Grid::new(5.0);
        assert!([0, 1_000_000, 2_000_000].into_iter().all(|key_us| grid.admits(key_us)));
        let passed: Vec<_> = (1..10).filter(|i| grid.admits(2_000_000 + i * 66_667)).collect();
        assert_eq!(passed, [3, 6, 9]);
    }

    #[test]
    fn times_that_start_again_do_not_stop_the_frames() {
        let mut grid = Grid::new(5.0);
        assert!(grid.admits(90_000_000));
        assert!(grid.admits(0));
        assert!(!grid.admits(10_000));
        assert!(grid.admits(200_000));
    }

    proptest! {
        #[test]
        fn jitter_of_a_third_of_a_frame_costs_no_frame_at_the_source_s_own_rate(
            jitter in prop::collection::vec(0.0..0.33, 1..40), fps in 2.0..30.0f64,
        ) {
            let frames = passed(fps, fps as f32, &jitter);
            prop_assert!(frames + 2 >= (10.0 * fps) as usize, "{frames} of {}", 10.0 * fps);
        }

        #[test]
        fn no_jitter_makes_more_frames_than_asked_for(
            jitter in prop::collection::vec(0.0..0.9, 1..40), fps in 2.0..60.0f64, asked in 1.0..30.0f32,
        ) {
            let frames = passed(fps, asked, &jitter);
            prop_assert!(frames as f64 <= f64::from(asked) * 10.0 + 2.0, "{frames} frames at {asked}/s");
        }
    }
}
