//! A child's place under its supervisor; incarnations come and go in it, one at a time.

use crate::Failure;
use crate::life::{Ending, Leash, Remains};
use crate::policy::{Intensity, Restart, RestartLog};
use crate::roll::Roll;
use crate::tree::Node;
use crate::watchdog::{Pulse, Watched};
use ractor::ActorCell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tracing::{error, warn};

pub(super) struct Slot {
    pub node: Arc<Node>,
    pub path: String,
    /// Of the child that runs.
    pub leash: Option<Leash>,
    /// Of the latest incarnation, running or not.
    pub remains: Option<Remains>,
    /// Of the latest incarnation, if it is an actor.
    pub pulse: Option<(Arc<Pulse>, Watched)>,
    /// For a child that is a supervisor.
    pub ending: Ending,
    /// Failures of this child.
    pub log: RestartLog,
    /// A restart planned for an earlier life is void.
    pub generation: u64,
    pub phase: Phase,
    /// How often it was parked without health in between.
    pub quarantines: u32,
    /// Since when it is ready.
    pub ready: Option<Instant>,
    /// Since when a successor waits for a store that its predecessor has.
    pub store_held: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is to run, and does or will soon.
    Wanted,
    /// It is tried again after a quarantine, and parked at its first failure until it was well for a while.
    OnTrial,
    Parked,
    /// It has ended and is not to come back by itself.
    Done,
}

impl Slot {
    pub fn new(node: Arc<Node>, path: String, intensity: Intensity) -> Self {
        Self {
            node,
            path,
            leash: None,
            remains: None,
            pulse: None,
            ending: Ending::default(),
            log: RestartLog::new(intensity),
            generation: 0,
            phase: Phase::Wanted,
            quarantines: 0,
            ready: None,
            store_held: None,
        }
    }

    /// Down, and to be started with its siblings.
    pub fn is_missing(&self) -> bool {
        let stays_away = match self.phase {
            Phase::Parked => true,
            Phase::Done => self.node.restart == Restart::Temporary,
            Phase::Wanted | Phase::OnTrial => false,
        };
        self.leash.is_none() && !stays_away
    }

    /// The child has ended; what is left of it is waited for at the next start. Returns how long it had been ready.
    pub fn vacate(&mut self) -> Option<Duration> {
        self.leash = None;
        self.generation += 1;
        self.rest();
        self.ready.take().map(|ready| ready.elapsed())
    }

    /// One that is down or going down takes no messages, and is not to be blamed for it.
    fn rest(&self) {
        if let Some((pulse, _)) = &self.pulse {
            pulse.leaves();
        }
    }

    /// What is left of the incarnation may come back, and is to do nothing more when it does.
    pub fn fence(&mut self) {
        self.node.revoke_mailbox();
        if let Some((pulse, _)) = self.pulse.take() {
            pulse.fence.cancel();
        }
    }

    /// Two incarnations never overlap: the second would find the first one's files open. One that blocks a thread
    /// cannot be ended, and is fenced instead: its mailbox and its place belong to the successor.
    pub async fn clear(&mut self, within: Duration, roll: &Roll) -> Result<(), Failure> {
        // Who has waited once comes back for it: others need their supervisor meanwhile.
        let within = if self.store_held.is_some() { Duration::ZERO } else { within };
        if !self.is_gone(within).await {
            if self.node.store_within().is_some() {
                // No fence keeps it from its file.
                self.store_held.get_or_insert_with(Instant::now);
                return Err(Failure::hang("its predecessor still has its store"));
            }
            error!(path = %self.path, "its predecessor blocks a thread and is fenced");
            self.leave_behind(roll);
        }
        if self.store_held.take().is_some() {
            // What it said while it waited.
            roll.note(&self.path, String::new());
        }
        // Also one that is gone: nothing of it is to speak for its successor.
        self.fence();
        Ok(())
    }

    /// It blocks a thread: no use in waiting for it to go.
    pub fn leave_behind(&mut self, roll: &Roll) {
        if let Some(remains) = self.remains.take() {
            roll.leave_behind(&self.path, remains);
        }
        self.fence();
    }

    /// In good order within `within`, then by force; `kill_within` is for what is left after that.
    pub async fn stop(&mut self, supervisor: &ActorCell, kill_within: Duration, roll: &Roll) {
        let within = self.node.stops_within();
        self.generation += 1;
        self.ready = None;
        self.rest();
        if let Some(leash) = self.leash.take() {
            // What it reports from here on is of no interest, and would carry its state back to us.
            leash.0.unlink(supervisor.clone());
            self.ending.end();
            leash.0.stop(None);
            if self.is_gone(within).await {
                self.pulse = None;
                return;
            }
            warn!(path = %self.path, ?within, "did not stop in time and is killed");
        }
        if self.is_gone(kill_within).await {
            return;
        }
        error!(path = %self.path, "blocks a thread and is left behind");
        match &self.remains {
            // A successor waits for it all the same, and nobody else does.
            Some(remains) if self.node.store_within().is_some() => remains.give_up(),
            _ => self.leave_behind(roll),
        }
    }

    async fn is_gone(&mut self, within: Duration) -> bool {
        let Some(remains) = &mut self.remains else { return true };
        let gone = timeout(within, remains.gone()).await.is_ok();
        if gone {
            self.remains = None;
        }
        gone
    }
}

impl Drop for Slot {
    /// With its supervisor's end it is killed, and is to do and say nothing more.
    fn drop(&mut self) {
        if let Some((pulse, _)) = &self.pulse {
            pulse.fence.cancel();
        }
    }
}
