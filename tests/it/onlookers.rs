//! Onlookers: the cameras of an edge that nothing was done to, held against one that nothing could be done to.
//!
//!   yard      cam-1 is hit; cam-2 … cam-8 ──frames──▶┐
//!   control   one camera, an edge of its own ─frames─▶ [onlookers] who has lost more than the machine took from all?
//!   yardstick ──how long the machine stood still─────▶┘
//!
//! All cameras are of one server, so what is lost before the edges is lost to all of them.

use super::blast_radius::{FRAMES_PER_S, own_camera};
use ::tests::harness::{Cluster, Plan, Yardstick, http, ports};
use protocol::Timestamp;
use protocol::admin::{ActorStatus, FailureRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub const CONTROL: &str = "control";
/// Of the configured rate, while something else fails: what scheduling on a busy machine costs.
const TOLERANCE: f64 = 0.10;
/// Frames that are on their way when they are counted, at both ends of a span.
const ON_THE_WAY: f64 = 3.0;
/// A frame that is late is not lost. None is ever made up for: a camera sends no more than its rate.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(5);
/// A machine that stood still for so long may have kept a healthy port from its beats.
const EXCUSE: Duration = Duration::from_millis(500);
/// And is told so much later at most.
const FOUND_WITHIN: Duration = Duration::from_secs(3);

pub struct Onlookers {
    yardstick: Yardstick,
    looked: (Instant, Timestamp),
    /// When the machine stood still.
    stood: Vec<(Timestamp, Timestamp)>,
}

/// Frames that had come at one moment.
pub struct Count {
    at: Instant,
    yard: BTreeMap<String, u64>,
    control: u64,
}

/// An edge that is linked to nobody and has one camera. To be planned before there is a relay.
pub fn planned(plan: Plan, url: &str) -> Plan {
    let nobody = format!("127.0.0.1:{}", ports::free());
    let plan = plan.edge(CONTROL).set(CONTROL, "link.relay", nobody).camera(CONTROL, "alone", url);
    // Each has its frames all the time: they are counted.
    plan.set(CONTROL, "gears.mode", "awake").set(CONTROL, "detect.frames_per_s", FRAMES_PER_S)
}

impl Count {
    pub async fn now(site: &Cluster) -> Result<Self, String> {
        let at = Instant::now();
        let control = frames(site, CONTROL).await?.into_values().sum();
        Ok(Self { at, yard: frames(site, "yard").await?, control })
    }

    pub fn cameras(&self) -> usize {
        self.yard.len()
    }
}

impl Onlookers {
    pub fn start() -> Self {
        Self { yardstick: Yardstick::start(), looked: (Instant::now(), Timestamp::now()), stood: Vec::new() }
    }

    /// The cameras but `hit` have all the frames since `before` that a camera could have.
    pub async fn lost_nothing(&mut self, site: &Cluster, before: &Count, hit: Option<&str>, what: &str) {
        self.note();
        let (span, mut spared) = (before.at.elapsed(), BTreeSet::from_iter(hit.map(str::to_owned)));
        loop {
            let after = Count::now(site).await.expect("both edges count");
            let Err(lost) = lost(before, &after, span, &spared) else { return };
            assert!(before.at.elapsed() < span + CATCH_UP_WITHIN, "{what}: {lost}");
            spared.extend(self.excused(site).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Cameras of which something was taken for hung, as the machine itself stood still.
    async fn excused(&mut self, site: &Cluster) -> BTreeSet<String> {
        self.note();
        let failures = failures(site, "yard/cameras").await;
        let excused = failures.iter().filter(|failure| self.excuses(failure));
        excused.filter_map(|failure| own_camera(&failure.path).map(str::to_owned)).collect()
    }

    /// Remembers if the machine stood still since the last look.
    fn note(&mut self) {
        let (since, at) = std::mem::replace(&mut self.looked, (Instant::now(), Timestamp::now()));
        if self.yardstick.lost_since(since) > EXCUSE {
            self.stood.push((at, self.looked.1.plus(FOUND_WITHIN)));
        }
    }

    /// No actor of these cameras was restarted, but for a hang while the machine itself stood still.
    pub async fn were_not_restarted(&mut self, site: &Cluster, hit: &str) {
        self.note();
        let tree = site.node("yard").tree().await.expect("it answers");
        let of_others = |actor: &&ActorStatus| own_camera(&actor.path).is_some_and(|camera| camera != hit);
        let mut restarted = Vec::new();
        for actor in tree.actors.iter().filter(of_others).filter(|actor| actor.restarts > 0) {
            let path = actor.path.trim_end_matches("/port");
            let failures = failures(site, path).await;
            if failures.is_empty() || !failures.iter().all(|failure| self.excuses(failure)) {
                restarted.push((path.to_owned(), failures));
            }
        }
        assert!(restarted.is_empty(), "{restarted:#?} were restarted too; the machine stood still at {:?}", self.stood);
    }

    fn excuses(&self, failure: &FailureRecord) -> bool {
        failure.kind == "hang" && self.stood.iter().any(|(from, until)| (*from..=*until).contains(&failure.at))
    }
}

async fn failures(site: &Cluster, path: &str) -> Vec<FailureRecord> {
    let path = format!("/api/v1/failures?path={path}");
    http::get_json(site.node("yard").http, &path).await.expect("it answers")
}

/// `span` is how long something else failed; the frames may have come later.
fn lost(before: &Count, after: &Count, span: Duration, spared: &BTreeSet<String>) -> Result<(), String> {
    let all = (FRAMES_PER_S * (after.at - before.at).as_secs_f64()).min((after.control - before.control) as f64);
    let due = all - FRAMES_PER_S * span.as_secs_f64() * TOLERANCE - ON_THE_WAY;
    for (camera, frames) in before.yard.iter().filter(|(camera, _)| !spared.contains(*camera)) {
        let got = after.yard.get(camera).map_or(0, |after| after.saturating_sub(*frames));
        if (got as f64) < due {
            return Err(format!("{camera} has {got} frames in {span:?}, at least {due:.1} were due"));
        }
    }
    Ok(())
}

/// The least that any but `hit` had, of the rate that is configured.
pub fn least_percent(before: &Count, after: &Count, hit: &str) -> f64 {
    let all = FRAMES_PER_S * (after.at - before.at).as_secs_f64();
    let others = before.yard.iter().filter(|(camera, _)| *camera != hit);
    others.map(|(camera, frames)| (after.yard[camera] - frames) as f64 / all * 100.0).fold(f64::MAX, f64::min)
}

/// Frames that came from each camera's port.
async fn frames(site: &Cluster, node: &str) -> Result<BTreeMap<String, u64>, String> {
    let metrics = http::get(site.node(node).http, "/metrics").await?.body;
    let counted = metrics.lines().filter(|line| line.starts_with("watchtree_camera_frames_total{"));
    let lines = counted.filter_map(|line| Some(line.split_once("camera=\"")?.1));
    let read = |line: &str| {
        let (camera, count) = line.split_once("\"} ")?;
        Some((camera.to_owned(), count.parse().ok()?))
    };
    Ok(lines.filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a span and the frames that `cam-2` and the camera of its own had in it; whether `cam-2` has lost some.
    #[track_caller]
    fn check(span_s: u64, got: u64, control: u64, loses: bool) {
        let at = Instant::now();
        let count = |at, got, control| Count { at, yard: [("cam-2".to_owned(), got)].into(), control };
        let span = Duration::from_secs(span_s);
        let found =
            lost(&count(at, 100, 200), &count(at + span, 100 + got, 200 + control), span, &["cam-1".to_owned()].into());
        assert_eq!(found.is_err(), loses, "{found:?}");
    }

    #[test]
    fn a_camera_that_stands_still_for_a_second_has_lost_frames() {
        check(1, 4, 4, false);
        check(1, 1, 4, false);
        check(2, 5, 8, false);
        check(2, 4, 8, true);
        check(100, 357, 400, false);
        check(100, 356, 400, true);
    }

    #[test]
    fn what_the_machine_took_from_all_is_no_loss() {
        check(2, 0, 3, false);
        check(10, 20, 27, false);
        check(10, 19, 27, true);
    }

    #[test]
    fn more_than_the_rate_is_not_asked_for() {
        check(2, 5, 40, false);
    }
}
