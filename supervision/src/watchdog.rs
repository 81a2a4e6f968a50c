//! Watchdog: one OS thread a process that sees who no longer turns.
//!
//!   an actor's code ──in, out──▶ [thread slot]   still inside after some looks: it blocks a thread
//!   its handler ──begin, end──▶ [pulse]          begun and not ended: it waits for ever
//!   its mailbox ──depth──▶ [pulse]               messages wait and none is taken: it is stuck behind a blocked thread
//!   a service ◀──bell── [pulse] ◀──answer──      rung and not answered: it does nothing
//!          └─ found ─▶ the supervisor: kill what waits, fence what blocks, start another
//!
//! An actor between two messages is well by being seen so: no probe has to travel for that. Time is
//! counted in the watchdog's own looks, so that a process which was stopped (SIGSTOP, a closed lid)
//! blames nobody when it wakes.

mod heart;
mod pulse;
mod threads;
mod words;

use crate::Failure;
use crate::history::{History, LastEnd};
pub use heart::{Heart, heart};
pub(crate) use pulse::{Pulse, Terms};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
pub(crate) use threads::{enter, inside};
use tracing::error;

/// How often the watchdog looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A store or the event loop is blocked (EX_SOFTWARE of sysexits.h): whoever started the node starts it again.
pub const EXIT_BLOCKED: i32 = 70;
/// A supervisor waits for each thing that it does with a deadline, and may stop many children one by one; one that has
/// not heard of a hang after so long never will, and with it goes what it is there for.
const HEARD_WITHIN: Duration = crate::steer::ANSWER_WITHIN;

/// How a hang was found: the label of its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hang {
    /// Waits in its handler.
    Waits,
    /// Blocks a thread.
    Blocks,
    /// A service that does not answer, or an actor that takes no message.
    Silent,
}

impl Hang {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waits => "waits",
            Self::Blocks => "blocked",
            Self::Silent => "silent",
        }
    }
}

static PULSES: Mutex<Option<HashMap<u64, Watching>>> = Mutex::new(None);

struct Watching {
    pulse: Arc<Pulse>,
    /// Looks since it was last asked.
    unasked: u32,
    handling: Looks,
    taken: Looks,
    asked: Looks,
    unheard: Looks,
}

/// For how many looks a value has been the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looks {
    value: u64,
    same: u32,
}

impl Default for Looks {
    fn default() -> Self {
        Self { value: u64::MAX, same: 0 }
    }
}

impl Looks {
    /// For how long `value` has been there, in looks.
    pub fn see(&mut self, value: u64) -> u32 {
        self.same = if value == self.value { self.same + 1 } else { 0 };
        self.value = value;
        self.same
    }

    /// What is seen next is new.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

/// So often is a service asked within its limit, or at each look.
const ASKED_WITHIN: u32 = 8;

/// After so many looks without a change it is a hang. Two less than fit: up to one passes before the first look,
/// and one between a question and the first look at its answer; a hang is found within its limit, not after it.
fn looks_in(within: Duration) -> u32 {
    (within.as_millis() / LOOK_EVERY.as_millis()).saturating_sub(2).max(1) as u32
}

/// Watched until dropped.
pub(crate) struct Watched(u64);

pub(crate) fn watch(pulse: Arc<Pulse>) -> Watched {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    start();
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    lock(&PULSES).get_or_insert_default().insert(id, Watching::new(pulse));
    Watched(id)
}

impl Drop for Watched {
    fn drop(&mut self) {
        let removed = lock(&PULSES).as_mut().and_then(|pulses| pulses.remove(&self.0));
        // Its last owner may be us, and its drop may run anything: not under the lock.
        drop(removed);
    }
}

fn start() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let thread = std::thread::Builder::new().name("watchdog".to_owned());
        thread.spawn(look_for_ever).map(|_| ()).expect("a thread can be started at launch");
    });
}

fn look_for_ever() {
    loop {
        std::thread::sleep(LOOK_EVERY);
        // Whatever one look met, the next is made: nobody watches the watchdog.
        let _ = std::panic::catch_unwind(look);
    }
}

fn look() {
    // While the event loop itself stands, nobody can answer, and nobody is to blame for that.
    if heart::all_beat() {
        look_at_pulses().into_iter().for_each(|(pulse, hang)| found(&pulse, hang));
    }
    threads::look().into_iter().for_each(|pulse| found(&pulse, Hang::Blocks));
}

