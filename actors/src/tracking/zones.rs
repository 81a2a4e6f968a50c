//! Zones: which named parts of the picture a thing has entered, and in which order. Pure.
//!
//! A thing is where its feet are. It has entered an area when its feet were inside in `inertia` frames in a row and
//! for `dwell`; frames in which it was not found neither count nor break the row. It has entered a line when its path
//! crossed it in the line's direction and it did not come back over it for as many frames and as long: who sways on a
//! line crosses it not at all.

use super::geometry::{contains, crossing};
use super::schedule::{Moment, holds};
use config::watching::{Direction, Point, Shape, Zone};
use protocol::Timestamp;

/// Where something is.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    Feet(Point),
    /// Motion without a model: it has no path, so it crosses no line.
    Spots(&'a [Point]),
}

/// One thing's way through all zones of a camera.
#[derive(Debug, Clone, Default)]
pub struct Visits {
    stays: Vec<Stay>,
    /// Indexes of zones, as they were entered.
    entered: Vec<usize>,
    feet: Option<Point>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stay {
    /// In a row, inside; or on the far side of a line since it was crossed.
    frames: u32,
    since: Timestamp,
    entered: bool,
}

impl Visits {
    /// It was found at a place. True if that made it enter a zone.
    pub fn observe(&mut self, zones: &[Zone], label: &str, at: Timestamp, moment: Moment, place: Place) -> bool {
        self.stays.resize(zones.len(), Stay::default());
        let entered_before = self.entered.len();
        let before = self.feet;
        for (index, (zone, stay)) in zones.iter().zip(&mut self.stays).enumerate() {
            let applies = (zone.labels.is_empty() || zone.labels.iter().any(|one| one == label))
                && zone.schedule.as_ref().is_none_or(|schedule| holds(schedule, moment));
            if !applies || !is_inside(&zone.shape, stay.frames > 0, before, place) {
                stay.frames = 0;
                continue;
            }
            if stay.frames == 0 {
                stay.since = at;
            }
            stay.frames = stay.frames.saturating_add(1);
            let stays = stay.frames >= zone.inertia && at.since(stay.since) >= zone.dwell;
            if stays && !stay.entered {
                stay.entered = true;
                self.entered.push(index);
            }
        }
        if let Place::Feet(feet) = place {
            self.feet = Some(feet);
        }
        self.entered.len() > entered_before
    }

