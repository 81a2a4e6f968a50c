//! Mailboxes: a bounded queue in front of an actor that stays when the actor is restarted.
//!
//!   caller ──tell, send, ask──▶ [queue] ──a poke──▶ ractor's mailbox ──▶ actor works off what waits
//!
//! ractor's own mailbox has no bound, so it carries only pokes: one at a time, whatever waits here.
//! A message leaves the queue when its handling begins. Those that still wait when the actor dies are
//! delivered to its successor; the one in hand is dropped, which tells whoever asked at once. An
//! incarnation that was given up for lost takes nothing more, should it come back, and whoever waits for
//! its answer is told at once too.
//!
//! No message is lost in silence: refused, dropped and lost ones are counted by class and reason.

#[cfg(test)]
mod model;

use crate::actor::Signal;
use crate::roll::Load;
use ractor::ActorRef;
use std::collections::VecDeque;
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// What happens when a mailbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// `send` and `ask` wait for space; `tell` is refused.
    Wait,
    /// The new message is refused.
    Refuse,
    /// The oldest waiting message makes room and is counted.
    DropOldest,
}

/// The actor does not take messages: parked, stopped, or died with this one in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is gone")]
pub struct Gone(pub &'static str);

/// Why a question with a deadline has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("{0} is gone")]
    Gone(&'static str),
    /// The actor may still do what it was asked.
    #[error("{0} did not answer within {1:?}")]
    Late(&'static str, Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// Try later, or do without.
    #[error("{0} is full")]
    Full(&'static str),
    #[error("{0} is gone")]
    Gone(&'static str),
}

/// The sending side, held by handles. Cheap to clone; stays valid across restarts.
pub struct Mailbox<M>(Arc<Shared<M>>);

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Shared<M> {
    class: &'static str,
    limit: usize,
    overflow: Overflow,
    queue: Mutex<Queue<M>>,
    space: Notify,
    /// An incarnation was given up for lost, with the questions it had taken.
    abandoned: Notify,
}

struct Queue<M> {
    waiting: VecDeque<M>,
    actor: Option<ActorRef<Signal>>,
    /// A poke is on its way, so another is not needed.
    poked: bool,
    closed: bool,
    /// Which incarnation may take messages.
    life: u64,
    /// Messages taken, by all incarnations.
    handled: u64,
    /// The number of the message at the front; the first of all has 0.
    front: u64,
    /// Whoever asked with a message before this one, and has no answer, gets none.
    answered_from: u64,
    /// The incarnation is at work on one.
    in_hand: bool,
}

impl<M: Send + 'static> Mailbox<M> {
    /// `class` names the actor in errors and metrics; `limit` messages wait at most.
    pub fn new(class: &'static str, limit: usize, overflow: Overflow) -> Self {
        let (space, abandoned) = (Notify::new(), Notify::new());
        Self(Arc::new(Shared { class, limit, overflow, queue: Mutex::new(Queue::new()), space, abandoned }))
    }

    /// Without waiting.
    pub fn tell(&self, message: M) -> Result<(), TellError> {
        self.push(message).map(|_| ()).map_err(|(_, error)| self.refused(error))
    }

    /// Waits for space if that is the mailbox's policy.
    pub async fn send(&self, message: M) -> Result<(), TellError> {
        self.send_numbered(message).await.map(|_| ())
    }

    async fn send_numbered(&self, mut message: M) -> Result<u64, TellError> {
        loop {
            // Registered before the attempt, so that space made in between is not missed.
            let space = self.0.space.notified();
            match self.push(message) {
                Err((back, TellError::Full(_))) if self.0.overflow == Overflow::Wait => message = back,
                Err((_, error)) => return Err(self.refused(error)),
                Ok(number) => return Ok(number),
            }
            space.await;
        }
    }

    /// Sends what `make` builds around a reply port and waits for the reply.
    pub async fn ask<R>(&self, make: impl FnOnce(oneshot::Sender<R>) -> M) -> Result<R, Gone> {
        let gone = || Gone(self.0.class);
        let (reply, mut answer) = oneshot::channel();
        let number = self.send_numbered(make(reply)).await.map_err(|_| gone())?;
        loop {
            let mut abandoned = pin!(self.0.abandoned.notified());
            // Registered before the look, so that what happens in between is not missed.
            abandoned.as_mut().enable();
            let is_abandoned = self.lock().answered_from > number;
            tokio::select! {
                biased;
                answer = &mut answer => return answer.map_err(|_| gone()),
                // Its sender may lie on a blocked thread's stack for as long as that is blocked.
                () = ready(()), if is_abandoned => return Err(gone()),
                () = abandoned => {}
            }
        }
    }

    /// As `ask`, and gives up after `within`. Where overflow is `Wait`, the wait for space counts.
    pub async fn ask_within<R>(
        &self,
        within: Duration,
        make: impl FnOnce(oneshot::Sender<R>) -> M,
    ) -> Result<R, AskError> {
        match tokio::time::timeout(within, self.ask(make)).await {
            Ok(answered) => answered.map_err(|Gone(class)| AskError::Gone(class)),
            Err(_) => Err(AskError::Late(self.0.class, within)),
        }
    }

    /// Messages waiting now.
    pub fn depth(&self) -> usize {
        self.lock().waiting.len()
    }

    pub fn class(&self) -> &'static str {
        self.0.class
    }

    pub(crate) fn load(&self) -> Load {
        let queue = self.lock();
        Load { depth: queue.waiting.len(), limit: self.0.limit, handled: queue.handled }
    }

    fn refused(&self, error: TellError) -> TellError {
        let reason = match error {
            TellError::Full(_) => "full",
            TellError::Gone(_) => "gone",
        };
        let class = self.0.class;
        metrics::counter!("watchtree_mailbox_refused_total", "class" => class, "reason" => reason).increment(1);
        error
    }

    fn lost(&self, count: usize, reason: &'static str) {
        if count > 0 {
            let class = self.0.class;
            let lost = metrics::counter!("watchtree_mailbox_lost_total", "class" => class, "reason" => reason);
            lost.increment(count as u64);
        }
    }

    /// The message's number.
    fn push(&self, message: M) -> Result<u64, (M, TellError)> {
        let mut queue = self.lock();
        if queue.closed {
            return Err((message, TellError::Gone(self.0.class)));
        }
        let mut oldest = None;
        if queue.waiting.len() >= self.0.limit {
            if self.0.overflow != Overflow::DropOldest {
                return Err((message, TellError::Full(self.0.class)));
            }
            oldest = queue.waiting.pop_front();
            queue.front += u64::from(oldest.is_some());
            metrics::counter!("watchtree_mailbox_dropped_total", "class" => self.0.class).increment(1);
        }
        let number = queue.front + queue.waiting.len() as u64;
        queue.waiting.push_back(message);
        queue.poke();
        // Whoever hears of its end may ask again at once, so the lock is given back first.
        drop(queue);
        drop_each(oldest);
        Ok(number)
    }

    /// Someone comes: what is told from here on waits for it. Returns which incarnation it is.
    pub(crate) fn open(&self) -> u64 {
        let mut queue = self.lock();
        queue.closed = false;
        queue.life += 1;
        queue.life
    }

    /// Whoever has the mailbox has it no more; what waits is for the next. Questions that were taken have no answer.
    pub(crate) fn revoke(&self) {
        let mut queue = self.lock();
        queue.life += 1;
        queue.actor = None;
        queue.answered_from = queue.front;
        let in_hand = std::mem::take(&mut queue.in_hand);
        drop(queue);
        self.lost(usize::from(in_hand), "fenced");
        self.0.abandoned.notify_waiters();
    }

    pub(crate) fn belongs_to(&self, life: u64) -> bool {
        self.lock().life == life
    }

    /// The incarnation takes over; what waited is its first work.
    pub(crate) fn attach(&self, actor: ActorRef<Signal>, life: u64) {
        let mut queue = self.lock();
        if queue.life != life {
            return;
        }
        queue.actor = Some(actor);
        queue.poked = false;
        if !queue.waiting.is_empty() {
            queue.poke();
        }
    }

    /// Nobody will answer for a long time: everyone who waits is told now.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.actor = None;
        let dropped = std::mem::take(&mut queue.waiting);
        queue.front += dropped.len() as u64;
        drop(queue);
        self.lost(dropped.len(), "closed");
        drop_each(dropped);
        self.0.space.notify_waiters();
    }

    /// How many wait now. What comes after this pokes again.
    pub(crate) fn begin_batch(&self, life: u64) -> usize {
        let mut queue = self.lock();
        if queue.life != life {
            return 0;
        }
        queue.poked = false;
        queue.waiting.len()
    }

    /// The oldest that waits, and the duty to finish it.
    pub(crate) fn pop(&self, life: u64) -> Option<(M, InHand<'_, M>)> {
        let mut queue = self.lock();
        if queue.life != life {
            return None;
        }
        let was_full = queue.waiting.len() >= self.0.limit;
        let message = queue.waiting.pop_front();
        let taken = u64::from(message.is_some());
        (queue.handled, queue.front, queue.in_hand) = (queue.handled + taken, queue.front + taken, message.is_some());
        drop(queue);
        // All of them: a permit for one is lost if two places come free before the first sender looks.
        if was_full {
            self.0.space.notify_waiters();
        }
        Some((message?, InHand { mailbox: self, life, done: false }))
    }

    fn lock(&self) -> MutexGuard<'_, Queue<M>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message whose handling has begun. Dropped before `done`, it died with its actor.
pub(crate) struct InHand<'a, M: Send + 'static> {
    mailbox: &'a Mailbox<M>,
    life: u64,
    done: bool,
}

impl<M: Send + 'static> InHand<'_, M> {
    pub fn done(mut self) {
        self.done = true;
    }
}

impl<M: Send + 'static> Drop for InHand<'_, M> {
    fn drop(&mut self) {
        let mut queue = self.mailbox.lock();
        // Else it was given up for lost, and its message with it.
        let is_mine = queue.life == self.life;
        if is_mine {
            queue.in_hand = false;
        }
        drop(queue);
        if is_mine && !self.done {
            self.mailbox.lost(1, "died");
        }
    }
}

/// What a message does when it is dropped is its own matter: if it panics, that is not for whoever drops it.
fn drop_each<M>(messages: impl IntoIterator<Item = M>) {
    for message in messages {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(message)));
    }
}

impl<M> Queue<M> {
    fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            actor: None,
            poked: false,
            closed: false,
            life: 0,
            handled: 0,
            front: 0,
            answered_from: 0,
            in_hand: false,
        }
    }

    fn poke(&mut self) {
        if self.poked {
            return;
        }
        // An actor that has just died takes no poke; its successor finds the message when it attaches.
        self.poked = self.actor.as_ref().is_some_and(|actor| actor.send_message(Signal::Work).is_ok());
    }
}
