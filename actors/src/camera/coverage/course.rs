//! Course: one camera's coverage as events: from when to when nobody judged it, and why. Pure.
//!
//!   looks ──▶ [course] ──start, update, end──▶ events "blind", and "unwatched" where nobody was to look

use protocol::event::{BLIND_LABEL, UNWATCHED_LABEL};
use protocol::limits::short_text;
use protocol::{CameraId, EndReason, Event, EventId, Evidence, Phase, Timestamp};
use std::time::Duration;

/// Reasons that change more often than this are told at the end of it.
const UPDATE_EVERY: Duration = Duration::from_secs(10);
/// What keeps a camera from being judged right after a start is the start.
const STARTING: Duration = Duration::from_secs(10);

const NOT_RUNNING: &str = "the edge was not running";
const NEW_HERE: &str = "nobody has looked before";
const BY_CHOICE: &str = "passthrough: it is recorded, and not looked at by choice";
const GONE: &str = "disabled or removed from the configuration";

/// As [`super::Gap`], by the wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Option<Timestamp>,
    pub reason: String,
    pub first: bool,
}

/// As [`super::Look`], by the wall clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    pub gaps: Vec<Span>,
    pub judged: Option<Timestamp>,
    pub unwatched: bool,
}

pub struct Course {
    camera: CameraId,
    /// Up to here all is told; `None`: nothing ever was.
    known: Option<Timestamp>,
    /// What is known is from an earlier life of this node.
    away: bool,
    /// When this life began.
    started: Timestamp,
    /// The event that goes on.
    open: Option<Event>,
    told: Timestamp,
}

impl Course {
    /// `known`: up to when all had been told, as an earlier life of this node wrote down.
    pub fn new(camera: CameraId, known: Option<Timestamp>, now: Timestamp) -> Self {
        // A wall clock that went back must not end what begins later.
        let known = known.map(|known| known.min(now));
        Self { camera, away: known.is_some(), known, started: now, open: None, told: now }
    }

    pub fn known(&self) -> Option<Timestamp> {
        self.known
    }

    /// What it is like now, for the tree.
    pub fn blind(&self) -> Option<&str> {
        let event = self.open.as_ref().filter(|event| event.label == BLIND_LABEL)?;
        reason_of(event)
    }

    /// Events that an earlier life began and did not end: they end where what is known ends.
    pub fn cut(&self, open: Vec<Event>) -> Vec<Event> {
        let end = |event: Event| {
            let end = self.known.unwrap_or(event.end).max(event.begin);
            ended(event, end, EndReason::Restart)
        };
        open.into_iter().map(end).collect()
    }

    /// What is to be told after this look, in this order.
    pub fn look(&mut self, seen: Seen, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let mut dark = false;
        for gap in seen.gaps {
            match gap.to {
                Some(to) => self.over(&gap, to, &mut events),
                None => {
                    dark = true;
                    self.goes_on(&gap, now, &mut events);
                }
            }
        }
        if !dark {
            let due = seen.unwatched.then_some(UNWATCHED_LABEL);
            if self.open.as_ref().map(|event| event.label.as_str()) != due {
                self.end(now, EndReason::Left, &mut events);
                if seen.unwatched {
                    self.begin(now, UNWATCHED_LABEL, BY_CHOICE, now, &mut events);
                }
            }
        }
        self.known = Some(match (&self.open, seen.judged) {
            (Some(_), _) | (None, None) => now,
            (None, Some(judged)) => self.known.map_or(judged, |known| known.min(now).max(judged)),
        });
        events
    }

    /// The camera is no longer looked at, and nobody is to.
    pub fn gone(&mut self, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        if self.open.as_ref().and_then(reason_of) != Some(GONE) {
            self.end(now, EndReason::Left, &mut events);
            self.begin(now, UNWATCHED_LABEL, GONE, now, &mut events);
        }
        self.known = Some(now);
        events
    }

    /// The node stops in good order.
    pub fn stop(&mut self, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        if self.open.is_some() {
            self.end(now, EndReason::Stopped, &mut events);
            self.known = Some(now);
        }
        events
    }

