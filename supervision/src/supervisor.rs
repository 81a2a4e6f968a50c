//! Runs one tree: starts its children in order, restarts what fails, stops in reverse.
//!
//!   child fails ──▶ within its budget? ──yes──▶ pause ──▶ start again, and those whom the strategy took down with it
//!                          └──no──▶ park it, or stop all and fail: the supervisor above decides
//!
//! The decisions are in `policy`; here they meet ractor.

mod ended;
mod orders;
mod slot;
mod starting;

use crate::Failure;
use crate::actor::failure_of;
use crate::dynamic::StartError;
use crate::life::{Alive, Ending};
use crate::policy::RestartLog;
use crate::roll::{Roll, State};
use crate::steer::{Act, Fault, SteerError};
use crate::tree::{Branch, Node};
use crate::watchdog::Pulse;
use futures_util::future::join_all;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use slot::{Phase, Slot};
pub(crate) use starting::start_failure;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// For what is left of an actor to go once it was killed. Only a blocked thread takes longer.
pub(crate) const KILL_WITHIN: Duration = Duration::from_secs(1);
/// One may be left behind on a blocked thread and have a successor. If that one blocks a thread too, its cause is still
/// there: a third would only cost one more thread, and there are few.
pub(crate) const LEFT_BEHIND_MAX: usize = 1;

pub(crate) struct Supervisor;

/// What a supervisor is told by others than its children.
pub(crate) enum Order {
    /// The pause before a restart is over.
    Restart { key: u64, generation: u64 },
    /// A parked child has been down for long enough to be tried again.
    Try { key: u64, generation: u64 },
    /// The watchdog has found this incarnation hanging.
    Hung { pulse: Arc<Pulse>, failure: Failure, blocks: bool },
    /// Commit this fault, for a drill.
    Commit(Fault),
    /// An operator wants this.
    Steer { key: u64, act: Act, by: String, reply: oneshot::Sender<Result<String, SteerError>> },
    /// A new child, of a dynamic supervisor.
    Add { child: Box<Node>, reply: oneshot::Sender<Result<(), StartError>> },
    /// False if there is none of that name.
    Remove { name: String, reply: oneshot::Sender<bool> },
}

impl ractor::Message for Order {}

pub(crate) struct SupervisorStart {
    pub node: Arc<Node>,
    pub path: String,
    pub roll: Roll,
    pub ending: Ending,
    pub alive: Alive,
}

pub(crate) struct Supervising {
    branch: Arc<Branch>,
    path: String,
    roll: Roll,
    me: ActorRef<Order>,
    began: Instant,
    /// Restarts of the children that escalate, together.
    log: RestartLog,
    /// In start order.
    slots: BTreeMap<u64, Slot>,
    next_key: u64,
    /// By name.
    keys: HashMap<String, u64>,
    /// Who sits in which slot.
    seats: HashMap<ActorId, u64>,
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
        let mut state = Supervising::new(start, me)?;
        state.start_all().await?;
        state.roll.set(&state.path, State::Running, None);
        if let Some(dynamic) = &state.branch.dynamic {
            dynamic.attach(state.me.clone());
        }
        Ok(state)
    }

    async fn handle(
        &self,
        _me: ActorRef<Order>,
        order: Order,
        state: &mut Supervising,
    ) -> Result<(), ActorProcessingErr> {
        Ok(state.obey(order).await?)
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<Order>,
        event: SupervisionEvent,
        state: &mut Supervising,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, failure) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell, Some(failure_of(&error))),
            SupervisionEvent::ActorTerminated(cell, last_state, reason) => {
                // A successor waits until all of it is gone.
                drop(last_state);
                (cell, reason.map(Failure::error))
            }
            _ => return Ok(()),
        };
        // A child that was stopped on purpose has left its slot already.
        let Some(key) = state.seats.remove(&cell.get_id()) else { return Ok(()) };
        match failure {
            Some(failure) => Ok(state.child_failed(key, failure).await?),
            None => Ok(state.child_finished(key).await?),
        }
    }

    async fn post_stop(&self, _me: ActorRef<Order>, state: &mut Supervising) -> Result<(), ActorProcessingErr> {
        state.stop_all(State::Stopped).await;
        state.roll.set(&state.path, State::Stopped, None);
        Ok(())
    }
}

