//! The tap: looks at what flows past four places of the pipeline and decides what goes on.
//!
//!   socket ─▶ (received) ─▶ jitterbuffer ─▶ depay ─▶ …
//!   depay ─▶ (packet) ─▶ parse ─▶ (unit: captured when?) ─▶ decoder ─▶ (frame: counted, throttled) ─▶ scale
//!
//! Frames are dropped behind the decoder and never before it: each is a reference of the next.

use crate::anchor::Anchor;
use crate::grid::Grid;
use gstreamer as gst;
use gstreamer::prelude::*;
use protocol::Timestamp;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Frames let through and not yet handed over. The oldest is forgotten: appsink has dropped it already.
const KEPT_MAX: usize = 64;

/// Nothing waits so long in a pipeline. A stream whose times say so has times that mean something else.
const AGE_US_MAX: i64 = 5_000_000;

/// Cheap to clone; every clone sees the same stream.
#[derive(Clone)]
pub struct Tap(Arc<Shared>);

struct Shared {
    began: Instant,
    received: Mark,
    packet: Mark,
    unit: Mark,
    frame: Mark,
    state: Mutex<State>,
}

struct State {
    anchor: Anchor,
    grid: Grid,
    /// A file's own time, or when things arrived.
    from_file: bool,
    first_pts_us: Option<i64>,
    decoded: u64,
    kept: VecDeque<Kept>,
    native_size: Option<(u32, u32)>,
}

/// What is known of a frame beside its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pts: gst::ClockTime,
    pub index: u64,
    pub pts_us: u64,
    pub captured_us: i64,
}

/// When something last happened, in microseconds since the tap began, plus 1; 0 is never.
#[derive(Default)]
struct Mark(AtomicU64);

impl Mark {
    fn set(&self, began: Instant) {
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.store(us.saturating_add(1), Ordering::Relaxed);
    }

    fn get(&self) -> Option<Duration> {
        self.0.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }
}

/// What the watchdog looks at: time since the tap began of what came last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulse {
    pub now: Duration,
    /// Out of the socket, on a thread of its own: goes on when the pipeline does not.
    pub received: Option<Duration>,
    pub packet: Option<Duration>,
    pub unit: Option<Duration>,
    pub frame: Option<Duration>,
}

impl Tap {
    pub fn new(frames_per_s: f32, from_file: bool) -> Self {
        let state = State {
            anchor: Anchor::default(),
            grid: Grid::new(frames_per_s),
            from_file,
            first_pts_us: None,
            decoded: 0,
            kept: VecDeque::new(),
            native_size: None,
        };
        let mark = Mark::default;
        let (received, packet, unit, frame) = (mark(), mark(), mark(), mark());
        Self(Arc::new(Shared { began: Instant::now(), received, packet, unit, frame, state: Mutex::new(state) }))
    }

    pub fn pulse(&self) -> Pulse {
        let shared = &self.0;
        // The clock is read last: no mark may lie ahead of it.
        let (received, packet) = (shared.received.get(), shared.packet.get());
        let (unit, frame) = (shared.unit.get(), shared.frame.get());
        Pulse { received, packet, unit, frame, now: shared.began.elapsed() }
    }

    pub fn native_size(&self) -> Option<(u32, u32)> {
        self.lock().native_size
    }

