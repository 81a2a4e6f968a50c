//! A camera on its edge.
//!
//!   camera port ──▶ session ──▶ [slot: the newest frame] ──▶ watch (motion, asking) ──▶ tracking

pub mod coverage;
pub mod gears;
pub mod motion;
pub mod session;
pub mod slot;
pub mod watch;
