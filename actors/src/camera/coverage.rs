//! Whether somebody is looking: when a camera's frames were last judged, and if not, why.
//!
//! A motion verdict is a judgement; an inference that failed is none.

use protocol::CameraId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A camera that nobody judged for so long is blind.
pub const BLIND_AFTER: Duration = Duration::from_secs(2);

/// Shared by a camera's actors and by health. Cheap to clone.
#[derive(Clone)]
pub struct Coverage(Arc<Mutex<Inner>>);

struct Inner {
    judged: Instant,
    ever: bool,
    /// Why frames do not arrive or are not judged, as last reported.
    obstacle: Option<String>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner { judged: Instant::now(), ever: false, obstacle: None })))
    }
}

impl Coverage {
    /// A frame was judged just now.
    pub fn judged(&self) {
        let mut inner = self.lock();
        inner.judged = Instant::now();
        inner.ever = true;
        inner.obstacle = None;
    }

    /// Something stands in the way; told to the operator if the camera is or becomes blind.
    pub fn obstacle(&self, reason: impl Into<String>) {
        self.lock().obstacle = Some(reason.into());
    }

    /// Why the camera is blind, or `None` while it sees.
    pub fn blind(&self) -> Option<String> {
        let inner = self.lock();
        let dark = inner.judged.elapsed();
        if inner.ever && dark < BLIND_AFTER {
            return None;
        }
        let fallback = if inner.ever { "no frame was judged" } else { "no frame was judged yet" };
        let reason = inner.obstacle.as_deref().unwrap_or(fallback);
        Some(format!("{reason} (for {:.1} s)", dark.as_secs_f32()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All cameras of an edge. Cheap to clone.
#[derive(Clone, Default)]
pub struct Coverages(Arc<Vec<(CameraId, Coverage)>>);

impl Coverages {
    pub fn new(cameras: impl IntoIterator<Item = CameraId>) -> Self {
        Self(Arc::new(cameras.into_iter().map(|camera| (camera, Coverage::default())).collect()))
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

    /// Ok if at least one camera sees, or there is none.
    pub fn finding(&self) -> Result<String, String> {
        match self.iter().find(|(_, coverage)| coverage.blind().is_none()) {
            Some(_) => Ok("at least one camera sees".to_owned()),
            None if self.0.is_empty() => Ok("no camera is configured".to_owned()),
            None => Err("every camera is blind".to_owned()),
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
}
