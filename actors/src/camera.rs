//! A camera on its edge.
//!
//!   camera port ──▶ session ──▶ [slot: frames] ──▶ watch (motion, regions, asking) ──▶ tracking
//!                     │ └─sizes─▶ [gears] ◀─motion─┘
//!                     └──units──▶ recording

pub mod board;
pub mod coverage;
pub mod desk;
pub mod gears;
pub mod live;
pub mod motion;
pub mod regions;
pub mod session;
pub mod slot;
pub mod watch;
