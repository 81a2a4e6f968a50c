//! A camera on its edge: the session with its port, the newest frame, motion.
//!
//!   camera port ──▶ session ──▶ [slot: newest frame] ──▶ watch (motion, asking) ──▶ tracking

pub mod motion;
