//! What a supervisor does when it is told: by its own pauses, the watchdog, operators, and who owns dynamic children.

use super::{Order, Phase, Supervising};
use crate::actor::Signal;
use crate::dynamic::StartError;
use crate::history::Then;
use crate::life::Leash;
use crate::policy::RestartLog;
use crate::roll::State;
use crate::steer::{Act, Fault, SteerError};
use crate::tree::Node;
use crate::{Failure, FailureKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::info;

impl Supervising {
    pub(super) async fn obey(&mut self, order: Order) -> Result<(), Failure> {
        match order {
            Order::Restart { key, generation } if self.is_current(key, generation) => self.restart(key).await,
            Order::Try { key, generation } if self.is_current(key, generation) => self.try_again(key).await,
            Order::Hung { pulse, failure, blocks } => {
                pulse.heard.store(true, Ordering::Release);
                let key = pulse.reins.key;
                if self.is_current(key, pulse.generation) {
                    self.child_hung(key, failure, blocks).await
                } else {
                    Ok(())
                }
            }
            Order::Restart { .. } | Order::Try { .. } => Ok(()),
            Order::Commit(Fault::Panic) => panic!("injected"),
            Order::Commit(_) => Err(Failure::error("injected")),
            Order::Steer { key, act, by, reply } => {
                let (answer, outcome) = self.steer(key, act, &by).await;
                // Whoever asked may have left.
                let _ = reply.send(answer);
                outcome
            }
            Order::Add { child, reply } => {
                let (answer, outcome) = self.add(*child).await;
                let _ = reply.send(answer);
                outcome
            }
            Order::Remove { name, reply } => {
                let _ = reply.send(self.remove(&name).await);
                Ok(())
            }
        }
    }

    fn is_current(&self, key: u64, generation: u64) -> bool {
        self.slots.get(&key).is_some_and(|slot| slot.generation == generation)
    }

    async fn restart(&mut self, key: u64) -> Result<(), Failure> {
        match self.start_from(key).await {
            Ok(()) => Ok(()),
            Err((key, failure)) => self.child_failed(key, failure).await,
        }
    }

    /// One start; whether it was worth it shows at the next failure.
    async fn try_again(&mut self, key: u64) -> Result<(), Failure> {
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.phase == Phase::Parked) else { return Ok(()) };
        info!(path = %slot.path, "was parked for long enough and is tried again");
        slot.phase = Phase::OnTrial;
        metrics::counter!("watchtree_actor_resumed_total", "class" => slot.node.class).increment(1);
        self.restart(key).await
    }

    /// It is killed if it waits; if it blocks a thread, its successor takes over all that it had.
    async fn child_hung(&mut self, key: u64, failure: Failure, blocks: bool) -> Result<(), Failure> {
        let Some(slot) = self.slots.get_mut(&key) else { return Ok(()) };
        let Some(leash) = &slot.leash else { return Ok(()) };
        self.seats.remove(&leash.0.get_id());
        leash.0.unlink(self.me.get_cell());
        if blocks {
            slot.leave_behind(&self.roll);
        }
        self.child_failed(key, failure).await
    }

    /// The answer for the operator, and what it meant for this supervisor.
    async fn steer(&mut self, key: u64, act: Act, by: &str) -> (Result<String, SteerError>, Result<(), Failure>) {
        let Some(slot) = self.slots.get(&key) else {
            let gone = SteerError::NoSuch { path: self.path.clone(), near: Vec::new() };
            return (Err(gone), Ok(()));
        };
        let (path, parked) = (slot.path.clone(), slot.phase == Phase::Parked);
        let held = self.roll.is_held(&path);
        match act {
            Act::Inject(fault) => (self.inject(key, fault), Ok(())),
            Act::Park if parked && held => (Err(SteerError::ParkedAlready(path)), Ok(())),
            Act::Resume if !parked => (Err(SteerError::NotParked(path)), Ok(())),
            Act::Park => {
                self.park_by_hand(key, by).await;
                // Those that went down with it come back without it.
                (Ok(format!("{path} is parked")), self.restart(key).await)
            }
            Act::Restart | Act::Resume => self.start_by_hand(key, act).await,
        }
    }

    fn inject(&self, key: u64, fault: Fault) -> Result<String, SteerError> {
        let slot = &self.slots[&key];
        let path = slot.path.clone();
        let is_supervisor = slot.node.branch().is_some();
        if is_supervisor && matches!(fault, Fault::Hang | Fault::Block) {
            return Err(SteerError::Supervisor(path));
        }
        let commit = |leash: &Leash| match is_supervisor {
            true => leash.0.send_message(Order::Commit(fault)).is_ok(),
            false => leash.0.send_message(Signal::Commit(fault)).is_ok(),
        };
        if slot.leash.as_ref().is_some_and(commit) {
            return Ok(format!("{path} was given the fault {fault}"));
        }
        let state = self.roll.get(&path).map_or("gone", |status| status.state.as_str()).to_owned();
        Err(SteerError::NotRunning { path, state })
    }

    async fn park_by_hand(&mut self, key: u64, by: &str) {
        self.stop_one(key, State::Stopped).await;
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let failure = Failure { kind: FailureKind::Stopped, text: format!("parked by {by}") };
        info!(path = %slot.path, %by, "parked by hand");
        slot.phase = Phase::Parked;
        slot.node.close_mailboxes();
        self.roll.hold(&slot.path, true);
        self.roll.set(&slot.path, State::Parked, Some(failure.clone()));
        self.roll.history().record(&slot.path, &failure, Then::Parked, None);
        metrics::counter!("watchtree_actor_parked_total", "class" => slot.node.class).increment(1);
    }

    /// With a fresh budget, and without spending any of it.
    async fn start_by_hand(&mut self, key: u64, act: Act) -> (Result<String, SteerError>, Result<(), Failure>) {
        self.stop_one(key, State::Starting).await;
        let intensity = self.branch.intensity;
        let Some(slot) = self.slots.get_mut(&key) else { return (Ok(String::new()), Ok(())) };
        slot.log = RestartLog::new(intensity);
        (slot.phase, slot.quarantines) = (Phase::Wanted, 0);
        let (path, class) = (slot.path.clone(), slot.node.class);
        self.roll.hold(&path, false);
        if act == Act::Resume {
            metrics::counter!("watchtree_actor_resumed_total", "class" => class).increment(1);
        }
        match self.start_again(key, "steered").await {
            Ok(()) => {
                let told = format!("{path} was {}ed", if act == Act::Resume { "resum" } else { "restart" });
                (Ok(told), self.restart(key).await)
            }
            Err(failure) => {
                let answer = SteerError::NotStarted { path, failure: failure.to_string() };
                (Err(answer), self.child_failed(key, failure).await)
            }
        }
    }

    /// The answer, and what it meant for this supervisor.
    async fn add(&mut self, child: Node) -> (Result<(), StartError>, Result<(), Failure>) {
        let Some(dynamic) = self.branch.dynamic.clone() else {
            return (Err(StartError::Gone(self.path.clone())), Ok(()));
        };
        let name = dynamic.name().to_owned();
        let refusal = if self.slots.len() >= dynamic.limit() {
            Some(StartError::Full { name, limit: dynamic.limit() })
        } else {
            self.keys.contains_key(&child.name).then(|| StartError::Taken { name, child: child.name.clone() })
        };
        if let Some(refusal) = refusal {
            // Nobody comes for what was told it already.
            child.close_mailboxes();
            return (Err(refusal), Ok(()));
        }
        dynamic.stops_within(&child);
        let child = Arc::new(if dynamic.is_lasting() { child.parked() } else { child });
        dynamic.keep(child.clone());
        let key = self.make_room(child);
        match self.start(key).await {
            Ok(()) => (Ok(()), Ok(())),
            Err(failure) if dynamic.is_lasting() => (Ok(()), self.child_failed(key, failure).await),
            Err(failure) => {
                // As in OTP, a child that does not start was never there.
                self.forget_or_mark_done(key, Some(failure.clone()));
                (Err(StartError::Failed(failure)), Ok(()))
            }
        }
    }

    async fn remove(&mut self, name: &str) -> bool {
        let Some(key) = self.keys.get(name).copied() else { return false };
        self.stop_one(key, State::Stopped).await;
        if let Some(dynamic) = &self.branch.dynamic {
            dynamic.forget(name);
        }
        self.forget_or_mark_done(key, None);
        self.forget(key);
        true
    }
}
