//! Inventory: `watchtree nodes` and `watchtree tree`: who is there, and how each part of them is.
//!
//! Of a node that several others tell of, what it says itself counts. One that should show its tree
//! and does not is drawn without it: absence must not look like health.

use super::args::{NodesArgs, Output, TreeArgs};
use super::out::Out;
use super::render::{nodes as draw_nodes, tree as draw_tree};
use super::session::{Dialler, Session, Unanswered};
use super::{Failure, warn};
use protocol::admin::{NodeLine, NodeSnapshot, Reply, Request};
use protocol::{Identity, Timestamp};
use std::collections::BTreeMap;

pub(super) async fn nodes(args: &NodesArgs, out: &mut Out) -> Result<(), Failure> {
    let dialler = Dialler::new(&args.access)?;
    let sessions = dialler.dial_all(&args.access.connect).await?;
    let mut told = Vec::new();
    for session in &sessions {
        told.push(lines(session).await);
    }
    let nodes = merge_lines(answers(told)?.into_iter().flatten());
    match args.output {
        Output::Json => out.json_document(&nodes)?,
        Output::Table => out.text(&draw_nodes::table(&nodes, Timestamp::now()).cut_to(out.width).render(out.style))?,
    }
    out.flush()?;
    drop(sessions);
    dialler.hang_up().await;
    Ok(())
}

pub(super) async fn tree(args: &TreeArgs, out: &mut Out) -> Result<(), Failure> {
    let dialler = Dialler::new(&args.access)?;
    let sessions = dialler.dial_all(&args.access.connect).await?;
    let mut told = Vec::new();
    for session in &sessions {
        told.push(Telling::of(session).await);
    }
    let told = answers(told)?;
    drop(sessions);
    let (shown, absent) = selected(told, args.path.as_deref())?;
    let now = Timestamp::now();
    match args.output {
        Output::Json => {
            absent.iter().for_each(|line| warn(draw_tree::absence(line, now)));
            out.json_document(&shown)?;
        }
        Output::Table => {
            // Who names a part wants to know all about it.
            let width = out.width.filter(|_| args.path.is_none());
            out.text(&draw_tree::table(&shown, &absent, now).cut_to(width).render(out.style))?;
        }
    }
    out.flush()?;
    dialler.hang_up().await;
    Ok(())
}

/// The trees to be shown, and the nodes that should have shown one.
fn selected(told: Vec<Telling>, path: Option<&str>) -> Result<(Vec<NodeSnapshot>, Vec<NodeLine>), Failure> {
    let mut absent = merge_lines(told.iter().flat_map(|telling| telling.lines.iter().cloned()));
    let mut shown = merge_trees(told);
    absent.retain(|line| shown.iter().all(|node| node.node != line.node));
    let Some(path) = path.map(|path| path.trim_matches('/')) else { return Ok((shown, absent)) };
    shown = shown.into_iter().filter_map(|node| below(path, node)).collect();
    absent.retain(|line| path.split('/').next() == Some(line.node.name.as_str()));
    if shown.is_empty() && absent.is_empty() {
        return Err(Failure::new(format!("no actor is at or below `{path}`; `watchtree tree` shows them all")));
    }
    Ok((shown, absent))
}

/// What a node asked for its tree says.
struct Telling {
    by: Identity,
    lines: Vec<NodeLine>,
    trees: Vec<NodeSnapshot>,
}

impl Telling {
    async fn of(session: &Session) -> Result<Self, Unanswered> {
        let lines = lines(session).await?;
        let mut replies = session.ask(&Request::Tree { path: None }).await?;
        let mut trees = Vec::new();
        while let Some(reply) = replies.next().await? {
            match reply {
                Reply::Node(snapshot) => trees.push(*snapshot),
                _ => return Err(replies.unexpected()),
            }
        }
        Ok(Self { by: session.node().clone(), lines, trees })
    }
}

async fn lines(session: &Session) -> Result<Vec<NodeLine>, Unanswered> {
    match session.ask_once(&Request::Nodes).await? {
        Some(Reply::Nodes(lines)) => Ok(lines),
        _ => {
            Err(Unanswered::Refused(format!("{} answered another question; are both of one version?", session.node())))
        }
    }
}

/// A node that was reached and then did not answer is a warning, unless nobody did.
fn answers<T>(results: Vec<Result<T, Unanswered>>) -> Result<Vec<T>, Failure> {
    let (answers, silent): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let mut silent: Vec<Unanswered> = silent.into_iter().filter_map(Result::err).collect();
    let answers: Vec<T> = answers.into_iter().filter_map(Result::ok).collect();
    let last_words = if answers.is_empty() { silent.pop() } else { None };
    silent.iter().for_each(|unanswered| warn(unanswered.text()));
    last_words.map_or(Ok(answers), |unanswered| Err(unanswered.into()))
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
    merged.sort_by_key(order);
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

/// Relays first: the others hang on them.
fn order(line: &NodeLine) -> (bool, Identity) {
    (line.node.role != protocol::Role::Relay, line.node.clone())
}

/// The part of a node at or below `path`, which ends between two names; `None` if nothing is.
fn below(path: &str, mut node: NodeSnapshot) -> Option<NodeSnapshot> {
    let is_below = |actor: &str| actor.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    node.actors.retain(|actor| is_below(&actor.path));
    (!node.actors.is_empty() || path == node.node.name.as_str()).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::super::render::samples::{actor, line, snapshot};
    use super::*;

    #[test]
    fn what_a_node_says_of_itself_wins() {
        let merged = merge_lines([line("main/relay/hub", "linked"), line("main/relay/hub", "self")].into_iter());
        assert_eq!(merged.iter().map(|line| line.state.as_str()).collect::<Vec<_>>(), ["self"]);
    }

    #[test]
    fn a_node_linked_to_one_relay_is_not_gone() {
        let merged = merge_lines([line("main/edge/yard", "linked"), line("main/edge/yard", "gone")].into_iter());
        assert_eq!(merged[0].state, "linked");
    }

    #[test]
    fn relays_come_first() {
        let lines = ["main/edge/yard", "main/gpu/one", "main/relay/hub"].map(|node| line(node, "linked"));
        assert_eq!(merge_lines(lines.into_iter())[0].node.to_string(), "main/relay/hub");
    }

    #[test]
    fn a_tree_from_its_own_node_wins() {
        let telling = |by: &str, note: &str| {
            let mut tree = snapshot("main/relay/hub", vec![]);
            tree.notes = vec![note.to_owned()];
            Telling { by: by.parse().expect(by), lines: vec![], trees: vec![tree] }
        };
        let merged = merge_trees(vec![telling("main/gpu/one", "hearsay"), telling("main/relay/hub", "own word")]);
        assert_eq!(merged[0].notes, ["own word"]);
    }

    #[test]
    fn a_path_ends_between_two_names() {
        let tree = snapshot("main/edge/yard", vec![actor("yard/cam"), actor("yard/cam/port"), actor("yard/camera")]);
        let paths = |path: &str| {
            below(path, tree.clone()).map(|node| node.actors.iter().map(|a| a.path.clone()).collect::<Vec<_>>())
        };
        assert_eq!(paths("yard/cam"), Some(vec!["yard/cam".to_owned(), "yard/cam/port".to_owned()]));
        assert_eq!(paths("yard/ca"), None);
    }
}
