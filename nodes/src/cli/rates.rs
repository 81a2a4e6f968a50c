//! Rates: what an actor did between two looks. Pure.
//!
//!   view before ┐
//!   view after  ┴─▶ handled a second · CPU of one core in percent
//!
//! A count that started afresh in between (another boot, another process) has no rate: better none
//! than a wrong one.

use super::gather::View;
use protocol::Identity;
use protocol::admin::{ActorStatus, NodeSnapshot};
use std::collections::BTreeMap;
use std::time::Duration;

/// Looks that are closer together say more about the network than about the actor.
const APART_MIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Rate {
    pub handled_per_s: Option<f64>,
    /// Of one core.
    pub cpu_percent: Option<f64>,
}

/// By node and path: two nodes of different roles may have the same name.
#[derive(Debug, Clone, Default)]
pub(super) struct Rates(BTreeMap<Identity, BTreeMap<String, Rate>>);

impl Rates {
    pub fn between(before: &View, after: &View) -> Self {
        let apart = after.taken.saturating_duration_since(before.taken);
        if apart < APART_MIN {
            return Self::default();
        }
        let pairs = after.nodes.iter().filter_map(|node| {
            let earlier = before.nodes.iter().find(|earlier| earlier.node == node.node && earlier.boot == node.boot)?;
            Some((node.node.clone(), of_node(earlier, node, apart)))
        });
        Self(pairs.collect())
    }

    pub fn of(&self, node: &Identity, path: &str) -> Rate {
        self.0.get(node).and_then(|actors| actors.get(path)).copied().unwrap_or_default()
    }
}

fn of_node(before: &NodeSnapshot, after: &NodeSnapshot, apart: Duration) -> BTreeMap<String, Rate> {
    let earlier: BTreeMap<&str, &ActorStatus> =
        before.actors.iter().map(|actor| (actor.path.as_str(), actor)).collect();
    let rated =
        |actor: &ActorStatus| Some((actor.path.clone(), of_actor(earlier.get(actor.path.as_str())?, actor, apart)));
    after.actors.iter().filter_map(rated).collect()
}

fn of_actor(before: &ActorStatus, after: &ActorStatus, apart: Duration) -> Rate {
    let growth =
        |before: Option<u64>, after: Option<u64>| Some(after?.checked_sub(before?)? as f64 / apart.as_secs_f64());
    // CPU time is that of one process.
    let same_process = before.pid == after.pid;
    let cpu_ms_per_s = growth(before.cpu_ms, after.cpu_ms).filter(|_| same_process);
    Rate { handled_per_s: growth(before.handled, after.handled), cpu_percent: cpu_ms_per_s.map(|ms| ms / 10.0) }
}

#[cfg(test)]
mod tests {
    use super::super::render::samples::{actor, now, snapshot};
    use super::*;
    use protocol::Epoch;
    use tokio::time::Instant;

    fn view(nodes: Vec<NodeSnapshot>, taken: Instant) -> View {
        View { nodes, absent: vec![], silent: vec![], at: now(), taken }
    }

    /// A port of `yard` that has handled and used so much.
    fn port(handled: u64, cpu_ms: u64, pid: u32) -> NodeSnapshot {
        let mut port = actor("yard/door/port");
        (port.handled, port.cpu_ms, port.pid) = (Some(handled), Some(cpu_ms), Some(pid));
        snapshot("main/edge/yard", vec![actor("yard"), port])
    }

    #[track_caller]
    fn check(before: NodeSnapshot, after: NodeSnapshot, apart_ms: u64, handled: Option<f64>, cpu: Option<f64>) {
        let (node, start) = (after.node.clone(), Instant::now());
        let later = start + Duration::from_millis(apart_ms);
        let rate = Rates::between(&view(vec![before], start), &view(vec![after], later)).of(&node, "yard/door/port");
        assert_eq!(rate, Rate { handled_per_s: handled, cpu_percent: cpu });
    }

    #[test]
    fn growth_is_told_a_second_and_cpu_of_one_core() {
        check(port(100, 1000, 7), port(150, 1500, 7), 1000, Some(50.0), Some(50.0));
        check(port(100, 1000, 7), port(150, 3000, 7), 2000, Some(25.0), Some(100.0));
        check(port(100, 1000, 7), port(100, 1000, 7), 1000, Some(0.0), Some(0.0));
    }

    #[test]
    fn what_began_afresh_has_no_rate() {
        check(port(100, 1000, 7), port(20, 1500, 7), 1000, None, Some(50.0));
        check(port(100, 1000, 7), port(150, 1500, 8), 1000, Some(50.0), None);
        let mut rebooted = port(150, 1500, 7);
        rebooted.boot = Epoch(8);
        check(port(100, 1000, 7), rebooted, 1000, None, None);
    }

    #[test]
    fn two_looks_at_once_make_no_rate() {
        check(port(100, 1000, 7), port(150, 1500, 7), 50, None, None);
    }

    #[test]
    fn nodes_of_one_name_are_told_apart() {
        let start = Instant::now();
        let mut gpu = port(500, 0, 7);
        gpu.node = "main/gpu/yard".parse().expect("an identity");
        let before = view(vec![port(100, 0, 7), gpu.clone()], start);
        let rates = Rates::between(&before, &view(vec![port(110, 0, 7), gpu.clone()], start + Duration::from_secs(1)));
        assert_eq!(rates.of(&gpu.node, "yard/door/port").handled_per_s, Some(0.0));
        assert_eq!(rates.of(&port(0, 0, 0).node, "yard/door/port").handled_per_s, Some(10.0));
        assert_eq!(rates.of(&gpu.node, "yard/nowhere"), Rate::default());
    }
}
