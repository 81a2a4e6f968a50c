//! Answers: how long the frames that were judged took, from one telemetry message to the next.

use protocol::telemetry::InferenceFigures;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub(super) struct Answers(Mutex<Since>);

/// The last look.
#[derive(Default)]
struct Since {
    count: u32,
    took: Duration,
}

impl Answers {
    pub fn took(&self, span: Duration) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.count = since.count.saturating_add(1);
        since.took = since.took.saturating_add(span);
    }

    /// The mean begins anew.
    pub fn figures(&self, submitted: u64, judged: u64, waiting: u64) -> InferenceFigures {
        let since = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let answer_ms_mean = since.took.as_secs_f32() * 1e3 / since.count.max(1) as f32;
        InferenceFigures { answer_ms_mean, submitted, judged, waiting: u32::try_from(waiting).unwrap_or(u32::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_what_was_answered_since_the_last_look() {
        let answers = Answers::default();
        [10, 30].map(|ms| answers.took(Duration::from_millis(ms))).len();
        let figures = answers.figures(7, 5, 1);
        assert!((figures.answer_ms_mean - 20.0).abs() < 0.01, "{figures:?}");
        assert_eq!((figures.submitted, figures.judged, figures.waiting), (7, 5, 1));
        assert_eq!(answers.figures(7, 5, u64::MAX).answer_ms_mean, 0.0);
    }
}
