//! Tracker: which detections, frame after frame, are the same thing. Pure: no clock, no I/O.
//!
//!   detections ──▶ sightings ──▶ [rounds of matching] ──▶ tracks ──▶ Started | Updated | Ended
//!                                      ▲ predicted boxes ◀───┘
//!
//! The shape is SORT's (Bewley et al. 2016, arXiv 1602.00763): predict, match by overlap, correct.
//! From ByteTrack (Zhang et al. 2022, arXiv 2110.06864) comes the use of weak detections: they keep a
//! track alive and start none. From OC-SORT (Cao et al. 2023, arXiv 2203.14360): a track is also looked
//! for where it was last seen, which saves those that turn round or change size at the picture's edge.
//!
//! Only judged time ages a track. What nobody looked at says nothing about who left.

mod area;
mod matching;
mod track;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use area::Area;
use matching::Sighting;
use protocol::{Detection, EndReason, Timestamp};
use std::time::Duration;
use track::Track;

/// Things followed at once on one camera. When full, new ones are not followed until one ends.
pub const TRACKS_MAX: usize = 128;

/// A judged frame vouches for so much time before it at most, so that a hole in the input ages nobody.
const VOUCHED_MAX: Duration = Duration::from_secs(1);

/// A new track may go unseen for so many frames in a row before its first sighting counts as an error.
const UNCONFIRMED_MISSES_MAX: u32 = 2;

/// Two boxes of one label of which the smaller lies so far inside the other are one thing seen twice.
const SAME_THING_SHARE: f32 = 0.6;

#[derive(Debug, Clone, PartialEq)]
pub struct TrackerSettings {
    /// A detection scoring less starts no track.
    pub score_min: f32,
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
}

impl Default for TrackerSettings {
    fn default() -> Self {
        Self {
            score_min: 0.5,
            score_weak_min: 0.1,
            lost_after: Duration::from_secs(2),
            blind_after: Duration::from_secs(10),
            iou_min: 0.3,
            hits_to_confirm: 2,
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
    pub label: String,
    /// The best so far.
    pub score: f32,
    /// x0, y0, x1, y1 as fractions of the frame, where it scored best.
    pub area: [f32; 4],
    pub begin: Timestamp,
    pub last_seen: Timestamp,
}

pub struct Tracker {
    settings: TrackerSettings,
    tracks: Vec<Track>,
    track_next: u64,
    /// When a frame was last judged.
    judged: Option<Timestamp>,
    /// The latest time that the tracker was told of, judged or not.
    told: Option<Timestamp>,
}

impl Tracker {
    pub fn new(settings: TrackerSettings) -> Self {
        Self { settings, tracks: Vec::new(), track_next: 1, judged: None, told: None }
    }

    /// A frame was judged. No detections means that nothing was there.
    pub fn judged(
        &mut self,
        at: Timestamp,
        detections: &[Detection],
        frame_width: u32,
        frame_height: u32,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let at = self.advance(at, &mut changes);
        self.age(at, &mut changes);
        (self.judged, self.told) = (Some(at), Some(at));
        let sightings = matching::sightings(detections, frame_width, frame_height, self.settings.score_weak_min);
        let matched = matching::assign(&self.tracks, &sightings, at, &self.settings);
        self.follow(at, &sightings, &matched, &mut changes);
        self.drop_doubtful(at);
        self.confirm(&mut changes);
        self.begin_new(at, &sightings, &matched, &mut changes);
        changes
    }

    /// Nobody judged at this time. Ages no track; ends all once this has gone on for too long.
    pub fn blind(&mut self, at: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        let at = self.advance(at, &mut changes);
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

    /// The time to go by, never earlier than before. Ends all tracks if nobody looked for too long.
    fn advance(&mut self, at: Timestamp, changes: &mut Vec<Change>) -> Timestamp {
        let told = self.told.unwrap_or(at);
        // A clock that was set back a little is waited for; one that was set back far starts anew.
        let back_far = told.since(at) > self.settings.blind_after;
        let unjudged = self.judged.is_some_and(|judged| at.since(judged) > self.settings.blind_after);
        if back_far || unjudged {
            changes.extend(self.end_all(EndReason::Blind));
            self.judged = None;
            return at;
        }
        at.max(told)
    }

    /// Counts the time since the tracker was last told of as looked at, and ends who was missing for too long.
    fn age(&mut self, at: Timestamp, changes: &mut Vec<Change>) {
        let lost_after = self.settings.lost_after;
        let step = self.told.map_or(Duration::ZERO, |told| at.since(told));
        // One frame alone never ends a track: it takes two that missed it.
        let step = step.min(VOUCHED_MAX).min(half_up(lost_after));
        for track in &mut self.tracks {
            track.unseen += step;
        }
        self.tracks.retain(|track| {
            let left = track.unseen >= lost_after && track.unseen > Duration::ZERO;
            if left && track.confirmed {
                changes.push(Change::Ended(track.view(), EndReason::Left));
            }
            !left
        });
    }

    /// Tells each track whether it was seen.
    fn follow(&mut self, at: Timestamp, sightings: &[Sighting], matched: &[Option<usize>], changes: &mut Vec<Change>) {
        for (track, sighting) in self.tracks.iter_mut().zip(matched) {
            match sighting {
                Some(index) => {
                    track.see(at, &sightings[*index]);
                    if track.confirmed {
                        changes.push(Change::Updated(track.view()));
                    }
                }
                None => track.misses += 1,
            }
        }
    }

    /// Forgets unconfirmed tracks that vanished, or that turn out to be a second box on a confirmed one.
    fn drop_doubtful(&mut self, at: Timestamp) {
        let sure: Vec<(String, Area)> =
            self.tracks.iter().filter(|t| t.confirmed).map(|t| (t.label.clone(), t.path.seen())).collect();
        self.tracks.retain(|track| {
            let vanished = track.misses > UNCONFIRMED_MISSES_MAX;
            let twice = || {
                let seen = track.path.seen();
                track.last_seen == at
                    && sure.iter().any(|(label, area)| *label == track.label && is_same_thing(*area, seen))
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
            let strong = sighting.score >= self.settings.score_min;
            let known = matched.contains(&Some(index));
            let twice = self.tracks.iter().any(|track| {
                track.label == sighting.label
                    && (track.confirmed || track.last_seen == at)
                    && is_same_thing(track.path.seen(), sighting.area)
            });
            if !strong || known || twice || self.tracks.len() >= TRACKS_MAX {
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

/// Does the smaller box lie mostly inside the other?
fn is_same_thing(one: Area, other: Area) -> bool {
    one.share_of_smaller(other) > SAME_THING_SHARE
}

/// Half, rounded up: two of them are never less than the whole.
fn half_up(span: Duration) -> Duration {
    (span + Duration::from_nanos(1)) / 2
}
