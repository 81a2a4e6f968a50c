//! Gears: how much of a camera's stream is decoded.
//!
//!   watch, units ──▶ [gearbox] ──▶ session ──Order::Gear──▶ port

use protocol::camera::Gear;
use tokio::sync::watch;

/// The gear that is wanted. Cheap to clone.
#[derive(Clone)]
pub struct Gearbox(watch::Sender<Gear>);

impl Default for Gearbox {
    fn default() -> Self {
        Self(watch::Sender::new(Gear::Awake))
    }
}

impl Gearbox {
    pub fn gear(&self) -> Gear {
        *self.0.borrow()
    }

    /// True if it was another one before.
    pub fn shift(&self, gear: Gear) -> bool {
        self.0.send_if_modified(|now| std::mem::replace(now, gear) != gear)
    }

    /// For the session: the gear as it changes.
    pub fn follow(&self) -> watch::Receiver<Gear> {
        self.0.subscribe()
    }
}
