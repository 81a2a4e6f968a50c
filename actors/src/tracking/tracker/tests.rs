//! The tracker's rules, one scene each.

use super::*;

pub(in crate::tracking) const WIDTH: u32 = 640;
pub(in crate::tracking) const HEIGHT: u32 = 360;

pub(in crate::tracking) fn at_ms(ms: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + ms * 1000)
}

pub(in crate::tracking) fn labelled(label: &str, score: f32, area: [f32; 4]) -> Detection {
    Detection { label: label.to_owned(), score, area }
}

pub(in crate::tracking) fn person(score: f32, area: [f32; 4]) -> Detection {
    labelled("person", score, area)
}

/// A person standing with the left edge at `x`.
fn standing_at(x: f32) -> Detection {
    person(0.9, [x, 100.0, x + 60.0, 280.0])
}

/// Plays scenes at five judged frames a second and keeps what was told.
struct Scene {
    tracker: Tracker,
    now_ms: i64,
    changes: Vec<Change>,
}

const FRAME_MS: i64 = 200;

impl Scene {
    fn new() -> Self {
        Self { tracker: Tracker::new(TrackerSettings::default()), now_ms: 0, changes: Vec::new() }
    }

    fn see(&mut self, detections: &[Detection]) -> &mut Self {
        self.changes.extend(self.tracker.judged(at_ms(self.now_ms), detections, (WIDTH, HEIGHT), &[]));
        self.now_ms += FRAME_MS;
        self
    }

    fn see_times(&mut self, frames: usize, detections: &[Detection]) -> &mut Self {
        for _ in 0..frames {
            self.see(detections);
        }
        self
    }

    /// Nobody judges for so long.
    fn blind_for_s(&mut self, seconds: i64) -> &mut Self {
        for _ in 0..seconds {
            self.now_ms += 1000;
            self.changes.extend(self.tracker.blind(at_ms(self.now_ms)));
        }
        self
    }

    fn finish(&mut self) -> &mut Self {
        self.see_times(15, &[])
    }

    fn started(&self) -> usize {
        self.changes.iter().filter(|change| matches!(change, Change::Started(_))).count()
    }

    fn ended(&self) -> Vec<(TrackView, EndReason)> {
        let end = |change: &Change| match change {
            Change::Ended(view, reason) => Some((view.clone(), *reason)),
            _ => None,
        };
        self.changes.iter().filter_map(end).collect()
    }
}

#[track_caller]
fn check_one_track(scene: &mut Scene) {
    assert_eq!(scene.finish().started(), 1, "{:#?}", scene.changes);
    assert_eq!(scene.ended().len(), 1);
    assert!(!scene.tracker.live());
}

#[test]
fn a_track_begins_when_first_seen_and_ends_when_last_seen() {
    let mut scene = Scene::new();
    scene.see(&[]).see_times(10, &[standing_at(100.0)]).finish();
    let (view, reason) = scene.ended().remove(0);
    assert_eq!((view.begin, view.last_seen, reason), (at_ms(200), at_ms(2000), EndReason::Left));
    assert_eq!(view.area, [100.0 / 640.0, 100.0 / 360.0, 160.0 / 640.0, 280.0 / 360.0]);
}

#[test]
fn one_sighting_alone_is_never_reported() {
    let mut scene = Scene::new();
    scene.see(&[standing_at(100.0)]).finish();
    assert_eq!(scene.changes, []);
    assert!(!scene.tracker.live());
}

#[test]
fn the_best_score_keeps_its_box() {
    let mut scene = Scene::new();
    let best = [100.0, 36.0, 164.0, 180.0];
    scene.see_times(3, &[person(0.6, [100.0, 30.0, 160.0, 180.0])]).see(&[person(0.95, best)]);
    scene.see_times(3, &[person(0.7, [100.0, 40.0, 160.0, 180.0])]).finish();
    let (view, _) = scene.ended().remove(0);
    assert_eq!((view.top_score, view.area), (0.95, [0.15625, 0.1, 0.25625, 0.5]));
}

#[test]
fn a_flicker_shorter_than_the_limit_stays_one_track() {
    check_one_track(
        Scene::new().see_times(5, &[standing_at(90.0)]).see_times(8, &[]).see_times(3, &[standing_at(90.0)]),
    );
}

#[test]
fn who_comes_after_the_limit_is_another() {
    let mut scene = Scene::new();
    // The thirteenth frame without it is 2.6 s after the last sighting.
    scene.see_times(5, &[standing_at(90.0)]).see_times(13, &[]).see_times(5, &[standing_at(90.0)]).finish();
    assert_eq!((scene.started(), scene.ended().len()), (2, 2));
}

#[test]
fn unjudged_time_ages_nobody() {
    check_one_track(Scene::new().see_times(5, &[standing_at(90.0)]).blind_for_s(9).see(&[]).see(&[standing_at(95.0)]));
}

