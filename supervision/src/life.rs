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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio_util::sync::CancellationToken;

/// Held by everything that belongs to one incarnation, and dropped last.
#[derive(Clone)]
pub(crate) struct Alive {
    _own: mpsc::Sender<Infallible>,
    _above: Arc<Above>,
}

/// A subtree is gone when all in it are, but for those that were given up for lost.
type Above = Mutex<Option<Alive>>;

/// Whether anything of an incarnation is left.
pub(crate) struct Remains {
    own: mpsc::Receiver<Infallible>,
    above: Weak<Above>,
}

impl Alive {
    pub fn new(above: Option<&Alive>) -> (Self, Remains) {
        let (own, remains) = mpsc::channel(1);
        let above = Arc::new(Mutex::new(above.cloned()));
        let remains = Remains { own: remains, above: Arc::downgrade(&above) };
        (Self { _own: own, _above: above }, remains)
    }
}

impl Remains {
    /// Waits until nothing is left. May be dropped and called again.
    pub async fn gone(&mut self) {
        while self.own.recv().await.is_some() {}
    }

    pub fn are_gone(&mut self) -> bool {
        matches!(self.own.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Nobody waits for it any more, and nobody is to wait for the supervisors above it because of it.
    pub fn give_up(&self) {
        let above = self.above.upgrade().and_then(|above| above.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(above);
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
