//! Books: what the edges of a fleet have seen, for whoever asks. Each edge writes its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Waits for an acknowledgement that are kept. When full, the next are left out and counted.
const WAITS_MAX: usize = 2_000_000;
/// Faults of one edge that are kept; the first tell the most.
const FAULTS_MAX: usize = 10;

/// Of one edge.
#[derive(Default)]
pub struct Book {
    linked: AtomicBool,
    /// It accepts no more, and `entries` are all there will be.
    rests: AtomicBool,
    /// How often it was welcomed.
    links: AtomicU64,
    accepted: AtomicU64,
    acked: AtomicU64,
    /// What no relay may do.
    faults: Mutex<Vec<String>>,
    /// Why its last link ended, or its last try failed.
    lost: Mutex<String>,
}

impl Book {
    pub fn is_linked(&self) -> bool {
        self.linked.load(Ordering::Acquire)
    }

    pub fn links(&self) -> u64 {
        self.links.load(Ordering::Acquire)
    }

    /// Entries accepted, and entries acknowledged.
    pub fn entries(&self) -> (u64, u64) {
        (self.accepted.load(Ordering::Acquire), self.acked.load(Ordering::Acquire))
    }

    /// All that it had to tell is acknowledged.
    pub fn is_settled(&self) -> bool {
        let (accepted, acked) = self.entries();
        self.rests.load(Ordering::Acquire) && accepted == acked
    }

    pub fn faults(&self) -> Vec<String> {
        lock(&self.faults).clone()
    }

    pub fn lost(&self) -> String {
        lock(&self.lost).clone()
    }

    pub(super) fn welcomed(&self) {
        self.links.fetch_add(1, Ordering::AcqRel);
        self.linked.store(true, Ordering::Release);
    }

    pub(super) fn parted(&self, why: String) {
        self.linked.store(false, Ordering::Release);
        *lock(&self.lost) = why;
    }

    pub(super) fn wrote(&self, accepted: u64, acked: u64) {
        self.accepted.store(accepted, Ordering::Release);
        self.acked.store(acked, Ordering::Release);
    }

    pub(super) fn rests(&self) {
        self.rests.store(true, Ordering::Release);
    }

    pub(super) fn fault(&self, text: String) {
        let mut faults = lock(&self.faults);
        if faults.len() < FAULTS_MAX {
            faults.push(text);
        }
    }
}

/// From when entries were due to when their acknowledgement came, of all edges, since somebody last asked.
#[derive(Default)]
pub struct Waits {
    ms: Mutex<Vec<f32>>,
    left_out: AtomicU64,
}

impl Waits {
    pub(super) fn add(&self, waited: &[Duration]) {
        let mut ms = lock(&self.ms);
        let room = WAITS_MAX.saturating_sub(ms.len()).min(waited.len());
        ms.extend(waited[..room].iter().map(|waited| waited.as_secs_f32() * 1e3));
        self.left_out.fetch_add((waited.len() - room) as u64, Ordering::Relaxed);
    }

    /// In milliseconds; what is added from now on is for the next who asks.
    pub fn take(&self) -> Vec<f32> {
        std::mem::take(&mut lock(&self.ms))
    }

    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
