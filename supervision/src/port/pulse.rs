//! The pulse: what a port's beats say of its work, and how long it has been silent.
//!
//!   socket ──beats──▶ [pulse] ──▶ in work without progress?
//!   our own looks ───▶ [pulse] ──▶ silent?
//!
//! Time is counted in looks of ours and in beats of the port's, never by a clock: while this process or the
//! machine stood still nobody looked and nobody beat, so nobody is blamed for it afterwards.

use super::child::BEAT_EVERY;
use super::wire::Beat;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A limit is up after so many looks in vain. However long this process stood still, it costs one of them.
const LOOKS: u32 = 8;

/// `work` took longer than its limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Late;

/// As `timeout`, in looks.
pub(super) async fn in_looks<T>(within: Duration, work: impl Future<Output = T>) -> Result<T, Late> {
    let mut work = pin!(work);
    for _ in 0..LOOKS {
        // Looked at before the clock: what came while nobody looked was in time.
        if let Ok(done) = timeout(within / LOOKS, &mut work).await {
            return Ok(done);
        }
    }
    Err(Late)
}

pub(super) struct Pulse {
    look_every: Duration,
    look_at: Instant,
    /// Looks since the port was last heard.
    looks_in_vain: u32,
    progress_within: Option<Duration>,
    last: Beat,
    /// Beats since the last progress: those that waited because nobody listened say no more than those that did
    /// not, and a port that the machine gave no time could do nothing with it.
    beats_in_vain: u32,
}

impl Pulse {
    pub fn new(beat_within: Duration, progress_within: Option<Duration>, now: Instant) -> Self {
        let look_every = beat_within / LOOKS;
        Self {
            look_every,
            look_at: now + look_every,
            looks_in_vain: 0,
            progress_within,
            last: Beat { progress: 0, idle: true },
            beats_in_vain: 0,
        }
    }

    /// It may be silent until then, once.
    pub fn grace(&mut self, until: Instant) {
        self.look_at = until;
    }

    pub fn heard(&mut self, now: Instant) {
        (self.looks_in_vain, self.look_at) = (0, now + self.look_every);
    }

    /// Until then it is listened to; then comes a look. Long ago, if nobody listened meanwhile.
    pub fn look_at(&self) -> Instant {
        self.look_at
    }

    /// Nothing was heard by then. Whether that was once too often.
    pub fn looked_in_vain(&mut self, now: Instant) -> bool {
        (self.looks_in_vain, self.look_at) = (self.looks_in_vain + 1, now + self.look_every);
        self.looks_in_vain >= LOOKS
    }

    /// Err: it has work and has done nothing for so long.
    pub fn beat(&mut self, beat: Beat) -> Result<(), Duration> {
        // Work that was given between two beats may be a moment old.
        let is_new = beat.progress != self.last.progress || self.last.idle;
        self.last = beat;
        self.beats_in_vain = if is_new || beat.idle { 0 } else { self.beats_in_vain.saturating_add(1) };
        match self.progress_within {
            Some(within) if self.beats_in_vain >= beats_in(within) => Err(within),
            _ => Ok(()),
        }
    }

    pub fn progress(&self) -> u64 {
        self.last.progress
    }
}

/// After so many beats in vain it is a hang. One less than fit: what stopped between two beats is found within the
/// limit, not after it.
fn beats_in(within: Duration) -> u32 {
    u32::try_from(within.as_millis() / BEAT_EVERY.as_millis()).unwrap_or(u32::MAX).saturating_sub(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WITHIN: Duration = Duration::from_secs(1);

    fn pulse(progress_within: Option<Duration>) -> Pulse {
        Pulse::new(Duration::from_secs(2), progress_within, Instant::now())
    }

    /// Beats of (progress, idle); how many were taken before the port was found to hang.
    fn check(beats: &[(u64, bool)], taken: usize) {
        let mut pulse = pulse(Some(WITHIN));
        let mut healthy = |&(progress, idle): &(u64, bool)| pulse.beat(Beat { progress, idle }).is_ok();
        assert_eq!(beats.iter().copied().take_while(|beat| healthy(beat)).count(), taken, "{beats:?}");
    }

    #[test]
    fn beats_without_progress_are_a_hang_within_the_limit() {
        // The third beat in vain comes three quarters of a second after the one that told of the last progress.
        check(&[(7, false); 10], 3);
    }

    #[test]
    fn work_that_was_just_given_is_not_in_vain() {
        check(&[(0, false); 10], 3);
        check(&[[(7, true); 100], [(7, false); 100]].concat(), 103);
    }

    #[test]
    fn a_port_with_nothing_to_do_is_not_stuck() {
        check(&[(7, true); 100], 100);
    }

    #[test]
    fn any_progress_starts_anew() {
        let steps = [[(1, false); 3], [(2, false); 3], [(3, false); 3]].concat();
        check(&steps, 9);
    }

    #[test]
    fn without_a_limit_nothing_is_a_hang() {
        let mut pulse = pulse(None);
        assert!((0..1000).all(|_| pulse.beat(Beat { progress: 1, idle: false }).is_ok()));
    }

    proptest! {
        /// A step of work that begins and ends anywhere between two beats.
        #[test]
        fn a_step_is_called_a_hang_within_the_limit_and_never_much_before(
            begins_ms in 0u64..250, within_ms in 500u64..10_000,
        ) {
            let mut pulse = pulse(Some(Duration::from_millis(within_ms)));
            let beat_ms = u64::try_from(BEAT_EVERY.as_millis()).expect("a quarter of a second");
            let found = (0..).map(|n| n * beat_ms).find(|at| {
                pulse.beat(Beat { progress: 0, idle: *at < begins_ms }).is_err()
            });
            let after = found.expect("it is found") - begins_ms;
            prop_assert!(after <= within_ms && after + 2 * beat_ms > within_ms, "after {after} ms");
        }
    }

    #[test]
    fn a_silent_port_is_found_at_its_limit() {
        let (began, mut pulse) = (Instant::now(), pulse(None));
        pulse.heard(began);
        let looks = std::iter::from_fn(|| {
            let at = pulse.look_at();
            Some((at, pulse.looked_in_vain(at)))
        });
        let found = looks.take(100).find(|(_, found)| *found).expect("it is found");
        assert_eq!(found.0 - began, Duration::from_secs(2));
    }

    #[test]
    fn however_long_nobody_looks_it_is_one_look() {
        let (mut now, mut pulse) = (Instant::now(), pulse(None));
        for _ in 0..LOOKS - 1 {
            now += Duration::from_secs(3600);
            assert!(pulse.look_at() < now && !pulse.looked_in_vain(now));
            assert!(pulse.look_at() > now, "the next look waits for what comes");
        }
        pulse.heard(now);
        assert!(!pulse.looked_in_vain(now + Duration::from_secs(3600)));
    }

    #[tokio::test]
    async fn work_that_does_not_end_is_late() {
        assert_eq!(in_looks(Duration::from_millis(80), std::future::pending::<()>()).await, Err(Late));
    }

    #[tokio::test]
    async fn work_is_not_late_because_this_process_stood_still() {
        let limit = Duration::from_millis(400);
        let work = async {
            // As if stopped by a signal, in the only thread there is.
            std::thread::sleep(limit * 3);
            tokio::time::sleep(limit / 8).await;
        };
        assert_eq!(in_looks(limit, work).await, Ok(()));
    }
}
