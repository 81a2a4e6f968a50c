//! Rules on recorded tracks: six people who come in at the left, stand at a desk, and leave to the right. And on walks
//! that are made up.

use super::*;
use crate::tracking::tracker::reference::{self, FRAMES_PER_S, FRAMES_PER_SAMPLE, Video};
use crate::tracking::tracker::tests::{HEIGHT, WIDTH, at_ms, labelled, person};
use crate::tracking::tracker::{Change, Tracker, TrackerSettings};
use config::watching::{Direction, Polygon, Shape, Span};
use protocol::EndReason;
use std::time::Duration;

const NOON: Moment = Moment { weekday: 0, minute: 720 };
const JUDGED_PER_S: i64 = 5;

fn rectangle([x0, y0, x1, y1]: [f32; 4]) -> Polygon {
    Polygon(vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
}

fn zone(name: &str, shape: Shape) -> Zone {
    let (labels, dwell) = (Vec::new(), Duration::ZERO);
    Zone { name: name.to_owned(), shape, inertia: 1, dwell, labels, required: false, schedule: None }
}

/// Where they stand.
fn desk() -> Zone {
    Zone { inertia: 3, ..zone("desk", Shape::Area(rectangle([0.5, 0.8, 0.7, 1.01]))) }
}

/// Where they leave.
fn door(direction: Direction) -> Zone {
    zone("door", Shape::Line { from: [0.72, 1.0], to: [0.72, 0.4], direction })
}

fn long_at_the_desk() -> Zone {
    Zone { name: "long".to_owned(), dwell: Duration::from_secs(15), ..desk() }
}

fn filtered(filter: Filter) -> RulesSettings {
    RulesSettings { filters: vec![filter], ..RulesSettings::default() }
}

fn zoned(zones: &[Zone]) -> RulesSettings {
    RulesSettings { zones: zones.to_vec(), ..RulesSettings::default() }
}

/// One person's event: the frame of its begin, and its zones.
type Told = (i64, Vec<String>);

/// Plays frames through rules and tracker, as the actor does.
fn play(
    settings: RulesSettings,
    moment: Moment,
    size: (u32, u32),
    frames: impl Iterator<Item = (i64, Vec<Detection>)>,
) -> (Vec<Told>, Vec<Reason>) {
    let (score_min, score_min_by_label) = settings.score_mins(0.5);
    let mut tracker = Tracker::new(TrackerSettings { score_min, score_min_by_label, ..TrackerSettings::default() });
    let mut rules = Rules::new(settings);
    let (mut told, mut withheld, mut events) = (Vec::new(), Vec::new(), Vec::new());
    let mut follow = |rules: &mut Rules, changes: Vec<Change>| {
        for change in changes {
            match change {
                Change::Started(view) | Change::Updated(view) => {
                    if rules.follow(&view, view.last_seen, moment).event && !events.contains(&view.track) {
                        events.push(view.track);
                    }
                }
                Change::Ended(view, _) => {
                    let begin = (view.begin.micros() - at_ms(0).micros()) * FRAMES_PER_S / 1_000_000;
                    let zones = rules.zones(view.track);
                    withheld.extend(rules.forget(view.track));
                    if events.contains(&view.track) && view.label == "person" {
                        told.push((begin, zones));
                    }
                }
            }
        }
    };
    for (ms, mut detections) in frames {
        rules.screen(&mut detections, size.0, size.1);
        let changes = tracker.judged(at_ms(ms), &detections, size, &[]);
        follow(&mut rules, changes);
    }
    follow(&mut rules, tracker.end_all(EndReason::Stopped));
    (told, withheld)
}

fn recorded(video: &Video, settings: RulesSettings, moment: Moment) -> Vec<Told> {
    let frames = 0..video.samples.len() as i64 * FRAMES_PER_SAMPLE;
    let frames = frames.step_by((FRAMES_PER_S / JUDGED_PER_S) as usize);
    let frames = frames.map(|frame| (frame * 1000 / FRAMES_PER_S, video.frame(frame)));
    play(settings, moment, (video.width, video.height), frames).0
}

/// Which of the six visits are events, counted from 1, and what zones each of those enters.
#[track_caller]
fn check(settings: RulesSettings, visits: &[usize], zones: &[&str]) {
    let Some(video) = reference::load() else { return };
    let told = recorded(&video, settings, NOON);
    let visit = |begin: i64| video.visits.iter().position(|(first, last)| (first - 10..=*last).contains(&begin));
    let found: Vec<usize> = told.iter().filter_map(|(begin, _)| Some(visit(*begin)? + 1)).collect();
    assert_eq!((found.as_slice(), told.len()), (visits, visits.len()), "{told:?}");
    for (begin, entered) in &told {
        assert_eq!(entered, zones, "the one that begins at {begin}");
        // It begins when it was first seen, whatever let it through.
        let visit = video.visits[visit(*begin).expect("it is a visit")];
        assert!((begin - visit.0).abs() <= FRAMES_PER_S, "begins at {begin}, is seen from {}", visit.0);
    }
}

const ALL: [usize; 6] = [1, 2, 3, 4, 5, 6];

#[test]
fn without_rules_all_six_are_events() {
    check(RulesSettings::default(), &ALL, &[]);
}

#[test]
fn zones_are_entered_on_the_way_to_the_door() {
    check(zoned(&[door(Direction::LeftToRight), desk()]), &ALL, &["desk", "door"]);
}

#[test]
fn nobody_comes_in_by_the_door() {
    check(zoned(&[door(Direction::RightToLeft), desk()]), &ALL, &["desk"]);
    check(zoned(&[Zone { required: true, ..door(Direction::RightToLeft) }]), &[], &[]);
    check(zoned(&[Zone { required: true, ..door(Direction::Any) }]), &ALL, &["door"]);
}

#[test]
fn who_stays_long_enough_is_an_event_from_when_it_came() {
    check(zoned(&[Zone { required: true, ..long_at_the_desk() }, desk()]), &[2, 3, 5], &["desk", "long"]);
}

#[test]
fn one_of_the_required_zones_is_enough() {
    let nowhere = Zone { required: true, ..zone("nowhere", Shape::Area(rectangle([0.0, 0.0, 0.1, 0.1]))) };
    check(zoned(&[nowhere, Zone { required: true, ..desk() }]), &ALL, &["desk"]);
}

#[test]
fn a_zone_for_cars_is_not_entered_by_people() {
    check(zoned(&[Zone { labels: vec!["car".to_owned()], ..desk() }]), &ALL, &[]);
    check(zoned(&[Zone { labels: vec!["car".to_owned()], required: true, ..desk() }]), &[], &[]);
}

#[test]
fn nobody_is_seen_where_people_are_masked() {
    let mask = |labels: &[&str]| {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let object_masks = vec![ObjectMask { polygon: rectangle([0.0, 0.0, 1.01, 1.01]), labels }];
        RulesSettings { object_masks, ..RulesSettings::default() }
    };
    check(mask(&[]), &[], &[]);
    check(mask(&["dog", "person"]), &[], &[]);
    check(mask(&["dog"]), &ALL, &[]);
}

#[test]
fn sizes_and_scores_are_held_against_a_labels_own_filter_or_the_common_one() {
    let any = Filter::default();
    let own = |filter: Filter| Filter { label: Some("person".to_owned()), ..filter };
    check(filtered(Filter { area_min: Some(0.3), ..any.clone() }), &[], &[]);
    check(filtered(own(Filter { area_max: Some(0.01), ..any.clone() })), &[], &[]);
    check(filtered(Filter { area_min: Some(0.01), area_max: Some(0.5), ..any.clone() }), &ALL, &[]);
    check(filtered(Filter { score_min: Some(0.95), ..any.clone() }), &[], &[]);
    check(filtered(Filter { score_median_min: Some(0.95), ..any.clone() }), &[], &[]);
    check(filtered(Filter { score_median_min: Some(0.8), ..any.clone() }), &ALL, &[]);
    // A label's own filter takes the place of the common one as a whole.
    let both = vec![Filter { score_min: Some(0.95), ..any.clone() }, own(Filter { area_min: Some(0.01), ..any })];
    check(RulesSettings { filters: both, ..RulesSettings::default() }, &ALL, &[]);
}

#[test]
fn outside_of_its_hours_a_camera_has_no_events() {
    let Some(video) = reference::load() else { return };
    let nights = Schedule(vec![Span { days: [true; 7], from_minute: 1320, to_minute: 360 }]);
    let settings = RulesSettings { schedule: Some(nights), ..RulesSettings::default() };
    assert_eq!(recorded(&video, settings.clone(), NOON), []);
    assert_eq!(recorded(&video, settings, Moment { weekday: 3, minute: 100 }).len(), 6);
}

/// A person whose box's left edge is at these places, 200 ms apart.
fn walk(xs: &[f32], score: f32) -> Vec<(i64, Vec<Detection>)> {
    let frame = |(index, x): (usize, &f32)| (index as i64 * 200, vec![person(score, [*x, 100.0, x + 60.0, 280.0])]);
    xs.iter().enumerate().map(frame).collect()
}

fn walked(settings: RulesSettings, xs: &[f32], score: f32) -> (Vec<Told>, Vec<Reason>) {
    play(settings, NOON, (WIDTH, HEIGHT), walk(xs, score).into_iter())
}

#[test]
fn what_keeps_a_track_from_being_an_event_is_told() {
    let required = zoned(&[Zone { required: true, ..zone("left", Shape::Area(rectangle([0.0, 0.0, 0.2, 1.0]))) }]);
    assert_eq!(walked(required.clone(), &[400.0; 9], 0.9), (vec![], vec![Reason::Zone]));
    assert_eq!(walked(required, &[20.0; 9], 0.9), (vec![(0, vec!["left".to_owned()])], vec![]));
    let sure = filtered(Filter { score_median_min: Some(0.8), ..Filter::default() });
    assert_eq!(walked(sure, &[400.0; 9], 0.7), (vec![], vec![Reason::Score]));
    let never = RulesSettings { schedule: Some(Schedule::default()), ..RulesSettings::default() };
    assert_eq!(walked(never, &[400.0; 9], 0.9), (vec![], vec![Reason::Schedule]));
}

#[test]
fn a_line_that_is_crossed_before_the_track_is_reported_is_crossed() {
    // It is reported with its second sighting, on the other side.
    let line = zone("line", Shape::Line { from: [0.5, 1.0], to: [0.5, 0.0], direction: Direction::LeftToRight });
    let (told, _) = walked(zoned(&[line]), &[270.0, 310.0, 350.0, 390.0], 0.9);
    assert_eq!(told, [(0, vec!["line".to_owned()])]);
}

#[test]
fn an_event_goes_on_when_its_hours_are_over() {
    let schedule = Schedule(vec![Span { days: [true; 7], from_minute: 700, to_minute: 721 }]);
    let mut rules = Rules::new(RulesSettings { schedule: Some(schedule), ..RulesSettings::default() });
    let mut tracker = Tracker::new(TrackerSettings::default());
    let mut events = Vec::new();
    for (index, (ms, detections)) in walk(&[300.0; 9], 0.9).into_iter().enumerate() {
        let moment = Moment { minute: if index < 4 { 720 } else { 721 }, ..NOON };
        for change in tracker.judged(at_ms(ms), &detections, (WIDTH, HEIGHT), &[]) {
            let (Change::Started(view) | Change::Updated(view)) = change else { continue };
            events.push(rules.follow(&view, view.last_seen, moment).event);
        }
    }
    assert_eq!(events, [true; 8]);
}

#[test]
fn the_median_is_of_the_newest_scores() {
    let mut story = Story::default();
    assert_eq!(story.median(), None);
    story.remember(0.4);
    story.remember(0.8);
    assert!(story.median().is_some_and(|median| (median - 0.6).abs() < 1e-6));
    for _ in 0..SCORES_MAX {
        story.remember(0.9);
    }
    assert_eq!(story.median(), Some(0.9));
}

#[test]
fn a_detection_is_taken_away_for_one_reason() {
    let settings = RulesSettings {
        labels: vec!["person".to_owned(), "cat".to_owned()],
        object_masks: vec![ObjectMask { polygon: rectangle([0.0, 0.0, 0.5, 1.01]), labels: vec!["person".to_owned()] }],
        filters: vec![Filter { area_min: Some(0.01), ..Filter::default() }],
        ..RulesSettings::default()
    };
    let mut detections = vec![
        labelled("dog", 0.9, [10.0, 10.0, 90.0, 90.0]),
        person(0.9, [10.0, 100.0, 90.0, 300.0]),
        person(0.9, [410.0, 100.0, 490.0, 300.0]),
        labelled("cat", 0.9, [10.0, 100.0, 90.0, 300.0]),
        labelled("cat", 0.9, [10.0, 100.0, 20.0, 110.0]),
        person(0.9, [f32::NAN, 0.0, f32::INFINITY, 9.0]),
    ];
    let reasons = Rules::new(settings).screen(&mut detections, WIDTH, HEIGHT);
    let left: Vec<_> = detections.iter().map(|detection| detection.label.as_str()).collect();
    assert_eq!(left, ["person", "cat"]);
    assert_eq!(reasons, [Reason::Label, Reason::Mask, Reason::Size, Reason::Size]);
}
