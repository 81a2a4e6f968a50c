//! Site: this node and those linked to it, as somebody may see and steer them.
//!
//!   http (this machine) ──┐
//!   admin (a tenant's) ───┴──path──▶ [site] ──▶ facts of this node
//!                                      └──────▶ peers, over their links
//!
//! The first part of a path is a node's name. Where two nodes have the same, the whole identity stands
//! there: `main/gpu/yard/workers`.

#[cfg(test)]
mod tests;

use super::facts::{Facts, Outcome, Steering, audit};
use super::peers::Peers;
use crate::camera::desk;
use futures_util::{Stream, StreamExt, stream};
use protocol::admin::{FailureRecord, NodeLine, NodeSnapshot};
use protocol::cameras::{CameraChange, CameraSheet};
use protocol::frame::Ledger;
use protocol::link::{VIEWERS_LOOK, may_change_cameras, may_steer};
use protocol::{Act, CameraId, Identity, TenantId, limits};
use std::pin::pin;
use supervision::steer::is_at_or_below;

/// Names told to somebody who mistyped one.
const NAMES_TOLD_MAX: usize = 20;

/// Nodes whose answers one look waits for at once; each may be a whole message long. The others are asked as these
/// answer.
const ASKED_AT_ONCE: usize = 64;

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

/// A node that is there.
pub enum Shown {
    Tree(Box<NodeSnapshot>),
    /// It is gone or does not answer: whether it has the part that was asked for, nobody knows.
    Missing {
        node: Identity,
        why: String,
    },
}

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

    /// This node is seen by everybody who may look.
    pub fn sees(&self, sees: &Sees, node: &Identity) -> bool {
        *node == self.facts.node || sees.node(node)
    }

    fn nodes(&self, sees: &Sees) -> Vec<Identity> {
        let peers = self.peers.ids().into_iter().filter(|peer| sees.node(peer));
        std::iter::once(self.facts.node.clone()).chain(peers).collect()
    }

    /// The trees of all nodes, as they come.
    pub fn trees(&self, sees: &Sees) -> impl Stream<Item = Shown> + Send {
        let looks = self.nodes(sees).into_iter().map({
            let (site, sees) = (self.clone(), sees.clone());
            move |node| {
                let (site, sees) = (site.clone(), sees.clone());
                async move { site.shown(node, None, &sees).await }
            }
        });
        stream::iter(looks).buffer_unordered(ASKED_AT_ONCE)
    }

    /// What is at or below `path`, of the node that it names.
    pub async fn tree_at(&self, path: &str, sees: &Sees) -> Result<Shown, NotFound> {
        let (node, path) = locate(checked(path)?, &self.nodes(sees))?;
        let mut shown = self.shown(node, Some(&path), sees).await;
        if let Shown::Tree(tree) = &mut shown {
            let near = nearest(tree, &path);
            tree.actors.retain(|actor| is_at_or_below(&actor.path, &path));
            if tree.actors.is_empty() {
                return Err(near);
            }
        }
        Ok(shown)
    }

    async fn shown(&self, node: Identity, path: Option<&str>, sees: &Sees) -> Shown {
        match self.tree(&node, path, sees).await {
            Ok(tree) => Shown::Tree(Box::new(tree)),
            Err(why) => Shown::Missing { why: format!("it does not show its tree now: {why}"), node },
        }
    }

    async fn tree(&self, node: &Identity, path: Option<&str>, sees: &Sees) -> Result<NodeSnapshot, String> {
        let mut tree = if *node == self.facts.node {
            self.facts.snapshot(path).await
        } else {
            self.peers.snapshot(node, path.map(str::to_owned)).await?
        };
        tree.actors.retain(|actor| sees.row(node, &actor.path));
        tree.ledgers.retain(|ledger| sees.ledger(ledger));
        Ok(tree)
    }

    /// The newest `limit` failures of all nodes, or at `path` of one.
    pub async fn failures(&self, path: Option<&str>, limit: usize, sees: &Sees) -> Result<Failures, NotFound> {
        let nodes = self.nodes(sees);
        let (nodes, path) = match path {
            Some(path) => {
                let (node, path) = locate(checked(path)?, &nodes)?;
                (vec![node], Some(path))
            }
            None => (nodes, None),
        };
        let path = path.as_deref();
        let asked = nodes.into_iter().map(|node| async move {
            let told = self.failures_of(&node, path, limit, sees).await;
            (node, told)
        });
        let mut answers = pin!(stream::iter(asked).buffer_unordered(ASKED_AT_ONCE));
        let mut failures = Failures::default();
        while let Some((node, told)) = answers.next().await {
            match told {
                Ok((records, omitted)) => failures.add(&node, records, omitted, limit),
                // "None" would be false just when somebody asks what a dead node died of.
                Err(why) if path.is_some() => {
                    return Err(format!("{why}; its failures are on its own disk, and told when it is back"));
                }
                Err(why) => failures.missing.push((node, why)),
            }
        }
        Ok(failures)
    }

    async fn failures_of(
        &self,
        node: &Identity,
        path: Option<&str>,
        limit: usize,
        sees: &Sees,
    ) -> Result<(Vec<FailureRecord>, u32), String> {
        if *node != self.facts.node {
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            return self.peers.failures(node, path.map(str::to_owned), limit).await;
        }
        let mut own = self.facts.failures(path, limit);
        own.retain(|record| sees.row(node, &record.path));
        Ok((own, 0))
    }

    /// Does `act` to the actor at `path`, here or at a peer. What is asked of a peer is on both audit logs.
    pub async fn steer(&self, path: String, act: Act, by: Identity) -> Outcome {
        let site = self.clone();
        // Whoever asks may hang up half-way: the log says all the same what came of it.
        let steering = tokio::spawn(async move { site.steer_and_tell(path, act, by).await });
        steering.await.unwrap_or_else(|error| Err(format!("steering failed: {error}")))
    }

    async fn steer_and_tell(&self, path: String, act: Act, by: Identity) -> Outcome {
        let sees = Sees::Tenant(by.tenant.clone());
        let may = if may_steer(by.role) { limits::check_path(&path) } else { Err(VIEWERS_LOOK.to_owned()) };
        let (node, local) = match may.and_then(|()| locate(&path, &self.nodes(&sees))) {
            Ok(found) => found,
            Err(why) => {
                let refused = Err(why);
                audit(&by, &self.facts.node, &path, act, &refused);
                return refused;
            }
        };
        if node == self.facts.node {
            return self.facts.steer(local, act, by).await.told;
        }
        let Steering { told, end } = self.peers.steer(&node, local, act, by.clone()).await;
        audit(&by, &node, &path, act, &told);
        if let Some(end) = end {
            tokio::spawn(async move { audit(&by, &node, &path, act, &end.await) });
        }
        told
    }
}

