//! The harness: a whole site of real processes, its faults, and what must hold all the same.
//!
//!   [Plan] ──start──▶ [Cluster] ── kill, pause, restart ──▶ nodes (processes, real ports, real disks)
//!                         ├─────── http, operator ────────▶ what they say
//!                         ├─────── log ───────────────────▶ [witness]: what the outbox accepted
//!                         └─────── link ──────────────────▶ the bad network on a link, if it was planned
//!   [checks] hold the record against the witness
//!
//! A test waits for conditions, never for durations; a failure prints the seed and the end of every log.
//! `WATCHTREE_KEEP=1` keeps a failed test's directory, `WATCHTREE_SEED=n` repeats a run.

pub mod assets;
pub mod browser;
pub mod camera;
pub mod checks;
pub mod counters;
pub mod http;
pub mod https;
pub mod node;
pub mod operator;
pub mod plan;
pub mod ports;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod recordings;
pub mod stranger;
pub mod wait;
pub mod witness;
pub mod yardstick;

pub use camera::CameraServer;
pub use counters::Counters;
pub use node::Node;
pub use operator::Operator;
pub use plan::Plan;
pub use wait::wait_for;
pub use yardstick::Yardstick;

use crate::impairment::Proxy;
use protocol::Role;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A process that has not yet said so is not ready: a loaded machine takes its time.
pub const READY_WITHIN: Duration = Duration::from_secs(30);

/// Lines of each log that a failure shows.
const TAIL_LINES: usize = 15;

/// Where a site keeps its files.
pub(crate) enum Place {
    /// Removed at the end.
    Temp(TempDir),
    /// Somebody else's to remove.
    Given(PathBuf),
}

impl Place {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temp(dir) => dir.path(),
            Self::Given(dir) => dir,
        }
    }
}

/// A node's link, with a bad network on it.
pub(crate) struct ImpairedLink {
    pub node: String,
    /// The key of its configuration that holds the address.
    pub key: String,
    pub proxy: Proxy,
}

/// Running nodes. Dropped, it kills them and removes what they wrote.
pub struct Cluster {
    seed: u64,
    // Dropped in this order: a process writes into its directory for as long as it lives.
    nodes: Vec<Node>,
    links: Vec<ImpairedLink>,
    place: Option<Place>,
}

impl Cluster {
    pub(crate) fn new(seed: u64, nodes: Vec<Node>, links: Vec<ImpairedLink>, place: Place) -> Self {
        Self { seed, nodes, links, place: Some(place) }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn dir(&self) -> &Path {
        self.place.as_ref().expect("only drop takes it").path()
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|node| node.name == name).unwrap_or_else(|| panic!("no node is called {name}"))
    }

    pub fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).unwrap_or_else(|| panic!("no node is called {name}"))
    }

    /// The network that was planned on a node's link by [`Plan::impaired`].
    pub fn link(&self, node: &str, key: &str) -> &Proxy {
        let link = self.links.iter().find(|link| link.node == node && link.key == key);
        &link.unwrap_or_else(|| panic!("{key} of {node} is not impaired")).proxy
    }

    /// All networks that were planned: of which node, at which key.
    pub fn links(&self) -> impl Iterator<Item = (&str, &str, &Proxy)> {
        self.links.iter().map(|link| (link.node.as_str(), link.key.as_str(), &link.proxy))
    }

    /// Asks the relay as an operator would.
    pub fn operator(&self) -> Operator {
        let relay = self.nodes.iter().find(|node| node.role == Role::Relay).expect("the site has a relay");
        Operator::new(self.dir(), relay.quic_port.expect("a relay listens")).expect("the site's CA issued it")
    }

    /// Waits until every node does its job.
    pub async fn ready(&mut self) {
        for name in self.nodes.iter().map(|node| node.name.clone()).collect::<Vec<_>>() {
            self.node_ready(&name).await;
        }
    }

    pub async fn node_ready(&mut self, name: &str) {
        let what = format!("{name} is ready");
        self.eventually(&what, READY_WITHIN, async |site| {
            let answer = http::get(site.node(name).http, "/health/ready").await?;
            if answer.status == 200 { Ok(()) } else { Err(answer.body) }
        })
        .await;
    }

    /// Asks again and again until `look` is satisfied. Ends early if a node died that nobody killed.
    pub async fn eventually<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut look: impl AsyncFnMut(&Cluster) -> Result<T, String>,
    ) -> T {
        let mut deadline = wait::Deadline::new(what, within);
        loop {
            if let Some(death) = self.death() {
                panic!("while waiting until {what}: {death}");
            }
            match look(self).await {
                Ok(found) => return found,
                Err(seen) => deadline.not_yet(&seen).await,
            }
        }
    }

    /// A node that ended without being told to.
    pub fn death(&mut self) -> Option<String> {
        self.nodes.iter_mut().find_map(Node::death)
    }

    /// The ends of all logs.
    pub fn tails(&self) -> String {
        let tail = |node: &Node| format!("--- {} ({})\n{}\n", node.name, node.log.display(), node.log_tail(TAIL_LINES));
        self.nodes.iter().map(tail).collect()
    }

    /// In order, each with a moment to say goodbye; who does not go is killed.
    pub async fn stop(&mut self) {
        for node in self.nodes.iter_mut().rev() {
            node.terminate().await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}: WATCHTREE_SEED={} repeats it\n{}", self.seed, self.seed, self.tails());
            for (node, key, proxy) in self.links() {
                eprintln!("--- {key} of {node}: {:?}", proxy.stats());
            }
        }
        for node in self.nodes.iter_mut().rev() {
            node.kill();
        }
        let keep = std::env::var_os("WATCHTREE_KEEP").is_some_and(|keep| keep == "1");
        if let Some(Place::Temp(dir)) = self.place.take_if(|_| keep) {
            eprintln!("kept: {}", dir.keep().display());
        }
    }
}
