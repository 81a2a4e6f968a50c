//! When is a link back? When something has come over it that nobody could have known before.
//!
//!   relay link   the relay shows the node's tree, which it asks for over that link
//!   gpu link     the edge greeted the gpu node anew, or has another verdict
//!
//! "It is up" would not do: a link that was cut for a second is up all the while.

use ::tests::harness::{Cluster, Yardstick, http};
use protocol::Role;
use protocol::admin::NodeSnapshot;
use protocol::frame::{Ledger, LedgerState};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Each look is a task of its own: one that waits for an answer that was lost keeps no other from being first.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Nobody waits longer; the limit that is held is the test's.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);

/// The node and the key of its link.
pub type LinkName = (&'static str, &'static str);

/// One link that came back.
#[derive(Debug)]
pub struct Return {
    pub link: LinkName,
    pub after: Duration,
    /// How much of it the machine stood still.
    pub lost: Duration,
    /// How much of it one end could not know that the other had given the connection up.
    pub unaware: Duration,
}

impl Return {
    /// What the limit is held against.
    pub fn own(&self) -> Duration {
        self.after.saturating_sub(self.lost).saturating_sub(self.unaware)
    }
}

/// Counts what came over one link. Made while it is cut.
pub struct Witness {
    link: LinkName,
    sees: Sees,
    before: u64,
}

#[derive(Clone)]
enum Sees {
    Tree { relay: SocketAddr, node: &'static str },
    Verdicts { edge: SocketAddr, log: PathBuf },
}

impl Witness {
    pub async fn of(site: &Cluster, link: LinkName) -> Self {
        let (node, key) = link;
        let sees = if key == "link.relay" {
            let relay = site.nodes().iter().find(|node| node.role == Role::Relay).expect("the site has a relay");
            Sees::Tree { relay: relay.http, node }
        } else {
            let edge = site.node(node);
            Sees::Verdicts { edge: edge.http, log: edge.log.clone() }
        };
        let before = match &sees {
            Sees::Tree { .. } => 0,
            // An edge that was just started and does not answer yet has counted nothing.
            Sees::Verdicts { .. } => sees.count().await.unwrap_or(0),
        };
        Self { link, sees, before }
    }

    /// Waits until it has seen that the link is back, which it may have been since `healed`.
    pub async fn returned(self, healed: Instant, yardstick: Arc<Yardstick>) -> Result<Return, String> {
        let (mut looks, mut every) = (JoinSet::new(), tokio::time::interval(LOOK_EVERY));
        let mut seen = String::new();
        while healed.elapsed() < GIVEN_UP_AFTER {
            tokio::select! {
                _ = every.tick() => {
                    let sees = self.sees.clone();
                    looks.spawn(async move { sees.count().await });
                }
                Some(look) = looks.join_next() => match look.expect("a look does not panic") {
                    Ok(count) if count > self.before => {
                        let after = healed.elapsed();
                        let lost = yardstick.lost_since(healed);
                        return Ok(Return { link: self.link, after, lost, unaware: Duration::ZERO });
                    }
                    Ok(count) => seen = format!("{count}, as before"),
                    Err(why) => seen = why,
                },
            }
        }
        Err(format!("{:?} was not back {} s after its network; last: {seen}", self.link, GIVEN_UP_AFTER.as_secs()))
    }
}

impl Sees {
    async fn count(&self) -> Result<u64, String> {
        match self {
            Self::Tree { relay, node } => {
                let tree: NodeSnapshot = http::get_json(*relay, &format!("/api/v1/tree?path={node}")).await?;
                Ok(u64::from(tree.node.name.as_str() == *node))
            }
            Self::Verdicts { edge, log } => {
                let log = std::fs::read_to_string(log).map_err(|e| e.to_string())?;
                let of_gpu = log.lines().filter(|line| line.contains("/gpu/")).collect::<Vec<_>>().join("\n");
                Ok(greetings(&of_gpu) as u64 + verdicts(*edge).await?)
            }
        }
    }
}

/// `linked`, as a link tells it when its upstream has welcomed it.
pub fn greetings(log: &str) -> usize {
    log.lines().filter(|line| line.contains("\"message\":\"linked\"")).count()
}

pub async fn verdicts(edge: SocketAddr) -> Result<u64, String> {
    #[derive(Deserialize)]
    struct Inference {
        ledgers: Vec<Ledger>,
    }
    let Inference { ledgers } = http::get_json(edge, "/api/v1/inference").await?;
    Ok(ledgers.iter().filter(|ledger| ledger.state == LedgerState::Open).map(|ledger| ledger.tally.ok).sum())
}
