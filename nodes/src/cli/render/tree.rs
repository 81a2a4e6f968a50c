//! `watchtree tree` as a drawing: a node is a root, its actors hang below it.

use super::absent::Absence;
use super::branches::{self, Grown, Limb};
use super::{Cell, Paint, Table, amount, state_paint, time};
use crate::cli::rates::{Rate, Rates};
use protocol::Timestamp;
use protocol::admin::{ActorStatus, NodeSnapshot};

/// Loads: left out where no actor has any. RESTARTS stays, its emptiness says something.
const SPARE_COLUMNS: &[usize] = &[4, 5, 6, 7];

/// The same where words would have little room beside them: `top` shows them.
const YIELDING_COLUMNS: &[usize] = &[5, 4, 6, 7];
const WORDS_ENOUGH: usize = 30;

pub(in super::super) fn table(nodes: &[NodeSnapshot], absent: &[Absence], rates: &Rates, now: Timestamp) -> Table {
    let headings = ["ACTOR", "STATE", "RESTARTS", "SINCE", "MAILBOX", "PID", "CPU", "MEMORY", "WHAT IT SAYS"];
    let mut table =
        Table::new(&headings, &[2, 4, 5, 6, 7]).without_empty(SPARE_COLUMNS).yielding(YIELDING_COLUMNS, WORDS_ENOUGH);
    for node in nodes {
        draw_node(node, rates, now, &mut table);
    }
    for absence in absent {
        draw_absent(absence, now, &mut table);
    }
    table
}

fn draw_absent(absence: &Absence, now: Timestamp, table: &mut Table) {
    let mut cells = vec![
        Cell::painted(Paint::Heading, absence.line.node.to_string()),
        Cell::painted(Paint::Bad, absence.state()),
        Cell::new(""),
        Cell::new(time::ago(absence.line.since, now)),
    ];
    cells.extend(SPARE_COLUMNS.iter().map(|_| Cell::new("")));
    cells.push(Cell::new(absence.why()));
    table.row_or_below(cells, Cell::new(format!("   {}", absence.why())));
}

fn draw_node(node: &NodeSnapshot, rates: &Rates, now: Timestamp, table: &mut Table) {
    let grown = branches::grow(node, |_| true);
    let (state, paint) = readiness(node);
    let failed = grown.top.and_then(|status| status.last_reason.as_ref());
    let says = failed.map_or(node.software.clone(), |reason| format!("{}; last failure: {reason}", node.software));
    let mut cells = vec![
        Cell::painted(Paint::Heading, node.node.to_string()),
        Cell::painted(paint, state),
        Cell::new(""),
        Cell::new(time::ago(node.up_since, now)),
    ];
    cells.extend(SPARE_COLUMNS.iter().map(|_| Cell::new("")));
    cells.push(Cell::painted(Paint::Aside, &says));
    match failed {
        Some(_) => table.row_or_below(cells, Cell::new(format!("{}  {says}", trunk(&grown)))),
        None => table.row(cells),
    }
    draw_notes(node, trunk(&grown), table);
    for limb in &grown.limbs {
        let rate = limb.status.map(|status| rates.of(&node.node, &status.path)).unwrap_or_default();
        draw_actor(limb, rate, now, table);
    }
}

pub(in super::super) fn readiness(node: &NodeSnapshot) -> (&'static str, Paint) {
    if node.ready { ("ready", Paint::Good) } else { ("not ready", Paint::Bad) }
}

