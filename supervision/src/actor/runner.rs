//! How an actor runs on ractor: one poke, one batch of what waits.

use super::{Actor, Context, Place, Signal, panic_text};
use crate::Failure;
use crate::life::Alive;
use crate::mailbox::Mailbox;
use crate::roll::State;
use crate::steer::Fault;
use crate::watchdog::{Pulse, enter, inside};
use futures_util::FutureExt;
use ractor::{ActorCell, ActorProcessingErr, ActorRef};
use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::task::JoinSet;
use tracing::Instrument;

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
    pub pulse: Arc<Pulse>,
    pub alive: Alive,
}

/// What a supervisor gives each incarnation.
pub(crate) struct Birth {
    pub place: Place,
    pub pulse: Arc<Pulse>,
    pub alive: Alive,
    pub parent: ActorCell,
}

/// One incarnation. Whatever becomes of it, what it held is closed as its own work, seen by the watchdog.
pub(crate) struct Running<A: Actor> {
    /// Away only while it is dropped.
    parts: Option<(A, Context<A::Msg>)>,
    /// Its supervisor has had time to hear that it runs.
    announced: bool,
    pulse: Arc<Pulse>,
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
        let Start { make, mailbox, place, pulse, alive } = start;
        let span = tracing::info_span!("actor", path = %place.path);
        let life = mailbox.open();
        let (watched, actor) = (pulse.clone(), myself.clone());
        let starting = async move {
            let mut cx =
                Context { me: mailbox, life, place, actor, pulse, tasks: JoinSet::new(), finished: false, alive };
            let mut actor = make()?;
            actor.started(&mut cx).await?;
            Ok::<_, Failure>((actor, cx))
        };
        let (actor, cx) = inside(watched.clone(), starting.instrument(span.clone())).await?;
        if watched.fence.is_cancelled() {
            return Err(Failure::stopped("started after its supervisor had given it up").into());
        }
        cx.place.says(State::Running);
        cx.me.attach(myself, life);
        watched.has_started();
        Ok(Some(Running { parts: Some((actor, cx)), announced: false, pulse: watched, span }))
    }

    async fn handle(
        &self,
        myself: ActorRef<Signal>,
        signal: Signal,
        running: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(now) = running else { return Ok(()) };
        if !now.announced {
            // ractor has just woken the supervisor, whom the runtime keeps for this thread alone: if the first message
            // blocks it, nobody would hear of that.
            now.announced = true;
            tokio::task::yield_now().await;
        }
        let (span, pulse) = (now.span.clone(), now.pulse.clone());
        let turn = match signal {
            Signal::Work => caught(inside(pulse, now.work())).instrument(span).await,
            Signal::Fail(failure) => Err(failure),
            Signal::Finished => {
                myself.stop(None);
                Ok(())
            }
            Signal::Commit(fault) if pulse.is_service() => {
                pulse.inject(fault);
                Ok(())
            }
            Signal::Commit(fault) => caught(inside(pulse.clone(), commit(&pulse, fault))).instrument(span).await,
        };
        let Err(failure) = turn else { return Ok(()) };
        // Before its supervisor is told, which could be waiting for this very thread until all is closed.
        if let Some(running) = running.take() {
            running.close_after(&failure);
        }
        Err(failure.into())
    }

    async fn post_stop(&self, _myself: ActorRef<Signal>, running: &mut Self::State) -> Result<(), ActorProcessingErr> {
        if let Some(mut running) = running.take() {
            let (span, pulse) = (running.span.clone(), running.pulse.clone());
            inside(pulse, running.stopping()).instrument(span).await;
        }
        Ok(())
    }
}

impl<A: Actor> Running<A> {
    async fn work(&mut self) -> Result<(), Failure> {
        let Some((actor, cx)) = &mut self.parts else { return Ok(()) };
        let (me, life, pulse) = (cx.me.clone(), cx.life, &self.pulse);
        // What comes meanwhile is the next batch; else a busy mailbox would never settle.
        for _ in 0..me.begin_batch(life) {
            let Some((message, in_hand)) = me.pop(life) else { break };
            let _handling = pulse.handling();
            actor.handle(message, cx).await?;
            in_hand.done();
            if cx.finished || pulse.fence.is_cancelled() {
                break;
            }
        }
        if !me.belongs_to(life) {
            // Given up for lost: what it would commit now is its successor's to do.
            return Ok(());
        }
        let _handling = pulse.handling();
        actor.settled(cx).await
    }

    fn close_after(self, failure: &Failure) {
        if let Some((_, cx)) = &self.parts {
            // For whoever wonders, should it take long.
            cx.note(format!("closes after {failure}"));
        }
    }

    async fn stopping(&mut self) {
        if let Some((actor, cx)) = &mut self.parts {
            let _handling = self.pulse.handling();
            actor.stopping(cx).await;
        }
    }
}

impl<A: Actor> Drop for Running<A> {
    fn drop(&mut self) {
        {
            let _inside = enter(&self.pulse);
            drop(self.parts.take());
        }
        self.pulse.leaves();
    }
}

/// A panic is a failure like any other.
async fn caught(turn: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let turn = AssertUnwindSafe(turn).catch_unwind().await;
    turn.unwrap_or_else(|panic| Err(Failure::panic(panic_text(panic.as_ref()))))
}

async fn commit(pulse: &Pulse, fault: Fault) -> Result<(), Failure> {
    let _handling = pulse.handling();
    if fault == Fault::Hang {
        std::future::pending::<()>().await;
    }
    pulse.commit(fault)
}
