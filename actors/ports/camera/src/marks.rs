//! Marks: when something last happened at each place of the session, for the watchdog to look at.
//!
//!   socket ─▶ (received) ─▶ jitterbuffer ─▶ (packet) depay ▸ parse ─▶ (unit) ─▶ (fed) decoder ─▶ (frame)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When something last happened, in microseconds since the session began, plus 1; 0 is never.
#[derive(Default)]
pub struct Mark(AtomicU64);

impl Mark {
    fn set(&self, began: Instant) {
        self.0.store(micros_since(began), Ordering::Relaxed);
    }

    /// Keeps an older mark.
    fn set_if_unset(&self, began: Instant) {
        let _ = self.0.compare_exchange(0, micros_since(began), Ordering::Relaxed, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn get(&self) -> Option<Duration> {
        self.0.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }
}

fn micros_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Those of one source. Cheap to clone; every clone sees the same.
#[derive(Clone)]
pub struct SourceMarks(Arc<(Instant, [Mark; 3])>);

/// What the watchdog looks at: time since the session began of what came last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulse {
    pub now: Duration,
    /// Out of the socket, on a thread of its own: goes on when the pipeline does not.
    pub received: Option<Duration>,
    pub packet: Option<Duration>,
    /// A whole access unit, from the first key frame on. One of a stream that loses most of its packets is none.
    pub unit: Option<Duration>,
}

impl SourceMarks {
    pub fn new(began: Instant) -> Self {
        Self(Arc::new((began, Default::default())))
    }

    pub fn received(&self) {
        self.0.1[0].set(self.0.0);
    }

    pub fn packet(&self) {
        self.0.1[1].set(self.0.0);
    }

    pub fn unit(&self) {
        self.0.1[2].set(self.0.0);
    }

    pub fn pulse(&self) -> Pulse {
        let (began, marks) = &*self.0;
        let [received, packet, unit] = marks.each_ref().map(Mark::get);
        // The clock is read last: no mark may lie ahead of it.
        Pulse { received, packet, unit, now: began.elapsed() }
    }
}

/// Those of the decoder. Cheap to clone.
#[derive(Clone)]
pub struct DecoderMarks(Arc<(Instant, [Mark; 2])>);

/// The decoder as the watchdog sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecoderPulse {
    pub now: Duration,
    /// Since when a picture is owed for what was put in.
    pub owes_since: Option<Duration>,
    /// The decoder last took something out of what waits for it.
    pub taken: Option<Duration>,
}

impl DecoderMarks {
    pub fn new(began: Instant) -> Self {
        Self(Arc::new((began, Default::default())))
    }

    /// Something was put in that a picture has to come out for.
    pub fn fed(&self) {
        self.0.1[0].set_if_unset(self.0.0);
    }

    /// A picture came out, or none is owed any more.
    pub fn settled(&self) {
        self.0.1[0].clear();
    }

    pub fn taken(&self) {
        self.0.1[1].set(self.0.0);
    }

    pub fn pulse(&self) -> DecoderPulse {
        let (began, [owes, taken]) = &*self.0;
        let (owes_since, taken) = (owes.get(), taken.get());
        DecoderPulse { owes_since, taken, now: began.elapsed() }
    }
}