/// What stands before a line between a node and its actors.
pub(in super::super) fn trunk(grown: &Grown<'_>) -> &'static str {
    if grown.limbs.is_empty() { " " } else { "│" }
}

/// One line for each thing worth knowing of a node.
pub(in super::super) fn draw_notes(node: &NodeSnapshot, trunk: &str, table: &mut Table) {
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

fn draw_actor(limb: &Limb<'_>, rate: Rate, now: Timestamp, table: &mut Table) {
    let name = Cell::new(format!("{}{}", limb.indent, limb.name));
    let Some(status) = limb.status else { return table.row(vec![name]) };
    let [mailbox, pid, memory] = loads(status);
    let words = says(status, now);
    let cells = vec![
        name,
        Cell::painted(state_paint(&status.state), &status.state),
        Cell::new(restarts(status)),
        Cell::new(time::ago(status.since, now)),
        mailbox,
        pid,
        Cell::new(rate.cpu_percent.map(amount::percent).or(status.cpu_ms.map(time::millis)).unwrap_or_default()),
        memory,
        Cell::new(&words),
    ];
    draw_words(limb, status, &words, cells, table);
}

/// Why an actor does not run is told whole; what a running one says is cut to its column.
pub(in super::super) fn draw_words(
    limb: &Limb<'_>,
    status: &ActorStatus,
    words: &str,
    cells: Vec<Cell>,
    table: &mut Table,
) {
    match status.state.as_str() {
        "running" => table.row(cells),
        state => table.row_or_below(cells, Cell::painted(state_paint(state), format!("{}{words}", limb.hanging))),
    }
}

/// Empty for none: the eye finds those that have some.
pub(in super::super) fn restarts(status: &ActorStatus) -> String {
    if status.restarts == 0 { String::new() } else { status.restarts.to_string() }
}

/// Its mailbox, its process, its memory.
pub(in super::super) fn loads(status: &ActorStatus) -> [Cell; 3] {
    let paint = if amount::mailbox_is_filling(status) { Paint::Warning } else { Paint::Normal };
    [
        Cell::painted(paint, amount::mailbox(status)),
        Cell::new(status.pid.map(|pid| pid.to_string()).unwrap_or_default()),
        Cell::new(status.memory_bytes.map(amount::bytes).unwrap_or_default()),
    ]
}

/// A running actor's failure is history, and told as such. Of a parked one: until when.
pub(in super::super) fn says(status: &ActorStatus, now: Timestamp) -> String {
    let past = |reason: &String| format!("last failure: {reason}");
    let reason = match &status.last_reason {
        Some(reason) if status.state == "running" || status.note.is_some() => Some(past(reason)),
        reason => reason.clone(),
    };
    let until = (status.state == "parked").then(|| match status.resumes {
        Some(at) => format!("resumes {}", time::until(at, now)),
        None => "resumed by hand only".to_owned(),
    });
    let parts: Vec<String> = [status.note.clone(), reason, until].into_iter().flatten().collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::super::samples::{actor, line, now, snapshot};
    use super::*;
    use protocol::Epoch;
    use protocol::admin::OutboxStatus;
    use std::time::Duration;

    fn drawn(nodes: &[NodeSnapshot], absent: &[Absence]) -> String {
        table(nodes, absent, &Rates::default(), now()).render(Style::Plain)
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
        assert_eq!(drawn(&[], &[Absence::new(line("main/edge/barn", "gone"), None)]), expected);
    }

    #[test]
    fn on_a_narrow_terminal_loads_are_left_out_and_reasons_stand_below() {
        let mut yard = yard();
        yard.actors[4].memory_bytes = Some(84 << 20);
        let expected = "\
ACTOR             STATE      RESTARTS  SINCE   WHAT IT SAYS
main/edge/yard    not ready            2h ago  watchtree 0.1.0
│  ! relay link is down
│  outbox: 12 accepted, 9 acknowledged
├─ cameras        running              3m ago
│  ├─ door
│  │  └─ session  backoff          12  3m ago
│  │     error: refused: nobody listens at 10.0.0.5:554
│  └─ gate        running              3m ago
└─ http           running              3m ago  http://127.0.0…
main/edge/barn    gone                 3m ago
   its link is gone, and its tree with it
";
        let table = table(&[yard], &[Absence::new(line("main/edge/barn", "gone"), None)], &Rates::default(), now());
        assert_eq!(table.cut_to(Some(62)).render(Style::Plain), expected);
    }

    #[test]
    fn loads_and_ports_have_columns_where_somebody_has_them() {
        let mut outbox = actor("yard/outbox");
        (outbox.waiting, outbox.waiting_max, outbox.handled) = (Some(3), Some(1024), Some(99));
        let mut port = actor("yard/port");
        (port.pid, port.cpu_ms, port.memory_bytes) = (Some(4123), Some(62_500), Some(84 << 20));
        let expected = "\
ACTOR           STATE    RESTARTS  SINCE   MAILBOX   PID    CPU  MEMORY  WHAT IT SAYS
main/edge/yard  ready              2h ago                                watchtree 0.1.0
├─ outbox       running            3m ago   3/1024
└─ port         running            3m ago           4123  1m02s  84 MiB
";
        assert_eq!(drawn(&[snapshot("main/edge/yard", vec![outbox, port])], &[]), expected);
    }

    #[test]
    fn a_past_failure_of_a_running_actor_is_told_as_past() {
        let mut actor = actor("yard/outbox");
        actor.last_reason = Some("panic: disk".to_owned());
        assert_eq!(says(&actor, now()), "last failure: panic: disk");
        actor.state = "backoff".to_owned();
        assert_eq!(says(&actor, now()), "panic: disk");
        actor.note = Some("opening".to_owned());
        assert_eq!(says(&actor, now()), "opening; last failure: panic: disk");
    }

    #[test]
    fn a_parked_actor_says_when_it_is_tried_again() {
        let mut actor = actor("yard/cameras/door");
        (actor.state, actor.last_reason) = ("parked".to_owned(), Some("hang: silent for 2 s".to_owned()));
        assert_eq!(says(&actor, now()), "hang: silent for 2 s; resumed by hand only");
        actor.resumes = Some(now().plus(Duration::from_secs(40)));
        assert_eq!(says(&actor, now()), "hang: silent for 2 s; resumes in 40s");
        assert_eq!(says(&actor, now().plus(Duration::from_secs(41))), "hang: silent for 2 s; resumes now");
    }

    #[test]
    fn an_endless_path_is_drawn_to_a_limit() {
        let node = snapshot("main/edge/yard", vec![actor(&vec!["yard"; 100_000].join("/"))]);
        assert_eq!(drawn(&[node], &[]).lines().count(), 12 + 1);
    }
}
