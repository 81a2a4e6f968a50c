//! Core: relays and gpu nodes as one `ractor_cluster`, over the QUIC connections that they have anyway.
//!
//!   link (we dialled) ──a stream──┐                    ┌── groups: workers, relays, jobs ──▶ members
//!   proxy (they dialled) ─────────┴▶ [core] ▸ sessions ┤
//!                                       ▲              └── gateway ◀══ tell, ask ══▶ gateways of others
//!            gpu node: its load, every second; relay: the directory of gpu nodes ──▶ edges
//!
//! Mutual TLS is the authority: who may open the stream stands in the role table, and who a session is says the
//! certificate of its connection ([`seats`]). ractor_cluster's own listener is on loopback and takes nobody in, its
//! cookie is no secret.
//!
//! Stops when: ractor_cluster's node server or the gateway dies. On restart: both begin anew, and whoever dialled opens
//! the streams again. Who is a member is looked up at each use and never kept.

mod dialling;
mod gateway;
mod said;
mod seats;
mod stream;
#[cfg(test)]
mod tests;

use super::directory::{Directory, Published};
use super::link::Link;
use futures_util::future::BoxFuture;
use gateway::Gateway;
use protocol::codec::CodecError;
use protocol::core::{Answer, Ask, GpuNode, Revocation, Tell};
use protocol::revoked::Revoked;
use protocol::transport::{Connection, Rx, Tx, Version};
use protocol::{Epoch, Identity, Role};
use ractor::{Actor, ActorCell, ActorId, ActorRef, RpcReplyPort, pg, registry};
use ractor_cluster::{NodeServer, NodeServerMessage};
use said::{Said, pack, unpack};
use seats::{Seats, name_of};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stream::Bidi;
use supervision::{Failure, ServiceCx};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// A larger frame ends the session: nothing of ours is larger than a message and its envelope.
const FRAME_BYTES_MAX: u64 = 1024 * 1024;
/// From the stream to the end of ractor_cluster's own greeting.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How often members are looked at, and questions that each of them has to answer are sent.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a gpu node tells how busy it is, in looks.
const LOAD_EVERY_LOOKS: u64 = 2;
/// Questions under way at once. When full, the next waits, within the time that it has.
const ASKS_MAX: usize = 64;
/// Revocations in one message; the others follow in the next. Two names at their longest are 230 B.
const REVOKED_AT_ONCE: usize = 500;

/// What a member is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Judge frames.
    Workers,
    Relays,
    /// Run jobs; for now these are the gpu nodes.
    Jobs,
}

impl Group {
    pub const ALL: [Self; 3] = [Self::Workers, Self::Relays, Self::Jobs];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Relays => "relays",
            Self::Jobs => "jobs",
        }
    }

    /// As ractor has it.
    fn name(self) -> String {
        format!("watchtree.{}", self.as_str())
    }

    /// Who may be in it, whatever group a peer's actor has joined.
    fn of(role: Role) -> &'static [Self] {
        match role {
            Role::Relay => &[Self::Relays],
            Role::Gpu => &[Self::Workers, Self::Jobs],
            Role::Edge | Role::Operator | Role::Viewer => &[],
        }
    }
}

/// Why a core node did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    /// Unknown, gone or late: the caller does the same for each.
    #[error("{who} did not answer: {why}")]
    Unanswered { who: Identity, why: String },
    /// Nothing was sent.
    #[error(transparent)]
    TooLarge(#[from] CodecError),
}

/// How busy this node is, asked every second; the address in it is where it says that edges dial.
pub type Load = Arc<dyn Fn() -> GpuNode + Send + Sync>;

