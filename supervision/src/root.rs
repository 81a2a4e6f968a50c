//! A running tree, as `main` holds it.

use crate::life::{Alive, Ending, Leash, Remains};
use crate::supervisor::{KILL_WITHIN, Supervisor, SupervisorStart, start_failure};
use crate::tree::{Node, Tree};
use crate::watchdog::{self, Heart};
use crate::{Failure, Roll};
use ractor::Actor;
use std::sync::Arc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// A running tree. Dropping it kills what runs; [`Root::stop`] ends it in good order.
pub struct Root {
    leash: Leash,
    remains: Remains,
    ending: Ending,
    /// The top supervisor is no more and all mailboxes are closed.
    ended: CancellationToken,
    path: String,
    roll: Roll,
    node: Arc<Node>,
    /// While it beats, what does not answer is to blame.
    _heart: Heart,
}

impl Root {
    /// Starts everything in order, or nothing.
    pub async fn start(tree: Tree, roll: Roll) -> Result<Self, Failure> {
        let node = Arc::new(Node::from(tree));
        let path = node.name.clone();
        let heart = watchdog::heart(roll.history().clone());
        let ending = Ending::default();
        let (alive, remains) = Alive::new(None);
        roll.enroll(&path, node.class, None, None);
        let start = SupervisorStart {
            node: node.clone(),
            path: path.clone(),
            roll: roll.clone(),
            ending: ending.clone(),
            alive,
        };
        let started = Actor::spawn(None, Supervisor, start).await;
        let (actor, handle) = started.map_err(|error| {
            node.close_mailboxes();
            start_failure(error)
        })?;
        let ended = CancellationToken::new();
        let over = ended.clone().drop_guard();
        let top = node.clone();
        tokio::spawn(async move {
            let _ = handle.await;
            top.close_mailboxes();
            drop(over);
        });
        Ok(Self { leash: Leash(actor.get_cell()), remains, ending, ended, path, roll, node, _heart: heart })
    }

    /// Waits until the tree has failed as a whole, and says why. Safe to drop half-way and to call again.
    pub async fn failed(&mut self) -> Failure {
        self.ended.cancelled().await;
        let status = self.roll.get(&self.path);
        status.and_then(|status| status.last).unwrap_or_else(|| Failure::error("the tree ended by itself"))
    }

    /// Stops everything in reverse order, each child within its deadline.
    pub async fn stop(mut self) {
        self.ending.end_for_good();
        self.leash.0.stop(None);
        let within = self.node.stops_within();
        if timeout(within, self.remains.gone()).await.is_err() {
            error!(path = %self.path, ?within, "the tree did not stop in time and is killed");
            self.leash.0.kill();
            let _ = timeout(KILL_WITHIN, self.remains.gone()).await;
        }
        let _ = timeout(KILL_WITHIN, self.ended.cancelled()).await;
    }
}
