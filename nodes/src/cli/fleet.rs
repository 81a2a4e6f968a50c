//! Fleet: how the nodes are, as the relays that were asked judge them.
//!
//!   relay a ══health═▶ told ┐
//!   relay b ══health═▶ told ┴─▶ one line a node: from whom it is linked to, the newest
//!
//! A node that does not judge others, an older one or a gpu node, tells whom it is linked to; without any that judges, the
//! list is made from trees, as it always was.

use super::gather;
use super::session::{Session, Unanswered};
use protocol::Identity;
use protocol::admin::{HealthState, NodeHealth, NodeLine, Reply, Request};
use std::collections::BTreeMap;

/// What one of those that were asked says.
pub(super) enum Told {
    Health(Identity, Vec<NodeHealth>),
    /// It judges nobody.
    Lines(Identity, Vec<NodeLine>),
}

pub(super) async fn ask(session: &Session) -> Result<Told, Unanswered> {
    match health(session).await {
        Ok(nodes) => Ok(Told::Health(session.node().clone(), nodes)),
        Err(Unanswered::Refused(_)) => Ok(Told::Lines(session.node().clone(), gather::lines(session).await?)),
        Err(lost) => Err(lost),
    }
}

async fn health(session: &Session) -> Result<Vec<NodeHealth>, Unanswered> {
    let (mut replies, mut all) = (session.ask(&Request::Fleet).await?, Vec::new());
    loop {
        match replies.next().await? {
            Some(Reply::Fleet(some)) => all.extend(some),
            Some(_) => return Err(replies.unexpected()),
            None => return Ok(all),
        }
    }
}

/// One a node, relays first; `None` if nobody judges.
pub(super) fn merged(told: Vec<Told>) -> Option<Vec<NodeHealth>> {
    if !told.iter().any(|told| matches!(told, Told::Health(..))) {
        return None;
    }
    let mut best: BTreeMap<Identity, NodeHealth> = BTreeMap::new();
    let by_link = |by: &Identity, line| by_link(by, line);
    for told in told {
        let (by, nodes) = match told {
            Told::Health(by, nodes) => (by, nodes),
            Told::Lines(by, lines) => (by.clone(), lines.into_iter().map(|line| by_link(&by, line)).collect()),
        };
        for node in nodes {
            match best.get(&node.node) {
                Some(known) if weight(known, &by) >= weight(&node, &by) => {}
                _ => drop(best.insert(node.node.clone(), node)),
            }
        }
    }
    let mut nodes: Vec<NodeHealth> = best.into_values().collect();
    // The others hang on them.
    nodes.sort_by_key(|health| (health.node.role != protocol::Role::Relay, health.node.clone()));
    Some(nodes)
}

/// A relay that a node has left says that it is down, and the one that it is linked to now knows better.
fn weight(health: &NodeHealth, by: &Identity) -> (bool, bool, bool, protocol::Timestamp) {
    let at = health.telemetry.as_ref().map_or(health.since, |telemetry| telemetry.at);
    (health.state != HealthState::Down, health.telemetry.is_some(), health.node == *by, at)
}

fn by_link(by: &Identity, line: NodeLine) -> NodeHealth {
    let is_up = line.state != "gone";
    let why = if is_up { "judges nobody: this is by the link alone" } else { "has lost its link" };
    NodeHealth {
        state: if is_up { HealthState::Healthy } else { HealthState::Down },
        reasons: vec![format!("{by} {why}")],
        node: line.node,
        since: line.since,
        software: line.software,
        rtt_us: line.rtt_us.filter(|_| is_up),
        clock_skew_ms: None,
        telemetry: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::samples::{health, line, now};
    use super::*;
    use std::time::Duration;

    fn id(text: &str) -> Identity {
        text.parse().expect(text)
    }

    #[test]
    fn the_relay_that_a_node_is_linked_to_knows_best() {
        let mut left = health("main/edge/yard", HealthState::Down);
        left.since = now().plus(Duration::from_secs(9));
        let here = health("main/edge/yard", HealthState::Degraded);
        for told in [[left.clone(), here.clone()], [here, left]] {
            let [first, second] = told.map(|yard| Told::Health(id("main/relay/hub"), vec![yard]));
            let nodes = merged(vec![first, second]).expect("somebody judges");
            assert_eq!(nodes.iter().map(|node| node.state).collect::<Vec<_>>(), [HealthState::Degraded]);
        }
    }

    #[test]
    fn who_judges_nobody_tells_of_links_and_is_not_enough_alone() {
        let lines =
            || Told::Lines(id("main/gpu/one"), vec![line("main/edge/yard", "linked"), line("main/edge/barn", "gone")]);
        assert!(merged(vec![lines()]).is_none());
        let hub = Told::Health(id("main/relay/hub"), vec![health("main/relay/hub", HealthState::Healthy)]);
        let nodes = merged(vec![lines(), hub]).expect("the hub judges");
        let told: Vec<_> = nodes.iter().map(|node| (node.node.name.as_str(), node.state)).collect();
        let expected = [("hub", HealthState::Healthy), ("barn", HealthState::Down), ("yard", HealthState::Healthy)];
        assert_eq!(told, expected);
        assert_eq!(nodes[1].reasons, ["main/gpu/one has lost its link"]);
    }
}
