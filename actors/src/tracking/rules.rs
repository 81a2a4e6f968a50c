//! Rules: which detections count, and which tracks are events. Pure: no clock, no I/O.
//!
//!   detections ─▶ [screen: labels, object masks, sizes] ─▶ tracker ─▶ [follow: zones, scores, hours] ─▶ events
//!
//! A track becomes an event when, in one frame, the camera's schedule holds, the track has entered a zone that is
//! `required` (if any is), and the median of its newest scores is high enough. It is one then to its end, whatever
//! follows. Its event begins when the track was first seen, not when it was let through: a clip shows how it came.
//!
//! Detections below a filter's `score_min` start no track. As with `detect.score_min`, they may continue one: who is
//! seen badly for a moment is the same person.

use super::geometry::{contains, feet, surface};
use super::schedule::{Moment, holds};
use super::tracker::TrackView;
use super::zones::{Place, Visits};
use config::watching::{Filter, ObjectMask, Schedule, Zone};
use protocol::limits::EVENT_ZONES_MAX;
use protocol::{Detection, Timestamp};
use std::collections::{HashMap, VecDeque};

#[cfg(test)]
mod tests;

/// The median is that of so many newest scores, two seconds at five frames a second.
const SCORES_MAX: usize = 10;

/// What a camera's configuration says of its events.
#[derive(Debug, Clone, Default)]
pub struct RulesSettings {
    /// Only these labels are followed; all if empty.
    pub labels: Vec<String>,
    pub object_masks: Vec<ObjectMask>,
    pub filters: Vec<Filter>,
    pub zones: Vec<Zone>,
    pub schedule: Option<Schedule>,
}

impl RulesSettings {
    /// Of the filters, what the tracker has to know: from which score a detection starts a track, and for which labels
    /// it is another. `otherwise`: where no filter says so.
    pub fn score_mins(&self, otherwise: f32) -> (f32, Vec<(String, f32)>) {
        let min = |filter: &Filter| filter.score_min.unwrap_or(otherwise);
        let all = self.filters.iter().find(|filter| filter.label.is_none()).map_or(otherwise, min);
        let own = self.filters.iter().filter_map(|filter| Some((filter.label.clone()?, min(filter))));
        (all, own.collect())
    }

    /// A label's own, or the one for all that have none.
    fn filter(&self, label: &str) -> Option<&Filter> {
        let of = |name: Option<&str>| self.filters.iter().find(|filter| filter.label.as_deref() == name);
        of(Some(label)).or_else(|| of(None))
    }

    /// Does the time matter to any rule?
    pub fn keeps_hours(&self) -> bool {
        self.schedule.is_some() || self.zones.iter().any(|zone| zone.schedule.is_some())
    }
}

/// Why a detection is not followed, or a track is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Label,
    Mask,
    Size,
    Schedule,
    Zone,
    Score,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Mask => "mask",
            Self::Size => "size",
            Self::Schedule => "schedule",
            Self::Zone => "zone",
            Self::Score => "score",
        }
    }
}

/// What the rules say of a track in one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling {
    /// It is an event, since now or before.
    pub event: bool,
    /// It has just entered a zone.
    pub entered: bool,
}

pub struct Rules {
    settings: RulesSettings,
    stories: HashMap<u64, Story>,
}

/// What the rules remember of a track.
#[derive(Default)]
struct Story {
    visits: Visits,
    scores: VecDeque<f32>,
    /// Sightings that are in `scores`, or have been.
    hits: u32,
    event: bool,
    /// Why it is none yet.
    withheld: Option<Reason>,
}

impl Rules {
    pub fn new(settings: RulesSettings) -> Self {
        Self { settings, stories: HashMap::new() }
    }

    /// Takes away the detections that are not to be followed, each with its reason.
    pub fn screen(&self, detections: &mut Vec<Detection>, width: u32, height: u32) -> Vec<Reason> {
        let mut taken = Vec::new();
        let size = [width, height, width, height].map(|side| side.max(1) as f32);
        detections.retain(|detection| {
            let area: [f32; 4] = std::array::from_fn(|side| (detection.area[side] / size[side]).clamp(0.0, 1.0));
            let reason = self.refusal(&detection.label, area);
            taken.extend(reason);
            reason.is_none()
        });
        taken
    }

