//! Tracker: which detections, frame after frame, are the same thing. Pure: no clock, no I/O.
//!
//!   detections ──▶ sightings ──▶ [rounds of matching] ──▶ tracks ──▶ Started | Updated | Ended
//!                                      ▲ predicted boxes ◀───┘
//!
//! The shape is SORT's (Bewley et al. 2016, arXiv 1602.00763): predict, match by overlap, correct.
//! From ByteTrack (Zhang et al. 2022, arXiv 2110.06864) comes the use of weak detections: they keep a
//! track alive and start none. From OC-SORT (Cao et al. 2023, arXiv 2203.14360): a track is also looked
//! for where it was last seen, which saves those that turn round or change size at the picture's edge, and on the way
//! on which it was going, which saves those that something hides for a while.
//!
//! Only judged time ages a track. What nobody looked at says nothing about who left: neither frames that nobody judged
//! nor, of those judged in part, the rest.

mod area;
mod label;
mod matching;
mod still;
mod track;

#[cfg(test)]
mod occlusion;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(in crate::tracking) mod reference;
#[cfg(test)]
pub(in crate::tracking) mod tests;

use area::Area;
use config::watching::Stationary;
use label::are_alike;
use matching::Sighting;
use protocol::{Detection, EndReason, Timestamp};
use std::time::Duration;
pub use still::Counts;
use track::Track;

/// Things followed at once on one camera. When full, new ones are not followed until one ends.
pub const TRACKS_MAX: usize = 128;

/// A judged frame vouches for so much time before it at most, so that a hole in the input ages nobody.
const VOUCHED_MAX: Duration = Duration::from_secs(1);

/// In the idle gear, looks are as far apart as key frames, and some cameras send one in half a minute.
const LOOKS_APART_MAX: Duration = Duration::from_secs(60);

/// A new track may go unseen for so many frames in a row before its first sighting counts as an error.
const UNCONFIRMED_MISSES_MAX: u32 = 2;

/// A place of which so much was looked at was looked at.
const LOOKED_AT_SHARE: f32 = 0.5;

/// Two boxes of one label of which the smaller lies so far inside the other are one thing seen twice.
const SAME_THING_SHARE: f32 = 0.6;

#[derive(Debug, Clone, PartialEq)]
pub struct TrackerSettings {
    /// A detection scoring less starts no track.
    pub score_min: f32,
    /// In its place, for these labels.
    pub score_min_by_label: Vec<(String, f32)>,
    /// A detection scoring less than this is ignored; from here to `score_min` it may continue a track.
    pub score_weak_min: f32,
    /// Judged time without a sighting after which a thing has left.
    pub lost_after: Duration,
    /// Time without any judged frame after which it is unknown whether a thing has left.
    pub blind_after: Duration,
    /// Overlap (intersection over union) from which a detection is at a track's place.
    pub iou_min: f32,
    /// Sightings after which a track is reported. Until then it may be a detector's error.
    pub hits_to_confirm: u32,
    pub stationary: Stationary,
}

impl TrackerSettings {
    fn score_min_of(&self, label: &str) -> f32 {
        let own = self.score_min_by_label.iter().find(|(one, _)| one == label);
        own.map_or(self.score_min, |(_, score)| *score)
    }
}

