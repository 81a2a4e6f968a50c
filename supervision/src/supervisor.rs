//! Runs one [`Tree`]: starts its children in order, restarts what fails, stops in reverse.
//!
//!   child fails ──▶ within its budget? ──yes──▶ pause ──▶ start again (and those after it, if the strategy says so)
//!                          └──no──▶ park it, or stop all and fail: the supervisor above decides
//!
//! The decisions are in `policy`; here they meet ractor.

mod slot;
mod starting;

use crate::actor::failure_of;
use crate::life::{Alive, Ending};
use crate::policy::{Exhausted, RestartLog, Strategy};
use crate::roll::{Roll, State};
use crate::tree::{Kind, Node, Tree};
use crate::{Failure, FailureKind};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use slot::Slot;
pub(crate) use starting::start_failure;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tracing::{error, warn};

/// For what is left of an actor to go once it was killed. Only a blocked thread takes longer.
pub(crate) const KILL_WITHIN: Duration = Duration::from_secs(1);

pub(crate) struct Supervisor;

#[derive(Debug)]
pub(crate) enum Order {
    /// The pause before a restart is over.
    Restart { index: usize, generation: u64 },
}

impl ractor::Message for Order {}

pub(crate) struct SupervisorStart {
    pub tree: Arc<Tree>,
    pub path: String,
    pub roll: Roll,
    pub ending: Ending,
    pub alive: Alive,
}

pub(crate) struct Supervising {
    tree: Arc<Tree>,
    path: String,
    roll: Roll,
    me: ActorCell,
    began: Instant,
    /// Restarts of the children that escalate, together.
    log: RestartLog,
    slots: Vec<Slot>,
    /// Pauses before restarts; they end with the supervisor.
    pauses: JoinSet<()>,
    ending: Ending,
    alive: Alive,
}

impl Actor for Supervisor {
    type Msg = Order;
    type State = Supervising;
    type Arguments = SupervisorStart;

    async fn pre_start(&self, me: ActorRef<Order>, start: SupervisorStart) -> Result<Supervising, ActorProcessingErr> {
        let mut state = Supervising::new(start, me.get_cell());
        state.start_all().await?;
        state.roll.set(&state.path, State::Running, None);
        Ok(state)
    }

    async fn handle(
        &self,
        _me: ActorRef<Order>,
        order: Order,
        state: &mut Supervising,
    ) -> Result<(), ActorProcessingErr> {
        let Order::Restart { index, generation } = order;
        if state.slots[index].generation == generation {
            state.restart(index).await?;
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<Order>,
        event: SupervisionEvent,
        state: &mut Supervising,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, failure) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell, failure_of(&error)),
            SupervisionEvent::ActorTerminated(cell, last_state, reason) => {
                // A successor waits until all of it is gone.
                drop(last_state);
                (cell, Failure::error(reason.unwrap_or_else(|| "ended by itself".to_owned())))
            }
            _ => return Ok(()),
        };
        // A child that was stopped on purpose has left its slot already.
        let Some(index) = state.slots.iter().position(|slot| slot.holds(&cell)) else { return Ok(()) };
        Ok(state.child_failed(index, failure).await?)
    }

    async fn post_stop(&self, _me: ActorRef<Order>, state: &mut Supervising) -> Result<(), ActorProcessingErr> {
        state.stop_from(0, State::Stopped).await;
        state.roll.set(&state.path, State::Stopped, None);
        Ok(())
    }
}

impl Supervising {
    fn new(start: SupervisorStart, me: ActorCell) -> Self {
        let SupervisorStart { tree, path, roll, ending, alive } = start;
        let slots = tree.children.iter().map(|node| Slot::new(format!("{path}/{}", node.name), tree.intensity));
        Self {
            slots: slots.collect(),
            me,
            began: Instant::now(),
            log: RestartLog::new(tree.intensity),
            pauses: JoinSet::new(),
            tree,
            path,
            roll,
            ending,
            alive,
        }
    }

    async fn restart(&mut self, index: usize) -> Result<(), Failure> {
        match self.start_from(index).await {
            Ok(()) => Ok(()),
            Err((index, failure)) => self.child_failed(index, failure).await,
        }
    }

