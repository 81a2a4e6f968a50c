//! The tracker against detections of a real video: six people, one after another.

use super::tests::at_ms;
use super::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A second of the video.
pub(in crate::tracking) const FRAMES_PER_S: i64 = 10;
/// Detections exist for every fifth frame.
pub(in crate::tracking) const FRAMES_PER_SAMPLE: i64 = 5;
const SKIPPED: &str = "skipped: ../shared/assets is absent (set WATCHTREE_MODELS)";

pub(in crate::tracking) struct Video {
    pub width: u32,
    pub height: u32,
    /// Every fifth frame's detections.
    pub samples: Vec<Vec<Detection>>,
    /// First and last frame of each visit.
    pub visits: Vec<(i64, i64)>,
}

fn reference_file() -> Option<PathBuf> {
    let beside_models = std::env::var_os("WATCHTREE_MODELS").map(|models| PathBuf::from(models).join(".."));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = beside_models.into_iter().chain([workspace.join("../shared/assets")]);
    folders.map(|folder| folder.join("reference_yolox_nano.json")).find(|file| file.is_file())
}

pub(in crate::tracking) fn load() -> Option<Video> {
    let Some(file) = reference_file() else {
        println!("{SKIPPED}");
        return None;
    };
    let text = std::fs::read_to_string(file).expect("the reference file can be read");
    let json: Value = serde_json::from_str(&text).expect("the reference file is JSON");
    let video = &json["videos"][0];
    let int = |value: &Value| value.as_i64().expect("it is a whole number");
    let list = |value: &Value| value.as_array().expect("it is a list").clone();
    assert_eq!(int(&video["sampled_every"]), FRAMES_PER_SAMPLE);
    Some(Video {
        width: int(&video["width"]) as u32,
        height: int(&video["height"]) as u32,
        samples: list(&video["frames"]).iter().map(|f| list(&f["det"]).iter().map(detection).collect()).collect(),
        visits: list(&video["presence_intervals"]).iter().map(|pair| (int(&pair[0]), int(&pair[1]))).collect(),
    })
}

fn detection(json: &Value) -> Detection {
    let number = |value: &Value| value.as_f64().expect("it is a number") as f32;
    let sides = json["box"].as_array().expect("a box is a list");
    let area: Vec<f32> = sides.iter().map(number).collect();
    Detection {
        label: json["name"].as_str().expect("a name is text").to_owned(),
        score: number(&json["score"]),
        area: area.try_into().expect("a box has four sides"),
    }
}

impl Video {
    /// What a detector would have found in any frame: between two samples, boxes in between.
    pub fn frame(&self, frame: i64) -> Vec<Detection> {
        let (sample, part) = ((frame / FRAMES_PER_SAMPLE) as usize, frame % FRAMES_PER_SAMPLE);
        let now = &self.samples[sample];
        if part == 0 {
            return now.clone();
        }
        let share = part as f32 / FRAMES_PER_SAMPLE as f32;
        let next = |label: &str| self.samples.get(sample + 1)?.iter().find(|d| d.label == label);
        let between = |one: &Detection, other: &Detection| Detection {
            label: one.label.clone(),
            score: one.score + share * (other.score - one.score),
            area: std::array::from_fn(|side| one.area[side] + share * (other.area[side] - one.area[side])),
        };
        now.iter().filter_map(|one| Some(between(one, next(&one.label)?))).collect()
    }

    /// The people's events at so many judged frames a second: begin, end.
    fn events(&self, judged_per_s: i64, found: impl Fn(i64) -> bool) -> Vec<(Timestamp, Timestamp)> {
        let mut tracker = Tracker::new(TrackerSettings::default());
        let mut events = Vec::new();
        let mut keep = |changes: Vec<Change>| {
            for change in changes {
                if let Change::Ended(view, _) = change
                    && view.label == "person"
                {
                    events.push((view.begin, view.last_seen));
                }
            }
        };
        for frame in (0..self.samples.len() as i64 * FRAMES_PER_SAMPLE).step_by((FRAMES_PER_S / judged_per_s) as usize)
        {
            let detections = if found(frame) { self.frame(frame) } else { Vec::new() };
            keep(tracker.judged(at_ms(frame * 1000 / FRAMES_PER_S), &detections, (self.width, self.height), &[]));
        }
        keep(tracker.end_all(EndReason::Stopped));
        events
    }
}

fn check(judged_per_s: i64) {
    let Some(video) = load() else { return };
    let events = video.events(judged_per_s, |_| true);
    assert_eq!((events.len(), video.visits.len()), (6, 6), "{events:?}");
    for (event, visit) in events.iter().zip(&video.visits) {
        let off_ms = |told: Timestamp, frame: i64| (told.micros() - at_ms(frame * 1000 / FRAMES_PER_S).micros()) / 1000;
        let (begin_ms, end_ms) = (off_ms(event.0, visit.0), off_ms(event.1, visit.1));
        println!("{judged_per_s} frames/s, visit {visit:?}: begin off by {begin_ms} ms, end by {end_ms} ms");
        assert!(begin_ms.abs() <= 1000 && end_ms.abs() <= 1000, "{event:?} for {visit:?}");
    }
}

#[test]
fn six_visits_are_six_events_at_two_frames_a_second() {
    check(2);
}

#[test]
fn six_visits_are_six_events_at_five_frames_a_second() {
    check(5);
}

#[test]
fn six_visits_are_six_events_at_ten_frames_a_second() {
    check(10);
}

#[test]
fn six_visits_stay_six_when_the_detector_misses_frames() {
    let Some(video) = load() else { return };
    for judged_per_s in [2, 5, 10] {
        // Two frames of every eight missed in a row, whatever the phase: 1.5 s between sightings at two a second.
        for phase in 0..8 {
            let found = |frame: i64| (frame * judged_per_s / FRAMES_PER_S + phase) % 8 >= 2;
            let events = video.events(judged_per_s, found);
            assert_eq!(events.len(), 6, "{judged_per_s} frames/s, phase {phase}: {events:?}");
        }
    }
}
