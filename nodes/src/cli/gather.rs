//! Gather: what the nodes that are asked tell of themselves and of each other, merged into one view.
//!
//!   relay a ══nodes, trees═▶ telling ┐
//!   gpu b   ══nodes, trees═▶ telling ┴─▶ view: one tree a node, and who should have shown one
//!
//! Of a node that several others tell of, what it says itself counts. One that should show its tree
//! and does not is listed without it: absence must not look like health. Sessions are kept from look
//! to look; one that is lost is dialled again at the next.

use super::render::absent::Absence;
use super::session::{Dialler, Session, Unanswered};
use super::{Failure, warn};
use config::HostPort;
use protocol::admin::{NodeLine, NodeSnapshot, Reply, Request};
use protocol::{Identity, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;
use supervision::steer::is_at_or_below;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// A node that has not told its trees by then is dialled again at the next look. It has 2 s for its peers' trees.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// The site at one moment.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub nodes: Vec<NodeSnapshot>,
    /// Those that should have shown their tree and did not.
    pub absent: Vec<Absence>,
    /// Why some of those that were asked did not answer, while others did: what they know is missing.
    pub silent: Vec<String>,
    pub at: Timestamp,
    /// The same moment on a clock that does not jump, for rates.
    pub taken: Instant,
}

/// A view, and what is worth saying about how it came about.
pub(super) struct Look {
    pub view: View,
    /// One for each node that is known.
    pub lines: Vec<NodeLine>,
    /// A node's words for a path where nothing is.
    hint: Option<String>,
}

impl Look {
    /// The view, unless nothing is where one was asked to look.
    pub fn found(self, path: Option<&str>) -> Result<View, Failure> {
        let Some(path) = path.filter(|_| self.view.nodes.is_empty() && self.view.absent.is_empty()) else {
            return Ok(self.view);
        };
        let text = format!("no actor is at or below `{path}`; `watchtree tree` shows them all");
        Err(Failure::new(self.hint.unwrap_or(text)))
    }
}

/// Looks again and again.
pub(super) struct Gatherer {
    dialler: Dialler,
    posts: Vec<Post>,
    path: Option<String>,
}

/// Somebody to be asked.
struct Post {
    at: HostPort,
    session: Option<Session>,
}

impl Gatherer {
    pub fn new(dialler: Dialler, targets: &[HostPort], path: Option<&str>) -> Self {
        let posts = targets.iter().map(|at| Post { at: at.clone(), session: None }).collect();
        Self { dialler, posts, path: path.map(str::to_owned) }
    }

    /// Fails if nobody answers; the first one's reason then. Not cancel-safe: whom to ask would be forgotten.
    pub async fn look(&mut self) -> Result<Look, Unanswered> {
        let mut visits = JoinSet::new();
        for (nth, post) in self.posts.drain(..).enumerate() {
            let (dialler, path) = (self.dialler.clone(), self.path.clone());
            visits.spawn(async move { (nth, visit(dialler, post, path).await) });
        }
        let mut results = visits.join_all().await;
        results.sort_by_key(|(nth, _)| *nth);
        let (mut told, mut silent) = (Vec::new(), Vec::new());
        for (_, (post, result)) in results {
            self.posts.push(post);
            match result {
                Ok(telling) => told.push(telling),
                Err(unanswered) => silent.push(unanswered),
            }
        }
        if told.is_empty() {
            return Err(silent.into_iter().next().unwrap_or(Unanswered::Lost("--connect names nobody".to_owned())));
        }
        let silent = silent.iter().map(|unanswered| unanswered.text().to_owned()).collect();
        Ok(merged(told, silent, self.path.as_deref()))
    }
}

async fn visit(dialler: Dialler, post: Post, path: Option<String>) -> (Post, Result<Telling, Unanswered>) {
    let Post { at, session } = post;
    let dialled = match session {
        Some(session) => Ok(session),
        None => dialler.dial(&at).await,
    };
    let session = match dialled {
        Ok(session) => session,
        Err(unanswered) => return (Post { at, session: None }, Err(unanswered)),
    };
    let silent =
        || Unanswered::Lost(format!("{} at {at} said nothing for {} s", session.node(), LOOK_WITHIN.as_secs()));
    let told = timeout(LOOK_WITHIN, Telling::of(&session, path)).await.unwrap_or_else(|_| Err(silent()));
    let keep = !matches!(told, Err(Unanswered::Lost(_)));
    (Post { at, session: keep.then_some(session) }, told)
}

/// What a node asked for its tree says.
struct Telling {
    by: Identity,
    lines: Vec<NodeLine>,
    trees: Vec<NodeSnapshot>,
    /// Why others are not among them.
    missing: BTreeMap<Identity, String>,
    /// It knows of nothing at the path.
    hint: Option<String>,
}

