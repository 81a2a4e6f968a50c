//! Chooser: to which two gpu nodes an edge keeps links, and which of them is asked first.
//!
//!   addresses of the configuration ─┐
//!   directory of the relay ─────────┴▶ [chooser] ──targets──▶ gpu-link, gpu-standby
//!                                          ▲ └──first──▶ asker
//!                                          └──linked? suspect?──┘
//!
//! The choice itself is pure. It stays as it is unless there is a reason: a node that is away or suspect, or one that has
//! clearly more to do than another for a while. What works is kept even if the relay does not know it any more.

use super::aim::PLACES;
use super::asker::Asker;
use crate::fabric::facts::Facts;
use crate::fabric::link::Link;
use config::{Gpus, HostPort};
use protocol::core::GpuNode;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use supervision::{Failure, ServiceCx};
use tokio::time::interval;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Unwell for so long, it is no longer asked first.
const YIELDS_AFTER: Duration = Duration::from_secs(3);
/// Unwell for so long, it makes place for one that is not linked yet.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);
/// One that was given up comes after all others for so long.
const SHUNNED_FOR: Duration = Duration::from_secs(30);
/// It has to be worse for so long before another takes its place.
const WORSE_FOR: Duration = Duration::from_secs(10);
/// By how much a load has to differ to be clearly worse.
const LOAD_MARGIN: f32 = 0.3;
/// Frames that wait, beyond twice those of the other, to be clearly worse.
const WAITING_MARGIN: u32 = 16;

/// A gpu node that could be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub addr: HostPort,
    pub ready: bool,
    pub load: f32,
    pub waiting: u32,
}

impl Candidate {
    /// Of which nothing more is known.
    fn at(addr: HostPort) -> Self {
        Self { addr, ready: true, load: 0.0, waiting: 0 }
    }

    fn of(node: &GpuNode) -> Option<Self> {
        let addr = node.addr.parse().ok()?;
        Some(Self { addr, ready: node.ready, load: node.load, waiting: node.waiting })
    }

    fn is_clearly_worse_than(&self, other: &Self) -> bool {
        let load = self.load > other.load + LOAD_MARGIN;
        let waiting = self.waiting > other.waiting.saturating_mul(2).saturating_add(WAITING_MARGIN);
        other.ready && (load || waiting) && self.load >= other.load
    }
}

/// What an edge keeps links to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    pub targets: [Option<HostPort>; PLACES],
    /// The place that is asked first.
    pub first: usize,
}

#[derive(Default)]
pub struct Chooser {
    choice: Choice,
    unwell_since: [Option<Duration>; PLACES],
    /// Since when the first one is clearly worse than the other, and the standby than somebody who is not linked.
    worse_since: [Option<Duration>; 2],
    given_up: HashMap<HostPort, Duration>,
}

impl Chooser {
    /// `well` says of each place whether it is linked and not suspect.
    pub fn choose(&mut self, now: Duration, candidates: &[Candidate], well: [bool; PLACES]) -> &Choice {
        self.given_up.retain(|_, at| now.saturating_sub(*at) < SHUNNED_FOR);
        for (place, is_well) in well.into_iter().enumerate() {
            let is_unwell = self.choice.targets[place].is_some() && !is_well;
            self.unwell_since[place] = is_unwell.then(|| self.unwell_since[place].unwrap_or(now));
            self.leave(now, place, candidates);
        }
        for place in [self.choice.first, other(self.choice.first)] {
            if self.choice.targets[place].is_none() {
                self.choice.targets[place] = self.best_of_the_rest(candidates).map(|best| best.addr.clone());
                self.unwell_since[place] = self.choice.targets[place].is_some().then_some(now);
            }
        }
        self.change_standby(now, candidates);
        self.change_first(now, candidates, well);
        &self.choice
    }

