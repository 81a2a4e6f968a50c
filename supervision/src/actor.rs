//! What an actor is here, and how one runs on ractor.

use crate::life::Alive;
use crate::mailbox::Mailbox;
use crate::roll::{Roll, State};
use crate::{Failure, FailureKind};
use futures_util::FutureExt;
use ractor::{ActorCell, ActorProcessingErr, ActorRef};
use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
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
    place: Place,
    actor: ActorRef<Signal>,
    tasks: JoinSet<()>,
    // The last field, so that it is dropped last.
    alive: Alive,
}

/// Where an actor stands in the tree, and where it says how it is.
#[derive(Clone)]
pub struct Place {
    pub path: Arc<str>,
    roll: Roll,
}

impl Place {
    pub(crate) fn new(path: &str, roll: Roll) -> Self {
        Self { path: path.into(), roll }
    }

    /// What `watchtree tree` shows beside the state.
    pub fn note(&self, text: impl Into<String>) {
        self.roll.note(&self.path, text.into());
    }
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

    /// Runs work that waits. It ends with the actor; if it fails or panics, so does the actor.
    pub fn spawn(&mut self, work: impl Future<Output = Result<(), Failure>> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        let (actor, alive) = (self.actor.clone(), self.alive.clone());
        let span = tracing::Span::current();
        // `map` drops the work before its closure, so `alive` goes last whether the work ends or is aborted.
        let watched = AssertUnwindSafe(work).catch_unwind().map(move |end| {
            let failure = match end {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure),
                Err(panic) => Some(Failure::panic(panic_text(panic.as_ref()))),
            };
            failure.map(|failure| actor.send_message(Signal::Fail(failure)));
            drop(alive);
        });
        self.tasks.spawn(watched.instrument(span));
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
}

impl ractor::Message for Signal {}

/// Runs an [`Actor`] as a ractor actor.
pub(crate) struct Runner<A, F>(PhantomData<fn() -> (A, F)>);

impl<A, F> Runner<A, F> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

pub(crate) struct Start<A: Actor, F> {
    pub make: Arc<F>,
    pub mailbox: Mailbox<A::Msg>,
    pub place: Place,
    pub alive: Alive,
}

/// What a supervisor gives each incarnation.
pub(crate) struct Birth {
    pub place: Place,
    pub alive: Alive,
    pub parent: ActorCell,
}

pub(crate) struct Running<A: Actor> {
    actor: A,
    cx: Context<A::Msg>,
    span: tracing::Span,
}

impl<A, F> ractor::Actor for Runner<A, F>
where
    A: Actor,
    F: Fn() -> Result<A, Failure> + Send + Sync + 'static,
{
    type Msg = Signal;
    /// None once stopped: ractor keeps the state longer than the actor may keep its files.
    type State = Option<Running<A>>;
    type Arguments = Start<A, F>;

    async fn pre_start(&self, myself: ActorRef<Signal>, start: Start<A, F>) -> Result<Self::State, ActorProcessingErr> {
        let Start { make, mailbox, place, alive } = start;
        let span = tracing::info_span!("actor", path = %place.path);
        mailbox.open();
        let cx = Context { me: mailbox.clone(), place, actor: myself.clone(), tasks: JoinSet::new(), alive };
        let mut running = Running { actor: span.in_scope(|| make())?, cx, span: span.clone() };
        running.actor.started(&mut running.cx).instrument(span).await?;
        running.cx.place.roll.set(&running.cx.place.path, State::Running, None);
        mailbox.attach(myself);
        Ok(Some(running))
    }

    async fn handle(
        &self,
        _myself: ActorRef<Signal>,
        signal: Signal,
        running: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(running) = running else { return Ok(()) };
        let span = running.span.clone();
        match signal {
            Signal::Work => running.work().instrument(span).await?,
            Signal::Fail(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Signal>, running: &mut Self::State) -> Result<(), ActorProcessingErr> {
        if let Some(mut running) = running.take() {
            let span = running.span.clone();
            running.actor.stopping(&mut running.cx).instrument(span).await;
        }
        Ok(())
    }
}

impl<A: Actor> Running<A> {
    async fn work(&mut self) -> Result<(), Failure> {
        // What comes meanwhile is the next batch; else a busy mailbox would never settle.
        for _ in 0..self.cx.me.begin_batch() {
            let Some(message) = self.cx.me.pop() else { break };
            self.actor.handle(message, &mut self.cx).await?;
        }
        self.actor.settled(&mut self.cx).await
    }
}

/// What an exit says, as a failure. ractor reports panics as errors of its own making.
pub(crate) fn failure_of(error: &ActorProcessingErr) -> Failure {
    match error.downcast_ref::<Failure>() {
        Some(failure) => failure.clone(),
        None => Failure { kind: FailureKind::Panic, text: error.to_string() },
    }
}

/// An actor whose whole life is one future, such as a link or a server.
pub(crate) struct Service<F> {
    pub body: Arc<F>,
    pub stop: CancellationToken,
}

/// A service has no messages.
pub enum Never {}

/// What a service knows of its place.
#[derive(Clone)]
pub struct ServiceCx {
    pub place: Place,
    /// Cancelled when the node stops in good order; the service then ends by itself.
    pub stop: CancellationToken,
}

impl<F, Fut> Actor for Service<F>
where
    F: Fn(ServiceCx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    type Msg = Never;

    async fn started(&mut self, cx: &mut Context<Never>) -> Result<(), Failure> {
        let stop = self.stop.clone();
        let body = (self.body)(ServiceCx { place: cx.place().clone(), stop: stop.clone() });
        cx.spawn(async move {
            body.await?;
            // A service ends only when told to.
            if stop.is_cancelled() { Ok(()) } else { Err(Failure::error("ended by itself")) }
        });
        Ok(())
    }

    async fn handle(&mut self, message: Never, _cx: &mut Context<Never>) -> Result<(), Failure> {
        match message {}
    }

    async fn stopping(&mut self, cx: &mut Context<Never>) {
        self.stop.cancel();
        while cx.tasks.join_next().await.is_some() {}
    }
}
