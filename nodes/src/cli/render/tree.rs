//! `watchtree tree` as a drawing: a node is a root, its actors hang below it.

use super::{Cell, Paint, Table, state_paint, time};
use protocol::Timestamp;
use protocol::admin::{ActorStatus, NodeLine, NodeSnapshot};

/// Levels drawn; what lies deeper stays in its parent's name. An edge could send a path without end.
const LEVELS_MAX: usize = 12;

/// One name of a path, what is known of it, and what lies below.
#[derive(Default)]
struct Branch<'a> {
    name: &'a str,
    status: Option<&'a ActorStatus>,
    below: Vec<Branch<'a>>,
}

impl<'a> Branch<'a> {
    fn grow(&mut self, mut path: impl Iterator<Item = &'a str>, status: &'a ActorStatus) {
        let Some(name) = path.next() else {
            self.status = Some(status);
            return;
        };
        let known = self.below.iter().position(|branch| branch.name == name);
        let index = known.unwrap_or_else(|| {
            self.below.push(Branch { name, ..Self::default() });
            self.below.len() - 1
        });
        self.below[index].grow(path, status);
    }
}

pub(in super::super) fn table(nodes: &[NodeSnapshot], absent: &[NodeLine], now: Timestamp) -> Table {
    let mut table = Table::new(&["ACTOR", "STATE", "RESTARTS", "SINCE", "WHAT IT SAYS"], &[2]);
    for node in nodes {
        draw_node(node, now, &mut table);
    }
    for line in absent {
        let says = match line.state.as_str() {
            "gone" => "its link is gone, and its tree with it",
            _ => "it did not show its tree",
        };
        table.row(vec![
            Cell::painted(Paint::Heading, line.node.to_string()),
            Cell::painted(Paint::Bad, &line.state),
            Cell::new(""),
            Cell::new(time::ago(line.since, now)),
            Cell::new(says),
        ]);
    }
    table
}

/// The same in a sentence, for where no table is drawn.
pub(in super::super) fn absence(line: &NodeLine, now: Timestamp) -> String {
    format!("{} is {} ({}) and did not show its tree", line.node, line.state, time::ago(line.since, now))
}

fn draw_node(node: &NodeSnapshot, now: Timestamp, table: &mut Table) {
    let mut trunk = Branch::default();
    for actor in &node.actors {
        trunk.grow(actor.path.splitn(LEVELS_MAX, '/'), actor);
    }
    // Every path begins with the node's name; if one does not, it is drawn as it is.
    let name = node.node.name.as_str();
    let own = trunk.below.iter().position(|branch| branch.name == name).map(|index| trunk.below.remove(index));
    let mut root = own.unwrap_or_default();
    root.below.append(&mut trunk.below);

    draw_root(node, root.status, now, table);
    draw_notes(node, !root.below.is_empty(), table);
    draw_below(&root, "", now, table);
}

fn draw_root(node: &NodeSnapshot, supervisor: Option<&ActorStatus>, now: Timestamp, table: &mut Table) {
    let (state, paint) = if node.ready { ("ready", Paint::Good) } else { ("not ready", Paint::Bad) };
    let failed = supervisor.and_then(|status| status.last_reason.as_ref());
    let says = failed.map_or(node.software.clone(), |reason| format!("{}; last failure: {reason}", node.software));
    table.row(vec![
        Cell::painted(Paint::Heading, node.node.to_string()),
        Cell::painted(paint, state),
        Cell::new(""),
        Cell::new(time::ago(node.up_since, now)),
        Cell::painted(Paint::Aside, says),
    ]);
}

fn draw_notes(node: &NodeSnapshot, has_actors: bool, table: &mut Table) {
    let trunk = if has_actors { "│" } else { " " };
    for note in &node.notes {
        table.across(Cell::painted(Paint::Warning, format!("{trunk}  ! {note}")));
    }
    if let Some(outbox) = &node.outbox {
        let waiting = outbox.accepted.saturating_sub(outbox.acked);
        let paint = if waiting == 0 { Paint::Aside } else { Paint::Normal };
        let text = format!("{trunk}  outbox: {} accepted, {} acknowledged", outbox.accepted, outbox.acked);
        table.across(Cell::painted(paint, text));
    }
    if node.actors_omitted > 0 {
        let text = format!("{trunk}  {} more actors are not shown: the answer would be too long", node.actors_omitted);
        table.across(Cell::painted(Paint::Warning, text));
    }
}