/// Keeps what another node knows to be revoked, and adds it to what this one knows.
pub type Keep = Arc<dyn Fn(Vec<Revocation>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The core as one node sees it. Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Core(Arc<Shared>);

struct Shared {
    node: Identity,
    boot: Epoch,
    seats: Seats,
    /// Node server and gateway of the running incarnation.
    server: watch::Sender<Option<(ActorRef<NodeServerMessage>, ActorRef<Said>)>>,
    asks: Semaphore,
    revoked: Revoked,
    keep: Keep,
    directory: Mutex<Directory>,
    published: Published,
    began: Instant,
}

impl Core {
    pub fn new(node: Identity, boot: Epoch, revoked: Revoked, keep: Keep) -> Self {
        Self(Arc::new(Shared {
            node,
            boot,
            seats: Seats::default(),
            server: watch::Sender::new(None),
            asks: Semaphore::new(ASKS_MAX),
            revoked,
            keep,
            directory: Mutex::default(),
            published: Published::default(),
            began: Instant::now(),
        }))
    }

    /// Those who are in this group now, this node included, each once.
    pub fn members(&self, group: Group) -> Vec<Identity> {
        let mut members: Vec<_> = self.cells(group).into_iter().map(|(who, _)| who).collect();
        members.sort();
        members.dedup();
        members
    }

    /// Tells every other member of the group; how many these were. What is told to one that goes just now is lost.
    pub fn tell_all(&self, group: Group, tell: &Tell) -> Result<usize, CoreError> {
        let bytes = self.packed(tell)?;
        let others = self.cells(group).into_iter().filter(|(who, _)| *who != self.0.node);
        Ok(others.filter(|(_, member)| member.cast(Said::Tell(bytes.clone())).is_ok()).count())
    }

    /// Tells one core node.
    pub fn tell(&self, who: &Identity, tell: &Tell) -> Result<(), CoreError> {
        let bytes = self.packed(tell)?;
        let member = self.member(who)?;
        member.cast(Said::Tell(bytes)).map_err(|_| unanswered(who, "it has left the core"))
    }

    /// Its answer, if it comes within this time.
    pub async fn ask(&self, who: &Identity, ask: &Ask, within: Duration) -> Result<Answer, CoreError> {
        let bytes = self.packed(ask)?;
        let late = || unanswered(who, &format!("no answer within {within:?}"));
        let asking = async {
            let _turn = self.0.asks.acquire().await;
            let (port, answer) = ractor::concurrency::oneshot();
            let port = RpcReplyPort::from((port, within));
            let member = self.member(who)?;
            member.cast(Said::Ask(bytes, port)).map_err(|_| unanswered(who, "it has left the core"))?;
            let bytes = answer.await.map_err(|_| unanswered(who, "it went before it answered"))?;
            unpack::<Answer>(&bytes).map_err(|error| unanswered(who, &format!("its answer cannot be read: {error}")))
        };
        let answered = timeout(within, asking).await.unwrap_or_else(|_| Err(late()));
        let outcome = if answered.is_ok() { "ok" } else { "unanswered" };
        metrics::counter!("watchtree_core_calls_total", "outcome" => outcome).increment(1);
        answered
    }

    /// Every other core node is told at once; those that come later are told all there are.
    pub fn tell_revoked(&self, news: &[Revocation]) {
        for some in news.chunks(REVOKED_AT_ONCE) {
            for group in [Group::Workers, Group::Relays] {
                if let Err(error) = self.tell_all(group, &Tell::Revoked(some.to_vec())) {
                    tracing::warn!("revocations are not told: {error}");
                }
            }
        }
    }

    /// On a relay: the gpu nodes there are, for its edges.
    pub fn directory(&self) -> &Published {
        &self.0.published
    }

    /// Actors of this process that a core node can reach: the gateway, and no other.
    pub fn reachable_actors(&self) -> usize {
        registry::get_all_pids().iter().filter(|actor| actor.supports_remoting()).count()
    }

    /// The accepting end of a core node's stream, until its session ends.
    pub async fn accept(&self, connection: &Connection, tx: Tx, rx: Rx) {
        if connection.version() < Version::FABRIC {
            return;
        }
        let ended = self.host(connection, tx, rx, false).await;
        tracing::debug!(peer = %connection.peer(), "session of the core: {ended}");
    }

    /// The service. `links` are to other core nodes; `load` is a gpu node's.
    pub async fn run(self, links: Vec<Link>, load: Option<Load>, cx: ServiceCx) -> Result<(), Failure> {
        let mut engine = Engine::start(&self).await?;
        let mut dialling = JoinSet::new();
        for link in links {
            dialling.spawn(cx.watched(self.clone().attend(link)));
        }
        let (mut looks, mut every) = (0_u64, interval(LOOK_EVERY));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = self.0.seats.changes();
        let (mut revocations, mut known) = (self.0.revoked.changes(), self.0.revoked.all());
        loop {
            tokio::select! {
                _ = every.tick() => {
                    looks += 1;
                    self.look(load.as_ref().filter(|_| looks.is_multiple_of(LOAD_EVERY_LOOKS)), &cx);
                }
                _ = changes.changed() => self.greet(),
                _ = revocations.changed() => {
                    let all = self.0.revoked.all();
                    let news: Vec<_> = all.iter().filter(|one| !known.contains(one)).cloned().collect();
                    self.tell_revoked(&news);
                    known = all;
                }
                died = engine.died() => return Err(Failure::error(died)),
                Some(ended) = dialling.join_next() => {
                    let why = ended.err().map_or("it ended by itself".to_owned(), |error| error.to_string());
                    return Err(Failure::error(format!("dialling into the core ended: {why}")));
                }
                () = cx.asked() => {}
                () = cx.stop.cancelled() => return Ok(()),
            }
        }
    }

    /// One session on one stream, from here to its end; says why that came.
    async fn host(&self, connection: &Connection, tx: Tx, rx: Rx, dialled: bool) -> String {
        let Some((server, _)) = self.0.server.borrow().clone() else { return "this node's core is not up".to_owned() };
        let seat = match self.0.seats.take(&self.0.node, connection, dialled).await {
            Ok(seat) => seat,
            Err(why) => return why,
        };
        let stream = Box::new(Bidi::new(tx, rx, seat.label.clone(), seat.heard.clone()));
        if server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server: !dialled }).is_err() {
            return "this node's core has just ended".to_owned();
        }
        let mut patience = Some(tokio::time::Instant::now() + READY_WITHIN);
        loop {
            let until = patience.unwrap_or_else(|| tokio::time::Instant::now() + READY_WITHIN);
            tokio::select! {
                () = self.0.seats.gone(&seat.label) => return "it ended".to_owned(),
                reason = connection.closed() => return reason,
                () = tokio::time::sleep_until(until), if patience.is_some() => {
                    if !self.0.seats.is_ready(&seat.label) {
                        return format!("it was not ready within {READY_WITHIN:?}");
                    }
                    patience = None;
                }
            }
        }
    }

    /// What is due every half second.
    fn look(&self, load: Option<&Load>, cx: &ServiceCx) {
        self.0.seats.look();
        // Its answer is not waited for: that it comes shows that the peer lives.
        if let Ok(bytes) = pack(&Ask::Describe) {
            for peer in self.0.seats.ready() {
                let (port, _) = ractor::concurrency::oneshot();
                let asked = self.member(&peer).map(|member| member.cast(Said::Ask(bytes.clone(), port.into())));
                drop(asked);
            }
        }
        if let Some(load) = load
            && let Err(error) = self.tell_all(Group::Relays, &Tell::Load(load()))
        {
            tracing::warn!("this node's load is not told: {error}");
        }
        let members = Group::ALL.map(|group| (group, self.members(group)));
        for (group, members) in &members {
            metrics::gauge!("watchtree_core_members", "group" => group.as_str()).set(members.len() as f64);
        }
        cx.place.note(note(&members));
        self.publish(&members[0].1);
    }

    /// A relay's list of gpu nodes, as far as it has changed.
    fn publish(&self, workers: &[Identity]) {
        if self.0.node.role != Role::Relay {
            return;
        }
        let list = self.lock_directory().list(self.now(), workers);
        metrics::gauge!("watchtree_core_directory_nodes").set(list.len() as f64);
        self.0.published.publish(self.now(), list);
    }

    /// Newcomers are told whom this node knows to be revoked.
    fn greet(&self) {
        let newcomers = self.0.seats.newcomers();
        if newcomers.is_empty() {
            return;
        }
        let all = self.0.revoked.all();
        for newcomer in newcomers {
            for some in all.chunks(REVOKED_AT_ONCE) {
                if let Err(error) = self.tell(&newcomer, &Tell::Revoked(some.to_vec())) {
                    tracing::warn!(%newcomer, "is not told who is revoked: {error}");
                }
            }
        }
    }

    /// By the gateway.
    fn told(&self, tell: Tell) {
        match tell {
            Tell::Load(node) => {
                // A load is of a member, and of a gpu node.
                let from = self.0.seats.addr_of(&node.node).filter(|_| node.node.role == Role::Gpu);
                if let Some(from) = from {
                    self.lock_directory().hear(self.now(), node, from.ip());
                }
            }
            Tell::Revoked(list) => {
                // On its disk first; then it is told on, as every change is.
                let kept = (self.0.keep)(list);
                tokio::spawn(async move {
                    if let Err(why) = kept.await {
                        tracing::error!("revocations of another node are not kept: {why}");
                    }
                });
            }
        }
    }

    /// By the gateway.
    fn asked(&self, ask: &Ask) -> Answer {
        let Shared { node, boot, revoked, .. } = &*self.0;
        match ask {
            Ask::Describe => {
                Answer::Described { node: node.clone(), boot: *boot, software: super::facts::SOFTWARE.to_owned() }
            }
            Ask::Revoked => Answer::Revoked(revoked.all()),
        }
    }

    /// The members' gateways, as they are now. Of a peer only what its certificate allows is believed.
    fn cells(&self, group: Group) -> Vec<(Identity, ActorRef<Said>)> {
        let member = |cell: ActorCell| {
            let who = match cell.get_id() {
                ActorId::Local(_) => Some(self.0.node.clone()),
                ActorId::Remote { node_id, .. } => self.0.seats.peer_of(node_id),
            }?;
            Group::of(who.role).contains(&group).then(|| (who, cell.into()))
        };
        pg::get_members(&group.name()).into_iter().filter_map(member).collect()
    }

    fn member(&self, who: &Identity) -> Result<ActorRef<Said>, CoreError> {
        let groups = Group::of(who.role).iter();
        let mut members = groups.flat_map(|group| self.cells(*group));
        let found = members.find(|(member, _)| member == who).map(|(_, gateway)| gateway);
        found.ok_or_else(|| unanswered(who, "it is not in the core now"))
    }

    fn packed<T: serde::Serialize>(&self, message: &T) -> Result<Vec<u8>, CoreError> {
        pack(message).map_err(|error| {
            metrics::counter!("watchtree_core_calls_total", "outcome" => "too_large").increment(1);
            error.into()
        })
    }

    fn lock_directory(&self) -> std::sync::MutexGuard<'_, Directory> {
        self.0.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.0.began.elapsed()
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Core({})", self.0.node)
    }
}

