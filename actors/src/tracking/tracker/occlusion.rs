//! Who is hidden for two seconds at five frames a second is the same when he comes out.

use super::tests::{HEIGHT, WIDTH, at_ms, person};
use super::*;
use proptest::prelude::*;

const FRAME_MS: i64 = 200;

/// Somebody who walks along a line, 60 pixels wide and 180 high, hidden in some of the frames.
struct Walker {
    /// Of the left edge, in the first frame.
    x: f32,
    speed_px_per_s: f32,
    top: f32,
    hidden: std::ops::Range<i64>,
}

impl Walker {
    fn at(&self, frame: i64) -> [f32; 4] {
        let x = self.x + self.speed_px_per_s * (frame * FRAME_MS) as f32 / 1000.0;
        [x, self.top, x + 60.0, self.top + 180.0]
    }

    fn seen(&self, frame: i64) -> Option<Detection> {
        let [x0, _, x1, _] = self.at(frame);
        let inside = x1 > 20.0 && x0 < WIDTH as f32 - 20.0;
        (inside && !self.hidden.contains(&frame)).then(|| person(0.8, self.at(frame)))
    }
}

/// Each walker is one track, and the same before and after: by its number where its box was.
#[track_caller]
fn check(walkers: &[Walker], frames: i64) {
    let mut tracker = Tracker::new(TrackerSettings::default());
    let mut owners: Vec<Vec<u64>> = vec![Vec::new(); walkers.len()];
    for frame in 0..frames {
        let seen: Vec<Detection> = walkers.iter().filter_map(|walker| walker.seen(frame)).collect();
        for change in tracker.judged(at_ms(frame * FRAME_MS), &seen, (WIDTH, HEIGHT), &[]) {
            let (Change::Started(view) | Change::Updated(view)) = change else { continue };
            for (walker, tracks) in walkers.iter().zip(&mut owners) {
                let [x0, y0, ..] = walker.at(frame);
                let at = [x0.max(0.0) / WIDTH as f32, y0 / HEIGHT as f32];
                let is_this = (view.seen[0] - at[0]).abs() < 1e-3 && (view.seen[1] - at[1]).abs() < 1e-3;
                if is_this && walker.seen(frame).is_some() && tracks.last() != Some(&view.track) {
                    tracks.push(view.track);
                }
            }
        }
    }
    assert!(owners.iter().all(|tracks| tracks.len() == 1), "{owners:?}");
    let all: std::collections::BTreeSet<_> = owners.iter().flatten().collect();
    assert_eq!(all.len(), walkers.len(), "{owners:?}");
}

/// Ten frames at five a second.
const TWO_SECONDS: std::ops::Range<i64> = 8..18;

#[test]
fn a_walker_is_the_same_behind_and_after_a_pillar() {
    for speed_px_per_s in [0.0, 40.0, 100.0, 150.0] {
        check(&[Walker { x: 50.0, speed_px_per_s, top: 100.0, hidden: TWO_SECONDS }], 24);
        check(&[Walker { x: 530.0, speed_px_per_s: -speed_px_per_s, top: 100.0, hidden: TWO_SECONDS }], 24);
    }
}

#[test]
fn a_walker_who_is_hidden_is_not_the_one_who_passes() {
    // The other walks towards him and past the place where he vanished, a step nearer to the camera.
    let hidden = || Walker { x: 50.0, speed_px_per_s: 100.0, top: 100.0, hidden: TWO_SECONDS };
    for (x, speed_px_per_s) in [(560.0, -110.0), (450.0, -100.0), (350.0, -60.0), (20.0, 160.0)] {
        check(&[hidden(), Walker { x, speed_px_per_s, top: 130.0, hidden: 0..0 }], 26);
    }
}

#[test]
fn two_who_cross_behind_a_pillar_come_out_as_who_they_are() {
    let one = Walker { x: 80.0, speed_px_per_s: 100.0, top: 100.0, hidden: 10..20 };
    let other = Walker { x: 500.0, speed_px_per_s: -100.0, top: 105.0, hidden: 10..20 };
    check(&[one, other], 28);
}

proptest! {
    #[test]
    fn a_walker_with_another_in_sight_keeps_its_number(
        x in 0.0..200.0f32,
        speed in 20.0..150.0f32,
        from in 5..12i64,
        other_x in 350.0..600.0f32,
        other_speed in 20.0..150.0f32,
    ) {
        let hidden = Walker { x, speed_px_per_s: speed, top: 100.0, hidden: from..from + 10 };
        let other = Walker { x: other_x, speed_px_per_s: -other_speed, top: 130.0, hidden: 0..0 };
        check(&[hidden, other], 26);
    }
}
