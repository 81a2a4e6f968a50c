//! Waiting for a condition, never for a duration.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long something may still take, and what it is.
pub struct Deadline<'a> {
    what: &'a str,
    within: Duration,
    began: Instant,
}

impl<'a> Deadline<'a> {
    pub fn new(what: &'a str, within: Duration) -> Self {
        Self { what, within, began: Instant::now() }
    }

    /// Waits a moment, or gives up with what was seen last.
    pub async fn not_yet(&mut self, seen: &str) {
        let Self { what, within, began } = self;
        assert!(began.elapsed() < *within, "waited {} s in vain until {what}; last: {seen}", within.as_secs());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// As [`super::Cluster::eventually`], where no cluster is involved.
pub async fn wait_for<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut deadline = Deadline::new(what, within);
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => deadline.not_yet(&seen).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_is_asked_until_it_holds() {
        let mut asked = 0;
        let found = wait_for("it holds", Duration::from_secs(5), async || {
            asked += 1;
            if asked == 3 { Ok(asked) } else { Err(format!("asked {asked} times")) }
        });
        assert_eq!(found.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "in vain until pigs fly; last: they walk")]
    async fn giving_up_says_what_was_seen_last() {
        wait_for::<()>("pigs fly", Duration::ZERO, async || Err("they walk".to_owned())).await;
    }
}
