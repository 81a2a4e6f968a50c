//! `watchtree nodes` as a table.

use super::{Cell, Paint, Table, state_paint, time};
use protocol::Timestamp;
use protocol::admin::NodeLine;

pub(in super::super) fn table(nodes: &[NodeLine], now: Timestamp) -> Table {
    let mut table = Table::new(&["NODE", "STATE", "SINCE", "RTT", "SOFTWARE"], &[3]);
    for line in nodes {
        table.row(vec![
            Cell::new(line.node.to_string()),
            Cell::painted(state_paint(&line.state), &line.state),
            Cell::new(time::ago(line.since, now)),
            // The round trip of a link that is gone is of no interest.
            Cell::new(line.rtt_us.filter(|_| line.state != "gone").map(rtt).unwrap_or_default()),
            Cell::painted(Paint::Aside, &line.software),
        ]);
    }
    table
}

fn rtt(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::super::samples::{line, now};
    use super::*;

    #[test]
    fn each_node_is_a_line_with_its_state() {
        let mut yard = line("main/edge/yard", "linked");
        yard.rtt_us = Some(12_345);
        let nodes = [line("main/relay/hub", "self"), yard, line("main/edge/barn", "gone")];
        let expected = "\
NODE            STATE   SINCE       RTT  SOFTWARE
main/relay/hub  self    3m ago           watchtree 0.1.0
main/edge/yard  linked  3m ago  12.3 ms  watchtree 0.1.0
main/edge/barn  gone    3m ago           watchtree 0.1.0
";
        assert_eq!(table(&nodes, now()).render(Style::Plain), expected);
    }
}
