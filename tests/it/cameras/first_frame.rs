//! A camera that comes back is seen soon: from the moment that it could be watched to its first frame in the node.
//!
//! Twelve times; `WATCHTREE_FIRST_FRAMES=60` makes a percentile of it.

use super::{EDGE, all_seen, label, setting};
use std::time::{Duration, Instant};
use tests::harness::{CameraServer, Cluster, Counters, Plan, Yardstick, wait_for};
use tests::test_camera::book::now_us;
use tests::test_camera::squares::Rng;

const SEED: u64 = 510;
const CAMERA: &str = "front-door";
const TIMES: usize = 12;
const WITHIN: Duration = Duration::from_secs(60);
/// The 95th percentile, less what the machine itself lost meanwhile.
const P95_MAX: Duration = Duration::from_secs(1);
/// How long it is away, at most.
const AWAY_S_MAX: f64 = 3.0;
/// The session has to be well before it fails again, or it waits longer each time.
const WELL_S: f64 = 5.5;
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[tokio::test]
async fn a_camera_that_comes_back_is_seen_within_a_second() {
    let times = setting("WATCHTREE_FIRST_FRAMES", TIMES);
    let plan = Plan::new(SEED).relay("hub").edge(EDGE);
    let arguments = ["--gop-s", "1", "--length-s", "10", "--lifetime-s", "3", "--objects", "3"];
    let mut camera = CameraServer::start_with_book(&arguments, &plan.dir().join("book")).await;
    let mut site = plan.camera(EDGE, CAMERA, camera.url()).start();
    site.ready().await;
    all_seen(&mut site, &[CAMERA], WITHIN).await;
    let (yardstick, mut rng) = (Yardstick::start(), Rng::new(site.seed(), 0));
    let mut took = Vec::new();
    for _ in 0..times {
        tokio::time::sleep(Duration::from_secs_f64(WELL_S + rng.unit())).await;
        let frames = away(&mut site, &mut camera, AWAY_S_MAX * rng.unit()).await;
        took.push(back_to_frame(&site, &mut camera, frames, &yardstick).await);
    }
    took.sort();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    println!(
        "{times} times from a camera's return to its first frame: p50 {:.0?}, p95 {:.0?}, {:.0?} at most",
        at(50),
        at(95),
        at(100)
    );
    assert!(at(95) <= P95_MAX, "seed {}: {took:.0?}", site.seed());
}

/// Kills it and leaves it dead for a while. Returns how many frames of it there are then.
async fn away(site: &mut Cluster, camera: &mut CameraServer, for_s: f64) -> f64 {
    let failed = "watchtree_camera_source_failures_total";
    let before = Counters::read(site, EDGE).await.expect("it answers").sum(failed, &[&label(CAMERA)]);
    camera.kill();
    let counters = wait_for("the session knows", WITHIN, async || {
        let counters = Counters::read(site, EDGE).await?;
        let failures = counters.sum(failed, &[&label(CAMERA)]);
        if failures > before { Ok(counters) } else { Err(format!("{failures} failures")) }
    });
    let frames = counters.await.sum("watchtree_camera_frames_total", &[&label(CAMERA)]);
    tokio::time::sleep(Duration::from_secs_f64(for_s)).await;
    frames
}

async fn back_to_frame(site: &Cluster, camera: &mut CameraServer, frames: f64, yardstick: &Yardstick) -> Duration {
    let began = Instant::now();
    let ready_us = camera.start_again().await;
    loop {
        let counters = Counters::read(site, EDGE).await.expect("it answers");
        if counters.sum("watchtree_camera_frames_total", &[&label(CAMERA)]) > frames {
            let took = Duration::from_micros(u64::try_from(now_us() - ready_us).unwrap_or(0));
            return took.saturating_sub(yardstick.lost_since(began));
        }
        assert!(began.elapsed() < WITHIN, "no frame within {WITHIN:?}\n{}", site.tails());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
