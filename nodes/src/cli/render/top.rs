//! `watchtree top` as rows, and as JSON with its rates.

use super::absent::{self, Absence, Each};
use super::branches::{self, Limb};
use super::tree::{draw_notes, draw_words, loads, readiness, restarts, says, trunk};
use super::{Cell, Paint, Table, amount, state_paint, time};
use crate::cli::rates::{Rate, Rates};
use protocol::admin::{ActorStatus, NodeSnapshot};
use protocol::{Epoch, Identity, Timestamp};
use serde::Serialize;

/// Which actors are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Shown {
    All,
    /// With those above them.
    NotRunning,
}

/// What is drawn, and when.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct View<'a> {
    pub rates: &'a Rates,
    pub shown: Shown,
    pub now: Timestamp,
}

/// Between the state and the age: numbers, which change each second and must not move what is beside them.
const LOADS: [&str; 5] = ["RESTARTS", "MAILBOX", "RATE/S", " CPU", " MEMORY"];

/// Where not even the numbers have room: the age, the rate, the mailbox.
const YIELDING_COLUMNS: &[usize] = &[7, 4, 3];

pub(in super::super) fn table(nodes: &[NodeSnapshot], absent: &[Absence], view: View<'_>) -> Table {
    let [restarts, mailbox, rate, cpu, memory] = LOADS;
    let headings = ["ACTOR", "STATE", restarts, mailbox, rate, cpu, memory, "FOR", "WHAT IT SAYS"];
    let mut table = Table::new(&headings, &[2, 3, 4, 5, 6]).yielding(YIELDING_COLUMNS, 0);
    for node in nodes {
        draw_node(node, view, &mut table);
    }
    for absence in absent {
        let line = &absence.line;
        let state = Cell::painted(Paint::Bad, absence.state());
        let why = Cell::painted(Paint::Bad, absence.why());
        let below = Cell::painted(Paint::Bad, format!("   {}", absence.why()));
        table.row_or_below(head(&line.node, state, age(line.since, view.now), why), below);
    }
    table
}

fn draw_node(node: &NodeSnapshot, view: View<'_>, table: &mut Table) {
    let grown = branches::grow(node, |status| view.shown == Shown::All || status.state != "running");
    let (state, paint) = readiness(node);
    let software = Cell::painted(Paint::Aside, &node.software);
    table.row(head(&node.node, Cell::painted(paint, state), age(node.up_since, view.now), software));
    draw_notes(node, trunk(&grown), table);
    for limb in &grown.limbs {
        let rate = limb.status.map(|status| view.rates.of(&node.node, &status.path)).unwrap_or_default();
        draw_actor(limb, rate, view, table);
    }
}

/// A column of ages needs no `ago`.
fn age(since: Timestamp, now: Timestamp) -> String {
    time::round(now.since(since))
}

fn head(node: &Identity, state: Cell, since: String, says: Cell) -> Vec<Cell> {
    let mut cells = vec![Cell::painted(Paint::Heading, node.to_string()), state];
    cells.extend(LOADS.iter().map(|_| Cell::new("")));
    cells.extend([Cell::new(since), says]);
    cells
}

fn draw_actor(limb: &Limb<'_>, rate: Rate, view: View<'_>, table: &mut Table) {
    let name = Cell::new(format!("{}{}", limb.indent, limb.name));
    let Some(status) = limb.status else { return table.row(vec![name]) };
    let [mailbox, _, memory] = loads(status);
    let words = says(status, view.now);
    let cells = vec![
        name,
        Cell::painted(state_paint(&status.state), &status.state),
        Cell::new(restarts(status)),
        mailbox,
        Cell::new(rate.handled_per_s.map(amount::per_second).unwrap_or_default()),
        Cell::new(rate.cpu_percent.map(amount::percent).unwrap_or_default()),
        memory,
        Cell::new(age(status.since, view.now)),
        Cell::new(&words),
    ];
    draw_words(limb, status, &words, cells, table);
}

/// A node as a program reads it: as in `watchtree tree`, each actor with its rates.
#[derive(Serialize)]
pub(in super::super) struct RatedNode<'a> {
    node: &'a Identity,
    boot: Epoch,
    up_since: Timestamp,
    software: &'a str,
    ready: bool,
    notes: &'a [String],
    actors: Vec<RatedActor<'a>>,
    actors_omitted: u32,
}