    /// In the order of entry.
    pub fn entered(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.entered.iter().copied()
    }
}

fn is_inside(shape: &Shape, was: bool, before: Option<Point>, place: Place) -> bool {
    match (shape, place) {
        (Shape::Area(polygon), Place::Feet(feet)) => contains(polygon, feet),
        (Shape::Area(polygon), Place::Spots(spots)) => spots.iter().any(|spot| contains(polygon, *spot)),
        (Shape::Line { .. }, Place::Spots(_)) => false,
        (Shape::Line { from, to, direction }, Place::Feet(feet)) => {
            let way = before.and_then(|before| crossing([*from, *to], [before, feet]));
            match way {
                None => was,
                // Of a line for both ways, the way back is a crossing too.
                Some(way) => *direction == Direction::Any || *direction == way,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::watching::{Polygon, Schedule, Span};
    use std::time::Duration;

    fn zone(shape: Shape) -> Zone {
        Zone {
            name: "yard".to_owned(),
            shape,
            inertia: 1,
            dwell: Duration::ZERO,
            labels: Vec::new(),
            required: false,
            schedule: None,
        }
    }

    /// From 0.4 to 0.6 across.
    fn strip() -> Zone {
        zone(Shape::Area(Polygon(vec![[0.4, 0.0], [0.6, 0.0], [0.6, 1.0], [0.4, 1.0]])))
    }

    /// Across the middle; who walks to the right goes from left to right.
    fn line(direction: Direction) -> Zone {
        zone(Shape::Line { from: [0.5, 1.0], to: [0.5, 0.0], direction })
    }

    const NOON: Moment = Moment { weekday: 0, minute: 720 };

    /// Walks over these places at half height, 200 ms apart; in which step, counted from 1, the zone was entered.
    #[track_caller]
    fn check(zone: Zone, xs: &[f32], expected: Option<usize>) {
        let zones = [zone];
        let mut visits = Visits::default();
        let mut entered = Vec::new();
        for (index, x) in xs.iter().enumerate() {
            let at = Timestamp::from_micros(index as i64 * 200_000);
            if visits.observe(&zones, "person", at, NOON, Place::Feet([*x, 0.5])) {
                entered.push(index + 1);
            }
        }
        assert_eq!(entered, Vec::from_iter(expected));
        assert_eq!(visits.entered().len(), entered.len());
    }

    #[test]
    fn a_zone_is_entered_once() {
        check(strip(), &[0.3, 0.5, 0.7, 0.5], Some(2));
        check(strip(), &[0.3, 0.7], None);
    }

    #[test]
    fn inertia_counts_frames_in_a_row() {
        let slow = Zone { inertia: 3, ..strip() };
        check(slow.clone(), &[0.5, 0.5, 0.7, 0.5, 0.5, 0.5], Some(6));
        check(slow, &[0.5, 0.5, 0.7, 0.5, 0.5, 0.7], None);
    }

    #[test]
    fn who_walks_through_does_not_dwell() {
        let bench = Zone { dwell: Duration::from_millis(800), ..strip() };
        check(bench.clone(), &[0.3, 0.45, 0.5, 0.55, 0.7], None);
        check(bench, &[0.3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], Some(6));
    }

    #[test]
    fn a_line_is_crossed_in_its_direction() {
        check(line(Direction::LeftToRight), &[0.3, 0.45, 0.55], Some(3));
        check(line(Direction::RightToLeft), &[0.3, 0.45, 0.55], None);
        check(line(Direction::RightToLeft), &[0.7, 0.45], Some(2));
        check(line(Direction::Any), &[0.7, 0.45, 0.7], Some(2));
        check(line(Direction::Any), &[0.7, 0.8], None);
    }

    #[test]
    fn who_sways_on_a_line_does_not_cross_it() {
        let line = Zone { inertia: 3, ..line(Direction::RightToLeft) };
        check(line.clone(), &[0.4, 0.52, 0.49, 0.52, 0.49, 0.6, 0.7, 0.8], None);
        check(line, &[0.6, 0.48, 0.51, 0.48, 0.4, 0.3], Some(6));
    }

    #[test]
    fn a_zone_is_for_its_labels_and_its_hours() {
        check(Zone { labels: vec!["car".to_owned()], ..strip() }, &[0.5; 5], None);
        check(Zone { labels: vec!["car".to_owned(), "person".to_owned()], ..strip() }, &[0.5; 5], Some(1));
        let hours = |from_minute| Some(Schedule(vec![Span { days: [true; 7], from_minute, to_minute: 800 }]));
        check(Zone { schedule: hours(700), ..strip() }, &[0.5; 5], Some(1));
        check(Zone { schedule: hours(790), ..strip() }, &[0.5; 5], None);
    }

    #[test]
    fn zones_are_told_in_the_order_of_entry() {
        let right = zone(Shape::Area(Polygon(vec![[0.6, 0.0], [1.0, 0.0], [1.0, 1.0], [0.6, 1.0]])));
        let zones = [right, strip()];
        let mut visits = Visits::default();
        for x in [0.5, 0.8] {
            visits.observe(&zones, "person", Timestamp::default(), NOON, Place::Feet([x, 0.5]));
        }
        assert!(visits.entered().eq([1, 0]));
    }

    #[test]
    fn motion_enters_areas_and_crosses_no_line() {
        let mut visits = Visits::default();
        let zones = [line(Direction::Any), strip()];
        for x in [0.3, 0.5, 0.7] {
            visits.observe(&zones, "motion", Timestamp::default(), NOON, Place::Spots(&[[0.1, 0.5], [x, 0.5]]));
        }
        assert!(visits.entered().eq([1]));
    }
}
