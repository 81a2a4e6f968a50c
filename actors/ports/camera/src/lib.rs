//! The camera port: opens one camera, hands over what it sends, and as much of it decoded as its node asks for.
//!
//!   node ──Order──▶ [main] ─▶ [session] watches everything      ┌─▶ gearbox ─▶ decoder ▸ throttle ▸ scale ─┐
//!                                                               │    (passthrough, idle, awake)            ▼
//!   rtspsrc, filesrc, souphttpsrc, v4l2src, … ▸ parse ─▶ [intake] ──Format, Unit, Size──▶ [outbox] ──Report──▶ node
//!
//! A process of its own, because GStreamer is C: what aborts or hangs here costs a restart of this program and
//! nothing else. A source that fails is told as `Report::Failed`, and then the program ends in good order.

pub mod address;
pub mod anchor;
mod batch;
pub mod bell;
mod decoder;
pub mod fault;
mod format;
mod frames;
mod gearbox;
mod gears;
pub mod grid;
pub mod gstlog;
mod intake;
mod knock;
mod lossy;
mod marks;
mod outbox;
pub mod parts;
mod pixels;
mod scaling;
pub mod session;
mod source;
mod watchdog;

use anyhow::{Result, bail};
use protocol::camera::Report;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Tells the node; an error means that the node is gone.
pub type Tell = Arc<dyn Fn(&Report) -> io::Result<()> + Send + Sync>;

/// A session's mouth towards its node; its ear is the bell. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    pub tell: Tell,
    /// Called while the session gets on, whatever its source does: a node ends a port that does not for long.
    pub gets_on: Arc<dyn Fn() + Send + Sync>,
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
