//! The intake: where a source's pipeline ends. Each access unit is dated here, before anything takes its time.
//!
//!   parse ─▶ [intake] ─┬─ Format, Unit, Size ─▶ outbox
//!                      └─ unit ─▶ gearbox ─▶ decoder
//!
//! Called from the source's streaming threads, and never waits in them but for a file of which no frame may be lost.

use crate::anchor::Anchor;
use crate::format;
use crate::gearbox::{Gearbox, Held};
use crate::gears::Facts;
use crate::lossy::Lossy;
use crate::marks::SourceMarks;
use crate::outbox::{Outbox, Parcel};
use gstreamer as gst;
use protocol::Timestamp;
use protocol::camera::{AudioFormat, Format, Report, Stream, UnitSize, VideoFormat};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An access unit beyond this is not handed over nor decoded; those of 4K at the best quality have a quarter of it.
const UNIT_BYTES_MAX: usize = 8 << 20;

/// Of a picture that does not say how long it is to be seen.
const LASTS_US: i64 = 40_000;

/// Seconds from 1900 to 1970.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    pub units: bool,
    pub sizes: bool,
    /// A file: its time is its own, however fast it is read.
    pub own_time: bool,
}

/// Cheap to clone; every clone is the same intake.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

struct Shared {
    marks: SourceMarks,
    purpose: Purpose,
    outbox: Outbox,
    gearbox: Option<Gearbox>,
    /// Packets since the last unit: those that came, and those that did not.
    packets: AtomicU32,
    lost: AtomicU32,
    units: AtomicU64,
    bytes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    anchor: Anchor,
    lossy: Lossy,
    /// A key frame has come.
    begun: bool,
    first_us: Option<i64>,
    /// The end of what came so far, on our clock.
    end_us: i64,
    /// Our clock minus the file's, which begins anew each time it is wound back.
    shift_us: i64,
    wound_back: bool,
    video_caps: Option<gst::Caps>,
    video: Option<VideoFormat>,
    audio: Option<AudioFormat>,
    told: Option<Format>,
    clock_offset_ms: Option<i64>,
    too_large: u64,
}

impl Intake {
    pub fn new(purpose: Purpose, marks: SourceMarks, outbox: Outbox, gearbox: Option<Gearbox>) -> Self {
        let shared = Shared {
            marks,
            purpose,
            outbox,
            gearbox,
            packets: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            units: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            state: Mutex::default(),
        };
        Self(Arc::new(shared))
    }

    pub fn marks(&self) -> &SourceMarks {
        &self.0.marks
    }

    pub fn packets(&self, count: usize) {
        self.0.marks.packet();
        self.0.packets.fetch_add(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub fn packet_lost(&self) {
        self.0.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Access units so far, and their bytes.
    pub fn counts(&self) -> (u64, u64) {
        (self.0.units.load(Ordering::Relaxed), self.0.bytes.load(Ordering::Relaxed))
    }

    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.lock().clock_offset_ms
    }

    /// Has any unit come?
    pub fn has_begun(&self) -> bool {
        self.lock().begun
    }

    /// One access unit of the picture.
    pub fn video(&self, sample: &gst::Sample) {
        let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps_owned()) else { return };
        self.count(&buffer);
        let (came, lost) = (self.0.packets.swap(0, Ordering::Relaxed), self.0.lost.swap(0, Ordering::Relaxed));
        let broken = lost > 0;
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let now_us = Timestamp::now().micros();
        let mut state = self.lock();
        let of_use = state.lossy.unit(came, lost);
        // A stream is joined at a key frame, and at a whole one if there is a choice.
        state.begun |= key && !broken;
        if !state.begun || buffer.size() > UNIT_BYTES_MAX {
            state.refuse(&buffer);
            return;
        }
        let pts_us = state.evenly(running_us(sample, &buffer), &buffer);
        let captured_us = state.date(pts_us, now_us, self.0.purpose.own_time);
        state.compare_clocks(&buffer, captured_us);
        let format = state.format_before(key, &caps);
        let since_first_us = u64::try_from(pts_us - state.first_us.unwrap_or(pts_us)).unwrap_or(0);
        let held = Held { buffer, caps, key, pts_us, since_first_us, captured_us };
        drop(state);
        if of_use {
            self.0.marks.unit();
        }
        self.pass_on(held, format, broken, of_use);
    }

    fn pass_on(&self, held: Held, format: Option<Format>, broken: bool, of_use: bool) {
        let (shared, key, bytes) = (&self.0, held.key, held.buffer.size());
        if shared.purpose.units {
            if let Some(format) = format {
                shared.outbox.report(Report::Format(format));
            }
            shared.outbox.unit(Parcel {
                stream: Stream::Video,
                key,
                pts_us: held.pts_us,
                duration_us: 0,
                captured_us: held.captured_us,
                buffer: held.buffer.clone(),
            });
        }
        if shared.purpose.sizes {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            shared.outbox.report(Report::Size(UnitSize { key, bytes, captured_us: held.captured_us }));
        }
        if let Some(gearbox) = &shared.gearbox {
            let facts = Facts { key, broken, bytes, pts_us: held.pts_us };
            if of_use { gearbox.unit(held, facts) } else { gearbox.gap() }
        }
    }

    /// One packet of sound. It is handed over once a key frame has told the node what it is.
    pub fn audio(&self, sample: &gst::Sample) {
        let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps()) else { return };
        self.count(&buffer);
        let now_us = Timestamp::now().micros();
        let mut state = self.lock();
        if let Some(audio) = format::audio(caps)
            && state.audio.as_ref() != Some(&audio)
        {
            state.audio = Some(audio);
        }
        let is_told = state.told.as_ref().is_some_and(|told| told.audio.is_some() && told.audio == state.audio);
        // What comes before the picture of a file that was wound back is not on our clock yet.
        let is_told = is_told && !state.wound_back;
        let Some(running_us) = running_us(sample, &buffer).filter(|_| is_told) else { return };
        let pts_us = running_us + state.shift_us;
        // Dated by the picture's anchor: both are on one clock.
        let captured_us = state.anchor.captured(pts_us, now_us);
        drop(state);
        let duration_us = buffer.duration().and_then(|time| u32::try_from(time.useconds()).ok()).unwrap_or(0);
        let stream = Stream::Audio;
        self.0.outbox.unit(Parcel { stream, key: true, pts_us, duration_us, captured_us, buffer });
    }

