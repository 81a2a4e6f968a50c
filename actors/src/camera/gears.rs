//! Gears: how much of a camera's stream is decoded.
//!
//!   session ──sizes of units──▶ [gearbox: core] ──▶ session ──Order::Gear──▶ port
//!   watch ──motion, what is followed──▶ │
//!
//! Idle while nothing moves and nothing is followed; awake at the first sign of something. The port keeps the group of
//! pictures at hand, so that what woke the camera is looked at too.

mod core;
mod sizes;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use self::core::Why;
pub use self::sizes::Said;

use self::core::Core;
use config::watching::{GearMode, Gears};
use protocol::camera::Gear;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The gear that is wanted, and what it is decided by. Cheap to clone.
#[derive(Clone)]
pub struct Gearbox {
    gear: watch::Sender<Gear>,
    core: Arc<Mutex<Core>>,
    began: Instant,
}

impl Default for Gearbox {
    /// Always awake.
    fn default() -> Self {
        Self::new(Gears { mode: GearMode::Awake, ..Gears::default() })
    }
}

impl Gearbox {
    pub fn new(settings: Gears) -> Self {
        let core = Core::new(settings);
        Self { gear: watch::Sender::new(core.gear()), core: Arc::new(Mutex::new(core)), began: Instant::now() }
    }

    pub fn gear(&self) -> Gear {
        *self.gear.borrow()
    }

    /// For the session: the gear as it changes.
    pub fn follow(&self) -> watch::Receiver<Gear> {
        self.gear.subscribe()
    }

    /// Why the camera was woken, since this was last asked.
    pub fn woken(&self) -> Option<Why> {
        self.core().woken()
    }

    /// A source begins.
    pub fn opened(&self) {
        self.tell(|core, at| core.opened(at));
    }

    /// A picture came of the stream that is decoded; what its size says.
    pub fn unit(&self, key: bool, bytes: u32) -> Said {
        self.tell(|core, at| core.unit(at, key, bytes))
    }

    /// Motion was judged on a picture. `learning`: it could not say yet.
    pub fn frame(&self, moving: bool, learning: bool) {
        self.tell(|core, at| core.frame(at, moving, learning));
    }

    /// Something is followed that has to be looked at.
    pub fn attention(&self) {
        self.tell(|core, at| core.attention(at));
    }

    /// If key frames alone are looked at and sizes are not used: the longest that two looks are apart.
    pub fn looks_apart(&self) -> Option<Duration> {
        self.core().looks_apart()
    }

    fn tell<T>(&self, what: impl FnOnce(&mut Core, Duration) -> T) -> T {
        let mut core = self.core();
        let told = what(&mut core, self.began.elapsed());
        let gear = core.gear();
        // Within the lock: of two who tell, the later one's gear stays.
        self.gear.send_if_modified(|now| std::mem::replace(now, gear) != gear);
        told
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
