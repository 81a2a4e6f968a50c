//! A node that should have shown its tree and did not: absence must not look like health.

use protocol::admin::NodeLine;
use protocol::{Identity, Timestamp};
use serde::Serialize;

/// `gone`, or linked and `silent`.
pub(in super::super) fn state(line: &NodeLine) -> &'static str {
    if line.state == "gone" { "gone" } else { "silent" }
}

pub(in super::super) fn why(line: &NodeLine) -> &'static str {
    if line.state == "gone" { "its link is gone, and its tree with it" } else { "it did not show its tree" }
}

/// One of an array of nodes: a program that asks which are not ready, or what does not run, meets those too.
#[derive(Serialize)]
#[serde(untagged)]
pub(in super::super) enum Each<'a, T> {
    Shown(T),
    Absent(Absent<'a>),
}

/// With the keys of a node that programs look at most, and a state, which a node that is there has not.
#[derive(Serialize)]
pub(in super::super) struct Absent<'a> {
    node: &'a Identity,
    state: &'static str,
    since: Timestamp,
    software: &'a str,
    ready: bool,
    notes: [&'static str; 1],
    actors: [(); 0],
}

pub(in super::super) fn beside<'a, T>(nodes: impl Iterator<Item = T>, absent: &'a [NodeLine]) -> Vec<Each<'a, T>> {
    let gone = |line: &'a NodeLine| Absent {
        node: &line.node,
        state: state(line),
        since: line.since,
        software: &line.software,
        ready: false,
        notes: [why(line)],
        actors: [],
    };
    nodes.map(Each::Shown).chain(absent.iter().map(gone).map(Each::Absent)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{line, snapshot};
    use super::*;

    #[test]
    fn a_program_meets_those_that_are_absent_among_the_others() {
        let (yard, absent) = (snapshot("main/edge/yard", vec![]), [line("main/edge/barn", "linked")]);
        let json = serde_json::to_value(beside(std::iter::once(&yard), &absent)).expect("it is JSON");
        assert_eq!((&json[0]["node"]["name"], json[0].get("state")), (&"yard".into(), None));
        let barn = &json[1];
        assert_eq!((&barn["node"]["name"], &barn["state"]), (&"barn".into(), &"silent".into()));
        assert_eq!((&barn["ready"], &barn["actors"]), (&false.into(), &serde_json::json!([])));
        assert_eq!(barn["notes"][0], "it did not show its tree");
    }
}