    /// A gap that is over.
    fn over(&mut self, gap: &Span, to: Timestamp, events: &mut Vec<Event>) {
        if self.open.as_ref().is_none_or(|open| open.label != BLIND_LABEL) {
            let from = self.begin_of(gap, to);
            // A camera whose settings changed is looked at anew after a moment, which is no blindness.
            if gap.first && !self.is_first_of_all() && to.since(from) < super::BLIND_AFTER {
                return;
            }
            self.end(from, EndReason::Left, events);
            let reason = self.reason(gap, to);
            self.begin(from, BLIND_LABEL, &reason, to, events);
        }
        self.end(to, EndReason::Left, events);
        (self.away, self.known) = (false, Some(to));
    }

    /// A gap that goes on.
    fn goes_on(&mut self, gap: &Span, now: Timestamp, events: &mut Vec<Event>) {
        let reason = self.reason(gap, now);
        match &mut self.open {
            Some(open) if open.label == BLIND_LABEL => {
                let same = reason_of(open) == Some(short_text(&reason).as_str());
                if !same && now.since(self.told) >= UPDATE_EVERY {
                    open.evidence = Evidence::Blind { reason: short_text(&reason) };
                    (open.phase, open.end) = (Phase::Update, now);
                    open.revision += 1;
                    self.told = now;
                    events.push(open.clone());
                }
            }
            _ => {
                let from = self.begin_of(gap, now);
                if gap.first && !self.is_first_of_all() && now.since(from) < super::BLIND_AFTER {
                    return;
                }
                self.end(from, EndReason::Left, events);
                self.begin(from, BLIND_LABEL, &reason, now, events);
            }
        }
    }

    /// A node that was away, or a camera that was never looked at, is told of however short it was.
    fn is_first_of_all(&self) -> bool {
        self.away || self.known.is_none()
    }

    /// Never before what is told already; a wall clock that went back must not make it begin later than now.
    fn begin_of(&self, gap: &Span, now: Timestamp) -> Timestamp {
        match self.known.map(|known| known.min(now)) {
            // Where one life ends, the next begins.
            Some(known) if gap.first => known,
            Some(known) => gap.from.max(known),
            None => gap.from,
        }
    }

    fn reason(&self, gap: &Span, now: Timestamp) -> String {
        let starting = now.since(self.started) < STARTING;
        match (gap.first, self.away, self.known.is_none() || self.is_new_here()) {
            (true, true, _) if starting => NOT_RUNNING.to_owned(),
            (true, true, _) => format!("{NOT_RUNNING}, and then: {}", gap.reason),
            (true, false, true) if starting => NEW_HERE.to_owned(),
            _ => gap.reason.clone(),
        }
    }

    fn is_new_here(&self) -> bool {
        self.open.as_ref().and_then(reason_of) == Some(NEW_HERE)
    }

    fn begin(&mut self, begin: Timestamp, label: &str, reason: &str, now: Timestamp, events: &mut Vec<Event>) {
        let event = Event {
            id: EventId::new(begin),
            camera: self.camera.clone(),
            phase: Phase::Start,
            revision: 0,
            label: label.to_owned(),
            evidence: Evidence::Blind { reason: short_text(reason) },
            score: 0.0,
            top_score: 0.0,
            area: [0.0; 4],
            begin,
            end: now.max(begin),
            reason: None,
            zones: Vec::new(),
            has_clip: false,
            has_snapshot: false,
        };
        self.told = now;
        self.open = Some(event.clone());
        events.push(event);
    }

    fn end(&mut self, at: Timestamp, reason: EndReason, events: &mut Vec<Event>) {
        if let Some(open) = self.open.take() {
            let at = at.max(open.begin);
            events.push(ended(open, at, reason));
        }
    }
}

fn ended(mut event: Event, end: Timestamp, reason: EndReason) -> Event {
    event.phase = Phase::End;
    event.revision += 1;
    (event.end, event.reason) = (end, Some(reason));
    event
}

