//! Fleet: many edges in one process, on the link protocol as it is: what a relay has to bear.
//!
//!   CA ──a certificate each──▶ [fleet] ──▶ edge × N ══hello, events, telemetry, beats══▶ relay
//!                                 │            └───◀══acks, snapshots, clips on demand═════┘
//!                                 └──▶ books, waits: linked, accepted, acknowledged, faults
//!
//! An edge is one task. Its events are made from their numbers, so that what came on the record can be held against
//! what was accepted, and nothing need be kept. Edges share a few sockets, as they would behind one router.

mod book;
pub mod clips;
mod edge;
mod join;
mod outbox;
mod pace;
pub mod script;
mod words;

use crate::harness::Operator;
use crate::test_camera::squares::Rng;
pub use book::{Book, Waits};
use edge::{Edge, Order};
use outbox::Outbox;
use protocol::transport::{Credentials, Endpoint, TlsFiles};
use protocol::{Epoch, Identity, NodeName, Role, TenantId, Timestamp, ca};
use script::Script;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Sockets that the edges share. A real edge has one of its own; with so many here, the fleet's own work would be
/// most of what is measured.
const SOCKETS: usize = 8;
const CERTIFICATES_VALID: Duration = Duration::from_secs(24 * 3600);
/// Fewer than this make no load; more is no event an edge has to tell.
const EVENTS_PER_S: std::ops::RangeInclusive<f64> = 0.001..=1000.0;
/// Edges of one process.
const EDGES_MAX: usize = 10_000;

#[derive(Clone)]
pub struct Settings {
    pub edges: usize,
    /// They are called `PREFIX-0`, `PREFIX-1`, …
    pub prefix: String,
    /// Host and port.
    pub relay: (String, u16),
    pub certificates: Certificates,
    /// Of each edge.
    pub events_per_s: f64,
    pub seed: u64,
}

/// Where the edges have theirs from.
#[derive(Clone)]
pub enum Certificates {
    /// The CA in this directory issues them here.
    Issued(PathBuf),
    /// Each edge joins with a token of its own, which this operator has made for it.
    Joined(Arc<Operator>),
}

/// Running edges. Dropped, they vanish without a word.
pub struct Fleet {
    members: Vec<Member>,
    waits: Arc<Waits>,
    orders: watch::Sender<Order>,
    tasks: JoinSet<()>,
}

pub struct Member {
    pub identity: Identity,
    pub script: Script,
    pub book: Arc<Book>,
}

