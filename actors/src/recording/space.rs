//! Space: which footage has to go. Pure: knows neither files nor clocks.
//!
//!   takes, lowest class and oldest first ──▶ [sweep] ──▶ too old ▸ too much ▸ too little free space ▸ stays
//!
//! What goes first is the oldest of the lowest class; a take that is being written never goes.

use super::rows::Class;
use protocol::Timestamp;
use std::time::Duration;

/// How long and how much; see `[retain]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    pub continuous: Duration,
    pub motion: Duration,
    pub events: Duration,
    pub bytes_max: Option<u64>,
    pub free_bytes_min: u64,
}

impl From<&config::recording::Retain> for Limits {
    fn from(retain: &config::recording::Retain) -> Self {
        Self {
            continuous: retain.continuous,
            motion: retain.motion,
            events: retain.events,
            bytes_max: retain.bytes_max,
            free_bytes_min: retain.free_bytes_min,
        }
    }
}

impl Limits {
    pub fn age(&self, class: Class) -> Duration {
        match class {
            Class::Continuous => self.continuous,
            Class::Motion => self.motion,
            Class::Events => self.events,
        }
    }

    /// Room is made before the floor is reached, so that nobody waits at it.
    pub fn free_bytes_wanted(&self) -> u64 {
        const MARGIN_BYTES_MAX: u64 = 256 << 20;
        self.free_bytes_min.saturating_add((self.free_bytes_min / 4).min(MARGIN_BYTES_MAX))
    }
}

/// What is to be judged of a take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub class: Class,
    pub end: Timestamp,
    pub bytes: u64,
}

/// Why footage was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Age,
    Bytes,
    Free,
}

impl Reason {
    #[cfg(test)]
    pub const ALL: [Self; 3] = [Self::Age, Self::Bytes, Self::Free];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Bytes => "bytes",
            Self::Free => "free",
        }
    }
}

/// One round. Asked of each class from the lowest, of its takes from the oldest, until one stays.
pub(super) struct Sweep<'a> {
    limits: &'a Limits,
    now: Timestamp,
    /// By all recordings, and free on their disk, once what was judged is gone.
    used: u64,
    free: u64,
}

impl<'a> Sweep<'a> {
    pub fn new(limits: &'a Limits, now: Timestamp, used: u64, free: u64) -> Self {
        Self { limits, now, used, free }
    }

    /// Why it has to go; `None`: it stays, and so do all younger ones of its class.
    pub fn judge(&mut self, held: &Held) -> Option<Reason> {
        let reason = if self.now.since(held.end) > self.limits.age(held.class) {
            Reason::Age
        } else if self.limits.bytes_max.is_some_and(|max| self.used > max) {
            Reason::Bytes
        } else if self.free < self.limits.free_bytes_wanted() {
            Reason::Free
        } else {
            return None;
        };
        self.used = self.used.saturating_sub(held.bytes);
        self.free = self.free.saturating_add(held.bytes);
        Some(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn limits(bytes_max: Option<u64>, free_bytes_min: u64) -> Limits {
        Limits { continuous: DAY * 3, motion: DAY * 7, events: DAY * 30, bytes_max, free_bytes_min }
    }

    /// A take that ended so many days before now.
    fn held(class: Class, days: u32, bytes: u64) -> Held {
        Held { class, end: now().minus(DAY * days), bytes }
    }

    fn now() -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000)
    }

    /// As the library does it: what goes, and why.
    fn sweep(limits: &Limits, held: &[Held], free: u64) -> Vec<(Held, Reason)> {
        let mut sweep = Sweep::new(limits, now(), held.iter().map(|held| held.bytes).sum(), free);
        let mut gone = Vec::new();
        for class in Class::ALL {
            let mut of_class: Vec<_> = held.iter().filter(|held| held.class == class).collect();
            of_class.sort_by_key(|held| held.end);
            gone.extend(of_class.into_iter().map_while(|held| sweep.judge(held).map(|reason| (*held, reason))));
        }
        gone
    }

    #[test]
    fn each_class_has_its_age() {
        let all = Class::ALL.map(|class| [held(class, 4, 1), held(class, 8, 1), held(class, 31, 1)]).concat();
        let gone = sweep(&limits(None, 0), &all, 0);
        assert!(gone.iter().all(|(_, reason)| *reason == Reason::Age));
        let ages: Vec<_> =
            gone.iter().map(|(held, _)| (held.class, now().since(held.end).as_secs() / 86_400)).collect();
        use Class::{Continuous, Events, Motion};
        let wanted = [(Continuous, 31), (Continuous, 8), (Continuous, 4), (Motion, 31), (Motion, 8), (Events, 31)];
        assert_eq!(ages, wanted);
    }

    #[test]
    fn for_space_the_oldest_of_the_lowest_class_goes_first() {
        let all = [
            held(Class::Events, 2, 10),
            held(Class::Motion, 1, 10),
            held(Class::Continuous, 0, 10),
            held(Class::Continuous, 1, 10),
        ];
        let gone = |max| sweep(&limits(Some(max), 0), &all, 0).into_iter().map(|(held, _)| held).collect::<Vec<_>>();
        assert_eq!(gone(40), []);
        assert_eq!(gone(39), [all[3]]);
        assert_eq!(gone(25), [all[3], all[2]]);
        assert_eq!(gone(15), [all[3], all[2], all[1]]);
        assert_eq!(gone(0), [all[3], all[2], all[1], all[0]]);
    }

    #[test]
    fn room_is_made_before_the_floor_is_reached() {
        let all = [held(Class::Continuous, 0, 100)];
        assert_eq!(sweep(&limits(None, 1000), &all, 1250), []);
        assert_eq!(sweep(&limits(None, 1000), &all, 1249), [(all[0], Reason::Free)]);
    }

    fn any_held() -> impl Strategy<Value = Held> {
        (0..3_usize, 0..40_u32, 0..1000_u64).prop_map(|(class, days, bytes)| held(Class::ALL[class], days, bytes))
    }

    proptest! {
        #[test]
        fn what_goes_is_never_worth_more_than_what_stays(
            all in proptest::collection::vec(any_held(), 0..60),
            max in proptest::option::of(0..20_000_u64), floor in 0..20_000_u64, free in 0..20_000_u64,
        ) {
            let limits = limits(max, floor);
            let gone = sweep(&limits, &all, free);
            let total: u64 = all.iter().map(|held| held.bytes).sum();
            let freed: u64 = gone.iter().map(|(held, _)| held.bytes).sum();
            let mut stays = all.clone();
            for (held, _) in &gone {
                let at = stays.iter().position(|stay| stay == held).expect("nothing goes twice");
                stays.swap_remove(at);
            }
            // Nothing that is too old stays, and no limit is broken while anything is left.
            prop_assert!(stays.iter().all(|held| now().since(held.end) <= limits.age(held.class)));
            prop_assert!(stays.is_empty() || max.is_none_or(|max| total - freed <= max));
            prop_assert!(stays.is_empty() || free + freed >= limits.free_bytes_wanted());
            // For space, nothing goes while something of a lower class, or older of its own, stays.
            for (held, _) in gone.iter().filter(|(_, reason)| *reason != Reason::Age) {
                prop_assert!(stays.iter().all(|stay| (stay.class, stay.end) >= (held.class, held.end)));
            }
            // The last one that went for space had to.
            if let Some((last, _)) = gone.last().filter(|(_, reason)| *reason != Reason::Age) {
                let before = freed - last.bytes;
                let was_needed = max.is_some_and(|max| total - before > max)
                    || free + before < limits.free_bytes_wanted();
                prop_assert!(was_needed);
            }
        }
    }
}
