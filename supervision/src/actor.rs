//! What an actor is here, and what it knows of its place.

pub(crate) mod place;
pub(crate) mod runner;
pub(crate) mod service;

use crate::life::Alive;
use crate::mailbox::Mailbox;
use crate::steer::Fault;
use crate::watchdog::{Pulse, inside};
use crate::{Failure, FailureKind};
use futures_util::FutureExt;
pub use place::{Place, PortRow};
use ractor::{ActorProcessingErr, ActorRef};
pub use service::{Never, ServiceCx};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

/// State with behaviour: one message at a time, never waiting for another actor that may wait for it.
pub trait Actor: Send + Sized + 'static {
    type Msg: Send + 'static;

    /// Before the first message of this incarnation.
    fn started(&mut self, _cx: &mut Context<Self::Msg>) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Ok(()) }
    }

    fn handle(
        &mut self,
        message: Self::Msg,
        cx: &mut Context<Self::Msg>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What waited when the work began has been handled: the place for one commit that serves them all.
    fn settled(&mut self, _cx: &mut Context<Self::Msg>) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Ok(()) }
    }

    /// The node stops in good order.
    fn stopping(&mut self, _cx: &mut Context<Self::Msg>) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What an actor knows of its place.
pub struct Context<M> {
    me: Mailbox<M>,
    /// Which incarnation of the actor this is, to its mailbox.
    life: u64,
    place: Place,
    actor: ActorRef<Signal>,
    pulse: Arc<Pulse>,
    tasks: JoinSet<()>,
    finished: bool,
    // The last field, so that it is dropped last.
    alive: Alive,
}

impl<M: Send + 'static> Context<M> {
    pub fn path(&self) -> &str {
        &self.place.path
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn note(&self, text: impl Into<String>) {
        self.place.note(text);
    }

    /// For results of tasks to come back as messages.
    pub fn me(&self) -> &Mailbox<M> {
        &self.me
    }

    /// The work is finished: the actor ends after this message, without failure. One that is permanent is restarted.
    pub fn finish(&mut self) {
        self.finished = true;
        self.actor.stop(None);
    }

    /// For a message whose handling is long by nature.
    pub fn progress(&self) -> Progress {
        Progress(self.pulse.clone())
    }

    /// For work that nobody can end, such as on a blocking thread: while it is held, the actor is not gone, and no
    /// successor is made.
    pub fn token(&self) -> Token {
        Token { _alive: self.alive.clone() }
    }

    /// As `spawn`, for work that is done once: beyond `within` it hangs, and so does the actor.
    pub fn spawn_within(&mut self, within: Duration, work: impl Future<Output = Result<(), Failure>> + Send + 'static) {
        self.spawn(async move {
            let late = |_| Err(Failure::hang(format!("a task of it does not end, the limit is {within:?}")));
            timeout(within, work).await.unwrap_or_else(late)
        });
    }

    /// Runs work that waits. It ends with the actor; if it fails or panics, so does the actor.
    pub fn spawn(&mut self, work: impl Future<Output = Result<(), Failure>> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        let (actor, alive, fence) = (self.actor.clone(), self.alive.clone(), self.pulse.fence.clone());
        let span = tracing::Span::current();
        // In a box, or the layers around it would hold it several times over.
        let work = fence.run_until_cancelled_owned(inside(self.pulse.clone(), Box::pin(work)));
        // `map` drops the work before its closure, so `alive` goes last whether the work ends or is aborted.
        let watched = AssertUnwindSafe(work).catch_unwind().map(move |end| {
            let failure = match end {
                Ok(None | Some(Ok(()))) => None,
                Ok(Some(Err(failure))) => Some(failure),
                Err(panic) => Some(Failure::panic(panic_text(panic.as_ref()))),
            };
            failure.map(|failure| actor.send_message(Signal::Fail(failure)));
            drop(alive);
        });
        self.tasks.spawn(watched.instrument(span));
    }
}

/// Something of an actor is left while it is held.
pub struct Token {
    _alive: Alive,
}

/// Tells the watchdog that a long piece of work gets on.
#[derive(Clone)]
pub struct Progress(Arc<Pulse>);

impl Progress {
    /// Something was done just now: the limit for a message begins anew.
    pub fn made(&self) {
        // By two: odd stays odd, which means that a message is being handled.
        self.0.handling.fetch_add(2, Ordering::Release);
    }
}

/// The text of a panic payload.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".to_owned())
}

/// The only message that ractor carries for us; never leaves the process.
#[derive(Debug)]
pub(crate) enum Signal {
    /// Look into the mailbox.
    Work,
    /// A task of the actor failed.
    Fail(Failure),
    /// A service has come to its end by itself.
    Finished,
    /// Commit this fault, for a drill.
    Commit(Fault),
}

impl ractor::Message for Signal {}

/// What an exit says, as a failure. ractor reports panics as errors of its own making.
pub(crate) fn failure_of(error: &ActorProcessingErr) -> Failure {
    match error.downcast_ref::<Failure>() {
        Some(failure) => failure.clone(),
        None => Failure { kind: FailureKind::Panic, text: error.to_string() },
    }
}
