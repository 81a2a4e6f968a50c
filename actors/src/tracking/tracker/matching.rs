//! Which detection is which track.

use super::TrackerSettings;
use super::area::Area;
use super::track::Track;
use protocol::limits::DETECTIONS_MAX;
use protocol::{Detection, Timestamp};

/// A detection that makes sense.
pub(super) struct Sighting<'a> {
    pub label: &'a str,
    pub score: f32,
    pub area: Area,
    /// x0, y0, x1, y1 as fractions of the frame.
    pub fractions: [f32; 4],
}

/// The detections worth a look, best first. Broken boxes and scores are ignored, as are those beyond
/// `DETECTIONS_MAX`.
pub(super) fn sightings(detections: &[Detection], width: u32, height: u32, score_min: f32) -> Vec<Sighting<'_>> {
    let sighting = |detection: &'_ Detection| {
        // A score that is not a number compares as false.
        let counts = detection.score >= score_min && detection.score.is_finite();
        let area = Area::from_pixels(detection.area, width, height).filter(|_| counts)?;
        Some((detection.score.min(1.0), area))
    };
    let aspect = width as f32 / (height as f32).max(1.0);
    let mut sightings: Vec<Sighting> = detections
        .iter()
        .filter_map(|detection| {
            let (score, area) = sighting(detection)?;
            let fractions = [area.x0 / aspect, area.y0, area.x1 / aspect, area.y1].map(|side| side.clamp(0.0, 1.0));
            Some(Sighting { label: &detection.label, score, area, fractions })
        })
        .collect();
    sightings.sort_by(|one, other| other.score.total_cmp(&one.score));
    sightings.truncate(DETECTIONS_MAX);
    sightings
}

/// How far a thing may be from its place, in its own sizes, without overlapping it: a jump of the box (from
/// the upper half of a person to the lower is 1.3), and what it walks unforeseen (1.5 m/s is 1.4 a second).
const SIZES_APART: f32 = 1.4;
const SIZES_APART_PER_S: f32 = 1.0;
const SIZES_APART_MAX: f32 = 2.0;

/// Half a person at the picture's edge lies in the whole one, and is the same if nothing else is there.
const INSIDE_SHARE: f32 = 0.6;

/// One pass over those that are still free.
struct Round {
    strong: bool,
    confirmed: bool,
    closeness: fn(&Track, &Place, Area, f32) -> Option<f32>,
}

/// Where a track should be now.
struct Place {
    predicted: Area,
    unseen_s: f32,
}

/// What is certain goes first: overlap before distance, strong before weak, known before new.
const ROUNDS: [Round; 5] = [
    Round { strong: true, confirmed: true, closeness: by_overlap },
    Round { strong: true, confirmed: false, closeness: by_overlap },
    Round { strong: false, confirmed: true, closeness: by_overlap },
    Round { strong: true, confirmed: true, closeness: by_distance },
    Round { strong: true, confirmed: false, closeness: by_distance },
];

/// For each track the sighting that is it, each used once.
///
/// Within a round the closest pair is taken first. SORT asks for the best sum instead (Hungarian); the two
/// differ only where several things of one label overlap each other, and there neither is sure.
pub(super) fn assign(
    tracks: &[Track],
    sightings: &[Sighting],
    at: Timestamp,
    settings: &TrackerSettings,
) -> Vec<Option<usize>> {
    let place = |track: &Track| {
        let unseen = at.since(track.last_seen);
        Place { predicted: track.path.predict(unseen), unseen_s: unseen.as_secs_f32() }
    };
    let places: Vec<Place> = tracks.iter().map(place).collect();
    let mut matched = vec![None; tracks.len()];
    let mut taken = vec![false; sightings.len()];
    for round in &ROUNDS {
        let mut pairs = Vec::new();
        for (t, track) in tracks.iter().enumerate() {
            if matched[t].is_some() || track.confirmed != round.confirmed {
                continue;
            }
            for (s, sighting) in sightings.iter().enumerate() {
                let strong = sighting.score >= settings.score_min;
                if taken[s] || strong != round.strong || sighting.label != track.label {
                    continue;
                }
                let closeness = (round.closeness)(track, &places[t], sighting.area, settings.iou_min);
                pairs.extend(closeness.map(|closeness| (closeness, t, s)));
            }
        }
        pairs.sort_by(|one: &(f32, usize, usize), other| other.0.total_cmp(&one.0));
        for (_, t, s) in pairs {
            if matched[t].is_none() && !taken[s] {
                matched[t] = Some(s);
                taken[s] = true;
            }
        }
    }
    matched
}

/// Its overlap with where the track should be, or was.
fn by_overlap(track: &Track, place: &Place, area: Area, iou_min: f32) -> Option<f32> {
    let iou = place.predicted.iou(area).max(track.path.seen().iou(area));
    (iou >= iou_min && iou > 0.0).then_some(iou)
}

/// Its nearness to where the track should be, or was.
fn by_distance(track: &Track, place: &Place, area: Area, _iou_min: f32) -> Option<f32> {
    let seen = track.path.seen();
    let distance = place.predicted.distance(area).min(seen.distance(area));
    // The mean that is small if either is: someone near is not continued by someone tiny behind.
    let size = (track.path.size() * area.size()).sqrt();
    let sizes = if size > 0.0 { distance / size } else { f32::INFINITY };
    let inside = seen.share_of_smaller(area) >= INSIDE_SHARE;
    let sizes_max = (SIZES_APART + SIZES_APART_PER_S * place.unseen_s).min(SIZES_APART_MAX);
    (inside || sizes <= sizes_max).then_some(-sizes)
}
