//! A node that should have shown its tree and did not: absence must not look like health.

use protocol::admin::NodeLine;
use protocol::{Identity, Timestamp};
use serde::Serialize;

/// A node that is listed, and why its tree is not shown.
#[derive(Debug, Clone)]
pub(in super::super) struct Absence {
    pub line: NodeLine,
    why: String,
}

impl Absence {
    /// `told` by the node that was asked for its tree.
    pub fn new(line: NodeLine, told: Option<&String>) -> Self {
        let why = match told {
            _ if line.state == "gone" => "its link is gone, and its tree with it".to_owned(),
            Some(told) => told.clone(),
            None => UNTOLD.to_owned(),
        };
        Self { line, why }
    }

    /// `gone`, or linked and `silent`.
    pub fn state(&self) -> &'static str {
        if self.line.state == "gone" { "gone" } else { "silent" }
    }

    pub fn why(&self) -> &str {
        &self.why
    }
}

const UNTOLD: &str = "it did not show its tree";

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
    notes: [&'a str; 1],
    actors: [(); 0],
}

pub(in super::super) fn beside<'a, T>(nodes: impl Iterator<Item = T>, absent: &'a [Absence]) -> Vec<Each<'a, T>> {
    let gone = |absence: &'a Absence| Absent {
        node: &absence.line.node,
        state: absence.state(),
        since: absence.line.since,
        software: &absence.line.software,
        ready: false,
        notes: [absence.why()],
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
        let (yard, absent) =
            (snapshot("main/edge/yard", vec![]), [Absence::new(line("main/edge/barn", "linked"), None)]);
        let json = serde_json::to_value(beside(std::iter::once(&yard), &absent)).expect("it is JSON");
        assert_eq!((&json[0]["node"]["name"], json[0].get("state")), (&"yard".into(), None));
        let barn = &json[1];
        assert_eq!((&barn["node"]["name"], &barn["state"]), (&"barn".into(), &"silent".into()));
        assert_eq!((&barn["ready"], &barn["actors"]), (&false.into(), &serde_json::json!([])));
        assert_eq!(barn["notes"][0], "it did not show its tree");
    }
}