impl Supervising {
    fn new(start: SupervisorStart, me: ActorRef<Order>) -> Result<Self, Failure> {
        let SupervisorStart { node, path, roll, ending, alive } = start;
        let Some(branch) = node.branch().cloned() else { return Err(Failure::start("is not a tree")) };
        let mut supervising = Self {
            log: RestartLog::new(branch.intensity),
            me,
            began: Instant::now(),
            slots: BTreeMap::new(),
            next_key: 0,
            keys: HashMap::new(),
            seats: HashMap::new(),
            pauses: JoinSet::new(),
            branch,
            path,
            roll,
            ending,
            alive,
        };
        for child in supervising.branch.first_children() {
            supervising.make_room(child);
        }
        Ok(supervising)
    }

    /// After `pause`, the supervisor tells itself.
    fn remind(&mut self, pause: Duration, order: Order) {
        let me = self.me.clone();
        while self.pauses.try_join_next().is_some() {}
        self.pauses.spawn(async move {
            tokio::time::sleep(pause).await;
            // Fails only if the supervisor ends, and then nothing is to be restarted.
            let _ = me.send_message(order);
        });
    }

    async fn stop_all(&mut self, state: State) {
        let keys: Vec<u64> = self.slots.keys().copied().collect();
        if self.branch.dynamic.is_none() {
            return self.stop(&keys, state).await;
        }
        // They do not know of each other, and there may be many.
        let (me, roll) = (self.me.get_cell(), &self.roll);
        join_all(self.slots.values_mut().map(|slot| slot.stop(&me, KILL_WITHIN, roll))).await;
        self.seats.clear();
        match self.branch.is_fleeting() {
            // Nobody brings them back: whoever waits for them is told, and their rows go.
            true => keys.into_iter().for_each(|key| self.forget_or_mark_done(key, None)),
            false => keys.into_iter().for_each(|key| self.mark_stopped(key, state)),
        }
    }

    /// Stops in reverse order, each within its deadline and then by force.
    async fn stop(&mut self, keys: &[u64], state: State) {
        for key in keys.iter().rev() {
            self.stop_one(*key, state).await;
        }
    }

    async fn stop_one(&mut self, key: u64, state: State) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if let Some(leash) = &slot.leash {
            self.seats.remove(&leash.0.get_id());
        }
        slot.stop(&self.me.get_cell(), KILL_WITHIN, &self.roll).await;
        self.mark_stopped(key, state);
    }

    fn mark_stopped(&mut self, key: u64, state: State) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if self.ending.is_for_good() {
            slot.node.close_mailboxes();
        }
        if slot.phase == Phase::Wanted || slot.phase == Phase::OnTrial {
            self.roll.set(&slot.path, state, None);
        }
    }

    fn me_cell(&self) -> ActorCell {
        self.me.get_cell()
    }
}

impl Drop for Supervising {
    /// If it did not stop in good order, what it had is killed with it. Its successor begins with the children that it
    /// has by its tree; of the others nobody knows any more.
    fn drop(&mut self) {
        for slot in self.slots.values() {
            if self.branch.is_fleeting() {
                slot.node.close_mailboxes();
                self.roll.strike(&slot.path);
            } else if slot.leash.is_some() {
                self.roll.set(&slot.path, State::Stopped, None);
            } else {
                self.roll.set_resumes(&slot.path, None);
            }
        }
    }
}

/// 0 to 1 from the clock's low digits: enough to part those that failed together.
pub fn jitter() -> f64 {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    f64::from(nanos % 1000) / 1000.0
}
