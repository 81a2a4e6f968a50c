//! Whether somebody is looking: when a camera's frames were last judged, and if not, why.
//!
//!   watch ──judged──▶ [coverage] ──blind, and why──▶ health, metrics
//!   session ─obstacle, still─▶ └──gaps──▶ keeper ──▶ events
//!
//! A motion verdict is a judgement, and so is in the idle gear what the size of an encoded picture says; an inference
//! that failed is none. Of a camera that nobody is to judge, it is seen whether pictures come.

pub mod book;
pub mod course;
pub mod keeper;

use protocol::CameraId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A camera that nobody judged for so long is blind. Whoever is told is told within 2 s: the rest is for
/// health's own round. A port that is restarted at once is back well before.
pub const BLIND_AFTER: Duration = Duration::from_millis(1750);

/// A camera that is looked at seldom is not blind between two frames, and blind soon after the one that is missing.
const OVERDUE_AFTER: Duration = Duration::from_millis(1250);

/// Gaps that nobody has taken. When full, the newest two become one: what lies between them was seen, and is given up.
const GAPS_MAX: usize = 64;

/// A time in which nobody judged, longer than it takes to be blind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub from: Instant,
    /// `None` while it goes on.
    pub to: Option<Instant>,
    pub reason: String,
    /// Nothing was judged before it.
    pub first: bool,
}

/// How a camera is, for who keeps account of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Over since the last look, the oldest first; then the one that goes on, if one does.
    pub gaps: Vec<Gap>,
    /// When it was last judged; `None` before the first time.
    pub judged: Option<Instant>,
    /// Nobody is to judge it, by choice.
    pub unwatched: bool,
}

/// Shared by a camera's actors and by health. Cheap to clone.
#[derive(Clone)]
pub struct Coverage {
    blind_after: Duration,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    judged: Instant,
    /// Until when it is not blind, whatever comes.
    sees_until: Instant,
    ever: bool,
    /// Nobody is to judge it, by choice.
    unwatched: bool,
    gaps: VecDeque<Gap>,
    frames: u64,
    /// Why frames do not arrive or are not judged, as last reported.
    obstacle: Option<String>,
}

impl Default for Coverage {
    fn default() -> Self {
        let (judged, sees_until) = (Instant::now(), Instant::now());
        let gaps = VecDeque::new();
        let inner = Inner { judged, sees_until, ever: false, unwatched: false, gaps, frames: 0, obstacle: None };
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
        inner.sees_for(self.blind_after);
        inner.frames += 1;
    }

    /// A frame was judged, and the next is looked at after so long.
    pub fn judged_until_next(&self, next: Duration) {
        let mut inner = self.lock();
        inner.sees_for(self.blind_after.max(next + OVERDUE_AFTER));
        inner.frames += 1;
    }

    /// A picture came that was not decoded: its size says that nothing moves, or nobody is to look at it.
    pub fn still(&self) {
        self.lock().sees_for(BLIND_AFTER);
    }

    /// The source is gone: what was to be looked at later does not come.
    pub fn source_ended(&self) {
        let mut inner = self.lock();
        inner.sees_until = inner.sees_until.min(inner.judged + self.blind_after);
    }

    /// Whether nobody is to judge this camera, by choice.
    pub fn set_unwatched(&self, unwatched: bool) {
        self.lock().unwatched = unwatched;
    }

