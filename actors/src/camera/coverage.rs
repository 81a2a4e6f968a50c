//! Whether somebody is looking: when a camera's frames were last judged, and if not, why.
//!
//!   watch ──judged──▶ [coverage] ──blind, and why──▶ health, metrics
//!   session ─obstacle─▶
//!
//! A motion verdict is a judgement; an inference that failed is none.

use protocol::CameraId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A camera that nobody judged for so long is blind. Whoever is told is told within 2 s: the rest is for
/// health's own round. A port that is restarted at once is back well before.
pub const BLIND_AFTER: Duration = Duration::from_millis(1750);

/// A camera that is looked at seldom is not blind between two frames, and blind soon after the one that is missing.
const OVERDUE_AFTER: Duration = Duration::from_millis(1250);

/// Shared by a camera's actors and by health. Cheap to clone.
#[derive(Clone)]
pub struct Coverage {
    blind_after: Duration,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    judged: Instant,
    ever: bool,
    frames: u64,
    /// Why frames do not arrive or are not judged, as last reported.
    obstacle: Option<String>,
}

impl Default for Coverage {
    fn default() -> Self {
        let inner = Inner { judged: Instant::now(), ever: false, frames: 0, obstacle: None };
        Self { blind_after: BLIND_AFTER, inner: Arc::new(Mutex::new(inner)) }
    }
}

impl Coverage {
    /// Of a camera that is to be looked at so many times a second.
    pub fn at_rate(frames_per_s: f32) -> Self {
        let interval = Duration::try_from_secs_f32(1.0 / frames_per_s).unwrap_or_default();
        Self { blind_after: BLIND_AFTER.max(interval + OVERDUE_AFTER), ..Self::default() }
    }

    /// A frame was judged just now.
    pub fn judged(&self) {
        let mut inner = self.lock();
        inner.judged = Instant::now();
        inner.ever = true;
        inner.frames += 1;
        inner.obstacle = None;
    }

    /// Frames judged since the node's start.
    pub fn frames(&self) -> u64 {
        self.lock().frames
    }

    /// Something stands in the way; told to the operator if the camera is or becomes blind.
    pub fn obstacle(&self, reason: impl Into<String>) {
        self.lock().obstacle = Some(reason.into());
    }

    /// Why the camera is blind, or `None` while it sees.
    pub fn blind(&self) -> Option<String> {
        let inner = self.lock();
        let dark = inner.judged.elapsed();
        if inner.ever && dark < self.blind_after {
            return None;
        }
        let fallback = if inner.ever { "no frame was judged" } else { "no frame was judged yet" };
        let reason = inner.obstacle.as_deref().unwrap_or(fallback);
        Some(format!("{reason} (for {:.1} s)", dark.as_secs_f32()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All cameras of an edge. Cheap to clone.
#[derive(Clone, Default)]
pub struct Coverages(Arc<Vec<(CameraId, Coverage)>>);

impl Coverages {
    /// Each with how many times a second it is to be looked at.
    pub fn new(cameras: impl IntoIterator<Item = (CameraId, f32)>) -> Self {
        Self(Arc::new(cameras.into_iter().map(|(camera, rate)| (camera, Coverage::at_rate(rate))).collect()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &(CameraId, Coverage)> {
        self.0.iter()
    }

    /// As metrics, when they are read: a watch that is stuck or parked cannot say that it is blind.
    pub fn show(&self) {
        for (camera, coverage) in self.iter() {
            let blind = f64::from(u8::from(coverage.blind().is_some()));
            metrics::gauge!("watchtree_camera_blind", "camera" => camera.to_string()).set(blind);
        }
    }

    /// Ok if at least one camera sees, or there is none; else a reason. `parked`: why nothing works at a camera's
    /// place, which nobody there can tell.
    pub fn finding(&self, parked: impl Fn(&CameraId) -> Option<String>) -> Result<String, String> {
        let why = |(id, coverage): &'_ (CameraId, Coverage)| coverage.blind().map(|blind| parked(id).unwrap_or(blind));
        let blind: Vec<_> = self.iter().filter_map(|camera| Some((&camera.0, why(camera)?))).collect();
        let all = self.0.len();
        match &blind[..] {
            [] if all == 0 => Ok("no camera is configured".to_owned()),
            some if some.len() < all => Ok(format!("{} of {all} cameras see", all - some.len())),
            [(id, reason)] => Err(format!("the only camera is blind: {id}: {reason}")),
            [(id, reason), ..] => Err(format!("all {all} cameras are blind; {id}: {reason}")),
            [] => Ok(format!("all {all} cameras see")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_is_blind_until_its_first_judgement() {
        let coverage = Coverage::default();
        assert!(coverage.blind().is_some());
        coverage.judged();
        assert_eq!(coverage.blind(), None);
    }

    #[test]
    fn the_reason_for_blindness_is_the_obstacle() {
        let coverage = Coverage::default();
        coverage.obstacle("refused: nobody listens");
        assert!(coverage.blind().expect("blind").starts_with("refused: nobody listens"));
    }

    #[test]
    fn a_camera_is_blind_in_time_for_everyone_to_know_within_two_seconds() {
        for frames_per_s in [2.0, 5.0, 30.0] {
            // It is found blind by the next round of health.
            let known_after = Coverage::at_rate(frames_per_s).blind_after + crate::api::readiness::EVERY;
            assert!(known_after < Duration::from_secs(2), "{known_after:?} at {frames_per_s} frames a second");
        }
    }

    #[test]
    fn a_camera_that_is_looked_at_every_ten_seconds_sees_in_between() {
        let after = Coverage::at_rate(0.1).blind_after;
        assert!(after > Duration::from_secs(10) && after < Duration::from_millis(11_500), "{after:?}");
    }

    #[test]
    fn one_camera_that_sees_is_enough_and_none_is_not() {
        let id = |id: &str| id.parse::<CameraId>().expect("a name");
        let cameras = Coverages::new([(id("door"), 5.0), (id("gate"), 5.0)]);
        assert!(
            cameras.finding(|_| None).expect_err("nobody looked yet").starts_with("all 2 cameras are blind; door: ")
        );
        cameras.iter().next().expect("the door").1.judged();
        assert_eq!(cameras.finding(|_| None), Ok("1 of 2 cameras see".to_owned()));
        let only = Coverages::new([(id("door"), 5.0)]);
        assert!(only.finding(|_| None).expect_err("blind").starts_with("the only camera"));
        let parked = only.finding(|id| Some(format!("{id} is parked by ada"))).expect_err("blind");
        assert_eq!(parked, "the only camera is blind: door: door is parked by ada");
        assert!(Coverages::default().finding(|_| None).is_ok());
    }
}