    fn refusal(&self, label: &str, area: [f32; 4]) -> Option<Reason> {
        let Self { settings, .. } = self;
        if !settings.labels.is_empty() && !settings.labels.iter().any(|one| one == label) {
            return Some(Reason::Label);
        }
        let masked = settings.object_masks.iter().any(|mask| {
            let applies = mask.labels.is_empty() || mask.labels.iter().any(|one| one == label);
            applies && contains(&mask.polygon, feet(area))
        });
        if masked {
            return Some(Reason::Mask);
        }
        let filter = settings.filter(label)?;
        let part = surface(area);
        let fits = filter.area_min.is_none_or(|min| part >= min) && filter.area_max.is_none_or(|max| part <= max);
        (!fits).then_some(Reason::Size)
    }

    /// A track was reported, or seen again. `at`: when; `moment`: the local time then.
    pub fn follow(&mut self, view: &TrackView, at: Timestamp, moment: Moment) -> Ruling {
        let Self { settings, stories } = self;
        let first = !stories.contains_key(&view.track);
        let story = stories.entry(view.track).or_default();
        let mut entered = false;
        if first && view.hits > 1 {
            // It was seen before it was reported.
            story.remember(view.first.score);
            let place = Place::Feet(feet(view.first.area));
            entered = story.visits.observe(&settings.zones, &view.label, view.begin, moment, place);
        }
        if view.hits > story.hits {
            story.hits = view.hits;
            story.remember(view.score);
        }
        entered |= story.visits.observe(&settings.zones, &view.label, at, moment, Place::Feet(feet(view.seen)));
        Ruling { event: story.judge(settings, &view.label, moment), entered }
    }

    /// Motion without a model, in these areas. Filters are for what has a label that a model gave it.
    pub fn follow_motion(&mut self, view: &TrackView, areas: &[[f32; 4]], at: Timestamp, moment: Moment) -> Ruling {
        let Self { settings, stories } = self;
        let story = stories.entry(view.track).or_default();
        let spots: Vec<_> = areas.iter().map(|area| feet(*area)).collect();
        let entered = story.visits.observe(&settings.zones, &view.label, at, moment, Place::Spots(&spots));
        Ruling { event: story.judge(settings, &view.label, moment), entered }
    }

    /// In the order of entry.
    pub fn zones(&self, track: u64) -> Vec<String> {
        let Some(story) = self.stories.get(&track) else { return Vec::new() };
        let names = story.visits.entered().filter_map(|zone| self.settings.zones.get(zone));
        names.map(|zone| zone.name.clone()).take(EVENT_ZONES_MAX).collect()
    }

    /// A track is over; why it never was an event, if it was not.
    pub fn forget(&mut self, track: u64) -> Option<Reason> {
        self.stories.remove(&track).filter(|story| !story.event)?.withheld
    }
}

impl Story {
    fn remember(&mut self, score: f32) {
        if self.scores.len() >= SCORES_MAX {
            self.scores.pop_front();
        }
        self.scores.push_back(score);
    }

    fn judge(&mut self, settings: &RulesSettings, label: &str, moment: Moment) -> bool {
        if !self.event {
            self.withheld = self.obstacle(settings, label, moment);
            self.event = self.withheld.is_none();
        }
        self.event
    }

    fn obstacle(&self, settings: &RulesSettings, label: &str, moment: Moment) -> Option<Reason> {
        if settings.schedule.as_ref().is_some_and(|schedule| !holds(schedule, moment)) {
            return Some(Reason::Schedule);
        }
        let required = |zone: usize| settings.zones.get(zone).is_some_and(|zone| zone.required);
        if settings.zones.iter().any(|zone| zone.required) && !self.visits.entered().any(required) {
            return Some(Reason::Zone);
        }
        let median_min = settings.filter(label).and_then(|filter| filter.score_median_min);
        // Motion has no scores.
        let high_enough = match (median_min, self.median()) {
            (Some(min), Some(median)) => median >= min,
            _ => true,
        };
        (!high_enough).then_some(Reason::Score)
    }

    /// Between the two in the middle, if there are two.
    fn median(&self) -> Option<f32> {
        let mut scores: Vec<f32> = self.scores.iter().copied().collect();
        scores.sort_by(f32::total_cmp);
        let upper = *scores.get(scores.len() / 2)?;
        let lower = scores[(scores.len() - 1) / 2];
        Some((lower + upper) / 2.0)
    }
}
