//! The event loop's heart: while it beats, actors can answer; when it stands for long, the process exits.

use super::{LOOK_EVERY, Looks, lock, looks_in, start, threads, words};
use crate::history::{History, LastEnd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::error;

/// An event loop that has not turned for so long never will.
const LOOP_WITHIN: Duration = Duration::from_secs(10);

static HEARTS: Mutex<Vec<(Weak<Beating>, Looks)>> = Mutex::new(Vec::new());

/// The event loop's heart: beats as long as the loop turns. The process exits if it stops for long.
pub struct Heart {
    beating: Arc<Beating>,
    task: tokio::task::JoinHandle<()>,
}

struct Beating {
    beats: AtomicU64,
    runtime: Handle,
    /// Where it is written down that the loop stood.
    history: History,
}

impl Beating {
    /// A thread that was woken by the runtime's timers or sockets and is then blocked by what it was woken for leaves
    /// them to nobody: the other threads sleep until somebody wakes them. Work from outside does, and the thread that
    /// takes it looks after them from then on.
    fn wake_the_others(&self) {
        drop(self.runtime.spawn(async {}));
    }
}

/// Watches the runtime of the caller.
pub fn heart(history: History) -> Heart {
    start();
    let beating = Arc::new(Beating { beats: AtomicU64::new(0), runtime: Handle::current(), history });
    lock(&HEARTS).push((Arc::downgrade(&beating), Looks::default()));
    let beats = beating.clone();
    let task = tokio::spawn(async move {
        loop {
            beats.beats.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(LOOK_EVERY / 2).await;
        }
    });
    Heart { beating, task }
}

impl Heart {
    /// Grows while the event loop turns.
    pub fn beats(&self) -> u64 {
        self.beating.beats.load(Ordering::Relaxed)
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// True if the event loop turns, as far as is known.
pub(super) fn all_beat() -> bool {
    let mut hearts = lock(&HEARTS);
    hearts.retain(|(heart, _)| heart.strong_count() > 0);
    let mut turns = true;
    for (heart, looks) in hearts.iter_mut() {
        let Some(heart) = heart.upgrade() else { continue };
        let same = looks.see(heart.beats.load(Ordering::Relaxed));
        turns &= same == 0;
        if same > 0 {
            heart.wake_the_others();
        }
        if same >= looks_in(LOOP_WITHIN) {
            let history = heart.history.clone();
            words::exit_after(move || {
                let blocked = threads::occupants();
                error!(?blocked, "the event loop has not turned for {LOOP_WITHIN:?}: the node exits");
                history.end(LastEnd::Hang);
            });
        }
    }
    turns
}
