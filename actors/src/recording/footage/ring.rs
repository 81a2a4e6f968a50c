//! Ring: the newest footage of one camera in memory, whole groups of pictures, and which of it is still to be written.
//! Pure: knows neither disks nor clocks.
//!
//!   units ──▶ fragmenter ──pieces──▶ [ring] ──next──▶ writer
//!                                      ▲ plan: what is wanted
//!
//! A piece is about a second. It goes when it is too old for any pre-roll and nobody wants it, or when the ring is full;
//! what was wanted and not written then is lost, and counted.

use crate::media::fmp4::{Fragment, Fragmenter};
use crate::recording::footage::EventMark;
use crate::recording::plan::{Plan, Wish};
use crate::recording::rows::Class;
use protocol::camera::{Format, Unit};
use protocol::{EventId, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// An event is told, and motion found, no later than this after the picture that shows it.
const LATE_MAX: Duration = Duration::from_secs(5);
/// Clips that were made, for those who ask later. When full, the oldest is forgotten.
const MADE_MAX: usize = 512;

pub(in crate::recording) struct Ring {
    plan: Plan,
    bytes_max: usize,
    format: Option<Arc<Format>>,
    fragmenter: Option<Fragmenter>,
    /// Begins with a key frame, but for what is left of a group that alone is larger than the ring.
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Of the next piece.
    seq: u64,
    made: VecDeque<(EventId, bool)>,
    lost: Lost,
}

struct Piece {
    seq: u64,
    fragment: Arc<Fragment>,
    format: Arc<Format>,
    written: bool,
}

/// What is to be written next.
#[derive(Clone)]
pub(in crate::recording) struct Next {
    pub seq: u64,
    pub fragment: Arc<Fragment>,
    pub format: Arc<Format>,
    pub class: Class,
    /// It continues the take whose last piece was asked with; else it begins one.
    pub continues: bool,
}

/// What was wanted, and forgotten before it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::recording) struct Lost {
    pub units: u64,
    pub time: Duration,
}

impl Ring {
    pub fn new(plan: Plan, bytes_max: usize) -> Self {
        Self {
            plan,
            bytes_max,
            format: None,
            fragmenter: None,
            pieces: VecDeque::new(),
            bytes: 0,
            seq: 0,
            made: VecDeque::new(),
            lost: Lost::default(),
        }
    }

    pub fn format(&mut self, format: Format) {
        self.cut();
        if !self.plan.is_off() {
            self.fragmenter = Some(Fragmenter::new(format.audio.is_some()));
            self.format = Some(Arc::new(format));
        }
    }

    /// Whether there is something to be written now.
    pub fn unit(&mut self, unit: Unit) -> bool {
        let Some(fragmenter) = &mut self.fragmenter else { return false };
        let fragments = fragmenter.push(unit);
        if fragments.is_empty() {
            return false;
        }
        fragments.into_iter().for_each(|fragment| self.push(fragment));
        self.trim();
        self.has_work()
    }

    /// The session is over.
    pub fn cut(&mut self) {
        if let Some(last) = self.fragmenter.take().and_then(|mut fragmenter| fragmenter.flush()) {
            self.push(last);
            self.trim();
        }
        self.format = None;
    }

    pub fn event(&mut self, mark: EventMark, now: Timestamp) -> bool {
        self.plan.event(mark, now);
        self.has_work()
    }

    pub fn moved(&mut self, at: Timestamp) -> bool {
        self.plan.moved(at);
        self.has_work()
    }

    pub fn has_clip(&self, event: EventId) -> bool {
        match self.plan.find(event) {
            Some(wish) => wish.got || (0..self.pieces.len()).any(|at| self.overlaps(at, wish)),
            None => self.made.iter().any(|(made, has)| *made == event && *has),
        }
    }

