//! Units into fragments of about a second.
//!
//! A border lies where all that comes after is shown after all that came before. Where pictures come in the order in
//! which they are shown, that is everywhere; where they are reordered by up to `depth` pictures, it is certain once
//! `depth + 1` pictures behind it agree.

use super::fragment::Fragment;
use super::{FRAGMENT_BYTES_MAX, FRAGMENT_SAMPLES_MAX};
use protocol::camera::{Stream, Unit};
use std::collections::VecDeque;

/// A fragment is closed at the first border behind this, or at a key frame behind half of it.
const FRAGMENT_US: i64 = 1_000_000;
const BEFORE_KEY_US: i64 = 500_000;
/// H.264 and H.265 allow no more. A picture that is shown before more of its predecessors was not reordered: the clock
/// jumped back.
const DEPTH_MAX: usize = 16;
/// A picture so long after the others, and so many intervals, does not continue them.
const GAP_US: i64 = 3_000_000;
const GAP_INTERVALS: i64 = 4;
/// A fragment waits so long, in the time of pictures, for sound that belongs to it.
const SOUND_WAIT_US: i64 = 500_000;
/// Room for reordering is made in steps of so many pictures, so that the takes of a session have the same.
const SHIFT_INTERVALS: i64 = 4;
/// For a picture that nothing follows or precedes.
const INTERVAL_US: i64 = 66_667;

/// Pure: no clock, no I/O. Of one format; when that changes, flush it and make another.
#[derive(Debug)]
pub struct Fragmenter {
    has_audio: bool,
    pictures: Vec<Unit>,
    sounds: VecDeque<Unit>,
    bytes: usize,
    sound_bytes: usize,
    recent: Recent,
    depth: usize,
    shift_us: u32,
    /// Where the last fragment ended, if what comes continues it.
    continues: Option<i64>,
    sound_end_us: i64,
    /// There is a border already.
    waits_for_sound: bool,
    waits_for_key: bool,
    dropped: Dropped,
}

/// What was in no fragment, and never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Pictures before the first key frame, or after a gap and before the next one.
    pub unready: u64,
    /// Units larger than a fragment may be, and sound that nobody has pictures for.
    pub excess: u64,
    /// Sound that came twice or out of order.
    pub disordered: u64,
}

impl Fragmenter {
    pub fn new(has_audio: bool) -> Self {
        Self {
            has_audio,
            pictures: Vec::new(),
            sounds: VecDeque::new(),
            bytes: 0,
            sound_bytes: 0,
            recent: Recent::default(),
            waits_for_sound: false,
            depth: 0,
            shift_us: 0,
            continues: None,
            sound_end_us: i64::MIN,
            waits_for_key: true,
            dropped: Dropped::default(),
        }
    }

    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Bytes of units that are in no fragment yet.
    pub fn open_bytes(&self) -> usize {
        self.bytes + self.sound_bytes
    }

    /// The session's clock at the first picture that is in no fragment yet.
    pub fn open_begin_us(&self) -> Option<i64> {
        self.pictures.iter().map(|unit| unit.pts_us).min()
    }

    /// The next unit in decoding order. Mostly nothing comes of it, seldom two fragments.
    pub fn push(&mut self, unit: Unit) -> Vec<Fragment> {
        match unit.stream {
            Stream::Video => self.push_picture(unit),
            Stream::Audio => {
                self.push_sound(unit);
                if self.waits_for_sound { self.close_at_borders() } else { Vec::new() }
            }
        }
    }

    /// Nothing more comes, or none of it is to wait: what is open becomes a fragment. The next begins at a key frame and
    /// follows nothing.
    pub fn flush(&mut self) -> Option<Fragment> {
        let last = self.close_all();
        self.restart();
        last
    }

    fn restart(&mut self) {
        self.recent = Recent::default();
        self.continues = None;
        self.waits_for_key = true;
    }

    fn push_picture(&mut self, unit: Unit) -> Vec<Fragment> {
        let mut closed = Vec::new();
        if unit.data.0.len() > FRAGMENT_BYTES_MAX {
            self.dropped.excess += 1;
            closed.extend(self.flush());
            return closed;
        }
        if self.jumped(unit.pts_us) {
            closed.extend(self.flush());
        }
        if self.waits_for_key && !unit.key {
            self.dropped.unready += 1;
            return closed;
        }
        self.waits_for_key = false;
        while !self.pictures.is_empty() && !self.has_room(unit.data.0.len()) {
            closed.push(self.close_full(unit.pts_us));
        }
        self.depth = self.depth.max(self.recent.later_than(unit.pts_us));
        self.recent.push(unit.pts_us);
        self.bytes += unit.data.0.len();
        self.pictures.push(unit);
        closed.extend(self.close_at_borders());
        closed
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.open_bytes() + bytes <= FRAGMENT_BYTES_MAX && self.pictures.len() < FRAGMENT_SAMPLES_MAX
    }

    fn jumped(&self, pts_us: i64) -> bool {
        let Some(newest) = self.recent.newest() else { return false };
        let gap = pts_us.saturating_sub(newest);
        self.recent.later_than(pts_us) > DEPTH_MAX
            || gap > GAP_US.max(GAP_INTERVALS.saturating_mul(self.recent.interval_us()))
    }

