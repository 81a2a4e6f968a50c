//! An edge's end in good order: from TERM until its process is gone, with eight cameras and everyone to say
//! goodbye to.

use super::site::{self, Counters, EDGE};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use tests::harness::{Cluster, Plan};

pub const STOPS: usize = 12;
pub const CAMERAS: usize = 8;
pub const BAR_MS: f64 = 3000.0;

/// A machine that is busy with eight new ports takes its time.
const SEES_WITHIN: Duration = Duration::from_secs(60);
const GONE_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// In milliseconds.
pub async fn measure() -> Result<Vec<f64>, String> {
    let camera = site::camera().await;
    let plan = Plan::new(site::SEED).relay("hub").gpu("engine", &["squares"]).edge(EDGE);
    let plan = (1..=CAMERAS).fold(plan, |plan, n| plan.camera(EDGE, &format!("camera-{n}"), camera.url()));
    let mut site = plan.start();
    site.ready().await;
    let mut took = Vec::with_capacity(STOPS);
    loop {
        all_see(&mut site).await;
        took.push(term_to_gone(&mut site).await?.as_secs_f64() * 1000.0);
        if took.len() == STOPS {
            break;
        }
        let edge = site.node_mut(EDGE);
        // It has ended: this only forgets it.
        edge.kill();
        edge.start();
        site.node_ready(EDGE).await;
    }
    Ok(took)
}

async fn all_see(site: &mut Cluster) {
    site.eventually("each camera sees", SEES_WITHIN, async |site| {
        let frames = Counters::read(site).await?.each("watchtree_camera_frames_total", "camera=");
        let seeing = frames.iter().filter(|&&frames| frames > 0).count();
        if seeing == CAMERAS { Ok(()) } else { Err(format!("{seeing} of {CAMERAS} do")) }
    })
    .await;
}

async fn term_to_gone(site: &mut Cluster) -> Result<Duration, String> {
    let edge = site.node_mut(EDGE);
    let ports = edge.port_pids("watchtree-camera-port");
    let pid = edge.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or("the edge is not running")?;
    let told = Instant::now();
    kill_process(pid, Signal::TERM).map_err(|e| e.to_string())?;
    let status = loop {
        if let Some(status) = edge.try_wait() {
            break status;
        }
        if told.elapsed() > GONE_WITHIN {
            return Err(format!("the edge does not end within {} s\n{}", GONE_WITHIN.as_secs(), edge.log_tail(10)));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let took = told.elapsed();
    // A node that left its ports behind, or was torn down by force, has not stopped in good order.
    let left: Vec<_> = ports.iter().filter(|port| std::path::Path::new(&format!("/proc/{port}")).exists()).collect();
    if !status.success() || !left.is_empty() || ports.len() != CAMERAS {
        let tail = edge.log_tail(10);
        return Err(format!("the edge ended with {status} and left {left:?} of the ports {ports:?}\n{tail}"));
    }
    Ok(took)
}
