//! Pace: when a simulated edge tries again. The same pauses as the edge's own link and forwarder have
//! (`actors/src/fabric/link.rs`, `actors/src/events/forwarder.rs`).

use protocol::transport::DialError;
use std::time::{Duration, Instant};
use supervision::{Backoff, jitter};

/// Between tries while the relay was here within [`RECENTLY`].
const SOON: Backoff = Backoff { base: Duration::from_millis(200), max: Duration::from_secs(1) };
/// Between tries at a relay that has been away for long, or that refuses us.
const LATER: Backoff = Backoff { base: Duration::from_millis(500), max: Duration::from_secs(30) };
const RECENTLY: Duration = Duration::from_secs(60);
/// Between two events streams on a link that holds.
const AGAIN: Backoff = Backoff { base: Duration::from_millis(500), max: Duration::from_secs(5) };

/// For how long, and how often, the relay could not be had.
pub(super) struct Away {
    seen: Instant,
    tries: u32,
    refused: bool,
}

impl Away {
    pub fn new() -> Self {
        Self { seen: Instant::now(), tries: 0, refused: false }
    }

    pub fn note(&mut self, error: &DialError) {
        self.refused = !matches!(error, DialError::Unreachable { .. });
    }

    /// `jitter` in 0..1: edges of one process share a clock, from whose digits a real one takes it.
    pub fn pause(&mut self, jitter: f64) -> Duration {
        self.tries += 1;
        let soon = self.seen.elapsed() < RECENTLY && !self.refused;
        if soon { SOON } else { LATER }.pause(self.tries, jitter)
    }
}

/// When the next events stream is due.
#[derive(Clone)]
pub(super) struct Again {
    at: Instant,
    why: String,
    times: u32,
}

impl Again {
    /// At once.
    pub fn new() -> Self {
        Self { at: Instant::now(), why: String::new(), times: 0 }
    }

    pub fn at(&self) -> Instant {
        self.at
    }

    /// Longer while it is the same reason again.
    pub fn failed(&mut self, why: String) {
        self.times = if self.why == why { self.times + 1 } else { 1 };
        (self.at, self.why) = (Instant::now() + AGAIN.pause(self.times, jitter()), why);
    }

    pub fn and(mut self, why: String) -> Self {
        self.failed(why);
        self
    }
}
