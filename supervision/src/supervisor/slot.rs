//! A child's place under its supervisor; incarnations come and go in it, one at a time.

use crate::Failure;
use crate::life::{Ending, Leash, Remains};
use crate::policy::{Intensity, RestartLog};
use ractor::ActorCell;
use std::time::Duration;
use tokio::time::timeout;
use tracing::{error, warn};

pub(super) struct Slot {
    pub path: String,
    /// Of the child that runs.
    pub leash: Option<Leash>,
    /// Of the latest incarnation, running or not.
    pub remains: Option<Remains>,
    /// For a child that is a supervisor.
    pub ending: Ending,
    /// Failures of this child.
    pub log: RestartLog,
    /// A restart planned for an earlier life is void.
    pub generation: u64,
    pub parked: bool,
}

impl Slot {
    pub fn new(path: String, intensity: Intensity) -> Self {
        Self {
            path,
            leash: None,
            remains: None,
            ending: Ending::default(),
            log: RestartLog::new(intensity),
            generation: 0,
            parked: false,
        }
    }

    pub fn holds(&self, cell: &ActorCell) -> bool {
        self.leash.as_ref().is_some_and(|leash| leash.0.get_id() == cell.get_id())
    }

    /// Two incarnations never overlap: the second would find the first one's files open.
    pub async fn await_predecessor(&mut self, within: Duration) -> Result<(), Failure> {
        if self.is_gone(within).await { Ok(()) } else { Err(Failure::hang("its predecessor blocks a thread")) }
    }

    /// In good order within `within`, then by force; `kill_within` is for what is left after that.
    pub async fn stop(&mut self, supervisor: &ActorCell, within: Duration, kill_within: Duration) {
        self.generation += 1;
        if let Some(leash) = self.leash.take() {
            // What it reports from here on is of no interest, and would carry its state back to us.
            leash.0.unlink(supervisor.clone());
            self.ending.end();
            leash.0.stop(None);
            if self.is_gone(within).await {
                return;
            }
            warn!(path = %self.path, ?within, "did not stop in time and is killed");
        }
        if !self.is_gone(kill_within).await {
            error!(path = %self.path, "blocks a thread and is left behind");
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
