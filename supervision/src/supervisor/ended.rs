//! What the end of a child means for it, its siblings and its supervisor.

use super::{Order, Phase, Supervising, jitter};
use crate::history::Then;
use crate::policy::{Exhausted, Restart};
use crate::roll::State;
use crate::{Failure, FailureKind, watchdog};
use std::time::{Duration, Instant, SystemTime};
use tracing::{error, info, warn};

/// How often it is looked whether a predecessor has closed its store.
const STORE_EVERY: Duration = Duration::from_millis(200);

/// What is to be done after a failure.
pub(super) enum Verdict {
    /// Start what is missing, from this child on; the reason it was down for is a label of the restart.
    StartFrom(u64),
    /// Nothing now.
    Wait,
}

impl Supervising {
    /// Decides what a failure means; an error of this function is the supervisor's own failure.
    pub(super) async fn child_failed(&mut self, key: u64, failure: Failure) -> Result<(), Failure> {
        let mut failed = (key, failure);
        // On the way down nothing is restarted; the stop that waits does the rest.
        while !self.ending.is_ending() {
            let Verdict::StartFrom(key) = self.judge(failed.0, failed.1).await? else { return Ok(()) };
            match self.start_from(key).await {
                Ok(()) => return Ok(()),
                Err(again) => failed = again,
            }
        }
        Ok(())
    }

    pub(super) async fn judge(&mut self, key: u64, failure: Failure) -> Result<Verdict, Failure> {
        let now = self.began.elapsed();
        let Some(slot) = self.slots.get_mut(&key) else { return Ok(Verdict::Wait) };
        let node = slot.node.clone();
        let lived = slot.vacate();
        if let Some(since) = slot.store_held {
            self.wait_for_store(key, since);
            return Ok(Verdict::Wait);
        }
        count_failure(node.class, &failure);
        if !node.restart.restarts(true) {
            self.note_failure(key, &failure, Then::Ended, lived);
            return self.child_gone(key, Some(failure)).await;
        }
        if lived.is_some_and(|lived| lived > self.branch.intensity.within) {
            // It was well for a while: what came before is forgiven.
            (slot.phase, slot.quarantines) = (Phase::Wanted, 0);
        }
        let earlier = slot.log.recent(now);
        let too_many_of_it = slot.log.count(now) || slot.phase == Phase::OnTrial;
        let path = slot.path.clone();
        if self.is_crowded(&path) {
            // Whatever else it would be: another start would cost another thread.
            self.note_failure(key, &failure, Then::Parked, lived);
            self.park(key, failure);
            return Ok(Verdict::StartFrom(key));
        }
        match node.exhausted {
            Exhausted::Park if too_many_of_it => {
                self.note_failure(key, &failure, Then::Parked, lived);
                self.park(key, failure);
                // Its siblings go on, also those that were down with it.
                return Ok(Verdict::StartFrom(key));
            }
            Exhausted::Escalate if self.log.count(now) => {
                self.note_failure(key, &failure, Then::Escalated, lived);
                return Err(self.escalate(key, failure).await);
            }
            _ => {}
        }
        self.note_failure(key, &failure, Then::Restarted, lived);
        self.stop_affected(key).await;
        Ok(self.plan_restart(key, failure, earlier))
    }

    /// Its predecessor's file must not have two owners. Whether it closes is no matter of restarts: nobody has failed
    /// meanwhile, and others need their supervisor.
    fn wait_for_store(&mut self, key: u64, since: Instant) {
        let Some(slot) = self.slots.get(&key) else { return };
        let within = slot.node.store_within().unwrap_or_default();
        if since.elapsed() > within {
            let text = format!("its predecessor has not let go of its store for {within:?}, so the node exits");
            watchdog::exit(&slot.path, &Failure::hang(text), self.roll.history());
        }
        self.roll.set(&slot.path, State::Backoff, None);
        self.roll.note(&slot.path, "its predecessor still has its store".to_owned());
        let generation = slot.generation;
        self.remind(STORE_EVERY, Order::Restart { key, generation });
    }

    fn plan_restart(&mut self, key: u64, failure: Failure, earlier: u32) -> Verdict {
        let Some(slot) = self.slots.get(&key) else { return Verdict::Wait };
        let pause = slot.node.backoff.pause(earlier, jitter());
        warn!(path = %slot.path, %failure, ?pause, "failed, will be restarted");
        self.roll.set(&slot.path, State::Backoff, Some(failure));
        if pause.is_zero() {
            return Verdict::StartFrom(key);
        }
        let generation = slot.generation;
        self.remind(pause, Order::Restart { key, generation });
        Verdict::Wait
    }

