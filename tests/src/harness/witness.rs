//! The witness: what the outbox says it accepted, from the edge's log, written before anybody was told.

use protocol::{Epoch, EventId};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The log level at which an edge tells each acceptance.
pub const LOG_LEVEL: &str = "info,watchtree::outbox=debug";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Accepted {
    pub epoch: Epoch,
    pub seq: u64,
    pub event: EventId,
    pub revision: u32,
}

#[derive(Deserialize)]
struct Line {
    target: String,
    message: String,
    #[serde(flatten)]
    accepted: Accepted,
}

/// Reads a log of JSON lines. A line that `kill -9` cut off tells nothing and is passed over.
pub fn accepted(log: &str) -> BTreeSet<Accepted> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.filter(|line| line.target == "watchtree::outbox" && line.message == "accepted").map(|l| l.accepted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acceptances_are_found_among_other_lines() {
        let epoch = "00000000000000aa";
        let event = "0000000000000000000000000000000b";
        let line = |target: &str| {
            format!(
                r#"{{"level":"DEBUG","message":"accepted","epoch":"{epoch}","seq":7,"event":"{event}","revision":2,"target":"{target}"}}"#
            )
        };
        let log = [line("watchtree::outbox"), line("other"), "torn {".to_owned()].join("\n");
        let found = accepted(&log);
        let wanted = Accepted { epoch: Epoch(0xaa), seq: 7, event: EventId(0xb), revision: 2 };
        assert_eq!(found, BTreeSet::from([wanted]));
    }
}
