//! What holds for every input.

use super::tests::{HEIGHT, WIDTH, at_ms, labelled, person};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Counts starts and ends, and checks that times only move forward.
#[derive(Default)]
struct Watcher {
    live: BTreeMap<u64, TrackView>,
    over: Vec<u64>,
}

impl Watcher {
    fn watch(&mut self, changes: &[Change]) {
        for change in changes {
            let (Change::Started(view) | Change::Updated(view) | Change::Ended(view, _)) = change;
            assert!(view.begin <= view.last_seen, "{view:?}");
            assert!(view.area.iter().all(|side| (0.0..=1.0).contains(side)), "{view:?}");
            assert!(view.seen.iter().all(|side| (0.0..=1.0).contains(side)), "{view:?}");
            assert!(view.score <= view.top_score && (0.0..=1.0).contains(&view.top_score), "{view:?}");
            assert!(!self.over.contains(&view.track), "told of after its end: {view:?}");
            let before = self.live.insert(view.track, view.clone());
            match (change, before) {
                (Change::Started(_), before) => assert_eq!(before, None, "started twice"),
                (_, None) => panic!("not started: {view:?}"),
                (_, Some(before)) => {
                    assert_eq!((&before.label, before.begin), (&view.label, view.begin));
                    assert!(before.last_seen <= view.last_seen && before.top_score <= view.top_score);
                }
            }
            if matches!(change, Change::Ended(..)) {
                self.live.remove(&view.track);
                self.over.push(view.track);
            }
        }
    }
}

fn any_side() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -50.0..700.0f32,
        1 => prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(0.0), Just(1e30)],
    ]
}

fn any_detection() -> impl Strategy<Value = Detection> {
    let label = prop_oneof![Just("person"), Just("car")];
    let score = prop_oneof![6 => 0.0..1.0f32, 1 => Just(f32::NAN), 1 => Just(5.0), 1 => Just(f32::INFINITY)];
    (label, score, any_side(), any_side(), any_side(), any_side())
        .prop_map(|(label, score, x0, y0, x1, y1)| labelled(label, score, [x0, y0, x1, y1]))
}

#[derive(Debug, Clone)]
enum Step {
    Judged(Vec<Detection>, u32, Vec<[f32; 4]>),
    Still(Vec<[f32; 4]>),
    Blind,
    EndAll,
}

fn any_parts() -> impl Strategy<Value = Vec<[f32; 4]>> {
    let part = (0.0..1.0f32, 0.0..1.0f32, 0.0..1.0f32, 0.0..1.0f32).prop_map(|(x0, y0, x1, y1)| [x0, y0, x1, y1]);
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(part, 1..4)]
}

fn any_step() -> impl Strategy<Value = (i64, Step)> {
    let step = prop_oneof![
        20 => (prop::collection::vec(any_detection(), 0..8), prop_oneof![9 => Just(WIDTH), 1 => Just(0)], any_parts())
            .prop_map(|(detections, width, looked)| Step::Judged(detections, width, looked)),
        3 => any_parts().prop_map(Step::Still),
        3 => Just(Step::Blind),
        1 => Just(Step::EndAll),
    ];
    (prop_oneof![20 => 0..600i64, 1 => -30_000..30_000i64], step)
}

proptest! {
    #[test]
    fn a_track_starts_once_ends_once_and_never_runs_backwards(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut tracker = Tracker::new(TrackerSettings::default());
        let mut watcher = Watcher::default();
        let mut now_ms = 0;
        for (after_ms, step) in steps {
            now_ms += after_ms;
            let changes = match step {
                Step::Still(moving) => tracker.still(at_ms(now_ms), &moving),
                Step::Judged(detections, width, looked) => tracker.judged(at_ms(now_ms), &detections, (width, HEIGHT), &looked),
                Step::Blind => tracker.blind(at_ms(now_ms)),
                Step::EndAll => tracker.end_all(EndReason::Stopped),
            };
            watcher.watch(&changes);
            let (counts, attention) = (tracker.counts(), tracker.attention());
            prop_assert!(counts.moving <= attention.areas.len(), "{counts:?}, {attention:?}");
            prop_assert_eq!(tracker.live(), counts != Counts::default());
        }
        watcher.watch(&tracker.end_all(EndReason::Stopped));
        prop_assert!(watcher.live.is_empty());
    }

    #[test]
    fn walkers_that_stay_apart_keep_their_identity(
        frames_per_s in prop_oneof![Just(2i64), Just(5), Just(10)],
        turns in prop::collection::vec(prop::collection::vec((-90.0..90.0f32, any::<bool>()), 40), 1..4),
    ) {
        // Each walks in a lane of its own, at up to 90 px/s, turning and flickering as it likes.
        let mut tracker = Tracker::new(TrackerSettings::default());
        let mut watcher = Watcher::default();
        let mut x = vec![300.0f32; turns.len()];
        for frame in 0..40 {
            let mut detections = Vec::new();
            for (lane, walk) in turns.iter().enumerate() {
                let (speed, flickers) = walk[frame];
                x[lane] = (x[lane] + speed / frames_per_s as f32).clamp(0.0, 600.0);
                let top = 120.0 * lane as f32;
                let seen = frame % 3 < 2 || !flickers;
                detections.extend(seen.then(|| person(0.8, [x[lane], top, x[lane] + 40.0, top + 100.0])));
            }
            watcher.watch(&tracker.judged(at_ms(frame as i64 * 1000 / frames_per_s), &detections, (WIDTH, HEIGHT), &[]));
        }
        prop_assert_eq!((watcher.live.len(), watcher.over.len()), (turns.len(), 0));
        for view in watcher.live.values() {
            prop_assert_eq!(view.begin, at_ms(0));
        }
    }

    #[test]
    fn one_who_walks_through_with_a_jumping_box_is_one_track(
        frames_per_s in prop_oneof![Just(2i64), Just(5), Just(10)],
        speed in 40.0..140.0f32,
        parts in prop::collection::vec((0..4usize, 0.0..0.05f32), 200),
    ) {
        let mut tracker = Tracker::new(TrackerSettings::default());
        let mut changes = Vec::new();
        for (frame, (part, jitter)) in parts.into_iter().enumerate() {
            // The box is 90x240 and cut by the picture's edges.
            let x = -90.0 + speed * frame as f32 / frames_per_s as f32;
            let (left, right) = (x.max(0.0), (x + 90.0).min(640.0));
            // At times only the upper or the lower half of a visible person is found, and nobody in a strip.
            let part = if right - left > 45.0 { part } else { 0 };
            let (top, bottom) = [(0.0, 1.0), (0.0, 0.5), (0.4, 1.0), (0.0, 1.0)][part];
            let area = [left, 80.0 + 240.0 * (top + jitter), right, 80.0 + 240.0 * bottom];
            let seen = right - left > 20.0;
            let detections: Vec<Detection> = seen.then(|| person(0.8, area)).into_iter().collect();
            changes.extend(tracker.judged(at_ms(frame as i64 * 1000 / frames_per_s), &detections, (WIDTH, HEIGHT), &[]));
        }
        changes.extend(tracker.end_all(EndReason::Stopped));
        let started = changes.iter().filter(|change| matches!(change, Change::Started(_))).count();
        prop_assert_eq!(started, 1);
    }
}
