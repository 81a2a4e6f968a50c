//! The feeder: hands each access unit to the server when its time has come.
//!
//!   footage ─▶ [a thread for each lane] ─▶ appsrc of the media that is being watched, if any
//!                    ▲
//!      attach · play · faults
//!
//! While nobody watches, time goes on and units are passed over.

use super::Fact;
use super::book::Book;
use super::faults::{Faults, scrambled};
use super::footage::{AccessUnit, Footage};
use super::squares::Rng;
use anyhow::Result;
use gstreamer as gst;
use gstreamer_app as gst_app;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A unit that is later than this (the process was stopped) is not sent any more, as a camera would not.
pub const LATE_MAX: Duration = Duration::from_millis(500);

/// What is sent side by side, each on a thread of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Video,
    Sound,
    /// The small stream at the second path.
    Sub,
}

/// Steers the feeder. Cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    faults: Faults,
    book: Book,
    seed: u64,
    /// Of a NAL unit of this codec.
    header_bytes: usize,
}

#[derive(Default)]
struct State {
    /// When the first client began to play.
    started: Option<Instant>,
    told: bool,
    taps: [Option<Tap>; 3],
    /// The first picture given to the media of each path; the times of all that it holds count from there.
    since: [Option<Duration>; 2],
}

/// One stream of a media that clients share, from the first's arrival to the last's leaving.
struct Tap {
    source: gst_app::AppSrc,
    /// It takes data now.
    wants_data: bool,
    /// It has what the server describes it by.
    primed: bool,
    /// Units were left out: the next must be a key frame.
    broken: bool,
}

impl Lane {
    fn path(self) -> usize {
        usize::from(self == Self::Sub)
    }
}

impl Feed {
    pub fn new(book: Book, seed: u64, header_bytes: usize) -> Self {
        let (state, changed, faults) = (Mutex::default(), Condvar::new(), Faults::default());
        Self(Arc::new(Shared { state, changed, faults, book, seed, header_bytes }))
    }

    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    pub fn book(&self) -> &Book {
        &self.0.book
    }

    /// Seeded randomness of its own for whoever names another `stream`.
    pub fn rng(&self, stream: u64) -> Rng {
        Rng::new(self.0.seed, stream)
    }

    /// A stream of a new media; it replaces the one before.
    pub fn attach(&self, lane: Lane, source: gst_app::AppSrc) {
        self.change(|state| {
            if lane != Lane::Sound {
                state.since[lane.path()] = None;
            }
            state.taps[lane as usize] = Some(Tap { source, wants_data: false, primed: false, broken: true });
        });
    }

    pub fn wants_data(&self, source: &gst_app::AppSrc) {
        self.change(|state| {
            for tap in state.taps.iter_mut().flatten().filter(|tap| tap.source == *source) {
                tap.wants_data = true;
            }
        });
    }

    pub fn detach(&self, source: &gst_app::AppSrc) {
        self.change(|state| {
            for tap in &mut state.taps {
                tap.take_if(|tap| tap.source == *source);
            }
        });
    }

    /// A client plays. The first starts the clock.
    pub fn play(&self) -> Instant {
        let mut state = self.lock();
        let started = *state.started.get_or_insert_with(Instant::now);
        self.0.changed.notify_all();
        started
    }

