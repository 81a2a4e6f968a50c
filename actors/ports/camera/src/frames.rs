//! Frames: behind the decoder each picture is counted, dated and throttled.
//!
//!   gearbox ─(expected)─▶ decoder ─▶ [frames: known? wanted?] ─▶ scale ▸ appsink ─▶ outbox
//!
//! Frames are dropped behind the decoder and never before it: each is a reference of the next. A decoder's own
//! times only grow, whatever the stream's do, so that a group can be decoded again.

use crate::grid::Grid;
use crate::marks::DecoderMarks;
use gstreamer as gst;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Units in the decoder and in front of it. The oldest is forgotten: no decoder holds back so many.
const EXPECTED_MAX: usize = 4096;

/// Between two stretches of a decoder's time.
const APART_US: i64 = 1_000_000;

/// A leap back of the stream's time by more begins it anew, and is no picture that comes in another order.
pub const BACK_US_MAX: i64 = 2_000_000;

/// What is known of a frame beside its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub index: u64,
    pub pts_us: u64,
    pub captured_us: i64,
    pub replayed: bool,
}

/// A unit that goes into the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub pts_us: i64,
    pub since_first_us: u64,
    pub captured_us: i64,
    pub replayed: bool,
}

/// Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Frames(Arc<Shared>);

struct Shared {
    marks: DecoderMarks,
    decoding: AtomicU64,
    decoded: AtomicU64,
    state: Mutex<State>,
}

struct State {
    grid: Grid,
    expected: VecDeque<(u64, Expected)>,
    admitted: VecDeque<(u64, Known)>,
    /// The decoder's time minus the stream's.
    shift_us: i64,
    /// The latest of the decoder's times.
    ahead_us: i64,
    last_in_us: Option<i64>,
    /// The stream's time of the last picture that came out.
    last_out_us: Option<i64>,
    index: u64,
    native_size: Option<(u32, u32)>,
}