/// No secret: who may come in is decided by mutual TLS, before ractor_cluster asks for this.
fn cookie() -> String {
    format!("the core of {} over mutual TLS", Version::FABRIC)
}

fn unanswered(who: &Identity, why: &str) -> CoreError {
    CoreError::Unanswered { who: who.clone(), why: why.to_owned() }
}

/// `workers: engine, engine-2; relays: hub; jobs: …`
fn note(members: &[(Group, Vec<Identity>)]) -> String {
    let group = |(group, members): &(Group, Vec<Identity>)| {
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        format!("{}: {}", group.as_str(), if names.is_empty() { "none".to_owned() } else { names.join(", ") })
    };
    members.iter().map(group).collect::<Vec<_>>().join("; ")
}

/// ractor_cluster's node server and our gateway: ractor's actors, which nobody supervises but this service.
struct Engine {
    core: Core,
    server: (ActorRef<NodeServerMessage>, JoinHandle<()>),
    gateway: (ActorRef<Said>, JoinHandle<()>),
}

impl Engine {
    async fn start(core: &Core) -> Result<Self, Failure> {
        // One whose thread is blocked cannot end its own.
        if let Some((server, gateway)) = core.0.server.send_replace(None) {
            server.kill();
            gateway.kill();
        }
        let node = &core.0.node;
        // Another one at each start: ractor_cluster takes two nodes with one name for the same.
        let host = format!("{:016x}", Epoch::random().0);
        let server = NodeServer::new(0, cookie(), name_of(node), host, None, None)
            .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
            .with_max_inbound_frame_size(FRAME_BYTES_MAX);
        let server = Actor::spawn(None, server, ()).await.map_err(Failure::start)?;
        let events = NodeServerMessage::SubscribeToEvents {
            id: "watchtree".to_owned(),
            subscription: Box::new(core.0.seats.clone()),
        };
        let groups = Group::of(node.role).iter().map(|group| group.name()).collect();
        let gateway = Actor::spawn(None, Gateway(core.clone()), groups).await;
        let gateway = match (server.0.cast(events), gateway) {
            (Ok(()), Ok(gateway)) => gateway,
            (_, gateway) => {
                server.0.kill();
                let why = gateway.err().map_or("the node server ended at once".to_owned(), |error| error.to_string());
                return Err(Failure::start(why));
            }
        };
        core.0.seats.clear();
        core.0.server.send_replace(Some((server.0.clone(), gateway.0.clone())));
        Ok(Self { core: core.clone(), server, gateway })
    }

    /// Waits until one of them is gone. Cancel-safe.
    async fn died(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.server.1 => "ractor_cluster's node server ended",
            _ = &mut self.gateway.1 => "the gateway of the core ended",
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // An incarnation that was given up for lost takes nothing from its successor.
        let mine = &self.server.0;
        let was_mine = self.core.0.server.send_if_modified(|server| {
            let is_mine = server.as_ref().is_some_and(|(server, _)| server.get_id() == mine.get_id());
            if is_mine {
                *server = None;
            }
            is_mine
        });
        self.gateway.0.kill();
        self.server.0.kill();
        if was_mine {
            self.core.0.seats.clear();
        }
    }
}