#[derive(Serialize)]
struct RatedActor<'a> {
    #[serde(flatten)]
    status: &'a ActorStatus,
    handled_per_s: Option<f64>,
    cpu_percent: Option<f64>,
}

pub(in super::super) fn rated<'a>(
    nodes: &'a [NodeSnapshot],
    absent: &'a [Absence],
    rates: &Rates,
) -> Vec<Each<'a, RatedNode<'a>>> {
    let actor = |node: &NodeSnapshot, status: &'a ActorStatus| {
        let Rate { handled_per_s, cpu_percent } = rates.of(&node.node, &status.path);
        RatedActor { status, handled_per_s, cpu_percent }
    };
    let rated = |node: &'a NodeSnapshot| RatedNode {
        node: &node.node,
        boot: node.boot,
        up_since: node.up_since,
        software: &node.software,
        ready: node.ready,
        notes: &node.notes,
        actors: node.actors.iter().map(|status| actor(node, status)).collect(),
        actors_omitted: node.actors_omitted,
    };
    absent::beside(nodes.iter().map(rated), absent)
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::super::samples::{actor, line, now, snapshot};
    use super::*;
    use crate::cli::gather;
    use std::time::Duration;
    use tokio::time::Instant;

    /// A camera's port that used half a core and handled thirty frames in a second.
    fn busy() -> (Vec<NodeSnapshot>, Rates) {
        let node = |handled: u64, cpu_ms: u64| {
            let mut port = actor("yard/door/port");
            (port.pid, port.memory_bytes) = (Some(4123), Some(84 << 20));
            (port.handled, port.cpu_ms) = (Some(handled), Some(cpu_ms));
            (port.waiting, port.waiting_max) = (Some(1), Some(2));
            snapshot("main/edge/yard", vec![port])
        };
        let (start, at) = (Instant::now(), now());
        let view = |nodes, taken| gather::View { nodes, absent: vec![], silent: vec![], at, taken };
        let before = view(vec![node(100, 1000)], start);
        let after = view(vec![node(130, 1500)], start + Duration::from_secs(1));
        let rates = Rates::between(&before, &after);
        (after.nodes, rates)
    }

    #[test]
    fn an_actor_has_its_load_and_rates_beside_it() {
        let (nodes, rates) = busy();
        let view = View { rates: &rates, shown: Shown::All, now: now() };
        let drawn = table(&nodes, &[Absence::new(line("main/edge/barn", "gone"), None)], view).render(Style::Plain);
        let expected = "\
ACTOR           STATE    RESTARTS  MAILBOX  RATE/S   CPU   MEMORY  FOR  WHAT IT SAYS
main/edge/yard  ready                                              2h   watchtree 0.1.0
└─ door
   └─ port      running                1/2      30   50%   84 MiB  3m
main/edge/barn  gone                                               3m   its link is gone, and its tree with it
";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn on_a_narrow_screen_reasons_stand_below() {
        let mut door = actor("yard/door");
        (door.state, door.last_reason) = ("backoff".to_owned(), Some("signal: SEGV".to_owned()));
        let mut gate = actor("yard/gate");
        gate.note = Some("1280x720".to_owned());
        let nodes = [snapshot("main/edge/yard", vec![door, actor("yard/door/port"), gate])];
        let view = View { rates: &Rates::default(), shown: Shown::All, now: now() };
        let expected = "\
ACTOR           STATE    RESTARTS  MAILBOX  RATE/S   CPU   MEMORY  FOR
main/edge/yard  ready                                              2h
├─ door         backoff                                            3m
│  │  signal: SEGV
│  └─ port      running                                            3m
└─ gate         running                                            3m
";
        assert_eq!(table(&nodes, &[], view).cut_to(Some(80)).render(Style::Plain), expected);
    }

    #[test]
    fn a_program_gets_the_status_and_the_rates_in_one_object() {
        let (nodes, rates) = busy();
        let json = serde_json::to_value(rated(&nodes, &[], &rates)).expect("it is JSON");
        let port = &json[0]["actors"][0];
        assert_eq!((port["path"].as_str(), port["pid"].as_u64()), (Some("yard/door/port"), Some(4123)));
        assert_eq!((port["handled_per_s"].as_f64(), port["cpu_percent"].as_f64()), (Some(30.0), Some(50.0)));
    }
}
