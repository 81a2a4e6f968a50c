//! How a supervisor starts its children: all in order, or one again.
//!
//! While it starts a child it hears nothing else, at most for `START_WITHIN` a child; an end of the
//! tree is heard at once.

use super::{KILL_WITHIN, Supervising, Supervisor, SupervisorStart};
use crate::actor::{Birth, Place, failure_of};
use crate::life::{Alive, Leash};
use crate::policy::{Exhausted, Strategy};
use crate::roll::State;
use crate::tree::Kind;
use crate::{Failure, FailureKind};
use ractor::{Actor, SpawnErr};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tracing::info;

/// From the start of an actor to its first readiness; a start that takes longer has failed.
const START_WITHIN: Duration = Duration::from_secs(20);

impl Supervising {
    /// A failed start undoes the earlier ones, last first. A child that parks only costs itself.
    pub(super) async fn start_all(&mut self) -> Result<(), Failure> {
        self.roll.set(&self.path, State::Starting, None);
        for index in 0..self.slots.len() {
            let Err(failure) = self.start(index).await else { continue };
            if self.tree.children[index].exhausted == Exhausted::Park && !self.ending.is_ending() {
                self.start_later(index, failure).await?;
                if self.tree.strategy == Strategy::RestForOne {
                    // Those after it start with it.
                    break;
                }
                continue;
            }
            return Err(self.undo_start(index, failure).await);
        }
        Ok(())
    }

    async fn undo_start(&mut self, index: usize, failure: Failure) -> Failure {
        let slot = &self.slots[index];
        // The innermost path says it all; the supervisors above repeat it unchanged.
        let named = match self.tree.children[index].kind {
            Kind::Leaf(_) => Failure { text: format!("{}: {}", slot.path, failure.text), ..failure.clone() },
            Kind::Tree(_) => failure.clone(),
        };
        self.stop_from(0, State::Stopped).await;
        self.roll.set(&self.slots[index].path, State::Failed, Some(failure));
        self.roll.set(&self.path, State::Failed, Some(named.clone()));
        named
    }

    /// Its restart is an order like any other, so that its siblings need not wait for it.
    async fn start_later(&mut self, index: usize, failure: Failure) -> Result<(), Failure> {
        if self.judge(index, failure).await?.is_some() {
            self.restart_after(Duration::ZERO, index);
        }
        Ok(())
    }

    async fn start(&mut self, index: usize) -> Result<(), Failure> {
        let (node, slot) = (&self.tree.children[index], &mut self.slots[index]);
        slot.generation += 1;
        self.roll.set(&slot.path, State::Starting, None);
        slot.await_predecessor(KILL_WITHIN).await?;
        let (alive, remains) = Alive::new(Some(&self.alive));
        slot.remains = Some(remains);
        let cell = match &node.kind {
            Kind::Leaf(leaf) => {
                let place = Place::new(&slot.path, self.roll.clone());
                let spawning = timeout(START_WITHIN, (leaf.spawn)(Birth { place, alive, parent: self.me.clone() }));
                let started = tokio::select! {
                    biased;
                    () = self.ending.begun() => return Err(Failure::stopped("stopped while it started")),
                    started = spawning => started,
                };
                started.map_err(|_| Failure::hang(format!("did not start within {START_WITHIN:?}")))?
            }
            Kind::Tree(tree) => {
                slot.ending = self.ending.below();
                let (path, ending, roll) = (slot.path.clone(), slot.ending.clone(), self.roll.clone());
                let start = SupervisorStart { tree: tree.clone(), path, roll, ending, alive };
                let started = Box::pin(Actor::spawn_linked(None, Supervisor, start, self.me.clone())).await;
                started.map(|(actor, _)| actor.get_cell())
            }
        };
        slot.leash = Some(Leash(cell.map_err(start_failure)?));
        Ok(())
    }

    /// Starts the child, and under `rest_for_one` those after it that are down with it.
    pub(super) async fn start_from(&mut self, index: usize) -> Result<(), (usize, Failure)> {
        let last = match self.tree.strategy {
            Strategy::OneForOne => index,
            Strategy::RestForOne => self.slots.len() - 1,
        };
        for index in index..=last {
            if self.slots[index].leash.is_some() || self.slots[index].parked {
                continue;
            }
            let began = Instant::now();
            self.start(index).await.map_err(|failure| (index, failure))?;
            let class = self.tree.children[index].class;
            self.roll.count_restart(&self.slots[index].path);
            metrics::counter!("watchtree_actor_restarts_total", "class" => class).increment(1);
            metrics::histogram!("watchtree_actor_restart_seconds", "class" => class)
                .record(began.elapsed().as_secs_f64());
            info!(path = %self.slots[index].path, "restarted");
        }
        Ok(())
    }
}

pub(crate) fn start_failure(error: SpawnErr) -> Failure {
    match error {
        SpawnErr::StartupFailed(error) => {
            let failure = failure_of(&error);
            // A panic while starting is told as what it is; an error while starting is a failed start.
            if failure.kind == FailureKind::Error { Failure::start(failure.text) } else { failure }
        }
        other => Failure::start(other),
    }
}