/// Cameras of edges.
impl Site {
    /// The cameras of the edge at `path`, or the one at `path`; and how many do not fit.
    pub async fn cameras(&self, path: &str, sees: &Sees) -> Result<(Vec<CameraSheet>, u32), NotFound> {
        let (node, camera) = self.camera_at(path, sees)?;
        if node == self.facts.node {
            let (cameras, omitted) = self.facts.cameras(camera.as_ref());
            return cameras.map(|cameras| (cameras, omitted));
        }
        self.peers.cameras(&node, camera).await
    }

    /// Changes the camera at `path`. What is asked of an edge is on both audit logs.
    pub async fn change_camera(&self, path: String, change: CameraChange, by: Identity) -> Outcome {
        let site = self.clone();
        // Whoever asks may hang up half-way: the log says all the same what came of it.
        let changing = tokio::spawn(async move { site.change_and_tell(&path, change, by).await });
        changing.await.unwrap_or_else(|error| Err(format!("the change failed: {error}")))
    }

    async fn change_and_tell(&self, path: &str, change: CameraChange, by: Identity) -> Outcome {
        let sees = Sees::Tenant(by.tenant.clone());
        let may = if may_change_cameras(by.role) { Ok(()) } else { Err(VIEWERS_LOOK.to_owned()) };
        let found = may.and_then(|()| self.camera_at(path, &sees)).and_then(|(node, camera)| {
            let of_all = matches!(&change, CameraChange::Reset { keys } if keys.is_empty());
            match camera.is_some() || of_all {
                true => Ok((node, camera)),
                false => Err(format!("{} is an edge; name one of its cameras, as in {}/CAMERA", node, node.name)),
            }
        });
        let (node, camera) = match found {
            Ok(found) => found,
            Err(why) => {
                let refused = Err(why);
                desk::audit(&by, &self.facts.node, None, &change, &refused);
                return refused;
            }
        };
        if node == self.facts.node {
            return self.facts.change_camera(camera, change, by).await;
        }
        let outcome = self.peers.change_camera(&node, camera.clone(), change.clone(), by.clone()).await;
        desk::audit(&by, &node, camera.as_ref(), &change, &outcome);
        outcome
    }

    /// `EDGE` or `EDGE/CAMERA`; as in the tree, `EDGE/cameras/CAMERA` too.
    fn camera_at(&self, path: &str, sees: &Sees) -> Result<(Identity, Option<CameraId>), NotFound> {
        let (node, local) = locate(checked(path)?, &self.nodes(sees))?;
        let below = local.split_once('/').map_or("", |(_, below)| below);
        let name = below.strip_prefix("cameras/").unwrap_or(below);
        if name.is_empty() || name == "cameras" {
            return Ok((node, None));
        }
        let id =
            name.parse().map_err(|_| format!("`{}` is not a camera; write EDGE/CAMERA", limits::short_text(name)))?;
        Ok((node, Some(id)))
    }
}

/// What nodes tell of their failures.
#[derive(Default)]
pub struct Failures {
    /// Oldest first.
    pub records: Vec<FailureRecord>,
    /// Who has more to tell, or did not answer, and why.
    pub missing: Vec<(Identity, String)>,
}

impl Failures {
    /// Keeps the newest `limit` of all.
    fn add(&mut self, node: &Identity, records: Vec<FailureRecord>, omitted: u32, limit: usize) {
        self.records.extend(records);
        self.records.sort_by_key(|record| record.at);
        self.records.drain(..self.records.len().saturating_sub(limit));
        if omitted > 0 {
            let name = &node.name;
            let why = format!(
                "{omitted} older failures of {name} do not fit its answer; ask for a part of it, as in \
                 `watchtree failures {name}/PART`"
            );
            self.missing.push((node.clone(), why));
        }
    }
}

impl Sees {
    pub fn node(&self, node: &Identity) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(tenant) => node.tenant == *tenant,
        }
    }

    /// Connections of other tenants are not for their neighbours' eyes. They are named after their identity.
    pub fn row(&self, here: &Identity, path: &str) -> bool {
        let Self::Tenant(tenant) = self else { return true };
        let name = path.strip_prefix(here.name.as_str()).and_then(|rest| rest.strip_prefix("/peers/"));
        name.is_none_or(|name| name.split('.').next() == Some(tenant.as_str()))
    }

    /// Nor is what other tenants' edges ask of a gpu node.
    pub fn ledger(&self, ledger: &Ledger) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(tenant) => ledger.edge.split('/').next() == Some(tenant.as_str()),
        }
    }
}

/// As people type it: a slash at its end means nothing.
fn checked(path: &str) -> Result<&str, String> {
    let path = path.trim_end_matches('/');
    limits::check_path(path).map(|()| path)
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
