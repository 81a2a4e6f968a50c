//! What files cost that a `kill -9` cut off in the middle: each is finished by the next life of the edge.

use super::{EDGE, SEED};
use std::time::{Duration, Instant};
use tests::harness::{CameraServer, Cluster, Counters, Plan};
use tests::test_camera::squares::Rng;

/// How often the edge is killed.
pub const CUTS: usize = 10;
pub const BAR_MS: f64 = 200.0;
/// Files that are cut each time.
const CAMERAS: usize = 8;
const WITHIN: Duration = Duration::from_secs(60);

pub struct Took {
    /// Of one file, on average over those that one kill has cut.
    pub each_ms: Vec<f64>,
    /// From its start until the node does its job again.
    pub ready_ms: Vec<f64>,
}

pub async fn measure() -> Result<Took, String> {
    let scene = ["--gop-s", "1", "--length-s", "20", "--lifetime-s", "3", "--prepare"];
    let camera = CameraServer::start(&scene).await;
    let mut plan = Plan::new(SEED).relay("hub").edge(EDGE).set(EDGE, "retain.free_min_mib", 64);
    for n in 1..=CAMERAS {
        plan = plan.camera_with(EDGE, &format!("camera-{n}"), camera.url(), "record = \"all\"");
    }
    let mut site = plan.start();
    site.ready().await;
    println!("recover: {CUTS} times kill -9, an edge that records {CAMERAS} cameras");
    let mut rng = Rng::new(site.seed(), 0);
    let mut took = Took { each_ms: Vec::new(), ready_ms: Vec::new() };
    for _ in 0..CUTS {
        all_record(&mut site).await;
        tokio::time::sleep(Duration::from_secs_f64(5.0 + 20.0 * rng.unit())).await;
        site.node_mut(EDGE).kill();
        let began = Instant::now();
        site.node_mut(EDGE).start();
        site.node_ready(EDGE).await;
        took.ready_ms.push(began.elapsed().as_secs_f64() * 1000.0);
        took.each_ms.push(recovered(&mut site).await);
    }
    site.stop().await;
    Ok(took)
}

/// Each has a file that is being written.
async fn all_record(site: &mut Cluster) {
    site.eventually("each camera is recorded", WITHIN, async |site| {
        let counters = Counters::read(site, EDGE).await?;
        let camera = |n: usize| format!("camera=\"camera-{n}\"");
        let recorded = |n: &usize| counters.sum("watchtree_recording_written_bytes_total", &[&camera(*n)]) > 0.0;
        let count = (1..=CAMERAS).filter(recorded).count();
        if count == CAMERAS { Ok(()) } else { Err(format!("{count} are")) }
    })
    .await;
}

/// Milliseconds a file, once all are finished.
async fn recovered(site: &mut Cluster) -> f64 {
    let (sum, count) = ("watchtree_recording_recovered_seconds_sum", "watchtree_recording_recovered_seconds_count");
    site.eventually("every file that was cut is finished", WITHIN, async |site| {
        let counters = Counters::read(site, EDGE).await?;
        let files = counters.sum(count, &[]);
        if files >= CAMERAS as f64 { Ok(counters.sum(sum, &[]) * 1000.0 / files) } else { Err(format!("{files} are")) }
    })
    .await
}