    /// How it is while it is not blind.
    pub fn sight(&self) -> &'static str {
        if self.lock().unwatched { "passthrough: pictures come, not judged by choice" } else { "sees" }
    }

    /// Frames judged since the node's start.
    pub fn frames(&self) -> u64 {
        self.lock().frames
    }

    /// Something stands in the way; told to the operator if the camera is or becomes blind.
    pub fn obstacle(&self, reason: impl Into<String>) {
        self.lock().obstacle = Some(reason.into());
    }

    pub fn unwatched(&self) -> bool {
        self.lock().unwatched
    }

    /// Why the camera is blind, or `None` while it sees.
    pub fn blind(&self) -> Option<String> {
        let inner = self.lock();
        let gap = inner.gap(Instant::now())?;
        Some(format!("{} (for {:.1} s)", gap.reason, gap.from.elapsed().as_secs_f32()))
    }

    /// Takes the gaps that are over: there is one who looks.
    pub fn look(&self) -> Look {
        let mut inner = self.lock();
        let mut gaps: Vec<Gap> = inner.gaps.drain(..).collect();
        gaps.extend(inner.gap(Instant::now()));
        Look { gaps, judged: inner.ever.then_some(inner.judged), unwatched: inner.unwatched }
    }

    /// How long ago it was last judged; `None` before the first time.
    pub fn judged_ago(&self) -> Option<Duration> {
        let inner = self.lock();
        inner.ever.then(|| inner.judged.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The gap that goes on at this moment.
    fn gap(&self, now: Instant) -> Option<Gap> {
        if self.ever && now < self.sees_until {
            return None;
        }
        let fallback = match (self.unwatched, self.ever) {
            (false, true) => "no frame was judged",
            (false, false) => "no frame was judged yet",
            (true, _) => "no picture comes",
        };
        let reason = self.obstacle.as_deref().unwrap_or(fallback).to_owned();
        Some(Gap { from: self.judged, to: None, reason, first: !self.ever })
    }

    /// It was judged at this moment, and is not blind for so long.
    fn sees_for(&mut self, span: Duration) {
        let now = Instant::now();
        self.note_gap(now);
        self.judged = now;
        self.sees_until = self.sees_until.max(now + span);
        self.ever = true;
        self.obstacle = None;
    }

    /// Before a judgement at this moment: what it ends.
    fn note_gap(&mut self, now: Instant) {
        let Some(gap) = self.gap(now) else { return };
        let full = self.gaps.len() == GAPS_MAX;
        match self.gaps.back_mut().filter(|_| full) {
            Some(last) => last.to = Some(now),
            None => self.gaps.push_back(Gap { to: Some(now), ..gap }),
        }
    }
}

/// All cameras of an edge that are to be looked at, as they come and go. Cheap to clone.
#[derive(Clone, Default)]
pub struct Coverages(Arc<Mutex<Vec<(CameraId, Coverage)>>>);

impl Coverages {
    /// Each with how many times a second it is to be looked at.
    pub fn new(cameras: impl IntoIterator<Item = (CameraId, f32)>) -> Self {
        let cameras = cameras.into_iter().map(|(camera, rate)| (camera, Coverage::at_rate(rate))).collect();
        Self(Arc::new(Mutex::new(cameras)))
    }

    /// Those that there are now.
    pub fn iter(&self) -> impl Iterator<Item = (CameraId, Coverage)> + use<> {
        self.lock().clone().into_iter()
    }

    pub fn of(&self, camera: &CameraId) -> Option<Coverage> {
        self.lock().iter().find(|(id, _)| id == camera).map(|(_, coverage)| coverage.clone())
    }

    /// A camera comes, or is to be looked at so many times a second from now on: what was known of it is forgotten.
    pub fn put(&self, camera: &CameraId, frames_per_s: f32) -> Coverage {
        let new = Coverage::at_rate(frames_per_s);
        let mut cameras = self.lock();
        match cameras.iter_mut().find(|(id, _)| id == camera) {
            Some((_, coverage)) => *coverage = new.clone(),
            None => cameras.push((camera.clone(), new.clone())),
        }
        new
    }

    /// It is gone: nobody is to look at it, and nobody calls it blind.
    pub fn remove(&self, camera: &CameraId) {
        self.lock().retain(|(id, _)| id != camera);
        metrics::gauge!("watchtree_camera_blind", "camera" => camera.to_string()).set(0.0);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(CameraId, Coverage)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let cameras: Vec<_> = self.iter().collect();
        let why = |(id, coverage): &'_ (CameraId, Coverage)| coverage.blind().map(|blind| parked(id).unwrap_or(blind));
        let blind: Vec<_> = cameras.iter().filter_map(|camera| Some((&camera.0, why(camera)?))).collect();
        let all = cameras.len();
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

    /// As if it had last been judged long enough ago.
    fn darken(coverage: &Coverage) {
        let mut inner = coverage.lock();
        inner.judged -= BLIND_AFTER;
        inner.sees_until = Instant::now();
    }

    #[test]
    fn a_gap_is_known_while_it_lasts_and_told_once_when_it_is_over() {
        let coverage = Coverage::default();
        let began = coverage.look().gaps;
        assert_eq!(began.iter().map(|gap| (gap.to, gap.first)).collect::<Vec<_>>(), [(None, true)]);
        coverage.judged();
        let over = coverage.look();
        assert!(over.gaps.len() == 1 && over.gaps[0].to.is_some() && over.gaps[0].from == began[0].from, "{over:?}");
        coverage.judged();
        assert_eq!(coverage.look().gaps, []);
        darken(&coverage);
        coverage.obstacle("refused");
        let dark = coverage.look().gaps;
        assert_eq!(dark.iter().map(|gap| (gap.to, gap.reason.as_str())).collect::<Vec<_>>(), [(None, "refused")]);
        coverage.judged();
        let over = coverage.look().gaps;
        assert_eq!(over.iter().map(|gap| (gap.reason.as_str(), gap.first)).collect::<Vec<_>>(), [("refused", false)]);
    }

    #[test]
    fn gaps_that_nobody_takes_have_an_end() {
        let coverage = Coverage::default();
        for _ in 0..GAPS_MAX + 5 {
            darken(&coverage);
            coverage.judged();
        }
        assert_eq!(coverage.look().gaps.len(), GAPS_MAX);
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
    fn what_is_not_decoded_is_no_frame_and_no_blindness() {
        let coverage = Coverage::at_rate(0.1);
        coverage.still();
        assert_eq!((coverage.blind(), coverage.frames()), (None, 0));
        let sees_for = |coverage: &Coverage| {
            let inner = coverage.lock();
            inner.sees_until - inner.judged
        };
        assert_eq!(sees_for(&coverage), BLIND_AFTER, "pictures come often, however seldom one is looked at");
        let idle = Coverage::at_rate(5.0);
        idle.judged_until_next(Duration::from_secs(6));
        assert_eq!(sees_for(&idle), Duration::from_secs(6) + OVERDUE_AFTER);
        idle.source_ended();
        assert_eq!(sees_for(&idle), BLIND_AFTER, "a source that is gone is not waited for");
    }

    #[test]
    fn a_camera_that_nobody_is_to_judge_is_blind_only_without_pictures() {
        let coverage = Coverage::default();
        coverage.set_unwatched(true);
        assert!(coverage.blind().expect("blind").starts_with("no picture comes"));
        coverage.still();
        assert_eq!((coverage.blind(), coverage.sight()), (None, "passthrough: pictures come, not judged by choice"));
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
        only.put(&id("gate"), 5.0).judged();
        assert_eq!(only.finding(|_| None), Ok("1 of 2 cameras see".to_owned()));
        only.remove(&id("door"));
        assert_eq!(only.finding(|_| None), Ok("1 of 1 cameras see".to_owned()));
        assert!(only.of(&id("door")).is_none() && only.of(&id("gate")).is_some());
    }
}
