//! A look that waits, taken in the background: what it found, and how long ago.
//!
//!   health actor ──look──▶ disk, outbox        at most one under way
//!   who asks     ──finding──▶ the last answer, or that there is none

use super::Finding;
use futures_util::future::BoxFuture;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// From one answer to the next look.
const EVERY: Duration = Duration::from_millis(500);
/// What has not answered for so long is not well. With [`EVERY`] and a round of health, under 2 s from the fact.
const WITHIN: Duration = Duration::from_secs(1);
/// An answer so old says nothing: the health actor itself does not look.
const STALE_AFTER: Duration = Duration::from_secs(2);

pub(super) struct Pulse {
    probe: Box<dyn Fn() -> BoxFuture<'static, Finding> + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asked: Option<Instant>,
    answer: Option<(Instant, Finding)>,
}

impl Pulse {
    pub fn new(probe: impl Fn() -> BoxFuture<'static, Finding> + Send + Sync + 'static) -> Self {
        Self { probe: Box::new(probe), state: Mutex::default() }
    }

    pub fn is_due(&self, now: Instant) -> bool {
        let state = self.lock();
        let fresh = state.answer.as_ref().is_some_and(|(at, _)| now.saturating_duration_since(*at) < EVERY);
        state.asked.is_none() && !fresh
    }

    pub fn look(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        self.lock().asked = Some(Instant::now());
        let mut under_way = UnderWay { pulse: self, found: None };
        async move {
            let found = (under_way.pulse.probe)().await;
            under_way.found = Some(found);
            drop(under_way);
        }
    }

    pub fn finding(&self, now: Instant) -> Finding {
        self.lock().finding(now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// However a look ends, the next one may begin.
struct UnderWay {
    pulse: Arc<Pulse>,
    found: Option<Finding>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.pulse.lock();
        state.asked = None;
        if let Some(found) = self.found.take() {
            state.answer = Some((Instant::now(), found));
        }
    }
}

impl State {
    fn finding(&self, now: Instant) -> Finding {
        let since = |at: &Instant| now.saturating_duration_since(*at);
        if let Some(silent) = self.asked.as_ref().map(since).filter(|silent| *silent >= WITHIN) {
            return Err(format!("does not answer (for {:.1} s)", silent.as_secs_f32()));
        }
        match &self.answer {
            None => Err("was not looked at yet".to_owned()),
            Some((at, _)) if since(at) >= STALE_AFTER => {
                Err(format!("nobody has looked for {:.1} s: the health actor does not run", since(at).as_secs_f32()))
            }
            Some((_, found)) => found.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(asked_ms: Option<u64>, answered_ms: Option<u64>, wanted: &str) {
        let now = Instant::now() + Duration::from_secs(60);
        let ago = |ms| now - Duration::from_millis(ms);
        let answer = answered_ms.map(|ms| (ago(ms), Ok("writable".to_owned())));
        let found = State { asked: asked_ms.map(ago), answer }.finding(now);
        let text = found.clone().unwrap_or_else(|why| why);
        assert!(text.contains(wanted), "{text}");
        assert_eq!(found.is_ok(), wanted == "writable");
    }

    #[test]
    fn an_answer_counts_while_it_is_fresh() {
        check(None, Some(100), "writable");
        check(Some(900), Some(1400), "writable");
    }

    #[test]
    fn silence_is_not_health() {
        check(None, None, "not looked at yet");
        check(Some(1100), Some(1600), "does not answer (for 1.1 s)");
        check(None, Some(2500), "nobody has looked for 2.5 s");
    }

    #[tokio::test]
    async fn a_look_that_was_torn_away_is_taken_again() {
        let pulse = Arc::new(Pulse::new(|| Box::pin(std::future::ready(Ok("writable".to_owned())))));
        drop(pulse.clone().look());
        let now = Instant::now();
        assert!(pulse.is_due(now), "the next one may begin");
        pulse.clone().look().await;
        // However long that took here.
        assert!(!pulse.is_due(now), "it was looked at just now");
        assert_eq!(pulse.finding(now), Ok("writable".to_owned()));
    }

    #[tokio::test]
    async fn one_that_hangs_is_not_asked_a_second_time() {
        let pulse = Arc::new(Pulse::new(|| Box::pin(std::future::pending())));
        let _hangs = pulse.clone().look();
        assert!(!pulse.is_due(Instant::now() + Duration::from_secs(3600)));
    }
}
