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
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Tells the node; an error means that the node is gone.
pub type Tell = Arc<dyn Fn(Report) -> io::Result<()> + Send + Sync>;

/// A session's ends towards its node. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    pub tell: Tell,
    /// Called while the session gets on, whatever its source does: a node ends a port that does not for long.
    pub gets_on: Arc<dyn Fn() + Send + Sync>,
    /// Set when the session is to end.
    pub stop: Arc<AtomicBool>,
}

/// Longer, and GStreamer has read all its plugins anew instead of its cache.
const INIT_SLOW: Duration = Duration::from_millis(700);

/// Reading all plugins anew takes seconds on a slow disk. The node waits for no start, so the port does.
const INIT_MAX: Duration = Duration::from_secs(30);

/// Call once, before the first session.
pub fn start_gstreamer() -> Result<()> {
    let began = Instant::now();
    // Dropped when GStreamer has started.
    let _started = end_unless_dropped_within(INIT_MAX)?;
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

/// Native code that hangs cannot be told to stop waiting: the process ends.
fn end_unless_dropped_within(within: Duration) -> io::Result<mpsc::SyncSender<()>> {
    let (started, waiting) = mpsc::sync_channel::<()>(1);
    std::thread::Builder::new().name("start".to_owned()).spawn(move || {
        if waiting.recv_timeout(within) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!("GStreamer does not start within {within:?}; is its plugin folder on a disk that hangs?");
            std::process::exit(1);
        }
    })?;
    Ok(started)
}
