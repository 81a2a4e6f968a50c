//! Roles: `watchtree roles`: who may do what on which node, as this program has it built in.

use super::Failure;
use super::args::{Output, RolesArgs};
use super::out::Out;
use super::render::table::{Cell, Table};
use protocol::Role;
use protocol::roles::{Row, rows};
use serde::Serialize;
use std::collections::BTreeMap;

/// Where something is served; people only ask.
const NODES: [Role; 3] = [Role::Edge, Role::Relay, Role::Gpu];

/// What stands where nobody may.
const NOBODY: &str = "-";

pub(super) fn roles(args: &RolesArgs, out: &mut Out) -> Result<(), Failure> {
    match args.output {
        Output::Json => out.json_document(&rows().map(Told::new).collect::<Vec<_>>())?,
        Output::Table => out.text(&table().cut_to(out.width).render(out.style))?,
    }
    out.flush()
}

/// One row, as in JSON.
#[derive(Debug, Serialize)]
struct Told {
    what: &'static str,
    name: &'static str,
    /// Who may, by the role of the node.
    on: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Told {
    fn new(row: &Row) -> Self {
        let on = NODES.into_iter().map(|here| (here.as_str(), peers(row, here))).filter(|(_, peers)| !peers.is_empty());
        Self { what: row.plane.as_str(), name: row.name, on: on.collect() }
    }
}

fn peers(row: &Row, here: Role) -> Vec<&'static str> {
    row.peers(here).iter().map(|who| who.as_str()).collect()
}

fn table() -> Table {
    let mut table = Table::new(&["WHAT", "NAME", "ON AN EDGE", "ON A RELAY", "ON A GPU NODE"], &[]);
    for row in rows() {
        let on = NODES.map(|here| peers(row, here).join(","));
        let cells = on.iter().map(|peers| Cell::new(if peers.is_empty() { NOBODY } else { peers }));
        let named = [row.plane.as_str(), row.name].map(Cell::new);
        table.row(named.into_iter().chain(cells).collect());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::render::Style;
    use super::*;
    use protocol::roles::Who;

    #[test]
    fn what_is_printed_is_the_table_in_the_code() {
        let text = table().render(Style::of(false, |_| None));
        let mut lines = text.lines().skip(1);
        for row in rows() {
            let line = lines.next().unwrap_or_else(|| panic!("{row} is not printed"));
            let words: Vec<&str> = line.split_whitespace().collect();
            let [what, name, on @ ..] = &words[..] else { panic!("{line}") };
            assert_eq!((*what, *name), (row.plane.as_str(), row.name));
            for (here, printed) in NODES.into_iter().zip(on) {
                for who in Who::ALL {
                    let is_printed = printed.split(',').any(|peer| peer == who.as_str());
                    assert_eq!(is_printed, row.peers(here).contains(&who), "{row}, {who} on {here}: {line}");
                }
            }
            assert_eq!(on.len(), NODES.len(), "{line}");
            assert!(row.served_on().all(|here| NODES.contains(&here)), "{row} is served on what is no node");
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn a_program_reads_the_same() {
        let told: Vec<Told> = rows().map(Told::new).collect();
        let json = serde_json::to_value(&told).expect("JSON");
        let steer =
            json.as_array().expect("a list").iter().find(|row| row["what"] == "request" && row["name"] == "steer");
        assert_eq!(
            steer.expect("it is there")["on"],
            serde_json::json!({ "relay": ["operator"], "gpu": ["operator"] })
        );
    }
}