impl Frames {
    pub fn new(frames_per_s: f32, marks: DecoderMarks) -> Self {
        let state = State {
            grid: Grid::new(frames_per_s),
            expected: VecDeque::new(),
            admitted: VecDeque::new(),
            shift_us: 0,
            ahead_us: -APART_US,
            last_in_us: None,
            last_out_us: None,
            index: 0,
            native_size: None,
        };
        let (decoding, decoded) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Shared { marks, decoding, decoded, state: Mutex::new(state) }))
    }

    pub fn marks(&self) -> &DecoderMarks {
        &self.0.marks
    }

    /// Pictures that went in, and that came out.
    pub fn counts(&self) -> (u64, u64) {
        (self.0.decoding.load(Ordering::Relaxed), self.0.decoded.load(Ordering::Relaxed))
    }

    pub fn native_size(&self) -> Option<(u32, u32)> {
        self.lock().native_size
    }

    pub fn sized(&self, width: u32, height: u32) {
        self.lock().native_size = Some((width, height));
    }

    /// The units after this do not follow on those before: the decoder has been drained, or is another.
    pub fn apart(&self) {
        self.lock().last_in_us = None;
    }

    /// The stream's time has begun anew: nothing of it has been seen.
    pub fn anew(&self) {
        self.lock().last_out_us = None;
    }

    /// A unit goes in: the time that the decoder is to know it by.
    pub fn expect(&self, unit: Expected) -> gst::ClockTime {
        self.0.decoding.fetch_add(1, Ordering::Relaxed);
        self.0.marks.fed();
        let mut state = self.lock();
        let us = state.decoder_us(unit.pts_us);
        if state.expected.len() == EXPECTED_MAX {
            state.expected.pop_front();
        }
        state.expected.push_back((us, unit));
        gst::ClockTime::from_useconds(us)
    }

    /// A picture comes out. Whether it goes on.
    pub fn decoded(&self, time: gst::ClockTime) -> bool {
        self.0.decoded.fetch_add(1, Ordering::Relaxed);
        let Some(goes_on) = self.lock().admits(time.useconds()) else { return false };
        self.0.marks.settled();
        goes_on
    }

    /// What is known of the frame with this time; forgets it and those before.
    pub fn take(&self, time: gst::ClockTime) -> Option<Known> {
        let admitted = &mut self.lock().admitted;
        let at = admitted.iter().position(|(us, _)| *us == time.useconds())?;
        admitted.drain(..=at).next_back().map(|(_, known)| known)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn decoder_us(&mut self, pts_us: i64) -> u64 {
        if self.last_in_us.replace(pts_us).is_none_or(|last_us| pts_us < last_us - BACK_US_MAX) {
            self.shift_us = self.ahead_us + APART_US - pts_us;
        }
        let us = pts_us.saturating_add(self.shift_us).max(0);
        self.ahead_us = self.ahead_us.max(us);
        us.unsigned_abs()
    }

    /// Whether it goes on; `None` if it was not expected.
    fn admits(&mut self, us: u64) -> Option<bool> {
        let at = self.expected.iter().position(|(expected_us, _)| *expected_us == us)?;
        let (_, unit) = self.expected[at];
        // What is earlier comes out no more: pictures come in the order of their times.
        self.expected.retain(|(expected_us, _)| *expected_us > us);
        let seen = self.last_out_us.is_some_and(|out_us| unit.pts_us <= out_us);
        // It was decoded for those that refer to it, and has been handed over before.
        if unit.replayed && seen {
            return Some(false);
        }
        self.last_out_us = Some(unit.pts_us);
        let index = self.index;
        self.index += 1;
        if !self.grid.admits(unit.pts_us) {
            return Some(false);
        }
        if self.admitted.len() == EXPECTED_MAX {
            self.admitted.pop_front();
        }
        let Expected { since_first_us: pts_us, captured_us, replayed, .. } = unit;
        self.admitted.push_back((us, Known { index, pts_us, captured_us, replayed }));
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn frames(frames_per_s: f32) -> Frames {
        Frames::new(frames_per_s, DecoderMarks::new(Instant::now()))
    }

    fn unit(ms: i64, replayed: bool) -> Expected {
        let us = ms * 1000;
        Expected { pts_us: us, since_first_us: us.unsigned_abs(), captured_us: us, replayed }
    }

    /// Decodes these one by one; those handed over, in milliseconds.
    fn handed(frames: &Frames, units: impl IntoIterator<Item = Expected>) -> Vec<u64> {
        let times: Vec<_> = units.into_iter().map(|unit| frames.expect(unit)).collect();
        let on = times.into_iter().filter(|time| frames.decoded(*time)).collect::<Vec<_>>();
        on.into_iter().filter_map(|time| frames.take(time)).map(|known| known.pts_us / 1000).collect()
    }

    #[test]
    fn the_index_counts_frames_that_were_throttled_away() {
        let frames = frames(5.0);
        let indices: Vec<u64> = (0..30)
            .map(|i| frames.expect(unit(i * 40, false)))
            .filter(|time| frames.decoded(*time))
            .filter_map(|time| frames.take(time))
            .map(|known| known.index)
            .collect();
        assert_eq!(indices, [0, 5, 10, 15, 20, 25]);
        assert_eq!(frames.counts(), (30, 30));
    }

    #[test]
    fn what_never_comes_out_is_forgotten() {
        let frames = frames(0.0);
        for i in 0..2 * 4096 {
            frames.expect(unit(i * 40, false));
        }
        assert_eq!(frames.lock().expected.len(), EXPECTED_MAX);
        assert_eq!(handed(&frames, [unit(1_000_000, false)]), [1_000_000]);
        assert!(frames.lock().expected.is_empty());
    }

    #[test]
    fn a_group_decoded_again_gives_what_was_not_seen_of_it() {
        let frames = frames(5.0);
        assert_eq!(handed(&frames, [unit(4000, false)]), [4000], "its key frame, in idle");
        frames.apart();
        let again = (0..16).map(|i| unit(4000 + i * 100, true));
        assert_eq!(handed(&frames, again), [4200, 4400, 4600, 4800, 5000, 5200, 5400]);
        assert_eq!(handed(&frames, [unit(5600, false), unit(5700, false), unit(5800, false)]), [5600, 5800]);
    }

    #[test]
    fn the_decoder_s_time_only_grows_and_a_stream_that_begins_anew_is_seen() {
        let frames = frames(0.0);
        let first = frames.expect(unit(90_000, false));
        frames.apart();
        let again = frames.expect(unit(90_000, true));
        assert!(again > first);
        let anew = frames.expect(unit(0, false));
        assert!(anew > again);
        // Pictures out of order are of one stretch.
        assert!(frames.expect(unit(200, false)) > frames.expect(unit(100, false)));
        assert!(frames.decoded(first) && !frames.decoded(again) && frames.decoded(anew));
        assert!(!frames.decoded(first), "it is not expected any more");
    }
}