    /// Those whom the strategy takes down with the one that failed.
    async fn stop_affected(&mut self, key: u64) {
        let others: Vec<u64> = self.affected(key).into_iter().filter(|other| *other != key).collect();
        self.stop(&others, State::Backoff).await;
        for other in others {
            // OTP: a temporary child is not started again with its siblings.
            if self.slots.get(&other).is_some_and(|slot| slot.node.restart == Restart::Temporary) {
                self.forget_or_mark_done(other, None);
            }
        }
    }

    pub(super) fn park(&mut self, key: u64, failure: Failure) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let pause = slot.node.quarantine.pause(slot.quarantines, jitter());
        error!(path = %slot.path, %failure, ?pause, "failed too often and is parked");
        (slot.phase, slot.quarantines) = (Phase::Parked, slot.quarantines.saturating_add(1));
        slot.node.close_mailboxes();
        self.roll.set(&slot.path, State::Parked, Some(failure));
        self.roll.set_resumes(&slot.path, Some(SystemTime::now() + pause));
        metrics::counter!("watchtree_actor_parked_total", "class" => slot.node.class).increment(1);
        let generation = slot.generation;
        self.remind(pause, Order::Try { key, generation });
    }

    async fn escalate(&mut self, key: u64, failure: Failure) -> Failure {
        let (intensity, path) = (self.branch.intensity, self.slots[&key].path.clone());
        let escalated = match failure.kind {
            // The innermost reason is the one to read; the way up adds nothing but length.
            FailureKind::Escalated => failure.clone(),
            _ => {
                let (restarts, within) = (intensity.restarts, intensity.within);
                Failure::escalated(format!("more than {restarts} restarts in {within:?}; last: {path}: {failure}"))
            }
        };
        error!(path = %self.path, failure = %escalated, "supervisor gives up");
        let class = self.slots[&key].node.class;
        metrics::counter!("watchtree_supervisor_escalations_total", "class" => class).increment(1);
        self.stop_all(State::Stopped).await;
        self.roll.set(&path, State::Failed, Some(failure));
        self.roll.set(&self.path, State::Failed, Some(escalated.clone()));
        escalated
    }

    /// It ended without failure.
    pub(super) async fn child_finished(&mut self, key: u64) -> Result<(), Failure> {
        let Some(slot) = self.slots.get_mut(&key) else { return Ok(()) };
        if slot.node.restart.restarts(false) {
            return self.child_failed(key, Failure::error("ended by itself")).await;
        }
        info!(path = %slot.path, "finished");
        slot.vacate();
        self.child_gone(key, None).await.map(|_| ())
    }

    /// It ended and is not to come back by itself. If that was significant, the supervisor ends too.
    async fn child_gone(&mut self, key: u64, failure: Option<Failure>) -> Result<Verdict, Failure> {
        let significant = self.slots.get(&key).is_some_and(|slot| slot.node.significant);
        self.forget_or_mark_done(key, failure);
        let left = self.slots.values().filter(|slot| slot.node.significant && slot.phase != Phase::Done).count();
        if significant && self.branch.auto_shutdown.is_due(left) && !self.ending.is_ending() {
            info!(path = %self.path, "ends with its significant children");
            self.me_cell().stop(None);
        }
        Ok(Verdict::Wait)
    }

    pub(super) fn forget_or_mark_done(&mut self, key: u64, failure: Option<Failure>) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.node.close_mailboxes();
        slot.phase = Phase::Done;
        if self.branch.is_fleeting() {
            return self.forget(key);
        }
        let state = if failure.is_some() { State::Failed } else { State::Stopped };
        self.roll.set(&slot.path, state, failure);
    }

    /// As if it had never been there.
    pub(super) fn forget(&mut self, key: u64) {
        let Some(slot) = self.slots.remove(&key) else { return };
        self.roll.strike(&slot.path);
        self.keys.remove(&slot.node.name);
    }

    fn note_failure(&self, key: u64, failure: &Failure, then: Then, lived: Option<Duration>) {
        if let Some(slot) = self.slots.get(&key) {
            self.roll.history().record(&slot.path, failure, then, lived);
        }
    }
}

fn count_failure(class: &'static str, failure: &Failure) {
    let reason = failure.kind.as_str();
    metrics::counter!("watchtree_actor_failures_total", "class" => class, "reason" => reason).increment(1);
}