impl Default for TrackerSettings {
    fn default() -> Self {
        Self {
            score_min: 0.5,
            score_min_by_label: Vec::new(),
            score_weak_min: 0.1,
            // Who is hidden for two seconds is found again: at five frames a second that takes one of 2.2 s.
            lost_after: Duration::from_millis(2500),
            blind_after: Duration::from_secs(10),
            iou_min: 0.3,
            hits_to_confirm: 2,
            stationary: Stationary::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Confirmed. Its `begin` is earlier: the first time that it was seen.
    Started(TrackView),
    /// Seen again; told for every frame in which a started track is found.
    Updated(TrackView),
    /// Over. `last_seen` is its end.
    Ended(TrackView, EndReason),
}

#[derive(Debug, Clone, PartialEq)]
pub struct TrackView {
    /// Unique within this tracker.
    pub track: u64,
    /// What it was taken for most, of labels that are taken for one another.
    pub label: String,
    /// How often it was found; not more if the lack of motion spoke for it.
    pub hits: u32,
    /// When it was last found.
    pub score: f32,
    /// Where, as x0, y0, x1, y1 in fractions of the frame.
    pub seen: [f32; 4],
    /// The best so far, and where it had it.
    pub top_score: f32,
    pub area: [f32; 4],
    /// When it was first found, which is at `begin`.
    pub first: Glimpse,
    pub begin: Timestamp,
    pub last_seen: Timestamp,
}

/// One sighting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Glimpse {
    pub score: f32,
    /// In fractions of the frame.
    pub area: [f32; 4],
}

pub struct Tracker {
    settings: TrackerSettings,
    tracks: Vec<Track>,
    track_next: u64,
    /// When a frame was last judged.
    judged: Option<Timestamp>,
    /// That judgement was that nothing moved.
    rested: bool,
    /// The latest time that the tracker was told of, judged or not.
    told: Option<Timestamp>,
    /// The width of the newest frame, in its heights.
    aspect: f32,
}

impl Tracker {
    pub fn new(settings: TrackerSettings) -> Self {
        Self { settings, tracks: Vec::new(), track_next: 1, judged: None, rested: false, told: None, aspect: 1.0 }
    }

    /// A frame was judged, in these parts of it, as fractions; all of it if there are none. No detections means that
    /// nothing was there.
    pub fn judged(
        &mut self,
        at: Timestamp,
        detections: &[Detection],
        (width, height): (u32, u32),
        looked: &[[f32; 4]],
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let at = self.advance(at, self.hole_max(), &mut changes);
        self.aspect = width.max(1) as f32 / height.max(1) as f32;
        self.age(at, looked, &mut changes);
        (self.judged, self.told, self.rested) = (Some(at), Some(at), false);
        let sightings = matching::sightings(detections, width, height, &self.settings);
        let matched = matching::assign(&self.tracks, &sightings, at, &self.settings);
        self.follow(at, &sightings, &matched, &mut changes);
        self.end_lost(at, &mut changes);
        self.drop_doubtful(at);
        self.confirm(&mut changes);
        self.begin_new(at, &sightings, &matched, &mut changes);
        changes
    }

    /// Nobody judged at this time. Ages no track; ends all once this has gone on for too long.
    pub fn blind(&mut self, at: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        let at = self.advance(at, self.settings.blind_after, &mut changes);
        self.told = Some(at);
        changes
    }

    /// Is anything followed, confirmed or not? Then the camera has to be judged on, moving or still.
    pub fn live(&self) -> bool {
        !self.tracks.is_empty()
    }

    /// Ends whatever is followed.
    pub fn end_all(&mut self, reason: EndReason) -> Vec<Change> {
        let started = self.tracks.drain(..).filter(|track| track.confirmed);
        started.map(|track| Change::Ended(track.view(), reason)).collect()
    }

    /// For how long nothing may have been heard before it is unknown what is there.
    fn hole_max(&self) -> Duration {
        let blind_after = self.settings.blind_after;
        if self.rested { blind_after.max(LOOKS_APART_MAX) } else { blind_after }
    }

    /// The time to go by, never earlier than before. Ends all tracks if nobody looked for too long.
    fn advance(&mut self, at: Timestamp, hole_max: Duration, changes: &mut Vec<Change>) -> Timestamp {
        let told = self.told.unwrap_or(at);
        // A clock that was set back a little is waited for; one that was set back far starts anew.
        let back_far = told.since(at) > self.settings.blind_after;
        let unjudged = self.judged.is_some_and(|judged| at.since(judged) > hole_max);
        if back_far || unjudged {
            changes.extend(self.end_all(EndReason::Blind));
            self.judged = None;
            return at;
        }
        at.max(told)
    }