fn look_at_pulses() -> Vec<(Arc<Pulse>, Hang)> {
    let mut pulses = lock(&PULSES);
    let Some(pulses) = pulses.as_mut() else { return Vec::new() };
    let look = |watching: &mut Watching| Some((watching.pulse.clone(), watching.look()?));
    pulses.values_mut().filter_map(look).collect()
}

impl Watching {
    fn new(pulse: Arc<Pulse>) -> Self {
        let [handling, taken, asked, unheard] = [Looks::default(); 4];
        Self { pulse, unasked: 0, handling, taken, asked, unheard }
    }

    fn look(&mut self) -> Option<Hang> {
        if self.pulse.found.load(Ordering::Acquire) {
            self.see_it_heard();
            return None;
        }
        let within = looks_in(self.pulse.terms.within);
        let handling = self.pulse.handling.load(Ordering::Acquire);
        // Odd: in the handler.
        if handling % 2 == 1 && self.pulse.is_ready() {
            if self.handling.see(handling) >= within {
                return Some(Hang::Waits);
            }
        } else {
            self.handling.forget();
        }
        match self.pulse.leaves_waiting() {
            Some(taken) if self.taken.see(taken) >= within => return Some(Hang::Silent),
            Some(_) => {}
            None => self.taken.forget(),
        }
        // Whoever may be silent for long is asked seldom: a thousand that wait should cost nothing.
        let every = within.div_ceil(ASKED_WITHIN);
        self.unasked = (self.unasked + 1) % every;
        match self.pulse.ring(self.unasked == 0) {
            Some(unanswered) if self.asked.see(unanswered) + every > within => Some(Hang::Silent),
            Some(_) => None,
            None => {
                self.asked.forget();
                None
            }
        }
    }

    fn see_it_heard(&mut self) {
        let heard = self.pulse.heard.load(Ordering::Acquire);
        if !heard && self.unheard.see(0) >= looks_in(HEARD_WITHIN) {
            let text = format!("its supervisor has not heard of it for {HEARD_WITHIN:?}, so the node exits");
            exit(&self.pulse.path, &Failure::hang(text), &self.pulse.history);
        }
    }
}

fn found(pulse: &Arc<Pulse>, hang: Hang) {
    let blocks = hang == Hang::Blocks || threads::is_inside(pulse);
    let hang = if blocks { Hang::Blocks } else { hang };
    let again = pulse.found.swap(true, Ordering::AcqRel);
    // One that was found to wait and then blocks the thread on which it is killed is found once more.
    if again && !(blocks && pulse.terms.holds_store) {
        return;
    }
    let (within, turn_within, path) = (pulse.terms.within, pulse.terms.turn_within, &pulse.path);
    let failure = match hang {
        Hang::Blocks => Failure::hang(format!("blocks a thread, the limit is {turn_within:?}")),
        Hang::Waits => Failure::hang(format!("does not finish with one message, the limit is {within:?}")),
        Hang::Silent if pulse.is_service() => {
            Failure::hang(format!("does not answer the watchdog, the limit is {within:?}"))
        }
        Hang::Silent => Failure::hang(format!("takes none of the messages that wait, the limit is {within:?}")),
    };
    metrics::counter!("watchtree_actor_hangs_total", "class" => pulse.class, "what" => hang.as_str()).increment(1);
    if blocks && pulse.terms.holds_store {
        // Its file may be half-way through a write, and a second owner of it is worse than a restart of the node.
        let text = format!("{}; it holds a store, so the node exits", failure.text);
        exit(path, &Failure { text, ..failure }, &pulse.history);
    }
    words::say(format!("{path} hangs: {failure}"));
    pulse.report(failure, blocks);
}

/// Ends the process with [`EXIT_BLOCKED`], and this as the reason on the books.
pub(crate) fn exit(path: &str, failure: &Failure, history: &History) -> ! {
    let (path, failure, history) = (path.to_owned(), failure.clone(), history.clone());
    words::exit_after(move || {
        error!(%path, %failure, "the node exits");
        history.record_exit(&path, &failure, LastEnd::Hang);
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_changes_is_never_old() {
        let mut looks = Looks::default();
        assert_eq!([1, 3, 5, 5, 5, 7].map(|value| looks.see(value)), [0, 0, 0, 1, 2, 0]);
    }

    #[test]
    fn the_shortest_limit_is_one_look() {
        assert_eq!(looks_in(Duration::ZERO), 1);
        assert_eq!(looks_in(Duration::from_secs(2)), 8, "eight looks after the first are at most 1.8 s after the fact");
    }
}
