//! Being alive, as tokens: who still exists, who must end, who may not outlive whom.
//!
//!   supervisor ──Leash──▶ actor       dropped: the actor is killed
//!   supervisor ◀─Remains── Alive      held by the actor's state and each of its tasks
//!   supervisor ──Ending──▶ supervisor below
//!
//! ractor reports an actor's end before it drops the actor's state, and an aborted task is dropped
//! some time after. A file must be closed before a successor opens it, so a start waits for the remains.

use ractor::ActorCell;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Held by everything that belongs to one incarnation, and dropped last.
#[derive(Clone)]
pub(crate) struct Alive {
    _own: mpsc::Sender<Infallible>,
    /// A subtree is gone when all in it are.
    _above: Option<Arc<Alive>>,
}

/// Whether anything of an incarnation is left.
pub(crate) struct Remains(mpsc::Receiver<Infallible>);

impl Alive {
    pub fn new(above: Option<&Alive>) -> (Self, Remains) {
        let (own, remains) = mpsc::channel(1);
        (Self { _own: own, _above: above.cloned().map(Arc::new) }, Remains(remains))
    }
}

impl Remains {
    /// Waits until nothing is left. May be dropped and called again.
    pub async fn gone(&mut self) {
        while self.0.recv().await.is_some() {}
    }
}

/// Kills the actor if dropped, so that no supervisor leaves one behind.
pub(crate) struct Leash(pub ActorCell);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// How a busy supervisor learns that it is to end: ractor delivers a stop only between two messages.
#[derive(Clone, Default)]
pub(crate) struct Ending {
    halt: CancellationToken,
    /// The whole tree ends: nobody will come back to read a mailbox.
    for_good: Arc<AtomicBool>,
}

impl Ending {
    pub fn below(&self) -> Self {
        Self { halt: self.halt.child_token(), for_good: self.for_good.clone() }
    }

    pub fn end(&self) {
        self.halt.cancel();
    }

    pub fn end_for_good(&self) {
        self.for_good.store(true, Ordering::Release);
        self.halt.cancel();
    }

    pub fn is_ending(&self) -> bool {
        self.halt.is_cancelled()
    }

    pub fn is_for_good(&self) -> bool {
        self.for_good.load(Ordering::Acquire)
    }

    pub async fn begun(&self) {
        self.halt.cancelled().await;
    }
}
