//! Runs one [`Tree`]: starts its children in order, restarts what fails, stops in reverse.
//!
//!   child fails ──▶ within its budget? ──yes──▶ pause ──▶ start again (and those after it, if the strategy says so)
//!                          └──no──▶ park it, or stop all and fail: the supervisor above decides
//!
//! The decisions are in `policy`; here they meet ractor.

use crate::actor::{Place, failure_of};
use crate::policy::{Exhausted, RestartLog, Strategy};
use crate::roll::{Roll, State};
use crate::tree::{Kind, Node, Tree};
use crate::{Failure, FailureKind};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// From the start of an actor to its first readiness; a start that takes longer has failed.
const START_WITHIN: Duration = Duration::from_secs(20);

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
}

struct Slot {
    path: String,
    cell: Option<ActorCell>,
    /// Restarts of this child, if it parks.
    log: RestartLog,
    /// A restart planned for an earlier life is void.
    generation: u64,
    parked: bool,
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

    async fn handle(&self, _me: ActorRef<Order>, order: Order, state: &mut Supervising) -> Result<(), ActorProcessingErr> {
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
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
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

impl Slot {
    fn holds(&self, cell: &ActorCell) -> bool {
        self.cell.as_ref().is_some_and(|mine| mine.get_id() == cell.get_id())
    }
}

impl Supervising {
    fn new(start: SupervisorStart, me: ActorCell) -> Self {
        let SupervisorStart { tree, path, roll } = start;
        let slot = |node: &Node| Slot {
            path: format!("{path}/{}", node.name),
            cell: None,
            log: RestartLog::new(tree.intensity),
            generation: 0,
            parked: false,
        };
        let slots = tree.children.iter().map(slot).collect();
        Self { slots, me, began: Instant::now(), log: RestartLog::new(tree.intensity), tree: tree.clone(), path, roll }
    }

    /// A failed start undoes the earlier ones, last first. A child that parks only costs itself.
    async fn start_all(&mut self) -> Result<(), Failure> {
        self.roll.set(&self.path, State::Starting, None);
        for index in 0..self.slots.len() {
            let Err(failure) = self.start(index).await else { continue };
            if self.tree.children[index].exhausted == Exhausted::Park {
                self.child_failed(index, failure).await?;
                continue;
            }
            let slot = &self.slots[index];
            self.roll.set(&slot.path, State::Failed, Some(failure.clone()));
            // The innermost path says it all; the supervisors above repeat it unchanged.
            let named = match self.tree.children[index].kind {
                Kind::Leaf(_) => Failure::start(format!("{}: {}", slot.path, failure.text)),
                Kind::Tree(_) => failure,
            };
            self.stop_from(0, State::Stopped).await;
            self.roll.set(&self.path, State::Failed, Some(named.clone()));
            return Err(named);
        }
        Ok(())
    }

    async fn start(&mut self, index: usize) -> Result<(), Failure> {
        let (node, slot) = (&self.tree.children[index], &mut self.slots[index]);
        slot.generation += 1;
        slot.parked = false;
        self.roll.set(&slot.path, State::Starting, None);
        let spawned = match &node.kind {
            Kind::Leaf(leaf) => {
                let place = Place::new(&slot.path, self.roll.clone());
                tokio::time::timeout(START_WITHIN, (leaf.spawn)(place, self.me.clone())).await
            }
            Kind::Tree(tree) => {
                let start = SupervisorStart { tree: tree.clone(), path: slot.path.clone(), roll: self.roll.clone() };
                let spawning = Box::pin(Actor::spawn_linked(None, Supervisor, start, self.me.clone()));
                tokio::time::timeout(START_WITHIN, spawning).await.map(|done| done.map(|(actor, _)| actor.get_cell()))
            }
        };
        match spawned {
            Ok(Ok(cell)) => {
                slot.cell = Some(cell);
                Ok(())
            }
            Ok(Err(error)) => Err(start_failure(error)),
            Err(_) => Err(Failure::hang(format!("did not start within {START_WITHIN:?}"))),
        }
    }

    /// Decides what a failure means; an error of this function is the supervisor's own failure.
    async fn child_failed(&mut self, index: usize, failure: Failure) -> Result<(), Failure> {
        let mut failed = (index, failure);
        loop {
            let Some(index) = self.judge(failed.0, failed.1).await? else { return Ok(()) };
            match self.start_from(index).await {
                Ok(()) => return Ok(()),
                Err(again) => failed = again,
            }
        }
    }

    /// The child to start again now, if any.
    async fn judge(&mut self, index: usize, failure: Failure) -> Result<Option<usize>, Failure> {
        let now = self.began.elapsed();
        let tree = self.tree.clone();
        let node = &tree.children[index];
        let slot = &mut self.slots[index];
        slot.cell = None;
        slot.generation += 1;
        let reason = failure.kind.as_str();
        metrics::counter!("watchtree_actor_failures_total", "class" => node.class, "reason" => reason).increment(1);
        let log = if node.exhausted == Exhausted::Park { &mut slot.log } else { &mut self.log };
        let earlier = log.recent(now);
        let too_many = log.count(now);
        if tree.strategy == Strategy::RestForOne {
            self.stop_from(index + 1, State::Backoff).await;
        }
        if too_many {
            return self.give_up(index, failure).await.map(|()| None);
        }
        let slot = &self.slots[index];
        let pause = node.backoff.pause(earlier, jitter());
        warn!(path = %slot.path, %failure, ?pause, "failed, will be restarted");
        self.roll.set(&slot.path, State::Backoff, Some(failure));
        if pause.is_zero() {
            return Ok(Some(index));
        }
        let (me, generation) = (ActorRef::<Order>::from(self.me.clone()), slot.generation);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _ = me.send_message(Order::Restart { index, generation });
        });
        Ok(None)
    }

