//! From a camera port's death to the next frame in its session, again and again.
//!
//!   frames come ▸ a moment ▸ SEGV ▸ the session failed ▸ new port ▸ RTSP ▸ key frame ▸ [a frame is counted]
//!
//! The wait for a key frame is a part of it, so the moments are spread evenly over the time between two.

use super::site::{self, Counters, EDGE};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use tests::harness::{Cluster, Plan};

/// A few more than are due.
pub const KILLS: usize = 60;
pub const BAR_MS: f64 = 1000.0;

const CAMERA: &str = "front-door";
const WITHIN: Duration = Duration::from_secs(20);
/// How often the edge is asked for its counters; what it costs is on the figure.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longer than the site's restart window, so that each failure is a first one and is repaired at once.
const CALM: Duration = Duration::from_millis(1100);
const GOP: Duration = Duration::from_millis(500);
/// Multiples of it, modulo one, fill the time between two key frames evenly.
const GOLDEN: f64 = 0.618_033_988_75;

/// In milliseconds.
pub async fn measure() -> Result<Vec<f64>, String> {
    let camera = site::camera().await;
    let plan = Plan::new(site::SEED).relay("hub").edge(EDGE).camera(EDGE, CAMERA, camera.url());
    let mut site = plan.set(EDGE, "supervision.restarts_within_s", 1).set(EDGE, "gears.mode", "awake").start();
    site.ready().await;
    let mut took = Vec::with_capacity(KILLS);
    for n in 0..KILLS {
        some_frames(&mut site).await;
        tokio::time::sleep(CALM + GOP.mul_f64((n as f64 * GOLDEN).fract())).await;
        took.push(death_to_frame(&site).await?.as_secs_f64() * 1000.0);
    }
    site.stop().await;
    Ok(took)
}

async fn some_frames(site: &mut Cluster) {
    let before = Counters::read(site).await.map_or(0, |counters| counters.frames());
    site.eventually("frames come", WITHIN, async |site| {
        let frames = Counters::read(site).await?.frames();
        if frames > before + 2 { Ok(()) } else { Err(format!("{frames} after {before}")) }
    })
    .await;
}

async fn death_to_frame(site: &Cluster) -> Result<Duration, String> {
    let ports = site.node(EDGE).port_pids("watchtree-camera-port");
    let [port] = ports[..] else {
        return Err(format!("one camera has the ports {ports:?}\n{}", site.tails()));
    };
    let before = failures(&Counters::read(site).await?);
    let killed = Instant::now();
    kill_process(Pid::from_raw(port.cast_signed()).expect("not 0"), Signal::SEGV).map_err(|e| e.to_string())?;
    // Frames on their way out of the dying port are read before the session fails, and are not the new one's.
    let mut last_of_old = None;
    while killed.elapsed() < WITHIN {
        let counters = Counters::read(site).await?;
        if failures(&counters) > before && counters.frames() > *last_of_old.get_or_insert(counters.frames()) {
            return Ok(killed.elapsed());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(format!("no frame within {} s of the port's death\n{}", WITHIN.as_secs(), site.tails()))
}

fn failures(counters: &Counters) -> u64 {
    counters.each("watchtree_actor_failures_total", "class=\"session\"").iter().sum()
}