    /// A file begins again: time does not.
    pub fn wound_back(&self) {
        self.lock().wound_back = true;
    }

    /// The source has come to its end.
    pub fn end(&self) {
        match &self.0.gearbox {
            Some(gearbox) => gearbox.end(),
            None => self.0.outbox.finish(),
        }
    }

    fn count(&self, buffer: &gst::BufferRef) {
        self.0.units.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(buffer.size() as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refuse(&mut self, buffer: &gst::BufferRef) {
        if buffer.size() > UNIT_BYTES_MAX {
            self.too_large += 1;
            if self.too_large == 1 {
                tracing::warn!(bytes = buffer.size(), "an access unit is too large, and left out as all like it");
            }
        }
    }

    /// On a clock that neither stands still nor goes back where a file was wound back.
    fn evenly(&mut self, running_us: Option<i64>, buffer: &gst::BufferRef) -> i64 {
        let lasts_us = buffer.duration().map_or(LASTS_US, |time| i64::try_from(time.useconds()).unwrap_or(LASTS_US));
        let running_us = running_us.unwrap_or(self.end_us - self.shift_us);
        if std::mem::take(&mut self.wound_back) {
            self.shift_us = self.end_us - running_us;
        }
        let pts_us = running_us + self.shift_us;
        self.end_us = self.end_us.max(pts_us.saturating_add(lasts_us));
        pts_us
    }

    fn date(&mut self, pts_us: i64, now_us: i64, own_time: bool) -> i64 {
        if !own_time || self.first_us.is_none() {
            self.anchor.arrived(pts_us, now_us);
        }
        self.first_us.get_or_insert(pts_us);
        if own_time { self.anchor.told(pts_us, now_us) } else { self.anchor.captured(pts_us, now_us) }
    }

    /// RTCP tells when the camera's clock showed what; the node is told how far that is off.
    fn compare_clocks(&mut self, buffer: &gst::BufferRef, captured_us: i64) {
        let Some(meta) = buffer.meta::<gst::ReferenceTimestampMeta>() else { return };
        let camera_us = i64::try_from(meta.timestamp().useconds()).unwrap_or(0) - NTP_TO_UNIX_S * 1_000_000;
        self.clock_offset_ms = Some((camera_us - captured_us) / 1000);
    }

    /// What the node is to be told before this unit. Only before a key frame: a file can be cut nowhere else.
    fn format_before(&mut self, key: bool, caps: &gst::Caps) -> Option<Format> {
        if !key {
            return None;
        }
        if self.video_caps.as_ref().is_none_or(|old| old.as_ptr() != caps.as_ptr()) {
            self.video_caps = Some(caps.clone());
            self.video = format::video(caps);
        }
        let format = Format { video: self.video.clone()?, audio: self.audio.clone() };
        (self.told.as_ref() != Some(&format)).then(|| {
            self.told = Some(format.clone());
            format
        })
    }
}

/// On the clock that all streams of a pipeline share.
fn running_us(sample: &gst::Sample, buffer: &gst::BufferRef) -> Option<i64> {
    // Streams without a container tell only when each unit is to be decoded.
    let pts = buffer.pts().or(buffer.dts())?;
    let running = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>()?.to_running_time(pts));
    i64::try_from(running.unwrap_or(pts).useconds()).ok()
}
