//! Services: actors whose whole life is one future, such as a link or a server.

use super::{Actor, Context, Place, Signal};
use crate::Failure;
use crate::watchdog::{Pulse, inside};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

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
    pulse: Arc<Pulse>,
}

impl ServiceCx {
    /// Returns when the watchdog asks whether the service still turns; to return is to answer. An arm of the
    /// service's loop: one that is silent for longer than its limit hangs, and is killed and restarted.
    pub async fn asked(&self) {
        self.pulse.asked().await;
    }

    /// For work that the service spawns: a thread that it blocks is blocked by this service, and it ends, with `None`,
    /// when a successor has taken over.
    pub fn watched<F: Future>(&self, work: F) -> impl Future<Output = Option<F::Output>> + use<F> {
        let pulse = self.pulse.clone();
        // Each layer around a future holds it twice, on its way in and at work: a pointer is no matter.
        let work = Box::pin(work);
        async move { pulse.fence.clone().run_until_cancelled_owned(inside(pulse, work)).await }
    }

    /// Answers the watchdog during a wait that has a limit of its own.
    pub async fn waits<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        loop {
            tokio::select! {
                biased;
                out = &mut wait => return out,
                () = self.asked() => {}
            }
        }
    }
}

impl<F, Fut> Actor for Service<F>
where
    F: Fn(ServiceCx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    type Msg = Never;

    async fn started(&mut self, cx: &mut Context<Never>) -> Result<(), Failure> {
        let (stop, pulse) = (self.stop.clone(), cx.pulse.clone());
        let place = cx.place().clone();
        // In a box, or the layers around it would hold it several times over.
        let body = Box::pin((self.body)(ServiceCx { place, stop: stop.clone(), pulse: pulse.clone() }));
        let actor = cx.actor.clone();
        cx.spawn(async move {
            pulse.run_body(body).await?;
            if !stop.is_cancelled() {
                // It has nothing more to do. Fails only if the actor ends anyway.
                let _ = actor.send_message(Signal::Finished);
            }
            Ok(())
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
