//! The tree as data: who is there, in which order they start, what happens when one fails.

use crate::Failure;
use crate::actor::{Actor, Birth, Never, Runner, Service, ServiceCx, Start};
use crate::mailbox::{Mailbox, Overflow};
use crate::policy::{Backoff, Exhausted, Intensity, Strategy};
use crate::supervisor::KILL_WITHIN;
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
    pub(crate) exhausted: Exhausted,
    pub(crate) backoff: Backoff,
    pub(crate) stop_within: Duration,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Leaf(Leaf),
    Tree(Arc<Tree>),
}

type Spawned = Pin<Box<dyn Future<Output = Result<ActorCell, SpawnErr>> + Send>>;

/// How to start one actor, again and again.
pub(crate) struct Leaf {
    pub spawn: Box<dyn Fn(Birth) -> Spawned + Send + Sync>,
    /// Tells everyone who waits that nobody comes.
    pub close: Box<dyn Fn() + Send + Sync>,
}

const STOP_WITHIN: Duration = Duration::from_secs(2);

/// An actor that `make` builds at each start, reached through `mailbox`.
///
/// `class` is its name in the path and in metric labels.
pub fn child<A, F>(class: &'static str, mailbox: &Mailbox<A::Msg>, make: F) -> Node
where
    A: Actor,
    F: Fn() -> Result<A, Failure> + Send + Sync + 'static,
{
    let make = Arc::new(make);
    let (to_spawn, to_close) = (mailbox.clone(), mailbox.clone());
    let spawn = move |birth: Birth| -> Spawned {
        let Birth { place, alive, parent } = birth;
        let start = Start { make: make.clone(), mailbox: to_spawn.clone(), place, alive };
        Box::pin(async move {
            let (actor, _) = ractor::Actor::spawn_linked(None, Runner::<A, F>::new(), start, parent).await?;
            Ok(actor.get_cell())
        })
    };
    Node::leaf(class, Leaf { spawn: Box::new(spawn), close: Box::new(move || to_close.close()) })
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
    fn leaf(class: &'static str, leaf: Leaf) -> Self {
        Self {
            name: class.to_owned(),
            class,
            exhausted: Exhausted::Escalate,
            backoff: Backoff::default(),
            stop_within: STOP_WITHIN,
            kind: Kind::Leaf(leaf),
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

    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    pub fn stop_within(mut self, within: Duration) -> Self {
        self.stop_within = within;
        self
    }

    /// What all children may take, one after the other and with force.
    pub(crate) fn stop_within_of(tree: &Tree) -> Duration {
        tree.children.iter().map(|child| child.stop_within + KILL_WITHIN).sum::<Duration>() + STOP_WITHIN
    }
}

impl From<Tree> for Node {
    fn from(tree: Tree) -> Self {
        // Deeper trees need the sum of what their children may take.
        let stop_within = Self::stop_within_of(&tree);
        Self {
            name: tree.name.clone(),
            class: "supervisor",
            exhausted: Exhausted::Escalate,
            backoff: Backoff::default(),
            stop_within,
            kind: Kind::Tree(Arc::new(tree)),
        }
    }
}
