//! Answers: how long the frames that were judged took, from one telemetry message to the next.

use protocol::telemetry::InferenceFigures;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub(super) struct Answers(Mutex<Since>);

/// The last look; submitted and judged since the node's start.
#[derive(Default)]
struct Since {
    count: u32,
    took: Duration,
    submitted: u64,
    judged: u64,
}

impl Answers {
    pub fn asked(&self) {
        self.lock().submitted += 1;
    }

    /// A frame was judged.
    pub fn took(&self, span: Duration) {
        let mut since = self.lock();
        since.judged += 1;
        since.count = since.count.saturating_add(1);
        since.took = since.took.saturating_add(span);
    }

    /// The mean begins anew.
    pub fn figures(&self, waiting: u64) -> InferenceFigures {
        let mut since = self.lock();
        let (count, took) = (std::mem::take(&mut since.count), std::mem::take(&mut since.took));
        InferenceFigures {
            answer_ms_mean: took.as_secs_f32() * 1e3 / count.max(1) as f32,
            submitted: since.submitted,
            judged: since.judged,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Since> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_what_was_answered_since_the_last_look() {
        let answers = Answers::default();
        (0..3).for_each(|_| answers.asked());
        answers.took(Duration::from_millis(10));
        answers.took(Duration::from_millis(30));
        let figures = answers.figures(1);
        assert!((figures.answer_ms_mean - 20.0).abs() < 0.01, "{figures:?}");
        assert_eq!((figures.submitted, figures.judged, figures.waiting), (3, 2, 1));
        let later = answers.figures(u64::MAX);
        assert_eq!((later.answer_ms_mean, later.judged, later.waiting), (0.0, 2, u32::MAX));
    }
}
