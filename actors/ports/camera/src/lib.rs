//! The camera port: opens one camera, decodes it, and hands pictures to its node.
//!
//!   node ──Order::Open──▶ [main] ─▶ [session] watches the bus and the clock
//!                                      │
//!   rtspsrc ▸ depay ▸ parse ▸ decoder ▸ throttle ▸ scale ▸ appsink ─▶ [handover] ──Report::Frame──▶ node
//!   filesrc ▸ parsebin ─────────┘
//!
//! A process of its own, because GStreamer is C: what aborts or hangs here costs a restart of this program and
//! nothing else. A source that fails is told as `Report::Failed`, and then the program ends in good order.

pub mod anchor;
pub mod fault;
pub mod grid;
pub mod gstlog;
pub mod handover;
pub mod parts;
pub mod pipeline;
pub mod session;
pub mod tap;

use anyhow::{Result, bail};
use protocol::camera::Report;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tells the node; an error means that the node is gone.
pub type Tell = Arc<dyn Fn(Report) -> io::Result<()> + Send + Sync>;

/// Longer, and GStreamer has read all its plugins anew instead of its cache.
const INIT_SLOW: Duration = Duration::from_millis(700);

/// Call once, before the first session.
pub fn start_gstreamer() -> Result<()> {
    let began = Instant::now();
    if let Err(error) = gstreamer::init() {
        bail!("GStreamer does not start: {error}; apt-get install libgstreamer1.0-0 gstreamer1.0-plugins-base");
    }
    gstlog::bridge();
    if began.elapsed() > INIT_SLOW {
        tracing::warn!(
            ms = began.elapsed().as_millis(),
            "GStreamer read all its plugins anew; this repeats until $XDG_CACHE_HOME/gstreamer-1.0 can be written"
        );
    }
    parts::preload();
    Ok(())
}