impl Telling {
    async fn of(session: &Session, path: Option<String>) -> Result<Self, Unanswered> {
        let lines = lines(session).await?;
        let mut told =
            Self { by: session.node().clone(), lines, trees: Vec::new(), missing: BTreeMap::new(), hint: None };
        let somewhere = path.is_some();
        let mut replies = session.ask(&Request::Tree { path }).await?;
        loop {
            match replies.next().await {
                Ok(Some(Reply::Node(snapshot))) => told.trees.push(*snapshot),
                Ok(Some(Reply::Missing { node, why })) => drop(told.missing.insert(node, why)),
                Ok(Some(_)) => return Err(replies.unexpected()),
                Ok(None) => return Ok(told),
                // Perhaps another of those asked knows the path.
                Err(Unanswered::Refused(why)) if somewhere => return Ok(Self { hint: Some(why), ..told }),
                Err(unanswered) => return Err(unanswered),
            }
        }
    }
}

impl Telling {
    fn knows(&self, node: &Identity) -> bool {
        self.lines.iter().any(|line| line.node == *node)
    }
}

pub(super) async fn lines(session: &Session) -> Result<Vec<NodeLine>, Unanswered> {
    let (mut replies, mut all) = (session.ask(&Request::Nodes).await?, Vec::new());
    loop {
        match replies.next().await? {
            Some(Reply::Nodes(some)) => all.extend(some),
            Some(_) => return Err(replies.unexpected()),
            None => return Ok(all),
        }
    }
}

/// A node that was reached and then did not answer is a warning, unless nobody did.
pub(super) fn answers<T>(results: Vec<Result<T, Unanswered>>) -> Result<Vec<T>, Failure> {
    let (answers, silent): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let mut silent: Vec<Unanswered> = silent.into_iter().filter_map(Result::err).collect();
    let answers: Vec<T> = answers.into_iter().filter_map(Result::ok).collect();
    let last_words = if answers.is_empty() { silent.pop() } else { None };
    silent.iter().for_each(|unanswered| warn(unanswered.text()));
    last_words.map_or(Ok(answers), |unanswered| Err(unanswered.into()))
}

fn merged(told: Vec<Telling>, silent: Vec<String>, path: Option<&str>) -> Look {
    let hint = told.iter().find_map(|telling| telling.hint.clone());
    let lines = merge_lines(told.iter().flat_map(|telling| telling.lines.iter().cloned()));
    let mut absent = lines.clone();
    if let Some(path) = path {
        // Who has nothing at the path says so, and is there all the same: the others were to show their tree.
        let owed = |line: &NodeLine| told.iter().any(|telling| telling.hint.is_none() && telling.knows(&line.node));
        absent.retain(|line| is_of(path, &line.node) && owed(line));
    }
    let missing: BTreeMap<Identity, String> = told.iter().flat_map(|telling| telling.missing.clone()).collect();
    // Cut to the path by whoever sent them.
    let nodes = merge_trees(told);
    absent.retain(|line| nodes.iter().all(|node| node.node != line.node));
    let absent = absent.into_iter().map(|line| Absence::new(line.clone(), missing.get(&line.node))).collect();
    Look { view: View { nodes, absent, silent, at: Timestamp::now(), taken: Instant::now() }, lines, hint }
}

/// Whether a path leads to this node: it begins with its name, or with the whole of its identity.
pub(super) fn is_of(path: &str, node: &Identity) -> bool {
    path.split('/').next() == Some(node.name.as_str()) || is_at_or_below(path, &node.to_string())
}

/// One line a node: its own word, else that of who is linked to it, else the last that was heard.
fn merge_lines(lines: impl Iterator<Item = NodeLine>) -> Vec<NodeLine> {
    fn weight(line: &NodeLine) -> (u8, Timestamp) {
        let rank = match line.state.as_str() {
            "self" => 2,
            "linked" => 1,
            _ => 0,
        };
        (rank, line.since)
    }
    let mut best: BTreeMap<Identity, NodeLine> = BTreeMap::new();
    for line in lines {
        match best.get(&line.node) {
            Some(known) if weight(known) >= weight(&line) => {}
            _ => {
                best.insert(line.node.clone(), line);
            }
        }
    }
    let mut merged: Vec<NodeLine> = best.into_values().collect();
    // Relays first: the others hang on them.
    merged.sort_by_key(|line| (line.node.role != protocol::Role::Relay, line.node.clone()));
    merged
}

/// One tree a node: its own, else the newest process's that somebody had from it.
fn merge_trees(told: Vec<Telling>) -> Vec<NodeSnapshot> {
    let mut best: BTreeMap<Identity, ((bool, Timestamp), NodeSnapshot)> = BTreeMap::new();
    for Telling { by, trees, .. } in told {
        for tree in trees {
            let weight = (tree.node == by, tree.up_since);
            match best.get(&tree.node) {
                Some((known, _)) if *known >= weight => {}
                _ => {
                    best.insert(tree.node.clone(), (weight, tree));
                }
            }
        }
    }
    let mut merged: Vec<NodeSnapshot> = best.into_values().map(|(_, tree)| tree).collect();
    merged.sort_by_key(|tree| (tree.node.role != protocol::Role::Relay, tree.node.clone()));
    merged
}

#[cfg(test)]
mod tests;
