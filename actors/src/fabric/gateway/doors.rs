//! Doors: how many connections each identity has, so that none takes the places of all.

use protocol::{Identity, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of one node: its own, and those it has lost and this side has not missed yet. When full,
/// the next is refused until one of them ends, which takes the transport's `SILENCE_MAX` at most.
const OF_A_NODE_MAX: usize = 4;
/// Connections of one operator or viewer, who has one for each command that runs. When full, the next is refused.
const OF_AN_OPERATOR_MAX: usize = 16;

/// Cheap to clone; one per gateway or server, and it outlives its restarts.
#[derive(Clone, Default, Debug)]
pub(crate) struct Doors(Arc<Mutex<BTreeMap<Identity, BTreeSet<usize>>>>);

impl Doors {
    /// Lets one connection in for as long as the guest is held, or says why not.
    pub(crate) fn enter(&self, peer: &Identity) -> Result<Guest, String> {
        let max = if may_ask(peer.role) { OF_AN_OPERATOR_MAX } else { OF_A_NODE_MAX };
        let mut inside = self.lock();
        let taken = inside.entry(peer.clone()).or_default();
        let Some(place) = (1..=max).find(|place| !taken.contains(place)) else {
            return Err(format!("{peer} has {max} connections already; end one, or use one certificate per node"));
        };
        taken.insert(place);
        Ok(Guest { doors: self.clone(), peer: peer.clone(), place })
    }

    /// How many are in.
    pub(crate) fn count(&self) -> usize {
        self.lock().values().map(BTreeSet::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Identity, BTreeSet<usize>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// People have one connection for each command that runs.
fn may_ask(role: Role) -> bool {
    matches!(role, Role::Operator | Role::Viewer)
}

/// One connection that is let in.
#[derive(Debug)]
pub(crate) struct Guest {
    doors: Doors,
    peer: Identity,
    /// Its number among those of this peer, from 1.
    place: usize,
}

impl Guest {
    /// `main.edge.yard`, the second `main.edge.yard.2`. No part can hold a dot, so none passes for another.
    pub(crate) fn name(&self) -> String {
        let Identity { tenant, role, name } = &self.peer;
        if self.place == 1 {
            format!("{tenant}.{role}.{name}")
        } else {
            format!("{tenant}.{role}.{name}.{}", self.place)
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.doors.lock();
        if let Some(taken) = inside.get_mut(&self.peer) {
            taken.remove(&self.place);
            if taken.is_empty() {
                inside.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, max: usize) {
        let (doors, peer) = (Doors::default(), peer.parse().expect("an identity"));
        let mut guests: Vec<Guest> = (0..max).map(|_| doors.enter(&peer).expect("there is room")).collect();
        assert!(doors.enter(&peer).expect_err("full").contains("already"));
        doors.enter(&"main/edge/barn".parse().expect("an identity")).expect("others come in");
        let names: BTreeSet<String> = guests.iter().map(Guest::name).collect();
        assert_eq!(names.len(), max, "each has a name of its own: {names:?}");
        guests.remove(0);
        assert_eq!(doors.count(), max - 1);
        guests.push(doors.enter(&peer).expect("one has left"));
        assert_eq!(guests.last().expect("the last").name(), peer.to_string().replace('/', "."), "its place is free");
        drop(guests);
        assert!(doors.lock().is_empty());
    }

    #[test]
    fn a_node_has_a_few_connections_and_keeps_nobody_out() {
        check("main/edge/yard", OF_A_NODE_MAX);
    }

    #[test]
    fn people_have_one_for_each_command_and_keep_nobody_out() {
        check("main/operator/ada", OF_AN_OPERATOR_MAX);
        check("main/viewer/bob", OF_AN_OPERATOR_MAX);
    }
}
