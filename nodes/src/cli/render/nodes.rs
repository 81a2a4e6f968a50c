//! `watchtree nodes` where nobody judges, as a table and as JSON: who is linked, and what each one's tree says.

use super::absent::Absence;
use super::{Cell, Paint, Table, state_paint, time};
use protocol::Timestamp;
use protocol::admin::{NodeLine, NodeSnapshot};
use serde::Serialize;

/// What is known of a node from those linked to it, and from itself.
#[derive(Serialize)]
pub(in super::super) struct Told<'a> {
    #[serde(flatten)]
    line: &'a NodeLine,
    /// `None` if it did not say.
    ready: Option<bool>,
    /// What keeps it from being ready, or is worth knowing.
    notes: Vec<&'a str>,
}

pub(in super::super) fn told<'a>(
    lines: &'a [NodeLine],
    shown: &'a [NodeSnapshot],
    absent: &'a [Absence],
) -> Vec<Told<'a>> {
    let of = |line: &'a NodeLine| match shown.iter().find(|node| node.node == line.node) {
        Some(node) => {
            let notes = node.notes.iter().map(String::as_str).collect();
            Told { line, ready: Some(node.ready), notes }
        }
        None => {
            let absence = absent.iter().find(|absence| absence.line.node == line.node);
            Told { line, ready: None, notes: absence.map(Absence::why).into_iter().collect() }
        }
    };
    lines.iter().map(of).collect()
}

pub(in super::super) fn table(nodes: &[Told<'_>], now: Timestamp) -> Table {
    let mut table = Table::new(&["NODE", "STATE", "READY", "SINCE", "RTT", "SOFTWARE", "WHAT IT SAYS"], &[4]);
    for Told { line, ready, notes } in nodes {
        let (ready, paint) = match ready {
            Some(true) => ("yes", Paint::Good),
            Some(false) => ("no", Paint::Bad),
            None => ("?", Paint::Bad),
        };
        let words = notes.join("; ");
        let cells = vec![
            Cell::new(line.node.to_string()),
            Cell::painted(state_paint(&line.state), &line.state),
            Cell::painted(paint, ready),
            Cell::new(time::ago(line.since, now)),
            // The round trip of a link that is gone is of no interest.
            Cell::new(line.rtt_us.filter(|_| line.state != "gone").map(rtt).unwrap_or_default()),
            Cell::painted(Paint::Aside, &line.software),
            Cell::new(&words),
        ];
        table.row_or_below(cells, Cell::new(format!("   {words}")));
    }
    table
}

pub(super) fn rtt(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::super::samples::{line, now, snapshot};
    use super::*;

    #[test]
    fn each_node_is_a_line_with_its_state_and_what_it_lacks() {
        let mut yard = line("main/edge/yard", "linked");
        yard.rtt_us = Some(12_345);
        let lines =
            [line("main/relay/hub", "self"), yard, line("main/edge/barn", "gone"), line("main/gpu/one", "linked")];
        let mut lacking = snapshot("main/edge/yard", vec![]);
        (lacking.ready, lacking.notes) =
            (false, vec!["cameras: door is blind".to_owned(), "gpu link: down".to_owned()]);
        let shown = [snapshot("main/relay/hub", vec![]), lacking];
        let absent = [Absence::new(lines[2].clone(), None), Absence::new(lines[3].clone(), None)];
        let nodes = told(&lines, &shown, &absent);
        let expected = "\
NODE            STATE   READY  SINCE       RTT  SOFTWARE         WHAT IT SAYS
main/relay/hub  self    yes    3m ago           watchtree 0.1.0
main/edge/yard  linked  no     3m ago  12.3 ms  watchtree 0.1.0  cameras: door is blind; gpu link: down
main/edge/barn  gone    ?      3m ago           watchtree 0.1.0  its link is gone, and its tree with it
main/gpu/one    linked  ?      3m ago           watchtree 0.1.0  it did not show its tree
";
        assert_eq!(table(&nodes, now()).render(Style::Plain), expected);
        let json = serde_json::to_value(&nodes).expect("it is JSON");
        assert_eq!((&json[1]["ready"], &json[2]["ready"]), (&false.into(), &serde_json::Value::Null));
        assert_eq!((&json[1]["state"], &json[1]["notes"][1]), (&"linked".into(), &"gpu link: down".into()));
    }
}
