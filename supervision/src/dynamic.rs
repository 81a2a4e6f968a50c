//! Dynamic supervisors: children that come and go at run time, such as connections and jobs.
//!
//!   gateway ──start, stop──▶ [dynamic] ──▶ its supervisor, wherever that stands in the tree
//!
//! When the supervisor is restarted it begins without children, as OTP's do: whoever started them knows
//! whether they are still wanted. One that is *lasting* keeps its children instead, as a fixed one does: what is wanted
//! there, such as the cameras of an edge, changes seldom and by somebody's will.

use crate::Failure;
use crate::policy::{AutoShutdown, Intensity, Strategy};
use crate::supervisor::Order;
use crate::tree::{Branch, Kind, Node};
use ractor::ActorRef;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// The way to a dynamic supervisor. Cheap to clone; stays valid across its restarts.
#[derive(Clone)]
pub struct Dynamic(Arc<Shared>);

struct Shared {
    name: String,
    limit: usize,
    /// Of a lasting one: its children, in start order.
    kept: Option<Mutex<Vec<Arc<Node>>>>,
    supervisor: Mutex<Option<ActorRef<Order>>>,
    /// Of all children so far, in milliseconds.
    slowest_stops_within_ms: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("{name} has {limit} children already")]
    Full { name: String, limit: usize },
    #[error("{name} has a child {child} already")]
    Taken { name: String, child: String },
    #[error("{0} does not run")]
    Gone(String),
    #[error("{0}")]
    Failed(Failure),
}

impl Dynamic {
    /// At most `limit` children at once.
    pub fn new(name: impl Into<String>, limit: usize) -> Self {
        Self::with(name.into(), limit, None)
    }

    /// One that begins with these children, and at its restart with those that it had: each is parked when it fails too
    /// often or does not start, and stays until it is stopped through this handle.
    pub fn lasting(name: impl Into<String>, limit: usize, children: Vec<Node>) -> Self {
        let dynamic = Self::with(name.into(), limit, Some(Mutex::default()));
        for child in children {
            dynamic.stops_within(&child);
            dynamic.keep(Arc::new(child.parked()));
        }
        dynamic
    }

    fn with(name: String, limit: usize, kept: Option<Mutex<Vec<Arc<Node>>>>) -> Self {
        let (supervisor, slowest_stops_within_ms) = (Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Shared { name, limit, kept, supervisor, slowest_stops_within_ms }))
    }

    /// The supervisor, to be put into a tree once. `intensity` is of its children together.
    pub fn node(&self, intensity: Intensity) -> Node {
        let branch = Branch {
            strategy: Strategy::OneForOne,
            intensity,
            auto_shutdown: AutoShutdown::Never,
            children: Vec::new(),
            dynamic: Some(self.clone()),
        };
        Node::new("supervisor", Kind::Branch(Arc::new(branch))).named(&self.0.name)
    }

    /// Returns when the child is ready; one that fails to start is not kept, unless this is a lasting one: there it is
    /// tried again as any other.
    pub async fn start(&self, child: Node) -> Result<(), StartError> {
        self.order(|reply| Order::Add { child: Box::new(child), reply }).await?
    }

    /// Stops the child in good order and forgets it; false if there is none of that name.
    pub async fn stop(&self, name: &str) -> Result<bool, StartError> {
        self.order(|reply| Order::Remove { name: name.to_owned(), reply }).await
    }

    pub fn limit(&self) -> usize {
        self.0.limit
    }

    pub(crate) fn is_lasting(&self) -> bool {
        self.0.kept.is_some()
    }

    /// With which its supervisor begins.
    pub(crate) fn kept(&self) -> Vec<Arc<Node>> {
        self.lock_kept().map(|kept| kept.clone()).unwrap_or_default()
    }

    pub(crate) fn keep(&self, child: Arc<Node>) {
        if let Some(mut kept) = self.lock_kept() {
            kept.push(child);
        }
    }

    pub(crate) fn forget(&self, name: &str) {
        if let Some(mut kept) = self.lock_kept() {
            kept.retain(|child| child.name != name);
        }
    }

    fn lock_kept(&self) -> Option<MutexGuard<'_, Vec<Arc<Node>>>> {
        self.0.kept.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    async fn order<R>(&self, make: impl FnOnce(oneshot::Sender<R>) -> Order) -> Result<R, StartError> {
        let gone = || StartError::Gone(self.0.name.clone());
        let supervisor = self.lock().clone().ok_or_else(gone)?;
        let (reply, answer) = oneshot::channel();
        supervisor.send_message(make(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// Its children stop together, so it takes as long as the one that may take longest.
    pub(crate) fn slowest_stops_within(&self) -> Duration {
        Duration::from_millis(self.0.slowest_stops_within_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn stops_within(&self, child: &Node) {
        let within_ms = child.stops_within().as_millis() as u64;
        self.0.slowest_stops_within_ms.fetch_max(within_ms, Ordering::Relaxed);
    }

    pub(crate) fn attach(&self, supervisor: ActorRef<Order>) {
        *self.lock() = Some(supervisor);
    }

    fn lock(&self) -> MutexGuard<'_, Option<ActorRef<Order>>> {
        self.0.supervisor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
