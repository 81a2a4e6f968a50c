//! The outbox: what waits for the node, and the one thread that talks to it.
//!
//!   intake ──reports, units──▶ [outbox] ──speaker thread──▶ node
//!   decoder ──frames─────────▶    └ of live frames it holds the newest, of replayed ones all
//!
//! A node that is slow to read must hold up neither the camera's connection nor, for longer than it takes to decode
//! what is replayed, the decoder. Units that find the outbox full are left out up to the next key frame.

use crate::Tell;
use crate::bell::{Bell, Wake};
use crate::frames::Known;
use crate::pixels;
use gstreamer as gst;
use protocol::camera::{Report, Stream, Unit};
use protocol::codec::Blob;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Units that wait for a node that does not read, in bytes: half a minute at 8 Mbit/s.
const UNIT_BYTES_MAX: usize = 32 << 20;
/// The same for small ones, and for sizes and other reports.
const WAITING_MAX: usize = 4096;
/// Frames that are not to be replaced by newer ones. When so many wait, decoding waits.
const LOSSLESS_MAX: usize = 4;
/// What else is said before a frame that waits.
const TURN: u32 = 16;

#[derive(Debug, thiserror::Error)]
pub enum SpeakError {
    #[error("the node takes no reports: {0}")]
    NodeGone(#[from] std::io::Error),
    /// A fault of ours or of GStreamer's, not of the source.
    #[error("a frame came without {0}")]
    Incomplete(&'static str),
}

/// An access unit as it waits: not yet copied.
pub struct Parcel {
    pub stream: Stream,
    pub key: bool,
    pub pts_us: i64,
    pub duration_us: u32,
    pub captured_us: i64,
    pub buffer: gst::Buffer,
}

/// A decoded picture as it waits.
pub struct Picture {
    pub known: Known,
    /// By which both sides are to become smaller.
    pub shrink: u32,
    pub sample: gst::Sample,
}

/// Cheap to clone; every clone is the same outbox.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    comes: Condvar,
    goes: Condvar,
    pace: Pace,
    handed: AtomicU64,
}

#[derive(Default)]
struct Queue {
    said: VecDeque<Said>,
    unit_bytes: usize,
    /// Units are left out until a key frame finds room.
    skips: bool,
    skipped: u64,
    lossless: VecDeque<Picture>,
    newest: Option<Picture>,
    /// The decoder waits for room.
    holds_up: bool,
    /// Those that may still put something in.
    producers: u32,
    /// Nobody reads any more.
    closed: bool,
    /// Said in a row while a frame waited.
    turn: u32,
}

enum Said {
    Report(Report),
    Unit(Parcel),
}

enum Next {
    Said(Said),
    Picture(Picture),
    Finished,
}

impl Outbox {
    /// Starts the speaker, which rings when everything of so many producers is said, or nobody listens.
    pub fn open(tell: Tell, bell: Bell, producers: u32) -> Result<Self, SpeakError> {
        let outbox = Self(Arc::default());
        outbox.lock().producers = producers;
        let speaking = outbox.clone();
        let speak = move || {
            let spoken = speaking.speak(&tell);
            speaking.close();
            bell.ring(Wake::Spoken(spoken));
        };
        std::thread::Builder::new().name("speaker".to_owned()).spawn(speak)?;
        Ok(outbox)
    }

    pub fn report(&self, report: Report) {
        let mut queue = self.lock();
        // Without its format nobody could read what follows; there is one for a whole stretch of a stream.
        let lasts = matches!(report, Report::Format(_) | Report::Opened { .. });
        if queue.said.len() < if lasts { 2 * WAITING_MAX } else { WAITING_MAX } {
            queue.said.push_back(Said::Report(report));
            self.0.comes.notify_one();
        }
    }

    pub fn unit(&self, parcel: Parcel) {
        let mut queue = self.lock();
        if queue.admits(&parcel) {
            queue.unit_bytes += parcel.buffer.size();
            queue.said.push_back(Said::Unit(parcel));
            self.0.comes.notify_one();
        }
    }