impl Fleet {
    /// Issues the certificates, which takes a moment, and starts all edges at once.
    pub async fn start(settings: Settings) -> Result<Self, String> {
        if !EVENTS_PER_S.contains(&settings.events_per_s) || !(1..=EDGES_MAX).contains(&settings.edges) {
            return Err(format!("a fleet has 1 to {EDGES_MAX} edges with {EVENTS_PER_S:?} events a second each"));
        }
        let credentials = match &settings.certificates {
            Certificates::Issued(ca) => issue_all(&settings, ca).await?,
            Certificates::Joined(operator) => join::join_all(&settings, operator).await?,
        };
        let sockets = credentials.iter().take(SOCKETS).map(Endpoint::dialer).collect::<Result<Vec<_>, _>>();
        let sockets = sockets.map_err(|e| e.to_string())?;
        let (orders, ordered) = watch::channel(Order::Work);
        let (mut members, mut tasks, waits) = (Vec::new(), JoinSet::new(), Arc::new(Waits::default()));
        for (nth, (credentials, socket)) in credentials.iter().zip(sockets.iter().cycle()).enumerate() {
            let mut rng = Rng::new(settings.seed, nth as u64);
            let every = Duration::from_secs_f64(1.0 / settings.events_per_s);
            // Each edge in its own time.
            let late = every.mul_f64(rng.unit());
            let script = Script { epoch: Epoch::random(), begins: Timestamp::now().plus(late), every };
            let book = Arc::new(Book::default());
            tasks.spawn(
                Edge {
                    identity: credentials.identity().clone(),
                    endpoint: socket.dialling_as(credentials),
                    relay: settings.relay.clone(),
                    outbox: Outbox::new(script.clone(), Instant::now() + late),
                    book: book.clone(),
                    waits: waits.clone(),
                    orders: ordered.clone(),
                    boot: Epoch::random(),
                    rng,
                }
                .live(),
            );
            members.push(Member { identity: credentials.identity().clone(), script, book });
        }
        Ok(Self { members, waits, orders, tasks })
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// How often each was welcomed so far.
    pub fn links(&self) -> Vec<u64> {
        self.members.iter().map(|member| member.book.links()).collect()
    }

    /// How many are linked now, by a link that is newer than those.
    pub fn linked_since(&self, links: &[u64]) -> usize {
        let is_new = |(member, before): (&Member, &u64)| member.book.is_linked() && member.book.links() > *before;
        self.members.iter().zip(links).filter(|both| is_new(*both)).count()
    }

    pub fn linked(&self) -> usize {
        self.members.iter().filter(|member| member.book.is_linked()).count()
    }

    /// Entries accepted, and entries acknowledged, of all edges.
    pub fn entries(&self) -> (u64, u64) {
        let sum = |(accepted, acked), (more, of_them)| (accepted + more, acked + of_them);
        self.members.iter().map(|member| member.book.entries()).fold((0, 0), sum)
    }

    /// No more events from now on; the links stay, and what waits goes on to the relay.
    pub fn rest(&self) {
        self.orders.send_replace(Order::Rest(Instant::now()));
    }

    /// After [`Fleet::rest`]: how many have still something to tell.
    pub fn unsettled(&self) -> usize {
        self.members.iter().filter(|member| !member.book.is_settled()).count()
    }

    /// All that a relay did which none may do, a line each.
    pub fn faults(&self) -> Vec<String> {
        let faults = |member: &Member| {
            let named = |fault| format!("{}: {fault}", member.identity);
            member.book.faults().into_iter().map(named).collect::<Vec<_>>()
        };
        self.members.iter().flat_map(faults).collect()
    }

    /// When all is acknowledged: what is wrong with the record, a line each. Nothing is if each accepted entry is there
    /// once, as it was sent, in order.
    pub async fn record_faults(&self, operator: &Operator) -> Result<Vec<String>, String> {
        let mut faults = Vec::new();
        for Member { identity, script, book } in &self.members {
            let (accepted, _) = book.entries();
            let entries = operator.record(identity.name.as_str(), Some(script.epoch)).await?;
            let wrong = (1..=accepted).zip(&entries).find(|(seq, entry)| **entry != script.entry(*seq));
            if let Some((seq, entry)) = wrong {
                faults.push(format!("{identity}: entry {seq} on the record is {entry:?}"));
            }
            if entries.len() as u64 != accepted {
                faults.push(format!("{identity}: {accepted} entries were accepted, the record has {}", entries.len()));
            }
        }
        Ok(faults)
    }

    /// Parts in good order.
    pub async fn leave(mut self) {
        self.orders.send_replace(Order::Leave);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// A key and a certificate for each, made in memory where the system has files in memory.
async fn issue_all(settings: &Settings, ca: &Path) -> Result<Vec<Credentials>, String> {
    let dir = Arc::new(own_dir()?);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let names: Vec<usize> = (0..settings.edges).collect();
    let mut workers = Vec::new();
    for some in names.chunks(settings.edges.div_ceil(cores)) {
        let (some, settings, ca, dir) = (some.to_vec(), settings.clone(), ca.to_owned(), dir.clone());
        workers.push(tokio::task::spawn_blocking(move || {
            some.into_iter().map(|nth| issue(&settings, &ca, dir.path(), nth)).collect::<Result<Vec<_>, _>>()
        }));
    }
    let mut all = Vec::with_capacity(settings.edges);
    for worker in workers {
        all.extend(worker.await.map_err(|e| e.to_string())??);
    }
    Ok(all)
}

fn issue(settings: &Settings, ca: &Path, dir: &Path, nth: usize) -> Result<Credentials, String> {
    let who = Identity { tenant: TenantId::default(), role: Role::Edge, name: name(settings, nth)? };
    let issued = ca::issue(ca, dir, &who, CERTIFICATES_VALID).map_err(|e| e.to_string())?;
    let files = TlsFiles { ca: ca.join("ca.pem"), cert: issued.cert, key: issued.key };
    Credentials::load(&files).map_err(|e| e.to_string())
}

fn name(settings: &Settings, nth: usize) -> Result<NodeName, String> {
    format!("{}-{nth}", settings.prefix).parse().map_err(|e| format!("{e}"))
}

/// In memory, where the system has files in memory.
fn own_dir() -> Result<TempDir, String> {
    let in_memory = TempDir::with_prefix_in("watchtree-fleet-", "/dev/shm");
    in_memory.or_else(|_| TempDir::with_prefix("watchtree-fleet-")).map_err(|e| e.to_string())
}
