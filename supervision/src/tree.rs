//! The tree as data: who is there, in which order they start, what happens when one fails.

use crate::Failure;
use crate::actor::runner::{Birth, Runner, Start};
use crate::actor::service::Service;
use crate::actor::{Actor, Never, ServiceCx};
use crate::dynamic::Dynamic;
use crate::mailbox::{Mailbox, Overflow};
use crate::policy::{AutoShutdown, Backoff, Exhausted, Intensity, Quarantine, Restart, Strategy};
use crate::roll::Gauge;
use crate::supervisor::KILL_WITHIN;
use crate::watchdog::Terms;
use ractor::{ActorCell, SpawnErr};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A supervisor and its children, in start order. Stopping is the reverse.
pub struct Tree {
    pub name: String,
    pub strategy: Strategy,
    /// Of this supervisor for its escalating children together, and of each parking child for itself.
    pub intensity: Intensity,
    pub children: Vec<Node>,
}

/// A child of a supervisor.
pub struct Node {
    pub(crate) name: String,
    pub(crate) class: &'static str,
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) exhausted: Exhausted,
    pub(crate) quarantine: Quarantine,
    pub(crate) backoff: Backoff,
    /// `None`: as long as what is below it may take.
    stop_within: Option<Duration>,
    pub(crate) terms: Terms,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Leaf(Leaf),
    Branch(Arc<Branch>),
}

/// A supervisor as its node has it.
pub(crate) struct Branch {
    pub strategy: Strategy,
    pub intensity: Intensity,
    pub auto_shutdown: AutoShutdown,
    pub children: Vec<Arc<Node>>,
    /// Children come and go through it.
    pub dynamic: Option<Dynamic>,
}

type Spawned = Pin<Box<dyn Future<Output = Result<ActorCell, SpawnErr>> + Send>>;

/// How to start one actor, again and again.
pub(crate) struct Leaf {
    pub spawn: Box<dyn Fn(Birth) -> Spawned + Send + Sync>,
    /// Tells everyone who waits that nobody comes.
    pub close: Box<dyn Fn() + Send + Sync>,
    /// Takes the mailbox away from the incarnation that has it.
    pub revoke: Box<dyn Fn() + Send + Sync>,
    pub gauge: Gauge,
}

