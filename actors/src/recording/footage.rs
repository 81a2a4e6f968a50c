//! Footage of one camera on its way to the disk, and what of it is wanted.
//!
//!   session ──units──▶ [footage: ring] ──pieces──▶ recorder
//!   tracking ──events──▶     │ ▲──motion── watch
//!
//! Belongs to no actor: what is in memory outlives the restarts of those who fill it and of who empties it. Nobody who
//! calls it waits for a disk.

pub(super) mod ring;

use super::plan::{Plan, Wish};
use config::recording::{Record, RecordMode};
use protocol::camera::{Format, Unit};
use protocol::{EventId, Timestamp};
use ring::{Lost, Next, Ring};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Shared by a camera's session, watch, tracking and recorder; nobody who calls it ever waits. Cheap to clone.
/// By default nothing is recorded, and nothing kept.
#[derive(Clone)]
pub struct Footage(Arc<Shared>);

struct Shared {
    ring: Mutex<Ring>,
    /// There is something to write.
    work: Notify,
}

/// What is kept of one camera.
#[derive(Debug, Clone, PartialEq)]
pub struct FootageSettings {
    pub mode: RecordMode,
    pub pre_roll: Duration,
    pub post_roll: Duration,
    /// In memory. When full, the oldest group of pictures is forgotten, and counted if it was to be written.
    pub ring_bytes_max: usize,
}

impl FootageSettings {
    /// `own`: the camera's choice, if it has one.
    pub fn new(record: &Record, own: Option<RecordMode>) -> Self {
        Self {
            mode: own.unwrap_or(record.mode),
            pre_roll: record.pre_roll,
            post_roll: record.post_roll,
            ring_bytes_max: (record.ring_mib as usize) << 20,
        }
    }
}

/// That an event needs its footage.
#[derive(Debug, Clone, PartialEq)]
pub struct EventMark {
    pub event: EventId,
    pub label: String,
    pub begin: Timestamp,
    /// When it was last seen, so far.
    pub last_seen: Timestamp,
    pub ended: bool,
}

impl Default for Footage {
    fn default() -> Self {
        Self::new(&FootageSettings {
            mode: RecordMode::Off,
            pre_roll: Duration::ZERO,
            post_roll: Duration::ZERO,
            ring_bytes_max: 0,
        })
    }
}

impl Footage {
    pub fn new(settings: &FootageSettings) -> Self {
        let plan = Plan::new(settings.mode, settings.pre_roll, settings.post_roll);
        Self(Arc::new(Shared { ring: Mutex::new(Ring::new(plan, settings.ring_bytes_max)), work: Notify::new() }))
    }

    /// What follows is to be read so: at the begin of a session, and when it changes.
    pub fn format(&self, format: Format) {
        self.ring().format(format);
        self.0.work.notify_one();
    }

    pub fn unit(&self, unit: Unit) {
        self.wakes(|ring| ring.unit(unit));
    }

    /// The session is over: nothing continues what came before.
    pub fn cut(&self) {
        self.ring().cut();
        self.0.work.notify_one();
    }

    /// An event began, goes on, or ended.
    pub fn event(&self, mark: EventMark) {
        let ended = mark.ended;
        self.wakes(|ring| ring.event(mark, Timestamp::now()) || ended);
    }

    /// Something moved.
    pub fn moved(&self, at: Timestamp) {
        self.wakes(|ring| ring.moved(at));
    }

    /// Some of this event's footage is on disk, or will be unless the disk fails.
    pub fn has_clip(&self, event: EventId) -> bool {
        self.ring().has_clip(event)
    }

    fn wakes(&self, work: impl FnOnce(&mut Ring) -> bool) {
        let has_work = work(&mut self.ring());
        if has_work {
            self.0.work.notify_one();
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For the recorder.
impl Footage {
    pub(super) async fn work(&self) {
        self.0.work.notified().await;
    }

    pub(super) fn next(&self, tail: Option<u64>) -> Option<Next> {
        self.ring().next(tail)
    }

    pub(super) fn wrote(&self, seq: u64) {
        self.ring().wrote(seq);
    }

    pub(super) fn may_follow(&self, tail: u64) -> bool {
        self.ring().may_follow(tail)
    }

    pub(super) fn clips(&self, now: Timestamp) -> (Vec<Wish>, Vec<Wish>) {
        self.ring().clips(now)
    }

    /// Events whose clip is not made yet.
    pub(super) fn has_events(&self) -> bool {
        self.ring().has_events()
    }

    pub(super) fn made(&self, event: EventId, has: bool) {
        self.ring().made(event, has);
    }

    pub(super) fn bytes(&self) -> usize {
        self.ring().bytes()
    }

    #[cfg(test)]
    pub(super) fn next_unwritten(&self) -> bool {
        self.ring().has_work()
    }

    pub(super) fn take_lost(&self) -> Lost {
        self.ring().take_lost()
    }
}
