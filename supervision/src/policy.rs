//! When to restart, whom with it, how long to wait first, and when to give up. Pure: the caller brings the clock.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// Who else is restarted when a child fails. OTP's meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody.
    OneForOne,
    /// All its siblings.
    OneForAll,
    /// Those that stand after it in the list.
    RestForOne,
}

impl Strategy {
    /// Of `count` children in start order, those that go down with the one at `index`, itself included.
    pub fn affected(self, index: usize, count: usize) -> Range<usize> {
        match self {
            Self::OneForOne => index..index + 1,
            Self::OneForAll => 0..count,
            Self::RestForOne => index..count,
        }
    }
}

/// When a child that has ended is started again. OTP's meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Always: to end is a failure.
    #[default]
    Permanent,
    /// If it failed; one that finished its work stays away.
    Transient,
    /// Never, not even with its siblings.
    Temporary,
}

impl Restart {
    pub fn restarts(self, failed: bool) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => failed,
            Self::Temporary => false,
        }
    }
}

/// Whether a supervisor ends, in good order, when its significant children have ended by themselves. OTP's meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoShutdown {
    #[default]
    Never,
    /// With the first of them.
    AnySignificant,
    /// With the last of them.
    AllSignificant,
}

impl AutoShutdown {
    /// A significant child has ended and `left` others are still there.
    pub fn is_due(self, left: usize) -> bool {
        match self {
            Self::Never => false,
            Self::AnySignificant => true,
            Self::AllSignificant => left == 0,
        }
    }
}

/// More than `restarts` within `within` is too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    pub restarts: u32,
    pub within: Duration,
}

/// What happens to a child that fails too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// Its supervisor stops all its children and fails in turn.
    Escalate,
    /// The child is parked with its reason; its siblings go on.
    Park,
}

/// How long a parked child stays down before it is tried again; each time it is parked again, twice as long.
///
/// A trial is one start: a child that fails before it was well for its supervisor's window is parked at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantine {
    pub first: Duration,
    pub max: Duration,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { first: Duration::from_secs(60), max: Duration::from_secs(30 * 60) }
    }
}

impl Quarantine {
    /// `earlier`: how often it was parked before, without health in between. `jitter` as for [`Backoff`].
    pub fn pause(&self, earlier: u32, jitter: f64) -> Duration {
        Backoff { base: self.first, max: self.max }.pause(earlier.saturating_add(1), jitter)
    }
}

/// How long to wait before a restart. The first after health is immediate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    pub base: Duration,
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(100), max: Duration::from_secs(10) }
    }
}

impl Backoff {
    /// `earlier` restarts still counted; `jitter` in 0..1 spreads those that failed together by up to a quarter.
    pub fn pause(&self, earlier: u32, jitter: f64) -> Duration {
        let Some(doublings) = earlier.checked_sub(1) else { return Duration::ZERO };
        let pause = self.base.saturating_mul(1 << doublings.min(20)).min(self.max);
        pause.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0))
    }
}

/// The restarts that still count. Holds as many as came within the window: one more than the intensity, and the trials
/// of one that is parked.
#[derive(Debug)]
pub struct RestartLog {
    intensity: Intensity,
    at: VecDeque<Duration>,
}

impl RestartLog {
    pub fn new(intensity: Intensity) -> Self {
        Self { intensity, at: VecDeque::new() }
    }

    /// Restarts within the window that ends at `now`, a monotonic time.
    pub fn recent(&mut self, now: Duration) -> u32 {
        while self.at.front().is_some_and(|&at| now.saturating_sub(at) > self.intensity.within) {
            self.at.pop_front();
        }
        self.at.len() as u32
    }

    /// Counts one more; true if that is too many.
    pub fn count(&mut self, now: Duration) -> bool {
        self.recent(now);
        self.at.push_back(now);
        self.at.len() as u32 > self.intensity.restarts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn only_more_than_the_intensity_is_too_many() {
        let mut log = RestartLog::new(Intensity { restarts: 2, within: 10 * S });
        assert_eq!([log.count(S), log.count(2 * S), log.count(3 * S)], [false, false, true]);
    }

    #[test]
    fn restarts_outside_the_window_are_forgotten() {
        let mut log = RestartLog::new(Intensity { restarts: 1, within: 10 * S });
        assert_eq!([log.count(S), log.count(12 * S), log.count(13 * S)], [false, false, true]);
    }

    #[test]
    fn the_first_restart_is_immediate_and_later_ones_wait_longer() {
        let backoff = Backoff { base: S, max: 5 * S };
        let pauses: Vec<_> = (0..6).map(|n| backoff.pause(n, 0.0)).collect();
        assert_eq!(pauses, [Duration::ZERO, S, 2 * S, 4 * S, 5 * S, 5 * S]);
    }

    #[test]
    fn a_transient_child_comes_back_only_if_it_failed_and_a_temporary_one_never() {
        let table =
            [(Restart::Permanent, true, true), (Restart::Transient, true, false), (Restart::Temporary, false, false)];
        for (restart, failed, finished) in table {
            assert_eq!((restart.restarts(true), restart.restarts(false)), (failed, finished), "{restart:?}");
        }
    }

    #[test]
    fn auto_shutdown_is_due_with_the_first_or_the_last_significant_child() {
        let due = |policy: AutoShutdown| [policy.is_due(2), policy.is_due(0)];
        assert_eq!(due(AutoShutdown::Never), [false, false]);
        assert_eq!(due(AutoShutdown::AnySignificant), [true, true]);
        assert_eq!(due(AutoShutdown::AllSignificant), [false, true]);
    }

    proptest! {
        #[test]
        fn the_affected_hold_the_failed_one_and_grow_with_the_strategy(count in 1usize..20, at in 0usize..20) {
            let index = at % count;
            let [one, rest, all] =
                [super::Strategy::OneForOne, super::Strategy::RestForOne, super::Strategy::OneForAll]
                    .map(|s| s.affected(index, count));
            prop_assert_eq!(one, index..index + 1);
            prop_assert!(rest.start == index && rest.end == count);
            prop_assert_eq!(all, 0..count);
        }

        #[test]
        fn each_quarantine_is_longer_than_the_one_before_until_the_longest(earlier in 0u32..40) {
            let quarantine = Quarantine::default();
            let (now, next) = (quarantine.pause(earlier, 0.0), quarantine.pause(earlier + 1, 0.0));
            prop_assert!(now <= next && next <= quarantine.max);
            prop_assert!(now < next || now == quarantine.max);
            prop_assert!(now >= quarantine.first);
        }

        /// OTP's rule, written the slow way.
        #[test]
        fn too_many_is_exactly_more_than_n_in_the_window(
            gaps in proptest::collection::vec(0u64..8_000, 1..60), restarts in 0u32..6, within_ms in 1u64..20_000,
        ) {
            let within = Duration::from_millis(within_ms);
            let mut log = RestartLog::new(Intensity { restarts, within });
            let mut seen: Vec<Duration> = Vec::new();
            let mut now = Duration::ZERO;
            for gap in gaps {
                now += Duration::from_millis(gap);
                seen.push(now);
                let in_window = seen.iter().filter(|&&at| now - at <= within).count() as u32;
                prop_assert_eq!(log.count(now), in_window > restarts);
            }
        }

        #[test]
        fn a_pause_never_exceeds_its_maximum(earlier in any::<u32>(), jitter in 0.0f64..1.0) {
            let backoff = Backoff::default();
            prop_assert!(backoff.pause(earlier, jitter) <= backoff.max);
        }
    }
}
