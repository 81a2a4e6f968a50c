//! Changes: what differs between a look and those before it. Pure.
//!
//!   view, view, view ─▶ [memory] ─▶ yard/cameras/door  running → backoff
//!
//! What a node that is gone had is remembered: when it is back, only what differs is told.

use super::gather::View;
use super::render::tree::readiness;
use protocol::admin::{ActorStatus, NodeSnapshot};
use protocol::{Identity, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

/// One thing that became different.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Change {
    /// When it was seen.
    pub at: Timestamp,
    pub node: Identity,
    /// `None`: the node itself.
    pub path: Option<String>,
    /// `None`: it was not known before.
    pub was: Option<String>,
    /// Of an actor its state, or `removed`; of a node `ready`, `not ready`, `gone` or `silent`.
    pub state: String,
    pub restarts: u64,
    /// Of an actor why it last failed; of a node what keeps it from being ready.
    pub why: Option<String>,
}

impl Change {
    /// Whether anything is wrong with it now.
    pub fn is_bad(&self) -> bool {
        !matches!(self.state.as_str(), "running" | "ready" | "removed")
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Standing {
    state: String,
    restarts: u64,
    why: Option<String>,
}

/// What was seen last of each node and actor.
#[derive(Default)]
pub(super) struct Memory(BTreeMap<Identity, Known>);

#[derive(Default)]
struct Known {
    own: Option<Standing>,
    actors: BTreeMap<String, Standing>,
}

impl Memory {
    /// What the view has that was not so before; at the first, everything.
    pub fn see(&mut self, view: &View) -> Vec<Change> {
        let mut changes = Vec::new();
        for absence in &view.absent {
            let (state, why) = (absence.state().to_owned(), absence.why().to_owned());
            let now = Standing { state, restarts: 0, why: Some(why) };
            let node = &absence.line.node;
            let known = self.0.entry(node.clone()).or_default();
            changes.extend(renewed(&mut known.own, now).map(|(was, now)| told(view.at, node, None, was, now)));
        }
        for node in &view.nodes {
            self.0.entry(node.node.clone()).or_default().see(node, view.at, &mut changes);
        }
        changes
    }
}

impl Known {
    fn see(&mut self, node: &NodeSnapshot, at: Timestamp, changes: &mut Vec<Change>) {
        let id = &node.node;
        let why = (!node.notes.is_empty()).then(|| node.notes.join("; "));
        let now = Standing { state: readiness(node).0.to_owned(), restarts: 0, why };
        changes.extend(renewed(&mut self.own, now).map(|(was, now)| told(at, id, None, was, now)));
        let mut earlier = std::mem::take(&mut self.actors);
        for actor in &node.actors {
            let mut slot = earlier.remove(&actor.path);
            if let Some((was, now)) = renewed(&mut slot, standing(actor)) {
                changes.push(told(at, id, Some(actor.path.clone()), was, now));
            }
            self.actors.extend(slot.map(|slot| (actor.path.clone(), slot)));
        }
        // Of a tree that was cut nobody knows what is missing.
        if node.actors_omitted > 0 {
            self.actors.append(&mut earlier);
        }
        for (path, was) in earlier {
            let now = Standing { state: "removed".to_owned(), why: None, ..was };
            changes.push(told(at, id, Some(path), Some(was.state), now));
        }
    }
}

fn standing(actor: &ActorStatus) -> Standing {
    Standing { state: actor.state.clone(), restarts: actor.restarts, why: actor.last_reason.clone() }
}

/// Puts `now` into the slot; what it was and is, if that is news. More restarts are, even where all is well again.
fn renewed(slot: &mut Option<Standing>, now: Standing) -> Option<(Option<String>, Standing)> {
    let before = slot.replace(now.clone());
    let news = before.as_ref().is_none_or(|was| was.state != now.state || was.restarts < now.restarts);
    news.then(|| (before.map(|was| was.state), now))
}

fn told(at: Timestamp, node: &Identity, path: Option<String>, was: Option<String>, now: Standing) -> Change {
    let Standing { state, restarts, why } = now;
    Change { at, node: node.clone(), path, was, state, restarts, why }
}

#[cfg(test)]
mod tests {
    use super::super::render::absent::Absence;
    use super::super::render::samples::{actor, line, now, snapshot};
    use super::*;
    use tokio::time::Instant;

    fn view(nodes: Vec<NodeSnapshot>) -> View {
        View { nodes, absent: vec![], silent: vec![], at: now(), taken: Instant::now() }
    }

    /// The yard with one camera, in this state and so often restarted.
    fn yard(state: &str, restarts: u64) -> View {
        let mut door = actor("yard/door");
        (door.state, door.restarts) = (state.to_owned(), restarts);
        view(vec![snapshot("main/edge/yard", vec![door])])
    }

    /// `path: was > is`
    fn seen(memory: &mut Memory, view: &View) -> Vec<String> {
        let line = |change: Change| {
            let what = change.path.unwrap_or_else(|| change.node.to_string());
            format!("{what}: {} > {}", change.was.unwrap_or_default(), change.state)
        };
        memory.see(view).into_iter().map(line).collect()
    }

    #[test]
    fn the_first_look_tells_all_and_the_next_what_differs() {
        let mut memory = Memory::default();
        assert_eq!(seen(&mut memory, &yard("running", 0)), ["main/edge/yard:  > ready", "yard/door:  > running"]);
        assert!(seen(&mut memory, &yard("running", 0)).is_empty());
        assert_eq!(seen(&mut memory, &yard("backoff", 0)), ["yard/door: running > backoff"]);
        assert!(seen(&mut memory, &yard("backoff", 0)).is_empty());
    }

    #[test]
    fn a_restart_between_two_looks_is_told() {
        let mut memory = Memory::default();
        seen(&mut memory, &yard("running", 3));
        assert_eq!(seen(&mut memory, &yard("running", 4)), ["yard/door: running > running"]);
    }

    #[test]
    fn a_node_that_is_gone_is_one_change_and_its_return_another() {
        let mut memory = Memory::default();
        seen(&mut memory, &yard("running", 3));
        let gone = View { absent: vec![Absence::new(line("main/edge/yard", "gone"), None)], ..view(vec![]) };
        assert_eq!(seen(&mut memory, &gone), ["main/edge/yard: ready > gone"]);
        assert!(seen(&mut memory, &gone).is_empty());
        // Its counts begin again with its process.
        assert_eq!(seen(&mut memory, &yard("running", 0)), ["main/edge/yard: gone > ready"]);
    }

    #[test]
    fn what_left_the_tree_is_told_unless_the_tree_was_cut() {
        let (mut memory, mut cut) = (Memory::default(), Memory::default());
        let mut empty = view(vec![snapshot("main/edge/yard", vec![])]);
        seen(&mut memory, &yard("running", 0));
        assert_eq!(seen(&mut memory, &empty), ["yard/door: running > removed"]);
        seen(&mut cut, &yard("running", 0));
        empty.nodes[0].actors_omitted = 1;
        assert!(seen(&mut cut, &empty).is_empty());
        assert_eq!(seen(&mut cut, &yard("backoff", 0)), ["yard/door: running > backoff"]);
    }
}
