//! How a supervisor starts its children: all in order, or one again.
//!
//! While it starts a child it hears nothing else, at most for `START_WITHIN` a child; an end of the
//! tree is heard, nearly at once.

use super::ended::Verdict;
use super::{KILL_WITHIN, LEFT_BEHIND_MAX, Order, Phase, Slot, Supervising, Supervisor, SupervisorStart};
use crate::actor::failure_of;
use crate::actor::place::Place;
use crate::actor::runner::Birth;
use crate::life::{Alive, Leash};
use crate::policy::{Exhausted, Strategy};
use crate::roll::State;
use crate::steer::Reins;
use crate::tree::{Kind, Leaf, Node};
use crate::watchdog::{self, Pulse};
use crate::{Failure, FailureKind};
use ractor::{Actor, ActorCell, SpawnErr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// From the start of an actor to its first readiness; a start that takes longer has failed. Longer for one that may
/// be silent for long: what is slow to write to is slow to open.
const START_WITHIN: Duration = Duration::from_secs(20);
/// When the tree ends while a child starts, for one that is nearly there: it is then stopped in good order like others.
const START_GRACE: Duration = Duration::from_millis(250);

impl Supervising {
    /// A place for one more child, after the others.
    pub(super) fn make_room(&mut self, node: Arc<Node>) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        let path = format!("{}/{}", self.path, node.name);
        let gauge = match &node.kind {
            Kind::Leaf(leaf) => Some(leaf.gauge.clone()),
            Kind::Branch(_) => None,
        };
        let reins = Reins { supervisor: self.me.clone(), key };
        self.roll.enroll(&path, node.class, gauge, Some(reins));
        self.keys.insert(node.name.clone(), key);
        self.slots.insert(key, Slot::new(node, path, self.branch.intensity));
        key
    }

    /// A failed start undoes the earlier ones, last first. A child that parks only costs itself.
    pub(super) async fn start_all(&mut self) -> Result<(), Failure> {
        self.roll.set(&self.path, State::Starting, None);
        let keys: Vec<u64> = self.slots.keys().copied().collect();
        for key in keys {
            if self.stays_held(key) {
                continue;
            }
            let Err(failure) = self.start(key).await else { continue };
            let slot = &self.slots[&key];
            let costs_itself = slot.node.exhausted == Exhausted::Park || self.is_crowded(&slot.path);
            if costs_itself && !self.ending.is_ending() {
                self.start_later(key, failure).await?;
                if self.branch.strategy == Strategy::RestForOne {
                    // Those after it start with it.
                    break;
                }
                continue;
            }
            return Err(self.undo_start(key, failure).await);
        }
        Ok(())
    }

    async fn undo_start(&mut self, key: u64, failure: Failure) -> Failure {
        let slot = &self.slots[&key];
        // The innermost path says it all; the supervisors above repeat it unchanged.
        let named = match slot.node.kind {
            Kind::Leaf(_) => Failure { text: format!("{}: {}", slot.path, failure.text), ..failure.clone() },
            Kind::Branch(_) => failure.clone(),
        };
        let path = slot.path.clone();
        self.stop_all(State::Stopped).await;
        self.roll.set(&path, State::Failed, Some(failure));
        self.roll.set(&self.path, State::Failed, Some(named.clone()));
        named
    }

    /// Its restart is an order like any other, so that its siblings need not wait for it.
    async fn start_later(&mut self, key: u64, failure: Failure) -> Result<(), Failure> {
        if let Verdict::StartFrom(key) = self.judge(key, failure).await? {
            let generation = self.slots.get(&key).map_or(0, |slot| slot.generation);
            self.remind(Duration::ZERO, Order::Restart { key, generation });
        }
        Ok(())
    }

    pub(super) async fn start(&mut self, key: u64) -> Result<(), Failure> {
        let Some(slot) = self.slots.get_mut(&key) else { return Err(Failure::stopped("was forgotten")) };
        slot.generation += 1;
        self.roll.set(&slot.path, State::Starting, None);
        slot.clear(KILL_WITHIN, &self.roll).await?;
        let left_behind = self.roll.left_behind(&slot.path);
        if left_behind > LEFT_BEHIND_MAX {
            let text = format!("{left_behind} earlier ones still block a thread each; it starts when they are gone");
            return Err(Failure::hang(text));
        }
        let (alive, remains) = Alive::new(Some(&self.alive));
        slot.remains = Some(remains);
        let node = slot.node.clone();
        let cell = match &node.kind {
            Kind::Leaf(leaf) => self.start_leaf(key, &node, leaf, alive).await?,
            Kind::Branch(_) => self.start_branch(key, &node, alive).await?,
        };
        self.seats.insert(cell.get_id(), key);
        if let Some(slot) = self.slots.get_mut(&key) {
            (slot.leash, slot.ready) = (Some(Leash(cell)), Some(Instant::now()));
        }
        Ok(())
    }

    async fn start_leaf(&mut self, key: u64, node: &Node, leaf: &Leaf, alive: Alive) -> Result<ActorCell, Failure> {
        let Some(slot) = self.slots.get_mut(&key) else { return Err(Failure::stopped("was forgotten")) };
        let reins = Reins { supervisor: self.me.clone(), key };
        let history = self.roll.history().clone();
        let gauge = leaf.gauge.clone();
        let pulse = Pulse::new(&slot.path, node.class, node.terms, reins, slot.generation, history, gauge);
        slot.pulse = Some((pulse.clone(), watchdog::watch(pulse.clone())));
        let place = Place::new(&slot.path, self.roll.clone(), pulse.fence.clone());
        let fence = pulse.fence.clone();
        let birth = Birth { place, pulse, alive, parent: self.me.get_cell() };
        let within = START_WITHIN.max(2 * node.terms.within);
        let starting = Birthing::begin((leaf.spawn)(birth), fence);
        let ended = async {
            self.ending.begun().await;
            sleep(START_GRACE).await;
        };
        tokio::select! {
            biased;
            () = ended => Err(Failure::stopped("stopped while it started")),
            started = timeout(within, starting.end()) => match started {
                Ok(Ok(Ok(cell))) => Ok(cell),
                Ok(Ok(Err(error))) => Err(start_failure(error)),
                Ok(Err(error)) => Err(Failure::start(error)),
                Err(_) => Err(Failure::hang(format!("did not start within {within:?}"))),
            },
        }
    }

    async fn start_branch(&mut self, key: u64, node: &Arc<Node>, alive: Alive) -> Result<ActorCell, Failure> {
        let Some(slot) = self.slots.get_mut(&key) else { return Err(Failure::stopped("was forgotten")) };
        slot.ending = self.ending.below();
        let (path, ending, roll) = (slot.path.clone(), slot.ending.clone(), self.roll.clone());
        let start = SupervisorStart { node: node.clone(), path, roll, ending, alive };
        let started = Box::pin(Actor::spawn_linked(None, Supervisor, start, self.me.get_cell())).await;
        started.map(|(actor, _)| actor.get_cell()).map_err(start_failure)
    }

    /// Starts the child, and those that the strategy took down with it.
    pub(super) async fn start_from(&mut self, failed: u64) -> Result<(), (u64, Failure)> {
        for key in self.affected(failed) {
            if !self.slots.get(&key).is_some_and(Slot::is_missing) || self.stays_held(key) {
                continue;
            }
            let reason = if key == failed { self.last_reason(key) } else { "sibling" };
            self.start_again(key, reason).await.map_err(|failure| (key, failure))?;
        }
        Ok(())
    }

    /// Whom the strategy takes down with this child, itself included, in start order.
    pub(super) fn affected(&self, key: u64) -> Vec<u64> {
        if self.branch.strategy == Strategy::OneForOne {
            return self.slots.contains_key(&key).then_some(key).into_iter().collect();
        }
        let keys: Vec<u64> = self.slots.keys().copied().collect();
        let index = keys.iter().position(|other| *other == key);
        index.map_or_else(Vec::new, |index| keys[self.branch.strategy.affected(index, keys.len())].to_vec())
    }

    /// So many were left behind there on blocked threads that another is not started.
    pub(super) fn is_crowded(&self, path: &str) -> bool {
        self.roll.left_behind(path) > LEFT_BEHIND_MAX
    }

    fn last_reason(&self, key: u64) -> &'static str {
        let last = self.slots.get(&key).and_then(|slot| self.roll.get(&slot.path)?.last);
        last.map_or("error", |failure| failure.kind.as_str())
    }

    /// Parked by hand, maybe under an earlier supervisor: it is not started, whatever else is.
    fn stays_held(&mut self, key: u64) -> bool {
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| self.roll.is_held(&slot.path)) else { return false };
        slot.phase = Phase::Parked;
        slot.node.close_mailboxes();
        self.roll.set(&slot.path, State::Parked, None);
        true
    }

    pub(super) async fn start_again(&mut self, key: u64, reason: &'static str) -> Result<(), Failure> {
        let began = Instant::now();
        self.start(key).await?;
        let Some(slot) = self.slots.get_mut(&key) else { return Ok(()) };
        if slot.phase == Phase::Done {
            slot.phase = Phase::Wanted;
        }
        let class = slot.node.class;
        self.roll.count_restart(&slot.path);
        metrics::counter!("watchtree_actor_restarts_total", "class" => class, "reason" => reason).increment(1);
        metrics::histogram!("watchtree_actor_restart_seconds", "class" => class).record(began.elapsed().as_secs_f64());
        info!(path = %slot.path, "restarted");
        Ok(())
    }
}

type Born = Result<ActorCell, SpawnErr>;

/// A start under way, in a task of its own: one that blocks its thread must not block its supervisor. If it is not
/// waited for to its end, nobody is there for what may come of it.
struct Birthing {
    task: Option<JoinHandle<Born>>,
    fence: CancellationToken,
}

impl Birthing {
    fn begin(spawning: impl Future<Output = Born> + Send + 'static, fence: CancellationToken) -> Self {
        Self { task: Some(tokio::spawn(spawning)), fence }
    }

    async fn end(mut self) -> Result<Born, JoinError> {
        let task = self.task.as_mut().expect("it is taken only below and by drop");
        let born = task.await;
        self.task = None;
        born
    }
}

impl Drop for Birthing {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else { return };
        self.fence.cancel();
        task.abort();
        // Outside of a runtime nothing runs that could come to its end.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(Ok(cell)) = task.await {
                    cell.kill();
                }
            });
        }
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
