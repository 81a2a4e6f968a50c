//! Site: this node and those linked to it, as somebody may see and steer them.
//!
//!   http (this machine) ──┐
//!   admin (a tenant's) ───┴──path──▶ [site] ──▶ facts of this node
//!                                      └──────▶ peers, over their links
//!
//! The first part of a path is a node's name. Where two nodes have the same, the whole identity stands
//! there: `main/gpu/yard/workers`.

use super::facts::Facts;
use super::peers::Peers;
use futures_util::future::join_all;
use protocol::admin::{FailureRecord, NodeLine, NodeSnapshot};
use protocol::link::{VIEWERS_LOOK, may_steer};
use protocol::{Act, Identity, TenantId, limits};
use supervision::steer::is_at_or_below;
use tracing::{info, warn};

/// Names told to somebody who mistyped one.
const NAMES_TOLD_MAX: usize = 20;

/// Cheap to clone.
#[derive(Clone)]
pub struct Site {
    pub facts: Facts,
    pub peers: Peers,
}

/// Whose eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sees {
    /// Whoever is on this machine.
    All,
    /// An operator or viewer: this node, and the nodes of its tenant.
    Tenant(TenantId),
}

/// Nobody is there, or it is not clear who is meant; with the way out.
pub type NotFound = String;

impl Site {
    /// One line a node: this one, then the peers.
    pub fn lines(&self, sees: &Sees) -> Vec<NodeLine> {
        let here = NodeLine {
            node: self.facts.node.clone(),
            state: "self".to_owned(),
            since: self.facts.up_since,
            rtt_us: None,
            software: super::facts::SOFTWARE.to_owned(),
        };
        let peers = self.peers.lines().into_iter().filter(|peer| sees.node(&peer.node));
        std::iter::once(here).chain(peers).collect()
    }

    fn nodes(&self, sees: &Sees) -> Vec<Identity> {
        let peers = self.peers.ids().into_iter().filter(|peer| sees.node(peer));
        std::iter::once(self.facts.node.clone()).chain(peers).collect()
    }

    /// The trees of all nodes that answer, or what is at `path` of one.
    pub async fn trees(&self, path: Option<&str>, sees: &Sees) -> Result<Vec<NodeSnapshot>, NotFound> {
        let Some(path) = path else {
            let trees = self.nodes(sees).into_iter().map(|node| async move { self.tree(&node, None, sees).await });
            return Ok(join_all(trees).await.into_iter().flatten().collect());
        };
        let (node, path) = locate(path, &self.nodes(sees))?;
        let Some(mut tree) = self.tree(&node, Some(&path), sees).await else {
            return Err(format!("{node} does not show its tree now"));
        };
        let near = nearest(&tree, &path);
        tree.actors.retain(|actor| is_at_or_below(&actor.path, &path));
        if tree.actors.is_empty() { Err(near) } else { Ok(vec![tree]) }
    }

    async fn tree(&self, node: &Identity, path: Option<&str>, sees: &Sees) -> Option<NodeSnapshot> {
        if *node != self.facts.node {
            return self.peers.snapshot(node).await;
        }
        // The whole of it if nothing is there: whoever mistyped is told what is near.
        let there = path.filter(|path| self.facts.roll.get(path).is_some());
        let mut tree = self.facts.snapshot(there).await;
        tree.actors.retain(|actor| sees.row(&self.facts.node, &actor.path));
        Some(tree)
    }

    /// The newest `limit` failures of all nodes, or at `path` of one; oldest first.
    pub async fn failures(
        &self,
        path: Option<&str>,
        limit: usize,
        sees: &Sees,
    ) -> Result<Vec<FailureRecord>, NotFound> {
        let nodes = self.nodes(sees);
        let (nodes, path) = match path {
            Some(path) => {
                let (node, path) = locate(path, &nodes)?;
                if node != self.facts.node && !self.peers.is_linked(&node) {
                    // "None" would be false just when somebody asks what a dead node died of.
                    return Err(format!(
                        "{node} is not linked now: its failures are on its own disk, and told when it is back; \
                         `watchtree nodes` shows since when"
                    ));
                }
                (vec![node], Some(path))
            }
            None => (nodes, None),
        };
        let path = &path;
        let asked = nodes.iter().map(|node| async move {
            if *node != self.facts.node {
                return self.peers.failures(node, path.clone(), u32::try_from(limit).unwrap_or(u32::MAX)).await;
            }
            let mut own = self.facts.failures(path.as_deref(), limit);
            own.retain(|record| sees.row(node, &record.path));
            own
        });
        let mut records: Vec<FailureRecord> = join_all(asked).await.into_iter().flatten().collect();
        records.sort_by_key(|record| record.at);
        Ok(records.split_off(records.len().saturating_sub(limit)))
    }

    /// Does `act` to the actor at `path`, here or at a peer. What is asked of a peer is on both audit logs.
    pub async fn steer(&self, path: String, act: Act, by: Identity) -> Result<String, String> {
        let site = self.clone();
        // Whoever asks may hang up half-way: the log says all the same what came of it.
        let steering = tokio::spawn(async move { site.steer_and_tell(&path, act, &by).await });
        steering.await.unwrap_or_else(|error| Err(format!("steering failed: {error}")))
    }

