//! Doors: how many connections each identity has, so that none takes the places of all.

use protocol::{Identity, Role};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of one node: its own, and those it has lost and this side has not missed yet. When full,
/// the next is refused until one of them ends, which takes the transport's `SILENCE_MAX` at most.
const OF_A_NODE_MAX: usize = 4;
/// Connections of one operator, who has one for each command that runs. When full, the next is refused.
const OF_AN_OPERATOR_MAX: usize = 16;

/// Cheap to clone; one per gateway.
#[derive(Clone, Default, Debug)]
pub(super) struct Doors(Arc<Mutex<BTreeMap<Identity, usize>>>);

impl Doors {
    /// Lets one connection in for as long as the guest is held, or says why not.
    pub(super) fn enter(&self, peer: &Identity) -> Result<Guest, String> {
        let max = if peer.role == Role::Operator { OF_AN_OPERATOR_MAX } else { OF_A_NODE_MAX };
        let mut inside = self.lock();
        let count = inside.entry(peer.clone()).or_insert(0);
        if *count >= max {
            return Err(format!("{peer} has {max} connections already; end one, or use one certificate per node"));
        }
        *count += 1;
        Ok(Guest { doors: self.clone(), peer: peer.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Identity, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection that is let in.
#[derive(Debug)]
pub(super) struct Guest {
    doors: Doors,
    peer: Identity,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.doors.lock();
        if let Some(count) = inside.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
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
        guests.pop();
        guests.push(doors.enter(&peer).expect("one has left"));
        drop(guests);
        assert!(doors.lock().is_empty());
    }

    #[test]
    fn a_node_has_a_few_connections_and_keeps_nobody_out() {
        check("main/edge/yard", OF_A_NODE_MAX);
    }

    #[test]
    fn an_operator_has_one_for_each_command_and_keeps_nobody_out() {
        check("main/operator/ada", OF_AN_OPERATOR_MAX);
    }
}