    /// Decides what a failure means; an error of this function is the supervisor's own failure.
    async fn child_failed(&mut self, index: usize, failure: Failure) -> Result<(), Failure> {
        let mut failed = (index, failure);
        // On the way down nothing is restarted; the stop that waits does the rest.
        while !self.ending.is_ending() {
            let Some(index) = self.judge(failed.0, failed.1).await? else { return Ok(()) };
            match self.start_from(index).await {
                Ok(()) => return Ok(()),
                Err(again) => failed = again,
            }
        }
        Ok(())
    }

    /// From which child on to start again now, if any.
    async fn judge(&mut self, index: usize, failure: Failure) -> Result<Option<usize>, Failure> {
        let now = self.began.elapsed();
        let tree = self.tree.clone();
        let node = &tree.children[index];
        let slot = &mut self.slots[index];
        slot.leash = None;
        slot.generation += 1;
        let reason = failure.kind.as_str();
        metrics::counter!("watchtree_actor_failures_total", "class" => node.class, "reason" => reason).increment(1);
        let earlier = slot.log.recent(now);
        let too_many_of_it = slot.log.count(now);
        match node.exhausted {
            Exhausted::Park if too_many_of_it => {
                self.park(index, failure);
                // Its siblings go on, also those that were down with it.
                return Ok(Some(index));
            }
            Exhausted::Escalate if self.log.count(now) => return Err(self.escalate(index, failure).await),
            _ => {}
        }
        if tree.strategy == Strategy::RestForOne {
            self.stop_from(index + 1, State::Backoff).await;
        }
        let slot = &self.slots[index];
        let pause = node.backoff.pause(earlier, jitter());
        warn!(path = %slot.path, %failure, ?pause, "failed, will be restarted");
        self.roll.set(&slot.path, State::Backoff, Some(failure));
        if pause.is_zero() {
            return Ok(Some(index));
        }
        self.restart_after(pause, index);
        Ok(None)
    }

    fn restart_after(&mut self, pause: Duration, index: usize) {
        let (me, generation) = (self.me.clone(), self.slots[index].generation);
        while self.pauses.try_join_next().is_some() {}
        self.pauses.spawn(async move {
            tokio::time::sleep(pause).await;
            // Fails only if the supervisor ends, and then nothing is to be restarted.
            let _ = me.send_message(Order::Restart { index, generation });
        });
    }

    fn park(&mut self, index: usize, failure: Failure) {
        let (node, slot) = (&self.tree.children[index], &mut self.slots[index]);
        error!(path = %slot.path, %failure, "failed too often and is parked");
        slot.parked = true;
        close_mailboxes(node);
        self.roll.set(&slot.path, State::Parked, Some(failure));
        metrics::counter!("watchtree_actor_parked_total", "class" => node.class).increment(1);
    }

    async fn escalate(&mut self, index: usize, failure: Failure) -> Failure {
        let (tree, path) = (self.tree.clone(), &self.slots[index].path);
        let (restarts, within) = (tree.intensity.restarts, tree.intensity.within);
        let escalated = match failure.kind {
            // The innermost reason is the one to read; the way up adds nothing but length.
            FailureKind::Escalated => failure.clone(),
            _ => Failure::escalated(format!("more than {restarts} restarts in {within:?}; last: {path}: {failure}")),
        };
        error!(path = %self.path, failure = %escalated, "supervisor gives up");
        self.stop_from(0, State::Stopped).await;
        self.roll.set(&self.slots[index].path, State::Failed, Some(failure));
        self.roll.set(&self.path, State::Failed, Some(escalated.clone()));
        escalated
    }

    /// Stops in reverse order, each within its deadline and then by force.
    async fn stop_from(&mut self, first: usize, state: State) {
        for index in (first..self.slots.len()).rev() {
            let (node, slot) = (&self.tree.children[index], &mut self.slots[index]);
            slot.stop(&self.me, node.stop_within, KILL_WITHIN).await;
            if self.ending.is_for_good() {
                close_mailboxes(node);
            }
            if !slot.parked {
                self.roll.set(&slot.path, state, None);
            }
        }
    }
}

/// Tells everyone who waits for these actors that nobody comes.
pub(crate) fn close_mailboxes(node: &Node) {
    match &node.kind {
        Kind::Leaf(leaf) => (leaf.close)(),
        Kind::Tree(tree) => tree.children.iter().for_each(close_mailboxes),
    }
}

/// 0 to 1 from the clock's low digits: enough to part those that failed together.
fn jitter() -> f64 {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    f64::from(nanos % 1000) / 1000.0
}