    /// Plays until the footage ends (`once`), or for ever. The second reel is the same at the other size.
    pub fn run(&self, lane: Lane, reels: &[Footage], once: bool, facts: &Sender<Fact>) -> Result<()> {
        let Some(mut reel) = reels.first() else { return Ok(()) };
        let started = self.wait_for_start(lane, reel)?;
        self.tell_start(started, facts);
        let mut rng = self.rng(0x10 + lane as u64);
        let mut loop_begin = Duration::ZERO;
        let mut index = 0;
        loop {
            let chosen = if self.faults().is_resized() { reels.last().unwrap_or(reel) } else { &reels[0] };
            let mut unit = reel.wait_for(index)?;
            if unit.as_ref().is_none_or(|unit| unit.key) {
                reel = chosen;
                unit = reel.wait_for(index)?;
            }
            match unit {
                Some(unit) => {
                    // The first was sent before the clock ran: the server needs it to describe the stream.
                    if index > 0 || loop_begin > Duration::ZERO {
                        self.send_when_due(lane, started, loop_begin, &unit, &mut rng);
                    }
                    index += 1;
                }
                None => {
                    loop_begin += reel.wait_for_all()?;
                    index = 0;
                    if once {
                        std::thread::sleep((started + loop_begin).saturating_duration_since(Instant::now()));
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Tells the clients that the stream is over.
    pub fn end(&self) {
        for tap in self.lock().taps.iter().flatten() {
            let _ = tap.source.end_of_stream();
        }
    }

    /// Gives the first unit to each media that comes, until a client plays one.
    fn wait_for_start(&self, lane: Lane, reel: &Footage) -> Result<Instant> {
        let Some(first) = reel.wait_for(0)? else { anyhow::bail!("the footage is empty") };
        let mut state = self.lock();
        loop {
            if state.taps[lane as usize].as_ref().is_some_and(|tap| tap.wants_data && !tap.primed) {
                state.push(lane, Duration::ZERO, &first, first.buffer.copy());
            }
            if let Some(started) = state.started {
                return Ok(started);
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn tell_start(&self, started: Instant, facts: &Sender<Fact>) {
        if std::mem::replace(&mut self.lock().told, true) {
            return;
        }
        let wall = SystemTime::now() - started.elapsed();
        let micros = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let _ = facts.send(Fact::FirstFrame { first_frame_us: i64::try_from(micros).unwrap_or(i64::MAX) });
    }

    fn send_when_due(&self, lane: Lane, started: Instant, loop_begin: Duration, unit: &AccessUnit, rng: &mut Rng) {
        let at = loop_begin + unit.at;
        let due = started + at;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let faults = self.faults();
        let skip = faults.is_stalled() || due.elapsed() > LATE_MAX;
        let buffer = if !skip && faults.is_garbage() { self.rubbish(unit, rng) } else { unit.buffer.copy() };
        let mut state = self.lock();
        let Some(tap) = state.taps[lane as usize].as_mut().filter(|tap| tap.wants_data) else { return };
        if skip || (tap.broken && !unit.key) {
            tap.broken = true;
        } else if !state.push(lane, at, unit, buffer) {
            state.taps[lane as usize] = None;
        } else if lane == Lane::Video {
            drop(state);
            self.book().sent(unit.key, faults.dropped());
        }
    }

    pub fn rubbish(&self, unit: &AccessUnit, rng: &mut Rng) -> gst::Buffer {
        let bytes = unit.buffer.map_readable().map(|map| scrambled(&map, self.0.header_bytes, rng));
        gst::Buffer::from_mut_slice(bytes.unwrap_or_default())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// False once the media is being taken down. `buffer` shares the unit's bytes; only the times are its own.
    fn push(&mut self, lane: Lane, at: Duration, unit: &AccessUnit, mut buffer: gst::Buffer) -> bool {
        let since = match (lane, self.since[lane.path()]) {
            // Sound begins with the first picture.
            (Lane::Sound, None) if self.started.is_some() => return true,
            (_, since) => *self.since[lane.path()].insert(since.unwrap_or(at)),
        };
        let Some(tap) = self.taps[lane as usize].as_mut() else { return false };
        let Some(dts) = at.checked_sub(since) else { return true };
        tap.broken = false;
        tap.primed = true;
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_dts(gst::ClockTime::try_from(dts).ok());
            buffer.set_pts(gst::ClockTime::try_from(dts + unit.shown_after).ok());
        }
        tap.source.push_buffer(buffer).is_ok()
    }
}