const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Longer than any message should take, shorter than anybody's patience.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// An actor that `make` builds at each start, reached through `mailbox`.
///
/// `class` is its name in the path and in metric labels.
pub fn child<A, F>(class: &'static str, mailbox: &Mailbox<A::Msg>, make: F) -> Node
where
    A: Actor,
    F: Fn() -> Result<A, Failure> + Send + Sync + 'static,
{
    let make = Arc::new(make);
    let (to_spawn, to_close, to_revoke, to_read) = (mailbox.clone(), mailbox.clone(), mailbox.clone(), mailbox.clone());
    let spawn = move |birth: Birth| -> Spawned {
        let Birth { place, pulse, alive, parent } = birth;
        let start = Start { make: make.clone(), mailbox: to_spawn.clone(), place, pulse, alive };
        Box::pin(async move {
            let (actor, _) = ractor::Actor::spawn_linked(None, Runner::<A, F>::new(), start, parent).await?;
            Ok(actor.get_cell())
        })
    };
    let leaf = Leaf {
        spawn: Box::new(spawn),
        close: Box::new(move || to_close.close()),
        revoke: Box::new(move || to_revoke.revoke()),
        gauge: Arc::new(move || to_read.load()),
    };
    Node::new(class, Kind::Leaf(leaf))
}

/// An actor whose life is the future that `body` makes at each start.
pub fn service<F, Fut>(class: &'static str, body: F) -> Node
where
    F: Fn(ServiceCx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let body = Arc::new(body);
    let mailbox: Mailbox<Never> = Mailbox::new(class, 1, Overflow::Refuse);
    child(class, &mailbox, move || Ok(Service { body: body.clone(), stop: CancellationToken::new() }))
}

impl Node {
    pub(crate) fn new(class: &'static str, kind: Kind) -> Self {
        Self {
            name: class.to_owned(),
            class,
            restart: Restart::default(),
            significant: false,
            exhausted: Exhausted::Escalate,
            quarantine: Quarantine::default(),
            backoff: Backoff::default(),
            stop_within: None,
            terms: Terms { within: ANSWERS_WITHIN, turn_within: ANSWERS_WITHIN, holds_store: false },
            kind,
        }
    }

    /// Several children of one class differ by name; the class stays their metric label.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Parked when it fails too often, instead of taking its siblings down.
    pub fn parked(mut self) -> Self {
        self.exhausted = Exhausted::Park;
        self
    }

    /// How long a parked child stays down before it is tried again.
    pub fn quarantine(mut self, quarantine: Quarantine) -> Self {
        self.quarantine = quarantine;
        self
    }

    /// Restarted only if it failed; one that finishes its work stays away.
    pub fn transient(mut self) -> Self {
        self.restart = Restart::Transient;
        self
    }

    /// Never restarted.
    pub fn temporary(mut self) -> Self {
        self.restart = Restart::Temporary;
        self
    }

    /// Its end by itself may end its supervisor; see [`Node::auto_shutdown`]. For children that are not permanent.
    pub fn significant(mut self) -> Self {
        self.significant = true;
        self
    }

    /// Of a tree: ends when its significant children have ended by themselves.
    pub fn auto_shutdown(mut self, when: AutoShutdown) -> Self {
        if let Kind::Branch(branch) = &mut self.kind
            && let Some(branch) = Arc::get_mut(branch)
        {
            branch.auto_shutdown = when;
        }
        self
    }

    /// The longest that it may be busy with one message, or silent to the watchdog; beyond it, it hangs.
    pub fn answers_within(mut self, within: Duration) -> Self {
        (self.terms.within, self.terms.turn_within) = (within, within);
        self
    }

    /// It waits for others with a message in its hand: so long for one message, while its own code keeps no thread for
    /// longer than [`Node::answers_within`] lets it, which is to be said first.
    pub fn waits_within(mut self, within: Duration) -> Self {
        self.terms.within = within;
        self
    }

    /// It owns a file that must not have two owners: if its thread is blocked, the process exits with that reason.
    pub fn holds_store(mut self) -> Self {
        self.terms.holds_store = true;
        self
    }

    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    pub fn stop_within(mut self, within: Duration) -> Self {
        self.stop_within = Some(within);
        self
    }

    /// How long it may take to stop in good order.
    pub(crate) fn stops_within(&self) -> Duration {
        self.stop_within.unwrap_or_else(|| self.branch().map_or(STOP_WITHIN, |branch| branch.stops_within()))
    }

    /// Of one that holds a store, or has one below it: for how long a successor waits for it at most.
    pub(crate) fn store_within(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Leaf(_) => self.terms.holds_store.then_some(self.terms.turn_within),
            Kind::Branch(branch) => branch.first_children().iter().filter_map(|child| child.store_within()).max(),
        }
    }

    pub(crate) fn branch(&self) -> Option<&Arc<Branch>> {
        match &self.kind {
            Kind::Branch(branch) => Some(branch),
            Kind::Leaf(_) => None,
        }
    }

    pub(crate) fn revoke_mailbox(&self) {
        if let Kind::Leaf(leaf) = &self.kind {
            (leaf.revoke)();
        }
    }

    /// Tells everyone who waits for these actors that nobody comes.
    pub(crate) fn close_mailboxes(&self) {
        match &self.kind {
            Kind::Leaf(leaf) => (leaf.close)(),
            Kind::Branch(branch) => branch.first_children().iter().for_each(|child| child.close_mailboxes()),
        }
    }
}

impl Branch {
    /// Its children are forgotten when they end or it does.
    pub(crate) fn is_fleeting(&self) -> bool {
        self.dynamic.as_ref().is_some_and(|dynamic| !dynamic.is_lasting())
    }

    /// With whom it begins.
    pub(crate) fn first_children(&self) -> Vec<Arc<Node>> {
        self.dynamic.as_ref().map_or_else(|| self.children.clone(), |dynamic| dynamic.kept())
    }

    /// What all children may take with force: one after the other, or together if they are dynamic.
    fn stops_within(&self) -> Duration {
        let children = match &self.dynamic {
            Some(dynamic) => dynamic.slowest_stops_within() + KILL_WITHIN,
            None => self.children.iter().map(|child| child.stops_within() + KILL_WITHIN).sum(),
        };
        children + STOP_WITHIN
    }
}

impl From<Tree> for Node {
    fn from(tree: Tree) -> Self {
        let branch = Branch {
            strategy: tree.strategy,
            intensity: tree.intensity,
            auto_shutdown: AutoShutdown::Never,
            children: tree.children.into_iter().map(Arc::new).collect(),
            dynamic: None,
        };
        Self::new("supervisor", Kind::Branch(Arc::new(branch))).named(tree.name)
    }
}
