//! Runs one [`Tree`]: starts its children in order, restarts what fails, stops in reverse.
//!
//!   child fails ──▶ within its budget? ──yes──▶ pause ──▶ start again (and those after it, if the strategy says so)
//!                          └──no──▶ park it, or stop all and fail: the supervisor above decides
//!
//! The decisions are in `policy`; here they meet ractor. While a supervisor starts a child it hears
//! nothing else, at most for `START_WITHIN` a child.

mod slot;

use crate::actor::{Birth, Place, failure_of};
use crate::life::{Alive, Ending, Leash};
use crate::policy::{Exhausted, RestartLog, Strategy};
use crate::roll::{Roll, State};
use crate::tree::{Kind, Node, Tree};
use crate::{Failure, FailureKind};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use slot::Slot;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

/// From the start of an actor to its first readiness; a start that takes longer has failed.
const START_WITHIN: Duration = Duration::from_secs(20);

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

    /// A failed start undoes the earlier ones, last first. A child that parks only costs itself.
    async fn start_all(&mut self) -> Result<(), Failure> {
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

    /// Starts the child, and under `rest_for_one` those after it that are down with it.
    async fn start_from(&mut self, index: usize) -> Result<(), (usize, Failure)> {
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

/// 0 to 1 from the clock's low digits: enough to part those that failed together.
fn jitter() -> f64 {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    f64::from(nanos % 1000) / 1000.0
}
