//! Looks: a few looks at all nodes at a time for each person, whose answers are in memory until they are read.

use protocol::Identity;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Looks of one identity at once, over all its connections: some screens and a command, each as long as the slowest
/// node. When full, the next waits for its turn.
const OF_ONE_MAX: usize = 4;

/// Cheap to clone; one per node.
#[derive(Clone, Default)]
pub(super) struct Looks(Arc<Mutex<BTreeMap<Identity, Weak<Semaphore>>>>);

impl Looks {
    /// `None` if the answer takes longer: whoever does not read what he asked for must not keep his other screens waiting.
    pub async fn in_turn<T>(&self, who: &Identity, within: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let _turn = self.turn(who).await;
        timeout(within, answer).await.ok()
    }

    /// Held while one looks. Never `None` while the semaphore is open, and nobody closes one.
    async fn turn(&self, who: &Identity) -> Option<OwnedSemaphorePermit> {
        self.of(who).acquire_owned().await.ok()
    }

    fn of(&self, who: &Identity) -> Arc<Semaphore> {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever looks or waits holds his own.
        looks.retain(|_, look| look.strong_count() > 0);
        let known = looks.get(who).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let look = Arc::new(Semaphore::new(OF_ONE_MAX));
            looks.insert(who.clone(), Arc::downgrade(&look));
            look
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn an_answer_that_is_not_read_gives_its_turn_back() {
        let looks = Looks::default();
        let ada = "main/operator/ada".parse().expect("an identity");
        for _ in 0..OF_ONE_MAX + 1 {
            let unread = looks.in_turn(&ada, Duration::from_millis(1), std::future::pending::<()>());
            assert_eq!(timeout(Duration::from_secs(20), unread).await, Ok(None));
        }
        assert_eq!(looks.in_turn(&ada, Duration::from_secs(20), async { "read" }).await, Some("read"));
    }

    #[test]
    fn one_person_looks_a_few_times_at_once_and_holds_up_nobody_else() {
        let looks = Looks::default();
        let (ada, bob) = ("main/operator/ada", "main/viewer/bob");
        let [ada, bob] = [ada, bob].map(|who| who.parse::<Identity>().expect("an identity"));
        let mut first: Vec<_> = (0..OF_ONE_MAX).map(|_| looks.turn(&ada).now_or_never().expect("in time")).collect();
        assert!(looks.turn(&ada).now_or_never().is_none(), "ada looks once too often");
        assert!(looks.turn(&bob).now_or_never().is_some(), "bob waits for ada");
        first.pop();
        assert!(looks.turn(&ada).now_or_never().is_some(), "one is over");
        drop(first);
        looks.of(&bob);
        assert_eq!(looks.0.lock().expect("nobody panics").len(), 1, "those who are done are forgotten");
    }
}