fn draw_below(branch: &Branch<'_>, indent: &str, now: Timestamp, table: &mut Table) {
    let last = branch.below.len().saturating_sub(1);
    for (index, child) in branch.below.iter().enumerate() {
        let (knee, bar) = if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw_actor(&format!("{indent}{knee}{}", child.name), child.status, now, table);
        draw_below(child, &format!("{indent}{bar}"), now, table);
    }
}

fn draw_actor(name: &str, status: Option<&ActorStatus>, now: Timestamp, table: &mut Table) {
    let Some(status) = status else {
        return table.row(vec![Cell::new(name)]);
    };
    let restarts = if status.restarts == 0 { String::new() } else { status.restarts.to_string() };
    table.row(vec![
        Cell::new(name),
        Cell::painted(state_paint(&status.state), &status.state),
        Cell::new(restarts),
        Cell::new(time::ago(status.since, now)),
        Cell::new(says(status)),
    ]);
}

/// A running actor's failure is history, and told as such.
fn says(status: &ActorStatus) -> String {
    match (&status.note, &status.last_reason) {
        (None, None) => String::new(),
        (Some(note), None) => note.clone(),
        (None, Some(reason)) if status.state == "running" => format!("last failure: {reason}"),
        (None, Some(reason)) => reason.clone(),
        (Some(note), Some(reason)) => format!("{note}; last failure: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::super::samples::{actor, line, now, snapshot};
    use super::*;
    use protocol::Epoch;
    use protocol::admin::OutboxStatus;

    fn drawn(nodes: &[NodeSnapshot], absent: &[NodeLine]) -> String {
        table(nodes, absent, now()).render(Style::Plain)
    }

    fn yard() -> NodeSnapshot {
        let mut session = actor("yard/cameras/door/session");
        session.state = "backoff".to_owned();
        session.restarts = 12;
        session.last_reason = Some("error: refused: nobody listens at 10.0.0.5:554".to_owned());
        let mut http = actor("yard/http");
        http.note = Some("http://127.0.0.1:9601".to_owned());
        let actors = vec![actor("yard"), actor("yard/cameras"), session, actor("yard/cameras/gate"), http];
        let mut yard = snapshot("main/edge/yard", actors);
        yard.ready = false;
        yard.notes = vec!["relay link is down".to_owned()];
        yard.outbox = Some(OutboxStatus { epoch: Epoch(1), accepted: 12, acked: 9 });
        yard
    }

    #[test]
    fn a_node_is_the_root_of_its_actors() {
        let expected = "\
ACTOR             STATE      RESTARTS  SINCE   WHAT IT SAYS
main/edge/yard    not ready            2h ago  watchtree 0.1.0
│  ! relay link is down
│  outbox: 12 accepted, 9 acknowledged
├─ cameras        running              3m ago
│  ├─ door
│  │  └─ session  backoff          12  3m ago  error: refused: nobody listens at 10.0.0.5:554
│  └─ gate        running              3m ago
└─ http           running              3m ago  http://127.0.0.1:9601
";
        assert_eq!(drawn(&[yard()], &[]), expected);
    }

    #[test]
    fn a_node_that_is_gone_is_drawn_all_the_same() {
        let expected = "\
ACTOR           STATE  RESTARTS  SINCE   WHAT IT SAYS
main/edge/barn  gone             3m ago  its link is gone, and its tree with it
";
        assert_eq!(drawn(&[], &[line("main/edge/barn", "gone")]), expected);
    }

    #[test]
    fn a_past_failure_of_a_running_actor_is_told_as_past() {
        let mut actor = actor("yard/outbox");
        actor.last_reason = Some("panic: disk".to_owned());
        assert_eq!(says(&actor), "last failure: panic: disk");
        actor.state = "parked".to_owned();
        assert_eq!(says(&actor), "panic: disk");
    }

    #[test]
    fn an_endless_path_is_drawn_to_a_limit() {
        let node = snapshot("main/edge/yard", vec![actor(&vec!["yard"; 100_000].join("/"))]);
        assert_eq!(drawn(&[node], &[]).lines().count(), LEVELS_MAX + 1);
    }
}