    /// Takes a target away that is of no use any more.
    fn leave(&mut self, now: Duration, place: usize, candidates: &[Candidate]) {
        let (Some(target), Some(since)) = (self.choice.targets[place].clone(), self.unwell_since[place]) else {
            return;
        };
        let is_known = candidates.iter().any(|candidate| candidate.addr == target);
        let is_replaceable = self.rest(candidates).any(|rest| !self.given_up.contains_key(&rest.addr));
        let is_given_up = now.saturating_sub(since) >= GIVEN_UP_AFTER && is_replaceable;
        if is_given_up {
            self.given_up.insert(target, now);
        }
        if is_given_up || !is_known {
            self.choice.targets[place] = None;
        }
    }

    /// A standby that is clearly worse than somebody who is not linked gives its place up.
    fn change_standby(&mut self, now: Duration, candidates: &[Candidate]) {
        let standby = other(self.choice.first);
        let better = self.best_of_the_rest(candidates).filter(|best| !self.given_up.contains_key(&best.addr)).cloned();
        let known = self.known(standby, candidates);
        let Some(better) = better.filter(|_| self.choice.targets[standby].is_some()) else {
            self.worse_since[1] = None;
            return;
        };
        let is_idle = better.ready && known.is_none_or(|known| !known.ready);
        let is_worse = is_idle || known.is_some_and(|known| known.is_clearly_worse_than(&better));
        self.worse_since[1] = is_worse.then(|| self.worse_since[1].unwrap_or(now));
        if self.worse_since[1].is_some_and(|since| is_idle || now.saturating_sub(since) >= WORSE_FOR) {
            self.choice.targets[standby] = Some(better.addr);
            self.unwell_since[standby] = Some(now);
            self.worse_since[1] = None;
        }
    }

    fn change_first(&mut self, now: Duration, candidates: &[Candidate], well: [bool; PLACES]) {
        let (first, standby) = (self.choice.first, other(self.choice.first));
        let standby_is_well =
            self.choice.targets[standby].is_some() && self.unwell_since[standby].is_none() && well[standby];
        if !standby_is_well {
            self.worse_since[0] = None;
            return;
        }
        let (known, next) = (self.known(first, candidates), self.known(standby, candidates));
        let is_away = self.choice.targets[first].is_none()
            || self.unwell_since[first].is_some_and(|since| now.saturating_sub(since) >= YIELDS_AFTER);
        let is_idle = next.is_some_and(|next| next.ready) && known.is_none_or(|known| !known.ready);
        let is_worse = known.zip(next).is_some_and(|(known, next)| known.is_clearly_worse_than(next));
        self.worse_since[0] = is_worse.then(|| self.worse_since[0].unwrap_or(now));
        let is_worse_for_long = self.worse_since[0].is_some_and(|since| now.saturating_sub(since) >= WORSE_FOR);
        if is_away || is_idle || is_worse_for_long {
            self.choice.first = standby;
            self.worse_since = [None; 2];
        }
    }

    fn known<'a>(&self, place: usize, candidates: &'a [Candidate]) -> Option<&'a Candidate> {
        let target = self.choice.targets[place].as_ref()?;
        candidates.iter().find(|candidate| candidate.addr == *target)
    }

    /// Those without a link.
    fn rest<'a>(&self, candidates: &'a [Candidate]) -> impl Iterator<Item = &'a Candidate> {
        let targets = self.choice.targets.clone();
        candidates.iter().filter(move |candidate| !targets.iter().flatten().any(|target| *target == candidate.addr))
    }

    /// They stand in the order of preference.
    fn best_of_the_rest<'a>(&self, candidates: &'a [Candidate]) -> Option<&'a Candidate> {
        // Of equals, the first.
        self.rest(candidates).min_by_key(|candidate| (self.given_up.contains_key(&candidate.addr), !candidate.ready))
    }
}

fn other(place: usize) -> usize {
    PLACES - 1 - place
}