    /// A live frame replaces one that waits. `lossless`: every frame is handed over, and the caller waits for room.
    pub fn picture(&self, picture: Picture, lossless: bool) {
        let mut queue = self.lock();
        if lossless {
            queue.holds_up = queue.lossless.len() >= LOSSLESS_MAX;
            while queue.lossless.len() >= LOSSLESS_MAX && !queue.closed {
                queue = self.0.goes.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.holds_up = false;
            queue.lossless.push_back(picture);
        } else {
            queue.newest = Some(picture);
        }
        self.0.comes.notify_one();
    }

    /// Nothing more comes of one producer; what waits is still said.
    pub fn finish(&self) {
        let mut queue = self.lock();
        queue.producers = queue.producers.saturating_sub(1);
        self.0.comes.notify_one();
    }

    /// Nothing more comes of any.
    pub fn finish_all(&self) {
        self.lock().producers = 0;
        self.0.comes.notify_one();
    }

    /// Nobody waits any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.goes.notify_all();
        self.0.comes.notify_all();
    }

    /// Does the decoder wait for the node?
    pub fn holds_up(&self) -> bool {
        self.lock().holds_up
    }

    pub fn handed(&self) -> u64 {
        self.0.handed.load(Ordering::Relaxed)
    }

    pub fn pace(&self) -> &Pace {
        &self.0.pace
    }

