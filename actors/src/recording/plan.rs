//! Plan: what of a camera's footage is wanted, until when, and as what. Knows neither disks nor clocks.
//!
//!   mode, events, motion ──▶ [wishes: from … to, class] ──▶ of this span: how far, and as what
//!
//! All times are those of the pictures, as the camera's session tells them.

use super::footage::EventMark;
use super::rows::Class;
use config::recording::RecordMode;
use protocol::{EventId, Timestamp};
use std::time::Duration;

/// Events of one camera that may go on, or wait for their clip, at once. When full, a new one gets no clip of its own.
const EVENTS_MAX: usize = 256;
/// Stretches of motion that are remembered. When full, the oldest is forgotten.
const MOTIONS_MAX: usize = 256;
/// Nobody has spoken of an event for so long: whoever would tell its end is gone.
const SILENT_MAX: Duration = Duration::from_secs(600);
/// A picture of an event's last moment comes no later than this.
const LATE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(super) struct Plan {
    mode: RecordMode,
    pre_roll: Duration,
    post_roll: Duration,
    events: Vec<Wish>,
    motions: Vec<(Timestamp, Timestamp)>,
}

/// What one event wants.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wish {
    pub mark: EventMark,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Some of it is on the disk.
    pub got: bool,
    /// When somebody last spoke of it.
    told: Timestamp,
}

/// How far a stretch of footage is wanted, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub until: Timestamp,
    pub class: Class,
}

impl Plan {
    pub fn new(mode: RecordMode, pre_roll: Duration, post_roll: Duration) -> Self {
        Self { mode, pre_roll, post_roll, events: Vec::new(), motions: Vec::new() }
    }

    pub fn is_off(&self) -> bool {
        self.mode == RecordMode::Off
    }

    pub fn pre_roll(&self) -> Duration {
        self.pre_roll
    }

    pub fn event(&mut self, mark: EventMark, now: Timestamp) {
        if self.is_off() {
            return;
        }
        let (from, to) = (mark.begin.minus(self.pre_roll), mark.last_seen.max(mark.begin).plus(self.post_roll));
        let has_room = self.events.len() < EVENTS_MAX;
        match self.events.iter_mut().find(|wish| wish.mark.event == mark.event) {
            Some(wish) => {
                (wish.from, wish.to, wish.told) = (wish.from.min(from), wish.to.max(to), now);
                let ended = wish.mark.ended || mark.ended;
                wish.mark = EventMark { ended, ..mark };
            }
            None if has_room => self.events.push(Wish { mark, from, to, got: false, told: now }),
            None => {}
        }
    }

    pub fn moved(&mut self, at: Timestamp) {
        if !matches!(self.mode, RecordMode::Motion | RecordMode::All) {
            return;
        }
        let (from, to) = (at.minus(self.pre_roll), at.plus(self.post_roll));
        match self.motions.last_mut() {
            Some(last) if from <= last.1 && to >= last.0 => *last = (last.0.min(from), last.1.max(to)),
            _ => self.motions.push((from, to)),
        }
        if self.motions.len() > MOTIONS_MAX {
            self.motions.remove(0);
        }
    }

    /// Whether footage from `begin` until `end`, which is of what comes next, is wanted. It is wanted from its begin,
    /// however late in it that is.
    pub fn wants(&self, begin: Timestamp, end: Timestamp) -> Option<Wanted> {
        let all = Wanted { until: Timestamp::from_micros(i64::MAX), class: Class::Continuous };
        let all = (self.mode == RecordMode::All).then_some(all);
        let motions = self.motions.iter().map(|&(from, to)| (from, to, Class::Motion));
        let events = self.events.iter().map(|wish| (wish.from, wish.to, Class::Events));
        let overlaps = motions.chain(events).filter(|(from, to, _)| *from < end && *to >= begin);
        overlaps.fold(all, |wanted, (_, to, class)| {
            let wanted = wanted.unwrap_or(Wanted { until: to, class });
            Some(Wanted { until: wanted.until.max(to), class: wanted.class.max(class) })
        })
    }

    /// Events whose footage goes on or waits, oldest first.
    pub fn events(&self) -> &[Wish] {
        &self.events
    }

    pub fn find(&self, event: EventId) -> Option<&Wish> {
        self.events.iter().find(|wish| wish.mark.event == event)
    }

    /// Footage from `begin` until `end` was written.
    pub fn got(&mut self, begin: Timestamp, end: Timestamp) {
        for wish in self.events.iter_mut().filter(|wish| wish.from < end && wish.to >= begin) {
            wish.got = true;
        }
    }

    /// Its clip is made.
    pub fn forget(&mut self, event: EventId) {
        self.events.retain(|wish| wish.mark.event != event);
    }

    /// Nothing from before `oldest` will be asked about again.
    pub fn trim(&mut self, oldest: Timestamp) {
        self.motions.retain(|(_, to)| *to >= oldest);
    }
}

impl Wish {
    /// Nothing more of it will come. `newest`: of the pictures that have come, if more are coming.
    pub fn is_over(&self, newest: Option<Timestamp>, now: Timestamp) -> bool {
        let ended = self.mark.ended || now.since(self.told) > SILENT_MAX;
        ended
            && match newest {
                Some(newest) => newest > self.to || now > self.to.plus(LATE_MAX),
                None => now > self.to,
            }
    }
}

#[cfg(test)]
mod tests;