#[test]
fn a_hole_in_the_input_ages_nobody_either() {
    let mut scene = Scene::new();
    scene.see_times(5, &[standing_at(90.0)]);
    scene.now_ms += 9000;
    check_one_track(scene.see(&[]).see(&[standing_at(95.0)]));
}

#[test]
fn being_blind_for_too_long_ends_a_track_where_it_was_last_seen() {
    let mut scene = Scene::new();
    scene.see_times(5, &[standing_at(90.0)]).blind_for_s(12);
    let (view, reason) = scene.ended().remove(0);
    assert_eq!((view.last_seen, reason), (at_ms(800), EndReason::Blind));
    assert!(!scene.tracker.live());
    scene.see_times(5, &[standing_at(90.0)]);
    assert_eq!(scene.started(), 2, "what is there afterwards begins anew");
}

#[test]
fn blindness_without_a_word_ends_tracks_too() {
    let mut scene = Scene::new();
    scene.see_times(5, &[standing_at(90.0)]);
    scene.now_ms += 11_000;
    scene.see(&[standing_at(90.0)]);
    assert_eq!(scene.ended()[0].1, EndReason::Blind);
}

#[test]
fn half_of_the_frames_being_shed_only_slows_the_end_down() {
    let mut scene = Scene::new();
    scene.see_times(5, &[standing_at(90.0)]);
    for _ in 0..21 {
        scene.changes.extend(scene.tracker.blind(at_ms(scene.now_ms)));
        scene.now_ms += FRAME_MS;
        scene.see(&[]);
    }
    assert_eq!(scene.ended()[0].1, EndReason::Left);
}

#[test]
fn a_small_fast_square_keeps_its_track_and_may_turn_round() {
    let mut scene = Scene::new();
    let square = |x: f32| labelled("red", 0.9, [x, 50.0, x + 64.0, 114.0]);
    for x in (0..14).chain((0..13).rev()) {
        scene.see(&[square(40.0 * x as f32)]);
    }
    check_one_track(&mut scene);
}

#[test]
fn weak_detections_continue_a_track_and_start_none() {
    let mut scene = Scene::new();
    let weak = Detection { score: 0.2, ..standing_at(100.0) };
    scene.see_times(20, std::slice::from_ref(&weak));
    assert_eq!((scene.started(), scene.tracker.live()), (0, false));
    check_one_track(scene.see_times(3, &[standing_at(100.0)]).see_times(20, &[weak]).see(&[standing_at(100.0)]));
}

#[test]
fn a_second_box_on_one_person_starts_no_track() {
    let upper = person(0.8, [100.0, 100.0, 160.0, 180.0]);
    // First the whole, then first the part, then both at once.
    let whole = standing_at(100.0);
    let both = [upper.clone(), whole.clone()];
    check_one_track(Scene::new().see_times(3, &[whole]).see_times(5, &both));
    check_one_track(Scene::new().see_times(3, &[upper]).see_times(5, &both));
    check_one_track(Scene::new().see_times(5, &both));
}

#[test]
fn two_people_side_by_side_are_two_and_labels_are_kept_apart() {
    let mut scene = Scene::new();
    let cat = labelled("cat", 0.9, [100.0, 100.0, 160.0, 280.0]);
    scene.see_times(5, &[standing_at(100.0), standing_at(170.0), cat]).finish();
    assert_eq!((scene.started(), scene.ended().len()), (3, 3));
}

#[test]
fn ending_all_reports_only_what_was_started() {
    let mut scene = Scene::new();
    scene.see_times(3, &[standing_at(90.0)]).see(&[standing_at(90.0), standing_at(400.0)]);
    let ended = scene.tracker.end_all(EndReason::Stopped);
    assert!(matches!(ended.as_slice(), [Change::Ended(_, EndReason::Stopped)]), "{ended:?}");
    assert!(!scene.tracker.live());
}

#[test]
fn a_clock_set_back_far_starts_anew_and_a_little_is_waited_for() {
    let mut scene = Scene::new();
    scene.see_times(5, &[standing_at(90.0)]);
    scene.now_ms -= 2000;
    scene.see_times(15, &[standing_at(90.0)]);
    assert_eq!((scene.started(), scene.ended().len()), (1, 0));
    scene.now_ms -= 3_600_000;
    scene.see_times(5, &[standing_at(90.0)]);
    assert_eq!((scene.started(), scene.ended().len()), (2, 1));
}

#[test]
fn more_things_than_the_limit_are_not_followed() {
    let box_at = |n: usize| person(0.9, [n as f32 * 3.0, 0.0, n as f32 * 3.0 + 2.0, 20.0]);
    let crowd: Vec<Detection> = (0..TRACKS_MAX + 40).map(box_at).collect();
    let mut scene = Scene::new();
    scene.see_times(4, &crowd);
    assert_eq!(scene.started(), TRACKS_MAX);
}
