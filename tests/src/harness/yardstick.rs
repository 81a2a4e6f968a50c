//! Yardstick: how much time the machine itself lost, so that a limit can be held for what the code takes.
//!
//!   a thread that wants its turn each 10 ms ──late?──▶ [yardstick] ──lost since──▶ a test that measured something
//!
//! The tests of supervision measure with this file too. It knows nothing of the code under test.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(10);
/// A busy machine keeps any thread waiting for so long; only what is more was lost.
const USUAL: Duration = Duration::from_millis(40);

/// Measures until dropped.
pub struct Yardstick(Arc<Mutex<Turns>>);

struct Turns {
    /// When the thread had its turn last.
    last: Instant,
    /// When it had its turn again, and by how much it was late: as many as the machine's faults in one test.
    gaps: Vec<(Instant, Duration)>,
}

impl Yardstick {
    pub fn start() -> Self {
        let turns = Arc::new(Mutex::new(Turns { last: Instant::now(), gaps: Vec::new() }));
        let theirs = Arc::downgrade(&turns);
        std::thread::spawn(move || {
            while let Some(turns) = theirs.upgrade() {
                lock(&turns).turn(Instant::now());
                drop(turns);
                std::thread::sleep(TICK);
            }
        });
        Self(turns)
    }

    /// For how long the machine stood still since `began`, all in all.
    pub fn lost_since(&self, began: Instant) -> Duration {
        lock(&self.0).lost(began, Instant::now())
    }
}

impl Turns {
    fn turn(&mut self, now: Instant) {
        let late = self.late(now);
        self.gaps.extend((late > USUAL).then_some((now, late)));
        self.last = now;
    }

    fn late(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last).saturating_sub(TICK)
    }

    fn lost(&self, began: Instant, now: Instant) -> Duration {
        // It may be standing still at this moment, or have had no turn yet after it did.
        let under_way = Some((now, self.late(now))).filter(|(_, late)| *late > USUAL);
        let gaps = self.gaps.iter().copied().chain(under_way);
        gaps.map(|(until, late)| late.min(until.saturating_duration_since(began))).sum()
    }
}

fn lock(turns: &Mutex<Turns>) -> MutexGuard<'_, Turns> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns so many milliseconds after the start; what was lost between two moments.
    #[track_caller]
    fn check(turns_ms: &[u64], [began_ms, now_ms]: [u64; 2], lost_ms: u64) {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut turns = Turns { last: start, gaps: Vec::new() };
        turns_ms.iter().for_each(|ms| turns.turn(at(*ms)));
        assert_eq!(turns.lost(at(began_ms), at(now_ms)), Duration::from_millis(lost_ms), "{turns_ms:?}");
    }

    #[test]
    fn a_machine_that_runs_loses_nothing() {
        check(&[10, 20, 45, 95, 105], [0, 110], 0);
    }

    #[test]
    fn what_it_stood_still_is_lost_once_and_only_what_was_since() {
        check(&[10, 520, 530], [0, 540], 500);
        check(&[10, 520, 530], [400, 540], 120);
        check(&[10, 520, 530], [525, 540], 0);
    }

    #[test]
    fn a_standstill_that_has_not_ended_counts_too() {
        check(&[10], [0, 1020], 1000);
    }

    #[test]
    fn a_thread_has_its_turns() {
        let (yardstick, began) = (Yardstick::start(), Instant::now());
        // Without a turn, all time is lost.
        while began.elapsed().saturating_sub(yardstick.lost_since(began)) < Duration::from_millis(200) {
            assert!(began.elapsed() < Duration::from_secs(20), "no turn came");
            std::thread::sleep(TICK);
        }
    }
}