/// The service: aims the links and tells the asker whom to prefer.
pub async fn keep(gpus: Gpus, links: [Link; PLACES], asker: Asker, facts: Facts, cx: ServiceCx) -> Result<(), Failure> {
    let (mut chooser, began) = (Chooser::default(), Instant::now());
    let (mut directory, mut every) = (facts.directory.subscribe(), interval(LOOK_EVERY));
    loop {
        tokio::select! {
            _ = every.tick() => {}
            told = directory.changed() => told.map_err(|_| Failure::error("the directory is gone"))?,
            () = cx.asked() => continue,
            () = cx.stop.cancelled() => return Ok(()),
        }
        let candidates: Vec<Candidate> = match &gpus {
            Gpus::These(addrs) => addrs.iter().cloned().map(Candidate::at).collect(),
            Gpus::Auto => match &*directory.borrow() {
                Some(nodes) => nodes.iter().filter_map(Candidate::of).collect(),
                None => {
                    cx.place.note("waits for its relay to tell which gpu nodes there are");
                    continue;
                }
            },
        };
        let well = std::array::from_fn(|place| asker.is_well(place));
        let choice = chooser.choose(began.elapsed(), &candidates, well);
        for (link, target) in links.iter().zip(&choice.targets) {
            link.retarget(target.iter().cloned().collect());
        }
        asker.prefer(choice.first);
        cx.place.note(note(choice, candidates.len()));
    }
}