    /// On the sink of what stands between the socket and the pipeline's own thread.
    pub fn watch_received(&self, pad: &gst::Pad) {
        let tap = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
            tap.0.received.set(tap.0.began);
            gst::PadProbeReturn::Ok
        });
    }

    /// Packets prove that a source lives that has not yet sent a key frame.
    pub fn watch_packets(&self, pad: &gst::Pad) {
        let tap = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
            tap.0.packet.set(tap.0.began);
            gst::PadProbeReturn::Ok
        });
    }

    /// On the decoder's sink: what was captured is dated here, before decoding takes its time.
    pub fn watch_units(&self, pad: &gst::Pad) {
        let tap = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            tap.0.unit.set(tap.0.began);
            if let Some(pts) = info.buffer().and_then(|buffer| buffer.pts()) {
                let arrival_us = Timestamp::now().micros() - age_us(pad, pts);
                tap.lock().unit_arrived(micros(pts), arrival_us);
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// On the decoder's source: counts and throttles. `resize` learns the size of the frames to come.
    pub fn watch_frames(&self, pad: &gst::Pad, resize: impl Fn(u32, u32) + Send + Sync + 'static) {
        let tap = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view()) {
                if let Some((width, height)) = size_of(caps.caps()) {
                    tap.lock().native_size = Some((width, height));
                    resize(width, height);
                }
            } else if let Some(buffer) = info.buffer() {
                tap.0.frame.set(tap.0.began);
                if !tap.lock().frame_decoded(buffer.pts().unwrap_or_default()) {
                    return gst::PadProbeReturn::Drop;
                }
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// What is known of the frame with this time; forgets it and those before.
    pub fn take(&self, pts: gst::ClockTime) -> Option<Kept> {
        let kept = &mut self.lock().kept;
        let at = kept.iter().position(|kept| kept.pts == pts)?;
        kept.drain(..=at).next_back()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn unit_arrived(&mut self, pts_us: i64, arrival_us: i64) {
        if !self.from_file || self.first_pts_us.is_none() {
            self.anchor.arrived(pts_us, arrival_us);
        }
        self.first_pts_us.get_or_insert(pts_us);
    }

    /// Whether the frame goes on.
    fn frame_decoded(&mut self, pts: gst::ClockTime) -> bool {
        let index = self.decoded;
        self.decoded += 1;
        let pts_us = micros(pts);
        if !self.grid.admits(pts_us) {
            return false;
        }
        let now_us = Timestamp::now().micros();
        let captured_us =
            if self.from_file { self.anchor.told(pts_us, now_us) } else { self.anchor.captured(pts_us, now_us) };
        let since_first_us = u64::try_from(pts_us - self.first_pts_us.unwrap_or(pts_us)).unwrap_or(0);
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept { pts, index, pts_us: since_first_us, captured_us });
        true
    }
}

/// How long ago this came out of the socket: rtspsrc dates what it reads by the pipeline's clock. What it waited
/// for since then, such as a decoder that was still being loaded, is no fault of the camera's. Negative where
/// rtspsrc smoothed the times of frames that came too quickly.
fn age_us(pad: &gst::Pad, pts: gst::ClockTime) -> i64 {
    let now = pad.parent_element().and_then(|element| element.current_running_time());
    let segment = pad.sticky_event::<gst::event::Segment>(0);
    let dated = segment.and_then(|event| event.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(pts));
    let age_us = now.zip(dated).map_or(0, |(now, dated)| micros(now) - micros(dated));
    if age_us.abs() > AGE_US_MAX { 0 } else { age_us }
}

fn micros(time: gst::ClockTime) -> i64 {
    i64::try_from(time.useconds()).unwrap_or(i64::MAX)
}

fn size_of(caps: &gst::CapsRef) -> Option<(u32, u32)> {
    let structure = caps.structure(0)?;
    let side = |name| structure.get::<i32>(name).ok().and_then(|px| u32::try_from(px).ok());
    Some((side("width")?, side("height")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(ms)
    }

    #[test]
    fn the_index_counts_frames_that_were_throttled_away() {
        let tap = Tap::new(5.0, false);
        let indices: Vec<u64> = (0..30)
            .filter(|i| tap.lock().frame_decoded(ms(i * 40)))
            .filter_map(|i| tap.take(ms(i * 40)))
            .map(|kept| kept.index)
            .collect();
        assert_eq!(indices, [0, 5, 10, 15, 20, 25]);
    }

    #[test]
    fn frames_that_were_dropped_on_the_way_are_forgotten() {
        let tap = Tap::new(0.0, false);
        for i in 0..1000 {
            assert!(tap.lock().frame_decoded(ms(i * 40)));
        }
        assert!(tap.lock().kept.len() <= KEPT_MAX);
        assert_eq!(tap.take(ms(999 * 40)).map(|kept| kept.index), Some(999));
        assert!(tap.lock().kept.is_empty());
    }

    #[test]
    fn a_file_is_dated_from_its_first_frame_however_fast_it_is_read() {
        let tap = Tap::new(0.0, true);
        for i in 0..3 {
            tap.lock().unit_arrived(i * 1_000_000, 5_000_000 + i);
        }
        assert!(tap.lock().frame_decoded(ms(2000)));
        let kept = tap.take(ms(2000)).expect("it was kept");
        assert_eq!((kept.captured_us, kept.pts_us), (7_000_000, 2_000_000));
    }
}
