//! How an actor runs on ractor: one poke, one batch of what waits.

use super::{Actor, Context, Place, Signal};
use crate::Failure;
use crate::life::Alive;
use crate::mailbox::Mailbox;
use crate::roll::State;
use crate::steer::Fault;
use crate::watchdog::{Pulse, inside};
use ractor::{ActorCell, ActorProcessingErr, ActorRef};
use std::marker::PhantomData;
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
        let Start { make, mailbox, place, pulse, alive } = start;
        let span = tracing::info_span!("actor", path = %place.path);
        let life = mailbox.open();
        let (watched, actor) = (pulse.clone(), myself.clone());
        let starting = async move {
            let mut cx = Context { me: mailbox, life, place, actor, pulse, tasks: JoinSet::new(), alive };
            let mut actor = make()?;
            actor.started(&mut cx).await?;
            Ok::<_, Failure>((actor, cx))
        };
        let (actor, cx) = inside(watched, starting.instrument(span.clone())).await?;
        if cx.pulse.fence.is_cancelled() {
            return Err(Failure::stopped("started after its supervisor had given it up").into());
        }
        cx.place.says(State::Running);
        cx.me.attach(myself, life);
        cx.pulse.ready.store(true, std::sync::atomic::Ordering::Release);
        Ok(Some(Running { actor, cx, span }))
    }

    async fn handle(
        &self,
        myself: ActorRef<Signal>,
        signal: Signal,
        running: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(running) = running else { return Ok(()) };
        let (span, pulse) = (running.span.clone(), running.cx.pulse.clone());
        match signal {
            Signal::Work => inside(pulse, running.work()).instrument(span).await?,
            Signal::Fail(failure) => return Err(failure.into()),
            Signal::Finished => myself.stop(None),
            Signal::Commit(fault) if pulse.is_service() => pulse.inject(fault),
            Signal::Commit(fault) => inside(pulse.clone(), commit(&pulse, fault)).instrument(span).await?,
        }
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Signal>, running: &mut Self::State) -> Result<(), ActorProcessingErr> {
        if let Some(mut running) = running.take() {
            let (span, pulse) = (running.span.clone(), running.cx.pulse.clone());
            inside(pulse, running.actor.stopping(&mut running.cx)).instrument(span).await;
        }
        Ok(())
    }
}

impl<A: Actor> Running<A> {
    async fn work(&mut self) -> Result<(), Failure> {
        let (me, life, pulse) = (self.cx.me.clone(), self.cx.life, self.cx.pulse.clone());
        // What comes meanwhile is the next batch; else a busy mailbox would never settle.
        for _ in 0..me.begin_batch(life) {
            let Some((message, in_hand)) = me.pop(life) else { break };
            let _handling = pulse.handling();
            self.actor.handle(message, &mut self.cx).await?;
            in_hand.done();
        }
        if !me.belongs_to(life) {
            // Given up for lost: what it would commit now is its successor's to do.
            return Ok(());
        }
        let _handling = pulse.handling();
        self.actor.settled(&mut self.cx).await
    }
}

async fn commit(pulse: &Pulse, fault: Fault) -> Result<(), Failure> {
    let _handling = pulse.handling();
    if fault == Fault::Hang {
        std::future::pending::<()>().await;
    }
    pulse.commit(fault)
}