fn note(choice: &Choice, known: usize) -> String {
    let name = |place: usize| choice.targets[place].as_ref().map_or("nobody".to_owned(), ToString::to_string);
    format!("first {}, then {}; {known} known", name(choice.first), name(other(choice.first)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn addr(name: &str) -> HostPort {
        HostPort { host: name.to_owned(), port: 7444 }
    }

    fn gpu(name: &str, load: f32) -> Candidate {
        Candidate { addr: addr(name), ready: true, load, waiting: 0 }
    }

    /// Who is asked first, and who is the standby.
    fn asked(choice: &Choice) -> [&str; 2] {
        let host = |place: usize| choice.targets[place].as_ref().map_or("", |addr| addr.host.as_str());
        [host(choice.first), host(other(choice.first))]
    }

    /// Chooses for so many seconds, twice a second; `well` by name.
    fn run(chooser: &mut Chooser, from: f64, for_s: f64, candidates: &[Candidate], unwell: &[&str]) -> [String; 2] {
        for nth in 0..=(for_s * 2.0) as u32 {
            let is_well =
                |target: &Option<HostPort>| target.as_ref().is_some_and(|addr| !unwell.contains(&addr.host.as_str()));
            let well = chooser.choice.targets.clone().each_ref().map(is_well);
            chooser.choose(s(from + f64::from(nth) * 0.5), candidates, well);
        }
        asked(&chooser.choice).map(str::to_owned)
    }

    #[test]
    fn the_two_best_are_chosen_and_stay_though_others_are_a_little_better() {
        let mut chooser = Chooser::default();
        assert_eq!(run(&mut chooser, 0.0, 2.0, &[gpu("a", 0.1), gpu("b", 0.2), gpu("c", 0.3)], &[]), ["a", "b"]);
        assert_eq!(run(&mut chooser, 3.0, 60.0, &[gpu("c", 0.1), gpu("b", 0.2), gpu("a", 0.3)], &[]), ["a", "b"]);
    }

    #[test]
    fn a_first_that_is_unwell_yields_to_the_standby_and_comes_back_as_one() {
        let (mut chooser, both) = (Chooser::default(), [gpu("a", 0.0), gpu("b", 0.0)]);
        assert_eq!(run(&mut chooser, 0.0, 2.0, &both, &[]), ["a", "b"]);
        assert_eq!(run(&mut chooser, 2.5, 2.5, &both, &["a"]), ["a", "b"], "the asker has switched already");
        assert_eq!(run(&mut chooser, 5.5, 60.0, &both, &["a"]), ["b", "a"], "nobody else could take its place");
        assert_eq!(run(&mut chooser, 66.0, 60.0, &both, &[]), ["b", "a"], "what works is kept");
    }

    #[test]
    fn one_that_is_away_makes_place_for_a_third() {
        let (mut chooser, all) = (Chooser::default(), [gpu("a", 0.0), gpu("b", 0.0), gpu("c", 0.0)]);
        run(&mut chooser, 0.0, 2.0, &all, &[]);
        assert_eq!(run(&mut chooser, 2.5, 6.0, &all, &["a"]), ["b", "c"]);
        assert_eq!(run(&mut chooser, 9.0, 8.0, &all, &["a", "b"]), ["c", "b"], "a was given up only just now");
    }

    #[test]
    fn one_that_the_relay_does_not_know_any_more_is_kept_while_it_works() {
        let mut chooser = Chooser::default();
        run(&mut chooser, 0.0, 2.0, &[gpu("a", 0.0), gpu("b", 0.0)], &[]);
        assert_eq!(run(&mut chooser, 2.5, 20.0, &[], &[]), ["a", "b"]);
        assert_eq!(run(&mut chooser, 23.0, 20.0, &[gpu("b", 0.0)], &[]), ["b", "a"], "one that is known goes first");
        assert_eq!(run(&mut chooser, 44.0, 1.0, &[gpu("b", 0.0)], &["a"]), ["b", ""]);
    }

    #[test]
    fn a_node_that_is_clearly_busier_for_long_is_left_and_one_that_is_not_ready_at_once() {
        let mut chooser = Chooser::default();
        run(&mut chooser, 0.0, 2.0, &[gpu("a", 0.0), gpu("b", 0.0)], &[]);
        let busy = [gpu("b", 0.1), gpu("a", 0.9)];
        assert_eq!(run(&mut chooser, 2.5, 9.0, &busy, &[]), ["a", "b"]);
        assert_eq!(run(&mut chooser, 12.0, 1.0, &busy, &[]), ["b", "a"]);
        let idle = [Candidate { ready: false, ..gpu("b", 0.0) }, gpu("a", 0.9)];
        assert_eq!(run(&mut chooser, 14.0, 0.5, &idle, &[]), ["a", "b"]);
    }

    #[test]
    fn one_address_is_the_first_and_there_is_no_standby() {
        assert_eq!(run(&mut Chooser::default(), 0.0, 20.0, &[gpu("a", 0.0)], &["a"]), ["a", ""]);
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        proptest::collection::vec((any::<bool>(), 0.0_f32..1.0, 0_u32..100), 0..5).prop_map(|list| {
            let named = ["a", "b", "c", "d"].into_iter().zip(list);
            named.map(|(name, (ready, load, waiting))| Candidate { ready, waiting, ..gpu(name, load) }).collect()
        })
    }

    proptest! {
        /// The two are never the same; while anybody is known, somebody is asked; and load alone moves nobody twice in
        /// the time that it has to last.
        #[test]
        fn whatever_happens_the_choice_is_a_sound_one(steps in proptest::collection::vec((candidates(), any::<[bool; 2]>()), 1..80)) {
            let mut chooser = Chooser::default();
            for (nth, (candidates, well)) in steps.iter().enumerate() {
                let choice = chooser.choose(s(nth as f64 * 0.5), candidates, *well);
                prop_assert!(choice.targets[0].is_none() || choice.targets[0] != choice.targets[1], "{choice:?}");
                prop_assert!(candidates.is_empty() || choice.targets.iter().any(Option::is_some), "{choice:?}");
                prop_assert!(candidates.len() < 2 || choice.targets.iter().all(Option::is_some), "{choice:?}");
            }
        }

        #[test]
        fn load_alone_makes_nobody_flap(loads in proptest::collection::vec([0.0_f32..1.0, 0.0..1.0, 0.0..1.0], 1..240)) {
            let (mut chooser, mut changes) = (Chooser::default(), 0_u32);
            let mut before = None;
            for (nth, [a, b, c]) in loads.iter().enumerate() {
                let choice = chooser.choose(s(nth as f64 * 0.5), &[gpu("a", *a), gpu("b", *b), gpu("c", *c)], [true; 2]);
                changes += u32::from(before.replace(choice.clone()).is_some_and(|before| before != *choice));
            }
            prop_assert!(changes <= 2 * (loads.len() as u32 / 20 + 1), "{changes} changes in {} s", loads.len() / 2);
        }
    }
}
