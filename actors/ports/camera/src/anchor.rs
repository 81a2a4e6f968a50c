//! When a frame was captured: its presentation time, anchored to the wall clock.
//!
//!   arrival ─┐   a frame cannot arrive before it was captured, only later:
//!   pts ─────┴▶  the frame that came quickest is the best anchor for all
//!
//! Never later than the arrival. Wall clocks may jump; the anchor then follows.

/// A lag beyond this is no jitter: the camera's clock runs slower than ours, or one of them jumped.
const DRIFT_US_MAX: i64 = 500_000;

#[derive(Debug, Clone, Default)]
pub struct Anchor {
    /// Wall clock minus presentation time, of the frame that came quickest.
    offset_us: Option<i64>,
}

impl Anchor {
    /// A frame with this time came out of the socket, by the wall clock.
    pub fn arrived(&mut self, pts_us: i64, arrival_us: i64) {
        let offset_us = arrival_us - pts_us;
        let anchored = match self.offset_us {
            Some(old_us) if offset_us - old_us <= DRIFT_US_MAX => old_us.min(offset_us),
            _ => offset_us,
        };
        self.offset_us = Some(anchored);
    }

    /// When a frame with this time was captured; now at the latest.
    pub fn captured(&self, pts_us: i64, now_us: i64) -> i64 {
        self.offset_us.map_or(now_us, |offset_us| now_us.min(pts_us + offset_us))
    }

    /// The same for a source whose time is its own, such as a file that is read faster than it was filmed.
    pub fn told(&self, pts_us: i64, now_us: i64) -> i64 {
        self.offset_us.map_or(now_us, |offset_us| pts_us + offset_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A wall clock in 2026.
    const START_US: i64 = 1_795_000_000_000_000;

    /// Arrives, and is asked for at once.
    fn check(anchor: &mut Anchor, pts_us: i64, arrival_us: i64, captured_us: i64) {
        anchor.arrived(pts_us, arrival_us);
        assert_eq!(anchor.captured(pts_us, arrival_us) - START_US, captured_us - START_US);
    }

    #[test]
    fn the_first_frame_was_captured_when_it_arrived() {
        check(&mut Anchor::default(), 7_000, START_US, START_US);
    }

    #[test]
    fn a_frame_held_up_on_the_way_keeps_its_place() {
        let mut anchor = Anchor::default();
        check(&mut anchor, 0, START_US, START_US);
        check(&mut anchor, 100_000, START_US + 400_000, START_US + 100_000);
    }

    #[test]
    fn a_slow_start_is_mended_by_the_first_quick_frame() {
        let mut anchor = Anchor::default();
        check(&mut anchor, 0, START_US + 300_000, START_US + 300_000);
        check(&mut anchor, 100_000, START_US + 310_000, START_US + 310_000);
        check(&mut anchor, 200_000, START_US + 900_000, START_US + 410_000);
    }

    #[test]
    fn a_wall_clock_that_jumps_takes_the_anchor_along() {
        for jump_us in [-60_000_000, 60_000_000] {
            let mut anchor = Anchor::default();
            check(&mut anchor, 0, START_US, START_US);
            let arrival = START_US + 100_000 + jump_us;
            check(&mut anchor, 100_000, arrival, arrival);
        }
    }

    #[test]
    fn a_time_ahead_of_its_arrival_is_cut_without_moving_the_anchor() {
        let mut anchor = Anchor::default();
        // rtspsrc dates a frame that came early into the future, and corrects its own clock slowly.
        anchor.arrived(0, START_US);
        anchor.arrived(100_000, START_US + 100_000);
        assert_eq!(anchor.captured(100_000, START_US + 60_000), START_US + 60_000);
        assert_eq!(anchor.captured(200_000, START_US + 250_000), START_US + 200_000);
    }

    proptest! {
        #[test]
        fn nothing_is_captured_after_it_arrived_and_nothing_goes_backwards(
            delays in prop::collection::vec(0i64..2_000_000, 1..200),
        ) {
            let mut anchor = Anchor::default();
            let (mut arrival, mut last) = (0, i64::MIN);
            for (i, delay) in delays.iter().enumerate() {
                let pts = i as i64 * 100_000;
                // One connection delivers in order.
                arrival = arrival.max(START_US + pts + delay);
                anchor.arrived(pts, arrival);
                let captured = anchor.captured(pts, arrival);
                prop_assert!(captured <= arrival && captured >= last);
                prop_assert!(arrival - captured <= DRIFT_US_MAX);
                last = captured;
            }
        }
    }
}