    fn push_sound(&mut self, unit: Unit) {
        if !self.has_audio || unit.data.0.len() > FRAGMENT_BYTES_MAX / 4 {
            self.dropped.excess += 1;
            return;
        }
        if self.sounds.back().is_some_and(|last| unit.pts_us <= last.pts_us) {
            self.dropped.disordered += 1;
            return;
        }
        self.sound_end_us = unit.pts_us.saturating_add(i64::from(unit.duration_us));
        self.sound_bytes += unit.data.0.len();
        self.sounds.push_back(unit);
        // Pictures may be missing for long while sound goes on: the oldest goes.
        while self.sounds.len() > FRAGMENT_SAMPLES_MAX || self.sound_bytes > FRAGMENT_BYTES_MAX / 4 {
            let gone = self.sounds.pop_front().map_or(0, |unit| unit.data.0.len());
            self.sound_bytes -= gone;
            self.dropped.excess += 1;
        }
    }

    fn close_at_borders(&mut self) -> Vec<Fragment> {
        let mut closed = Vec::new();
        self.waits_for_sound = false;
        while let Some((pictures, end_us)) = self.border() {
            if !self.sound_is_there(end_us) {
                self.waits_for_sound = true;
                break;
            }
            closed.push(self.close(pictures, end_us));
        }
        closed
    }

    /// How many pictures are before it, and when the first behind it is shown.
    fn border(&self) -> Option<(usize, i64)> {
        let times: Vec<i64> = self.pictures.iter().map(|unit| unit.pts_us).collect();
        let (first, newest) = (*times.iter().min()?, *times.iter().max()?);
        if newest - first < BEFORE_KEY_US {
            return None;
        }
        let mut earliest_behind = i64::MAX;
        let mut behind = vec![i64::MAX; times.len()];
        for (at, time) in times.iter().enumerate().rev() {
            earliest_behind = earliest_behind.min(*time);
            behind[at] = earliest_behind;
        }
        let mut latest_before = i64::MIN;
        for at in 1..times.len().saturating_sub(self.depth) {
            latest_before = latest_before.max(times[at - 1]);
            let span = behind[at] - first;
            let enough = span >= FRAGMENT_US || (self.pictures[at].key && span >= BEFORE_KEY_US);
            if enough && latest_before < behind[at] {
                return Some((at, behind[at]));
            }
        }
        None
    }

    fn sound_is_there(&self, end_us: i64) -> bool {
        let newest = self.recent.newest().unwrap_or(end_us);
        !self.has_audio || self.sound_end_us >= end_us || newest - end_us >= SOUND_WAIT_US
    }

    /// A cap is reached: where a border is, else here.
    fn close_full(&mut self, next_us: i64) -> Fragment {
        if let Some((pictures, end_us)) = self.border() {
            return self.close(pictures, end_us);
        }
        let newest = self.newest_us().unwrap_or(next_us);
        let end_us = if next_us > newest { next_us } else { newest + self.recent.interval_us() };
        self.close(self.pictures.len(), end_us)
    }

    fn newest_us(&self) -> Option<i64> {
        self.pictures.iter().map(|unit| unit.pts_us).max()
    }

    fn close_all(&mut self) -> Option<Fragment> {
        let newest = self.newest_us()?;
        Some(self.close(self.pictures.len(), newest + self.recent.interval_us()))
    }

    fn close(&mut self, pictures: usize, end_us: i64) -> Fragment {
        let behind = self.pictures.split_off(pictures);
        let pictures = std::mem::replace(&mut self.pictures, behind);
        self.bytes = self.pictures.iter().map(|unit| unit.data.0.len()).sum();
        let sounds = self.sounds.partition_point(|unit| unit.pts_us < end_us);
        let sounds: Vec<Unit> = self.sounds.drain(..sounds).collect();
        self.sound_bytes = self.sounds.iter().map(|unit| unit.data.0.len()).sum();
        let grew = self.make_room(&pictures);
        let begin_us = pictures.iter().map(|unit| unit.pts_us).min().unwrap_or(end_us);
        // What begins with no key frame can begin no take, however badly it fits.
        let is_delta = pictures.first().is_some_and(|unit| !unit.key);
        let after_us = self.continues.filter(|end_us| is_delta || (*end_us == begin_us && !grew));
        self.continues = Some(end_us);
        Fragment::new(pictures, sounds, end_us, self.shift_us, after_us)
    }

    /// Whether a take that holds the fragments before has too little room for the reordering in this one.
    fn make_room(&mut self, pictures: &[Unit]) -> bool {
        let mut sorted: Vec<i64> = pictures.iter().map(|unit| unit.pts_us).collect();
        sorted.sort_unstable();
        let needed = sorted.iter().zip(pictures).map(|(time, unit)| time - unit.pts_us).max().unwrap_or(0);
        if needed <= i64::from(self.shift_us) {
            return false;
        }
        let step = SHIFT_INTERVALS.saturating_mul(self.recent.interval_us());
        let room = needed.saturating_add(step - 1) / step * step;
        self.shift_us = u32::try_from(room).unwrap_or(u32::MAX);
        true
    }
}

/// Presentation times of the last pictures, in decoding order.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent(VecDeque<i64>);

impl Recent {
    pub(super) fn push(&mut self, pts_us: i64) {
        self.0.push_back(pts_us);
        if self.0.len() > DEPTH_MAX + 1 {
            self.0.pop_front();
        }
    }

    pub(super) fn newest(&self) -> Option<i64> {
        self.0.iter().max().copied()
    }

    fn later_than(&self, pts_us: i64) -> usize {
        self.0.iter().filter(|other| **other > pts_us).count()
    }

    /// Between pictures as they are shown: the median.
    pub(super) fn interval_us(&self) -> i64 {
        let mut times: Vec<i64> = self.0.iter().copied().collect();
        times.sort_unstable();
        let mut intervals: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        intervals.sort_unstable();
        intervals.get(intervals.len() / 2).copied().filter(|us| *us > 0).unwrap_or(INTERVAL_US)
    }
}
