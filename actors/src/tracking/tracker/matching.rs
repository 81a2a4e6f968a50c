//! Which detection is which track.

use super::TrackerSettings;
use super::area::Area;
use super::label::are_alike;
use super::track::Track;
use protocol::limits::DETECTIONS_MAX;
use protocol::{Detection, Timestamp};

/// A detection that makes sense.
pub(super) struct Sighting<'a> {
    pub label: &'a str,
    pub score: f32,
    /// Enough to start a track.
    pub strong: bool,
    pub area: Area,
    /// x0, y0, x1, y1 as fractions of the frame.
    pub fractions: [f32; 4],
}

/// The detections worth a look, best first. Broken boxes and scores are ignored, as are those beyond
/// `DETECTIONS_MAX`.
pub(super) fn sightings<'a>(
    detections: &'a [Detection],
    width: u32,
    height: u32,
    settings: &TrackerSettings,
) -> Vec<Sighting<'a>> {
    let sighting = |detection: &'_ Detection| {
        // A score that is not a number compares as false.
        let counts = detection.score >= settings.score_weak_min && detection.score.is_finite();
        let area = Area::from_pixels(detection.area, width, height).filter(|_| counts)?;
        Some((detection.score.min(1.0), area))
    };
    let aspect = width as f32 / (height as f32).max(1.0);
    let mut sightings: Vec<Sighting> = detections
        .iter()
        .filter_map(|detection| {
            let (score, area) = sighting(detection)?;
            let strong = score >= settings.score_min_of(&detection.label);
            let fractions = area.fractions(aspect);
            Some(Sighting { label: &detection.label, score, strong, area, fractions })
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
    /// Of a label that is taken for the track's now and then.
    alike: bool,
    closeness: fn(&Track, &Place, Area, f32) -> Option<f32>,
}

/// Where a track should be now.
struct Place {
    predicted: Area,
    /// Where it would be if it walked on behind whatever hides it.
    far: Area,
    unseen_s: f32,
}

/// What is certain goes first: overlap before distance, its own label before one alike, strong before weak, known
/// before new.
const ROUNDS: [Round; 8] = [
    Round { strong: true, confirmed: true, alike: false, closeness: by_overlap },
    Round { strong: true, confirmed: false, alike: false, closeness: by_overlap },
    Round { strong: false, confirmed: true, alike: false, closeness: by_overlap },
    Round { strong: true, confirmed: true, alike: true, closeness: by_overlap },
    Round { strong: true, confirmed: false, alike: true, closeness: by_overlap },
    Round { strong: false, confirmed: true, alike: true, closeness: by_overlap },
    Round { strong: true, confirmed: true, alike: false, closeness: by_distance },
    Round { strong: true, confirmed: false, alike: false, closeness: by_distance },
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
        let (predicted, far) = (track.path.predict(unseen), track.path.predict_far(unseen));
        Place { predicted, far, unseen_s: unseen.as_secs_f32() }
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
                let same = sighting.label == track.label();
                let fits = if round.alike { !same && are_alike(sighting.label, track.label()) } else { same };
                if taken[s] || sighting.strong != round.strong || !fits {
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

/// Its nearness to where the track should be, or was, or to the way on which it may have gone on.
fn by_distance(track: &Track, place: &Place, area: Area, _iou_min: f32) -> Option<f32> {
    let seen = track.path.seen();
    let on_its_way = area.distance_to_way(seen, place.far);
    let distance = place.predicted.distance(area).min(seen.distance(area)).min(on_its_way);
    // The mean that is small if either is: someone near is not continued by someone tiny behind.
    let size = (track.path.size() * area.size()).sqrt();
    let sizes = if size > 0.0 { distance / size } else { f32::INFINITY };
    let inside = seen.share_of_smaller(area) >= INSIDE_SHARE;
    let sizes_max = (SIZES_APART + SIZES_APART_PER_S * place.unseen_s).min(SIZES_APART_MAX);
    (inside || sizes <= sizes_max).then_some(-sizes)
}