    /// Counts the time since the tracker was last told of as looked at, and the frame as a miss until it is a hit, for
    /// those whose place was looked at. Whoever chose the parts chose all in which something moved: what stands elsewhere
    /// is still there.
    fn age(&mut self, at: Timestamp, looked: &[[f32; 4]], changes: &mut Vec<Change>) {
        let step = self.told.map_or(Duration::ZERO, |told| at.since(told));
        // One frame alone never ends a track: it takes two that missed it.
        let step = step.min(VOUCHED_MAX).min(half_up(self.settings.lost_after));
        let looked: Vec<Area> = looked.iter().map(|part| Area::from_fractions(*part, self.aspect)).collect();
        for track in &mut self.tracks {
            let expected = track.path.predict(at.since(track.last_seen)).clipped(self.aspect);
            let place = expected.unwrap_or(track.path.seen());
            let was_looked_at = |part: &Area| place.share_inside(*part) >= LOOKED_AT_SHARE;
            if looked.is_empty() || looked.iter().any(was_looked_at) {
                (track.judged, track.rest.looked) = (at, at);
                track.unseen += step;
                track.misses += 1;
            } else if track.rests(self.settings.stationary.after) {
                track.vouch(at);
                changes.extend(track.confirmed.then(|| Change::Updated(track.view())));
            }
        }
    }

    /// Ends who was missing for too long, or was not looked for.
    fn end_lost(&mut self, at: Timestamp, changes: &mut Vec<Change>) {
        let TrackerSettings { lost_after, blind_after, .. } = self.settings;
        self.tracks.retain(|track| {
            let left = track.misses > 0 && track.unseen >= lost_after;
            let unknown = at.since(track.judged) > blind_after;
            if (left || unknown) && track.confirmed {
                let reason = if left { EndReason::Left } else { EndReason::Blind };
                changes.push(Change::Ended(track.view(), reason));
            }
            !(left || unknown)
        });
    }

    /// Tells each track that was seen.
    fn follow(&mut self, at: Timestamp, sightings: &[Sighting], matched: &[Option<usize>], changes: &mut Vec<Change>) {
        for (track, sighting) in self.tracks.iter_mut().zip(matched) {
            let Some(index) = sighting else { continue };
            track.see(at, &sightings[*index]);
            if track.confirmed {
                changes.push(Change::Updated(track.view()));
            }
        }
    }

    /// Forgets unconfirmed tracks that vanished, or that turn out to be a second box on a confirmed one.
    fn drop_doubtful(&mut self, at: Timestamp) {
        let sure: Vec<(String, Area)> =
            self.tracks.iter().filter(|t| t.confirmed).map(|t| (t.label().to_owned(), t.path.seen())).collect();
        self.tracks.retain(|track| {
            let vanished = track.misses > UNCONFIRMED_MISSES_MAX;
            let twice = || {
                let seen = track.path.seen();
                track.last_seen == at
                    && sure.iter().any(|(label, area)| is_same_thing((label, *area), (track.label(), seen)))
            };
            track.confirmed || !(vanished || twice())
        });
    }

    /// Reports the tracks that have been seen often enough.
    fn confirm(&mut self, changes: &mut Vec<Change>) {
        for track in &mut self.tracks {
            if !track.confirmed && track.hits >= self.settings.hits_to_confirm {
                track.confirmed = true;
                changes.push(Change::Started(track.view()));
            }
        }
    }

    /// Starts a track for each strong detection that belongs to none.
    fn begin_new(
        &mut self,
        at: Timestamp,
        sightings: &[Sighting],
        matched: &[Option<usize>],
        changes: &mut Vec<Change>,
    ) {
        // The best come first, so of two boxes on one thing the better one is followed.
        for (index, sighting) in sightings.iter().enumerate() {
            let known = matched.contains(&Some(index));
            let twice = self.tracks.iter().any(|track| {
                (track.confirmed || track.last_seen == at)
                    && is_same_thing((track.label(), track.path.seen()), (sighting.label, sighting.area))
            });
            if !sighting.strong || known || twice || self.tracks.len() >= TRACKS_MAX {
                continue;
            }
            self.tracks.push(Track::new(self.track_next, at, sighting));
            self.track_next += 1;
        }
        if self.settings.hits_to_confirm <= 1 {
            self.confirm(changes);
        }
    }
}

/// Does the smaller box lie mostly inside the other? Of two labels that are taken for one another it has to be as large,
/// too: a car in front of a bus is no bus.
fn is_same_thing((label, area): (&str, Area), (other_label, other): (&str, Area)) -> bool {
    if label == other_label {
        area.share_of_smaller(other) > SAME_THING_SHARE
    } else {
        are_alike(label, other_label) && area.iou(other) > SAME_THING_SHARE
    }
}

/// Half, rounded up: two of them are never less than the whole.
fn half_up(span: Duration) -> Duration {
    (span + Duration::from_nanos(1)) / 2
}
