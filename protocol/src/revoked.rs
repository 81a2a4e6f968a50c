//! Who is revoked, as one process knows it: looked up at every handshake, watched by every connection that lives.

use crate::core::Revocation;
use crate::{Identity, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// Cheap to clone; one per process.
#[derive(Clone, Default)]
pub struct Revoked(Arc<Shared>);

#[derive(Default)]
struct Shared {
    list: RwLock<BTreeMap<Identity, Revocation>>,
    changes: watch::Sender<u64>,
}

impl Revoked {
    /// Takes what is new or later than what is known, and returns that; whoever watches is told.
    pub fn add(&self, news: impl IntoIterator<Item = Revocation>) -> Vec<Revocation> {
        let mut list = self.0.list.write().unwrap_or_else(PoisonError::into_inner);
        let mut added = Vec::new();
        for revocation in news {
            let is_known = list.get(&revocation.who).is_some_and(|known| known.at >= revocation.at);
            if !is_known {
                list.insert(revocation.who.clone(), revocation.clone());
                added.push(revocation);
            }
        }
        drop(list);
        if !added.is_empty() {
            self.0.changes.send_modify(|times| *times += 1);
        }
        added
    }

    /// Why a certificate of `who` that was issued at `issued` is worth nothing, if so.
    pub fn of(&self, who: &Identity, issued: Timestamp) -> Option<Revocation> {
        self.read().get(who).filter(|revocation| issued <= revocation.at).cloned()
    }

    pub fn all(&self) -> Vec<Revocation> {
        self.read().values().cloned().collect()
    }

    /// Counts the changes: a connection looks again when it moves.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Identity, Revocation>> {
        self.0.list.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(who: &str, at: i64) -> Revocation {
        let by = "main/operator/ada".parse().expect("an identity");
        Revocation { who: who.parse().expect("an identity"), at: Timestamp::from_micros(at), by }
    }

    #[test]
    fn what_was_issued_until_then_is_revoked_and_what_comes_after_is_not() {
        let revoked = Revoked::default();
        revoked.add([revocation("main/edge/yard", 10)]);
        let of = |who: &str, issued| revoked.of(&who.parse().expect("an identity"), Timestamp::from_micros(issued));
        assert!(of("main/edge/yard", 10).is_some());
        assert!(of("main/edge/yard", 11).is_none(), "it was enrolled again");
        assert!(of("main/edge/barn", 1).is_none());
    }

    #[test]
    fn only_news_is_told() {
        let revoked = Revoked::default();
        let changes = revoked.changes();
        assert_eq!(revoked.add([revocation("main/edge/yard", 10)]).len(), 1);
        assert_eq!(revoked.add([revocation("main/edge/yard", 10), revocation("main/edge/yard", 9)]).len(), 0);
        assert_eq!(*changes.borrow(), 1);
        assert_eq!(revoked.add([revocation("main/edge/yard", 11)]).len(), 1);
        assert_eq!(revoked.all(), [revocation("main/edge/yard", 11)]);
    }
}