fn reason_of(event: &Event) -> Option<&str> {
    match &event.evidence {
        Evidence::Blind { reason } => Some(reason),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + ms * 1000)
    }

    fn course(known: Option<i64>) -> Course {
        Course::new("door".parse().expect("a name"), known.map(at), at(0))
    }

    fn gap(from: i64, to: Option<i64>, reason: &str, first: bool) -> Span {
        Span { from: at(from), to: to.map(at), reason: reason.to_owned(), first }
    }

    fn sees(judged: i64) -> Seen {
        Seen { judged: Some(at(judged)), ..Seen::default() }
    }

    fn dark(gaps: Vec<Span>) -> Seen {
        Seen { gaps, ..Seen::default() }
    }

    /// `start blind:dark 0..2000`
    fn told(events: &[Event]) -> Vec<String> {
        let ms = |time: Timestamp| (time.micros() - 1_000_000_000) / 1000;
        let line = |event: &Event| {
            let phase = format!("{:?}", event.phase).to_lowercase();
            let why = event.reason.map_or(String::new(), |why| format!(" {why:?}").to_lowercase());
            let reason = reason_of(event).unwrap_or_default();
            format!("{phase} {}:{reason} {}..{}{why}", event.label, ms(event.begin), ms(event.end))
        };
        events.iter().map(line).collect()
    }

    /// A course of a camera that has been judged up to 1000.
    fn watched() -> Course {
        let mut course = course(None);
        course.look(dark(vec![gap(0, Some(500), "no frame was judged yet", true)]), at(600));
        assert!(course.look(sees(1000), at(1000)).is_empty());
        course
    }

    #[test]
    fn a_camera_goes_blind_from_its_last_judgement_to_the_next() {
        let mut course = watched();
        let events = course.look(dark(vec![gap(1000, None, "refused", false)]), at(2800));
        assert_eq!(told(&events), ["start blind:refused 1000..2800"]);
        assert_eq!((course.blind(), course.known()), (Some("refused"), Some(at(2800))));
        let events = course.look(dark(vec![gap(1000, None, "refused", false)]), at(3000));
        assert!(events.is_empty(), "nothing is new");
        let over =
            Seen { gaps: vec![gap(1000, Some(9000), "refused", false)], judged: Some(at(9050)), unwatched: false };
        assert_eq!(told(&course.look(over, at(9100))), ["end blind:refused 1000..9000 left"]);
        assert_eq!((course.blind(), course.known()), (None, Some(at(9050))));
    }

    #[test]
    fn a_gap_between_two_looks_is_told_whole() {
        let mut course = watched();
        let over = Seen { gaps: vec![gap(1000, Some(2900), "slow", false)], judged: Some(at(2950)), unwatched: false };
        let events = course.look(over, at(3000));
        assert_eq!(told(&events), ["start blind:slow 1000..2900", "end blind:slow 1000..2900 left"]);
        assert_eq!(events[0].id, events[1].id);
        assert_eq!([events[0].revision, events[1].revision], [0, 1]);
    }

    #[test]
    fn a_reason_that_changes_is_an_update_and_one_that_flaps_is_told_seldom() {
        let mut course = watched();
        course.look(dark(vec![gap(1000, None, "refused", false)]), at(2800));
        assert!(course.look(dark(vec![gap(1000, None, "silent", false)]), at(3000)).is_empty());
        let events = course.look(dark(vec![gap(1000, None, "silent", false)]), at(12_900));
        assert_eq!(told(&events), ["update blind:silent 1000..12900"]);
        assert!(course.look(dark(vec![gap(1000, None, "refused", false)]), at(13_000)).is_empty());
    }

    #[test]
    fn where_a_node_was_away_nobody_looked_however_short_that_was() {
        let mut course = course(Some(-5000));
        let events = course.look(dark(vec![gap(0, None, "no frame was judged yet", true)]), at(100));
        assert_eq!(told(&events), ["start blind:the edge was not running -5000..100"]);
        let over = Seen { gaps: vec![gap(0, Some(700), "x", true)], judged: Some(at(700)), unwatched: false };
        assert_eq!(told(&course.look(over, at(800))), ["end blind:the edge was not running -5000..700 left"]);
    }

    #[test]
    fn a_camera_that_does_not_come_back_with_its_node_has_its_own_reason() {
        let mut course = course(Some(-5000));
        course.look(dark(vec![gap(0, None, "starting", true)]), at(100));
        let events = course.look(dark(vec![gap(0, None, "refused", true)]), at(11_000));
        assert_eq!(told(&events), ["update blind:the edge was not running, and then: refused -5000..11000"]);
    }

    #[test]
    fn the_first_look_of_all_is_on_the_record() {
        let mut course = course(None);
        let over = Seen { gaps: vec![gap(0, Some(300), "x", true)], judged: Some(at(300)), unwatched: false };
        let events = course.look(over, at(400));
        let due = ["start blind:nobody has looked before 0..300", "end blind:nobody has looked before 0..300 left"];
        assert_eq!(told(&events), due);
    }

    #[test]
    fn a_camera_whose_settings_changed_is_not_blind_for_a_moment() {
        let mut course = watched();
        let over = Seen { gaps: vec![gap(1200, Some(2000), "x", true)], judged: Some(at(2000)), unwatched: false };
        assert!(course.look(over, at(2100)).is_empty());
        let later = dark(vec![gap(3000, None, "refused", true)]);
        assert_eq!(told(&course.look(later, at(5000))), ["start blind:refused 2000..5000"]);
    }

    #[test]
    fn what_nobody_is_to_look_at_is_unwatched_and_blind_only_without_pictures() {
        let mut course = watched();
        let choice = || Seen { unwatched: true, ..sees(2000) };
        let reason = "passthrough: it is recorded, and not looked at by choice";
        assert_eq!(told(&course.look(choice(), at(2000))), [format!("start unwatched:{reason} 2000..2000")]);
        assert!(course.look(choice(), at(2500)).is_empty());
        assert_eq!(course.blind(), None);
        let none = Seen { gaps: vec![gap(2500, None, "no picture comes", false)], judged: None, unwatched: true };
        let events = told(&course.look(none, at(5000)));
        assert_eq!(
            events,
            [format!("end unwatched:{reason} 2000..2500 left"), "start blind:no picture comes 2500..5000".to_owned()]
        );
        let over = Seen { gaps: vec![gap(2500, Some(6000), "no picture comes", false)], ..sees(6000) };
        assert_eq!(told(&course.look(over, at(6100))), ["end blind:no picture comes 2500..6000 left"]);
    }

    #[test]
    fn a_camera_that_is_removed_is_unwatched_once() {
        let mut course = watched();
        assert_eq!(told(&course.gone(at(4000))), [format!("start unwatched:{GONE} 4000..4000")]);
        assert!(course.gone(at(4500)).is_empty());
        let back = Seen { gaps: vec![gap(5000, Some(5500), "x", true)], ..sees(5500) };
        assert_eq!(told(&course.look(back, at(5600))), [format!("end unwatched:{GONE} 4000..5600 left")]);
    }

    #[test]
    fn a_keeper_that_is_restarted_alone_goes_on_where_it_ended() {
        let mut course = watched();
        course.look(dark(vec![gap(1000, None, "refused", false)]), at(2800));
        course.stop(at(3000));
        let events = course.look(dark(vec![gap(1000, None, "refused", false)]), at(3200));
        assert_eq!(told(&events), ["start blind:refused 3000..3200"]);
    }

    #[test]
    fn a_wall_clock_that_went_back_makes_nothing_begin_in_the_future() {
        let mut course = watched();
        let events = course.look(dark(vec![gap(-61_000, None, "refused", false)]), at(-59_000));
        assert_eq!(told(&events), ["start blind:refused -59000..-59000"]);
    }

    #[test]
    fn an_orderly_stop_ends_what_goes_on_and_a_crash_is_cut_where_what_is_known_ends() {
        let mut course = watched();
        course.look(dark(vec![gap(1000, None, "refused", false)]), at(2800));
        let open = course.open.clone().expect("goes on");
        assert_eq!(told(&course.stop(at(3000))), ["end blind:refused 1000..3000 stopped"]);
        assert!(course.stop(at(3100)).is_empty());
        let next = Course::new("door".parse().expect("a name"), Some(at(2900)), at(9000));
        assert_eq!(told(&next.cut(vec![open])), ["end blind:refused 1000..2900 restart"]);
    }
}
