//! The pulse: what a port's beats say of its work, and how long it has been silent.

use super::child::BEAT_EVERY;
use super::wire::Beat;
use std::pin::pin;
use std::time::Duration;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

/// If nobody listened for a while, what the port said meanwhile is in the socket and is read first.
const CATCH_UP: Duration = Duration::from_millis(100);

/// As `timeout`, and a moment longer: this process may have been stopped meanwhile, and has to catch up first.
pub(super) async fn caught_up<T>(within: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    match timeout(within, &mut work).await {
        Err(_) => timeout(CATCH_UP, work).await,
        done => done,
    }
}

pub(super) struct Pulse {
    beat_within: Duration,
    progress_within: Option<Duration>,
    heard: Instant,
    /// Set once when the port seems silent because nobody listened.
    catch_up_until: Option<Instant>,
    progress: u64,
    /// Beats since the last progress. Counted, not timed: beats that waited because nobody listened say no more
    /// than those that did not, and a port that the machine gave no time could do nothing with it.
    beats_in_vain: u32,
}

impl Pulse {
    pub fn new(beat_within: Duration, progress_within: Option<Duration>) -> Self {
        let heard = Instant::now();
        Self { beat_within, progress_within, heard, catch_up_until: None, progress: 0, beats_in_vain: 0 }
    }

    /// It may be silent for so long from now on, once.
    pub fn grace(&mut self, within: Duration) {
        self.heard = Instant::now() + within;
    }

    pub fn heard(&mut self) {
        (self.heard, self.catch_up_until) = (Instant::now(), None);
    }

    /// Silence until then is a hang.
    pub fn silent_until(&mut self) -> Instant {
        let until = self.heard + self.beat_within;
        if until > Instant::now() {
            return until;
        }
        *self.catch_up_until.get_or_insert_with(|| Instant::now() + CATCH_UP)
    }

    /// Err: it has work and has done nothing for so long.
    pub fn beat(&mut self, beat: Beat) -> Result<(), Duration> {
        let moved = beat.progress != self.progress;
        self.progress = beat.progress;
        self.beats_in_vain = if moved || beat.idle { 0 } else { self.beats_in_vain.saturating_add(1) };
        match self.progress_within {
            Some(within) if BEAT_EVERY * self.beats_in_vain > within => Err(within),
            _ => Ok(()),
        }
    }

    pub fn progress(&self) -> u64 {
        self.progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(1);

    /// Beats of (progress, idle); how many were taken before the port was found to hang.
    fn check(beats: &[(u64, bool)], taken: usize) {
        let mut pulse = Pulse::new(Duration::from_secs(2), Some(WITHIN));
        let mut healthy = |&(progress, idle): &(u64, bool)| pulse.beat(Beat { progress, idle }).is_ok();
        assert_eq!(beats.iter().copied().take_while(|beat| healthy(beat)).count(), taken, "{beats:?}");
    }

    #[test]
    fn beats_without_progress_are_a_hang_after_the_limit() {
        check(&[(7, false); 10], 5);
        check(&[(0, false); 10], 4);
    }

    #[test]
    fn a_port_with_nothing_to_do_is_not_stuck() {
        check(&[(7, true); 100], 100);
    }

    #[test]
    fn time_without_work_does_not_count_once_there_is_work() {
        check(&[[(7, true); 100], [(7, false); 100]].concat(), 104);
    }

    #[test]
    fn any_progress_starts_anew() {
        let steps = [[(1, false); 5], [(2, false); 5], [(3, false); 5]].concat();
        check(&steps, 15);
    }

    #[test]
    fn without_a_limit_nothing_is_a_hang() {
        let mut pulse = Pulse::new(WITHIN, None);
        assert!((0..1000).all(|_| pulse.beat(Beat { progress: 1, idle: false }).is_ok()));
    }
}