    fn speak(&self, tell: &Tell) -> Result<(), SpeakError> {
        let mut room = Vec::new();
        loop {
            let next = self.next();
            self.0.pace.step();
            match next {
                Next::Finished => return Ok(()),
                Next::Said(Said::Report(report)) => tell(&report)?,
                Next::Said(Said::Unit(parcel)) => tell(&Report::Unit(unit(&parcel)?))?,
                Next::Picture(picture) => {
                    let report = Report::Frame(pixels::frame(&picture, std::mem::take(&mut room))?);
                    tell(&report)?;
                    if let Report::Frame(frame) = report {
                        room = frame.pixels.0;
                    }
                    self.0.handed.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.0.pace.step();
        }
    }

    /// Waits for it.
    fn next(&self) -> Next {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return Next::Finished;
            }
            if let Some(next) = queue.next() {
                self.0.goes.notify_one();
                return next;
            }
            if queue.producers == 0 {
                return Next::Finished;
            }
            queue = self.0.comes.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// What is left out is whole: from a unit that finds no room up to the next key frame.
    fn admits(&mut self, parcel: &Parcel) -> bool {
        let bytes = self.unit_bytes + parcel.buffer.size();
        let is_full = bytes > UNIT_BYTES_MAX || self.said.len() >= WAITING_MAX;
        let is_start = parcel.stream == Stream::Video && parcel.key;
        if is_full && !self.skips {
            tracing::warn!(bytes = self.unit_bytes, "the node takes no units; those up to the next key frame are lost");
            self.skips = true;
        } else if self.skips && is_start && !is_full {
            tracing::warn!(units = self.skipped, "the node takes units again; so many were lost");
            (self.skips, self.skipped) = (false, 0);
        }
        self.skipped += u64::from(self.skips);
        !self.skips
    }

    /// Reports and units first, but a frame does not wait for ever.
    fn next(&mut self) -> Option<Next> {
        let waits = !self.lossless.is_empty() || self.newest.is_some();
        if (!waits || self.turn < TURN)
            && let Some(said) = self.said.pop_front()
        {
            if let Said::Unit(parcel) = &said {
                self.unit_bytes -= parcel.buffer.size();
            }
            self.turn = if waits { self.turn + 1 } else { 0 };
            return Some(Next::Said(said));
        }
        self.turn = 0;
        // A live frame is newer than all that were replayed before it.
        self.lossless.pop_front().or_else(|| self.newest.take()).map(Next::Picture)
    }
}

fn unit(parcel: &Parcel) -> Result<Unit, SpeakError> {
    let data = parcel.buffer.map_readable().map_err(|_| SpeakError::Incomplete("readable bytes"))?;
    Ok(Unit {
        stream: parcel.stream,
        key: parcel.key,
        pts_us: parcel.pts_us,
        duration_us: parcel.duration_us,
        captured_us: parcel.captured_us,
        data: Blob(data.to_vec()),
    })
}

/// Whether the speaker gets on, as seen from another thread. Odd while it speaks.
#[derive(Default)]
pub struct Pace(AtomicU64);

impl Pace {
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// It has nothing to say, or has said something since `last`.
    pub fn gets_on(&self, last: &mut u64) -> bool {
        let now = self.0.load(Ordering::Relaxed);
        let moved = now != std::mem::replace(last, now);
        moved || now.is_multiple_of(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(key: bool, bytes: usize) -> Parcel {
        gst::init().expect("GStreamer is installed");
        let buffer = gst::Buffer::with_size(bytes).expect("memory");
        Parcel { stream: Stream::Video, key, pts_us: 0, duration_us: 0, captured_us: 0, buffer }
    }

    #[test]
    fn a_speaker_gets_on_while_it_waits_or_moves_and_not_while_it_is_stuck_in_a_report() {
        let (pace, mut last) = (Pace::default(), 0);
        assert!(pace.gets_on(&mut last) && pace.gets_on(&mut last), "it waits for the first");
        pace.step();
        assert!(pace.gets_on(&mut last), "it has begun one");
        assert!(!pace.gets_on(&mut last) && !pace.gets_on(&mut last), "it is stuck in it");
        (0..2).for_each(|_| pace.step());
        assert!(pace.gets_on(&mut last), "it is in the next");
    }

    #[test]
    fn what_finds_no_room_is_left_out_up_to_a_key_frame() {
        let mib = 1 << 20;
        let outbox = Outbox(Arc::default());
        for n in 0..40 {
            outbox.unit(parcel(n % 4 == 0, mib));
        }
        let waiting = |outbox: &Outbox| outbox.lock().said.len();
        assert_eq!(waiting(&outbox), UNIT_BYTES_MAX / mib);
        // Room alone is not enough.
        (0..8).for_each(|_| drop(outbox.next()));
        outbox.unit(parcel(false, mib));
        assert_eq!(waiting(&outbox), 24);
        outbox.unit(parcel(true, mib));
        outbox.unit(parcel(false, mib));
        assert_eq!((waiting(&outbox), outbox.lock().skipped), (26, 0));
    }

    #[test]
    fn small_reports_are_bounded_too() {
        let outbox = Outbox(Arc::default());
        (0..2 * WAITING_MAX).for_each(|_| outbox.report(Report::Ended));
        assert_eq!(outbox.lock().said.len(), WAITING_MAX);
    }

    #[test]
    fn replayed_frames_all_arrive_in_order_and_before_the_live_one() {
        gst::init().expect("GStreamer is installed");
        let picture = |index, replayed| Picture {
            known: Known { index, pts_us: 0, captured_us: 0, replayed },
            shrink: 1,
            sample: gst::Sample::builder().build(),
        };
        let outbox = Outbox(Arc::default());
        outbox.lock().producers = 1;
        let putting = outbox.clone();
        let decoder = std::thread::spawn(move || {
            (0..50).for_each(|index| putting.picture(picture(index, true), true));
            (50..60).for_each(|index| putting.picture(picture(index, false), false));
            putting.finish();
        });
        let mut indices = Vec::new();
        while let Next::Picture(picture) = outbox.next() {
            indices.push(picture.known.index);
        }
        decoder.join().expect("it does not panic");
        assert_eq!(indices[..50], (0..50).collect::<Vec<_>>()[..]);
        assert_eq!(indices.last(), Some(&59));
    }
}