    async fn give_up(&mut self, index: usize, failure: Failure) -> Result<(), Failure> {
        let tree = self.tree.clone();
        let (node, slot) = (&tree.children[index], &mut self.slots[index]);
        close_mailboxes(node);
        if node.exhausted == Exhausted::Park {
            error!(path = %slot.path, %failure, "failed too often and is parked");
            slot.parked = true;
            self.roll.set(&slot.path, State::Parked, Some(failure));
            metrics::counter!("watchtree_actor_parked_total", "class" => node.class).increment(1);
            return Ok(());
        }
        let intensity = tree.intensity;
        let text = format!("more than {} restarts in {:?}; last: {}: {failure}", intensity.restarts, intensity.within, slot.path);
        error!(path = %self.path, %text, "supervisor gives up");
        self.roll.set(&slot.path, State::Failed, Some(failure));
        self.stop_from(0, State::Stopped).await;
        let escalated = Failure::escalated(text);
        self.roll.set(&self.path, State::Failed, Some(escalated.clone()));
        Err(escalated)
    }

    async fn restart(&mut self, index: usize) -> Result<(), Failure> {
        match self.start_from(index).await {
            Ok(()) => Ok(()),
            Err((index, failure)) => self.child_failed(index, failure).await,
        }
    }

    /// Starts the child, and under `rest_for_one` those after it that are down with it.
    async fn start_from(&mut self, index: usize) -> Result<(), (usize, Failure)> {
        let last = match self.tree.strategy {
            Strategy::OneForOne => index,
            Strategy::RestForOne => self.slots.len() - 1,
        };
        for index in index..=last {
            if self.slots[index].cell.is_some() || self.slots[index].parked {
                continue;
            }
            let began = Instant::now();
            self.start(index).await.map_err(|failure| (index, failure))?;
            let class = self.tree.children[index].class;
            self.roll.count_restart(&self.slots[index].path);
            metrics::counter!("watchtree_actor_restarts_total", "class" => class).increment(1);
            metrics::histogram!("watchtree_actor_restart_seconds", "class" => class).record(began.elapsed().as_secs_f64());
            info!(path = %self.slots[index].path, "restarted");
        }
        Ok(())
    }

    /// Stops in reverse order, each within its deadline and then by force.
    async fn stop_from(&mut self, first: usize, state: State) {
        for index in (first..self.slots.len()).rev() {
            let (node, slot) = (&self.tree.children[index], &mut self.slots[index]);
            slot.generation += 1;
            let Some(cell) = slot.cell.take() else { continue };
            if cell.stop_and_wait(None, Some(node.stop_within)).await.is_err() {
                warn!(path = %slot.path, within = ?node.stop_within, "did not stop in time and is killed");
                let _ = cell.kill_and_wait(Some(Duration::from_secs(1))).await;
            }
            if state == State::Stopped {
                close_mailboxes(node);
            }
            self.roll.set(&slot.path, state, None);
        }
    }
}

fn close_mailboxes(node: &Node) {
    match &node.kind {
        Kind::Leaf(leaf) => (leaf.close)(),
        Kind::Tree(tree) => tree.children.iter().for_each(close_mailboxes),
    }
}

fn start_failure(error: SpawnErr) -> Failure {
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

/// A running tree.
pub struct Root {
    cell: ActorCell,
    ended: tokio::task::JoinHandle<()>,
    path: String,
    roll: Roll,
    stop_within: Duration,
}

impl Root {
    /// Starts everything in order, or nothing.
    pub async fn start(tree: Tree, roll: Roll) -> Result<Self, Failure> {
        let path = tree.name.clone();
        let stop_within = Node::stop_within_of(&tree);
        let start = SupervisorStart { tree: Arc::new(tree), path: path.clone(), roll: roll.clone() };
        let (actor, ended) = Actor::spawn(None, Supervisor, start).await.map_err(start_failure)?;
        Ok(Self { cell: actor.get_cell(), ended, path, roll, stop_within })
    }

    /// Waits until the tree has failed as a whole, and says why.
    pub async fn failed(&mut self) -> Failure {
        let _ = (&mut self.ended).await;
        let status = self.roll.get(&self.path);
        status.and_then(|status| status.last).unwrap_or_else(|| Failure::error("the tree ended by itself"))
    }

    /// Stops everything in reverse order, each child within its deadline.
    pub async fn stop(self) {
        let _ = self.cell.stop_and_wait(None, Some(self.stop_within)).await;
    }
}