    async fn steer_and_tell(&self, path: &str, act: Act, by: &Identity) -> Result<String, String> {
        let sees = Sees::Tenant(by.tenant.clone());
        let may = if may_steer(by.role) { limits::check_path(path) } else { Err(VIEWERS_LOOK.to_owned()) };
        let found = may.and_then(|()| locate(path, &self.nodes(&sees)));
        let (node, local) = match found {
            Ok(found) => found,
            Err(why) => {
                warn!(target: "audit", %by, path = limits::short_text(path), %act, result = why, "not steered");
                return Err(why);
            }
        };
        if node == self.facts.node {
            return self.facts.steer(local, act, by.clone()).await;
        }
        let result = self.peers.steer(&node, local, act, by.clone()).await;
        match &result {
            Ok(done) => info!(target: "audit", %by, %node, path, %act, result = done, "steered"),
            Err(why) => warn!(target: "audit", %by, %node, path, %act, result = why, "not steered"),
        }
        result
    }
}

impl Sees {
    fn node(&self, node: &Identity) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(tenant) => node.tenant == *tenant,
        }
    }

    /// Connections of other tenants are not for their neighbours' eyes. They are named after their identity.
    fn row(&self, here: &Identity, path: &str) -> bool {
        let Self::Tenant(tenant) = self else { return true };
        let name = path.strip_prefix(here.name.as_str()).and_then(|rest| rest.strip_prefix("/peers/"));
        name.is_none_or(|name| name.split('.').next() == Some(tenant.as_str()))
    }
}

/// The node that a path begins with, and the path as that node has it.
fn locate(path: &str, nodes: &[Identity]) -> Result<(Identity, String), NotFound> {
    let whole = |node: &&Identity| is_at_or_below(path, &node.to_string());
    if let Some(node) = nodes.iter().find(whole) {
        let below = &path[node.to_string().len()..];
        return Ok((node.clone(), format!("{}{below}", node.name)));
    }
    let name = path.split('/').next().unwrap_or_default();
    let named: Vec<&Identity> = nodes.iter().filter(|node| node.name.as_str() == name).collect();
    match named[..] {
        [node] => Ok((node.clone(), path.trim_end_matches('/').to_owned())),
        [] => {
            let names = told(nodes.iter().map(|node| node.name.to_string()));
            Err(format!("no node is called {}; there are: {names}", limits::short_text(name)))
        }
        [first, ..] => {
            let them = told(named.iter().map(ToString::to_string));
            Err(format!("several nodes are called {name}: {them}; write the whole, as in {first}/…"))
        }
    }
}

/// What there is at the place where `path` leaves the tree.
fn nearest(tree: &NodeSnapshot, path: &str) -> String {
    let mut above = path;
    while let Some((parent, _)) = above.rsplit_once('/') {
        above = parent;
        let name = |actor: &str| actor.strip_prefix(above)?.strip_prefix('/')?.split('/').next().map(str::to_owned);
        let mut names: Vec<String> = tree.actors.iter().filter_map(|actor| name(&actor.path)).collect();
        names.dedup();
        if !names.is_empty() {
            return format!("nothing is at {path}; {above} has: {}", told(names));
        }
    }
    format!("nothing is at {path}")
}

fn told(names: impl IntoIterator<Item = String>) -> String {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names.dedup();
    let more = names.len().saturating_sub(NAMES_TOLD_MAX);
    names.truncate(NAMES_TOLD_MAX);
    let list = names.join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<Identity> {
        let nodes = ["main/relay/hub", "main/edge/yard", "main/edge/barn", "main/gpu/barn"];
        nodes.map(|node| node.parse().expect("an identity")).to_vec()
    }

    #[track_caller]
    fn check(path: &str, node: &str, local: &str) {
        let (found, at) = locate(path, &nodes()).expect(path);
        assert_eq!((found.to_string().as_str(), at.as_str()), (node, local));
    }

    #[test]
    fn a_path_begins_with_its_node() {
        check("yard/cameras/door", "main/edge/yard", "yard/cameras/door");
        check("hub", "main/relay/hub", "hub");
        check("yard/", "main/edge/yard", "yard");
    }

    #[test]
    fn a_name_that_two_nodes_have_is_told_apart_by_the_whole_identity() {
        let why = locate("barn/asker", &nodes()).expect_err("two barns");
        assert!(why.contains("main/edge/barn, main/gpu/barn") && why.contains("main/edge/barn/…"), "{why}");
        check("main/gpu/barn/workers", "main/gpu/barn", "barn/workers");
        check("main/edge/barn", "main/edge/barn", "barn");
    }

    #[test]
    fn a_node_that_is_not_there_is_answered_with_those_that_are() {
        let why = locate("yrad/cameras", &nodes()).expect_err("a slip");
        assert_eq!(why, "no node is called yrad; there are: barn, hub, yard");
    }

    #[test]
    fn connections_of_another_tenant_are_not_shown() {
        let hub: Identity = "main/relay/hub".parse().expect("an identity");
        let acme = Sees::Tenant("acme".parse().expect("a name"));
        for (path, seen) in [
            ("hub/store", true),
            ("hub/peers", true),
            ("hub/peers/acme.edge.yard", true),
            ("hub/peers/acme-2.edge.yard", false),
            ("hub/peers/main.edge.yard.2", false),
            ("hub-2/peers/x", true),
        ] {
            assert_eq!(acme.row(&hub, path), seen, "{path}");
            assert!(Sees::All.row(&hub, path));
        }
    }
}
