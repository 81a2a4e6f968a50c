//! The feeder: hands each access unit to the server when its time has come.
//!
//!   footage ─▶ [feeder thread] ─▶ appsrc of the media that is being watched, if any
//!                    ▲
//!      attach · play · stall · go
//!
//! While nobody watches, time goes on and units are passed over.

use super::Fact;
use super::footage::{AccessUnit, Footage};
use anyhow::Result;
use gstreamer as gst;
use gstreamer_app as gst_app;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A unit that is later than this (the process was stopped) is not sent any more, as a camera would not.
const LATE_MAX: Duration = Duration::from_millis(500);

/// Steers the feeder. Cheap to clone.
#[derive(Clone, Default)]
pub struct Feed(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// When the first client began to play.
    started: Option<Instant>,
    stalled: bool,
    watched: Option<Watched>,
}

/// The media that clients share, from the first's arrival to the last's leaving.
struct Watched {
    source: gst_app::AppSrc,
    /// It takes data now.
    wants_data: bool,
    /// The first unit given to it; its times count from there.
    since: Option<Duration>,
    /// Units were left out: the next must be a key frame.
    broken: bool,
}

impl Feed {
    /// A new media; it replaces the one before.
    pub fn attach(&self, source: gst_app::AppSrc) {
        self.change(|state| {
            state.watched = Some(Watched { source, wants_data: false, since: None, broken: true });
        });
    }

    pub fn wants_data(&self, source: &gst_app::AppSrc) {
        self.change(|state| {
            if let Some(watched) = state.watched.as_mut().filter(|watched| watched.source == *source) {
                watched.wants_data = true;
            }
        });
    }

    pub fn detach(&self, source: &gst_app::AppSrc) {
        self.change(|state| {
            state.watched.take_if(|watched| watched.source == *source);
        });
    }

    /// A client plays. The first starts the clock.
    pub fn play(&self) {
        self.change(|state| {
            state.started.get_or_insert_with(Instant::now);
        });
    }

    /// Keeps the connection and sends nothing, until `go`.
    pub fn stall(&self) {
        self.change(|state| state.stalled = true);
    }

    pub fn go(&self) {
        self.change(|state| state.stalled = false);
    }

    /// Plays until the footage ends (`once`), or for ever.
    pub fn run(&self, footage: &Footage, once: bool, facts: &Sender<Fact>) -> Result<()> {
        let started = self.wait_for_start(footage, facts)?;
        let mut loop_begin = Duration::ZERO;
        let mut index = 0;
        loop {
            match footage.wait_for(index)? {
                Some(unit) => {
                    // The first was sent before the clock ran: the server needs it to describe the stream.
                    if index > 0 || loop_begin > Duration::ZERO {
                        self.send_when_due(started, loop_begin, &unit);
                    }
                    index += 1;
                }
                None => {
                    loop_begin += footage.wait_for_all()?;
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
        if let Some(watched) = &self.lock().watched {
            let _ = watched.source.end_of_stream();
        }
    }

    /// Gives the first unit to each media that comes, until a client plays one.
    fn wait_for_start(&self, footage: &Footage, facts: &Sender<Fact>) -> Result<Instant> {
        let Some(first) = footage.wait_for(0)? else { anyhow::bail!("the footage is empty") };
        let mut state = self.lock();
        loop {
            if let Some(watched) = state.watched.as_mut().filter(|watched| watched.wants_data) {
                if watched.since.is_none() {
                    watched.push(Duration::ZERO, &first);
                }
                if let Some(started) = state.started {
                    let wall = SystemTime::now() - started.elapsed();
                    let micros = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
                    let first_frame_us = i64::try_from(micros).unwrap_or(i64::MAX);
                    let _ = facts.send(Fact::FirstFrame { first_frame_us });
                    return Ok(started);
                }
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn send_when_due(&self, started: Instant, loop_begin: Duration, unit: &AccessUnit) {
        let at = loop_begin + unit.at;
        let due = started + at;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut state = self.lock();
        let skip = state.stalled || due.elapsed() > LATE_MAX;
        let Some(watched) = state.watched.as_mut().filter(|watched| watched.wants_data) else { return };
        if skip || (watched.broken && !unit.key) {
            watched.broken = true;
        } else if !watched.push(at, unit) {
            state.watched = None;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// False once the media is being taken down.
    fn push(&mut self, at: Duration, unit: &AccessUnit) -> bool {
        let since = *self.since.get_or_insert(at);
        self.broken = false;
        // Shares the bytes; only the times are its own.
        let mut buffer = unit.buffer.copy();
        if let Some(buffer) = buffer.get_mut() {
            let pts = gst::ClockTime::try_from(at.saturating_sub(since)).ok();
            buffer.set_pts(pts);
            buffer.set_dts(pts);
        }
        self.source.push_buffer(buffer).is_ok()
    }
}