    /// Pictures are coming, as far as is known.
    pub fn is_flowing(&self) -> bool {
        self.fragmenter.is_some()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was lost since it was last asked.
    pub fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    fn push(&mut self, fragment: Fragment) {
        let Some(format) = self.format.clone() else { return };
        self.bytes += fragment.bytes();
        self.pieces.push_back(Piece { seq: self.seq, fragment: Arc::new(fragment), format, written: false });
        self.seq += 1;
    }

    pub fn has_work(&self) -> bool {
        self.groups().any(|(begin, end)| {
            self.wanted(begin, end).is_some_and(|(last, _)| self.first_unwritten(begin, last).is_some())
        })
    }

    /// Groups of pictures, oldest first: from where to where.
    fn groups(&self) -> impl Iterator<Item = (usize, usize)> {
        let keys = (0..self.pieces.len()).filter(|at| *at == 0 || self.pieces[*at].fragment.key);
        let ends = (1..self.pieces.len()).filter(|at| self.pieces[*at].fragment.key).chain([self.pieces.len()]);
        keys.zip(ends)
    }

    /// The last piece of this group that is wanted, and with it all before it; and as what.
    fn wanted(&self, begin: usize, end: usize) -> Option<(usize, Class)> {
        let wants = |at: usize| self.plan.wants(self.pieces[at].fragment.captured, self.end_of(at));
        let last = (begin..end).rev().find(|at| wants(*at).is_some())?;
        let class = (begin..=last).filter_map(|at| Some(wants(at)?.class)).max()?;
        Some((last, class))
    }

    fn first_unwritten(&self, begin: usize, last: usize) -> Option<usize> {
        (begin..=last).find(|at| !self.pieces[*at].written)
    }

    /// Where the next one begins, if that follows: what is wanted from between two is wanted from the first.
    fn end_of(&self, at: usize) -> Timestamp {
        let own = end(&self.pieces[at].fragment);
        match self.pieces.get(at + 1) {
            Some(next) if next.fragment.follows => next.fragment.captured.max(own),
            _ => own,
        }
    }

    fn overlaps(&self, at: usize, wish: &Wish) -> bool {
        wish.from < self.end_of(at) && wish.to >= self.pieces[at].fragment.captured
    }

    /// What is to be written next. `tail`: the last piece of the take that is open.
    pub fn next(&mut self, tail: Option<u64>) -> Option<Next> {
        let groups: Vec<_> = self.groups().collect();
        for (begin, end) in groups {
            let Some((last, class)) = self.wanted(begin, end) else { continue };
            let Some(first) = self.first_unwritten(begin, last) else { continue };
            let piece = &self.pieces[first];
            let continues = piece.fragment.follows && tail.is_some_and(|tail| tail + 1 == piece.seq);
            if continues {
                return Some(self.told(first, class, true));
            }
            if self.pieces[begin].fragment.key {
                // A take begins with a key frame: what an earlier one has of this group is written again.
                (begin..end).for_each(|at| self.pieces[at].written = false);
                return Some(self.told(begin, class, false));
            }
            // The begin of this group is gone, and with it what it is good for.
            self.forget_through(last);
            return self.next(tail);
        }
        None
    }

    fn told(&self, at: usize, class: Class, continues: bool) -> Next {
        let Piece { seq, fragment, format, .. } = &self.pieces[at];
        Next { seq: *seq, fragment: fragment.clone(), format: format.clone(), class, continues }
    }

    pub fn wrote(&mut self, seq: u64) {
        let Some(at) = self.pieces.iter().position(|piece| piece.seq == seq) else { return };
        self.pieces[at].written = true;
        self.plan.got(self.pieces[at].fragment.captured, self.end_of(at));
        self.trim();
    }

    /// Whether what comes behind this piece may be wanted one day: a take that ends with it need not be finished yet. In
    /// the midst of a group it is as long as any of the group may be, or the rest could be had only by writing its begin
    /// again.
    pub fn may_follow(&self, tail: u64) -> bool {
        let Some(at) = self.pieces.iter().position(|piece| piece.seq > tail) else { return self.is_flowing() };
        let next = &self.pieces[at];
        if next.seq != tail + 1 || !next.fragment.follows {
            return false;
        }
        let last = (at..self.pieces.len()).take_while(|n| *n == at || !self.pieces[*n].fragment.key).last();
        let until = match last.filter(|_| !next.fragment.key) {
            Some(last) => end(&self.pieces[last].fragment),
            None => next.fragment.captured,
        };
        let reach = self.plan.pre_roll() + LATE_MAX;
        self.newest().is_none_or(|newest| newest.since(until) <= reach)
    }

    /// Events with footage that goes on, and those whose clip can be made: nothing more of theirs will come.
    pub fn clips(&self, now: Timestamp) -> (Vec<Wish>, Vec<Wish>) {
        let newest = self.newest().filter(|_| self.is_flowing());
        let waits = |wish: &Wish| {
            let of_group = |(begin, end)| match self.wanted(begin, end) {
                Some((last, _)) => (begin..=last).any(|at| !self.pieces[at].written && self.overlaps(at, wish)),
                None => false,
            };
            self.groups().any(of_group)
        };
        let (over, on): (Vec<_>, Vec<_>) =
            self.plan.events().iter().cloned().partition(|wish| wish.is_over(newest, now) && !waits(wish));
        (on.into_iter().filter(|wish| wish.got).collect(), over)
    }

    pub fn has_events(&self) -> bool {
        !self.plan.events().is_empty()
    }

    /// Its clip is made, or there is none.
    pub fn made(&mut self, event: EventId, has: bool) {
        self.plan.forget(event);
        self.made.push_back((event, has));
        if self.made.len() > MADE_MAX {
            self.made.pop_front();
        }
    }

    /// Until when pictures have come.
    fn newest(&self) -> Option<Timestamp> {
        self.pieces.back().map(|piece| end(&piece.fragment))
    }

    fn trim(&mut self) {
        let Some(newest) = self.newest() else { return };
        let reach = newest.minus(self.plan.pre_roll() + LATE_MAX);
        loop {
            let Some((_, end)) = self.groups().next().filter(|(_, end)| *end < self.pieces.len()) else { break };
            let idle = self.wanted(0, end).is_none_or(|(last, _)| self.first_unwritten(0, last).is_none());
            if !(idle && self.pieces[end].fragment.captured <= reach) {
                break;
            }
            self.forget_through(end - 1);
        }
        while self.bytes > self.bytes_max && !self.pieces.is_empty() {
            self.make_room();
        }
        if let Some(oldest) = self.pieces.front() {
            self.plan.trim(oldest.fragment.captured);
        }
    }

    /// The oldest group goes; of one that alone is too large, what is written already, as the rest can follow that.
    fn make_room(&mut self) {
        let end = self.groups().next().map_or(0, |(_, end)| end);
        let written = self.pieces.iter().take_while(|piece| piece.written).count();
        let alone = end == self.pieces.len();
        let goes = if alone && (1..end).contains(&written) { written } else { end };
        self.forget_through(goes.saturating_sub(1));
    }

    fn forget_through(&mut self, last: usize) {
        let wanted = self.groups().next().and_then(|(begin, end)| self.wanted(begin, end)).map(|(last, _)| last);
        for at in 0..=last {
            let Some(piece) = self.pieces.pop_front() else { return };
            self.bytes -= piece.fragment.bytes();
            if !piece.written && wanted.is_some_and(|wanted| at <= wanted) {
                self.lost.units += piece.fragment.video_samples() as u64;
                self.lost.time += span(&piece.fragment);
            }
        }
    }
}

fn span(fragment: &Fragment) -> Duration {
    Duration::from_micros(u64::try_from(fragment.end_us - fragment.begin_us).unwrap_or(0))
}

fn end(fragment: &Fragment) -> Timestamp {
    fragment.captured.plus(span(fragment))
}

#[cfg(test)]
mod tests;
