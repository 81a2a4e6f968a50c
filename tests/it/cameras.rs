//! Cameras as they are outside: they fail in every way, and what they delivered is recorded; they come back, and are seen.

mod faults;
mod first_frame;
mod nothing_lost;
mod plays_in_chromium;
mod restarts_leak_nothing;
mod the_test_camera;

use std::time::Duration;
use tests::harness::{Cluster, Counters};

const EDGE: &str = "yard";

/// A variable that makes a test longer, as WATCHTREE_SOAK_SECONDS.
fn setting(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name} is `{text}`: {e}")))
}

fn label(camera: &str) -> String {
    format!("camera=\"{camera}\"")
}

/// Waits until frames of all these cameras came.
async fn all_seen(site: &mut Cluster, cameras: &[&str], within: Duration) {
    site.eventually("each camera is seen", within, async |site| {
        let counters = Counters::read(site, EDGE).await?;
        let seen = |camera: &&&str| counters.sum("watchtree_camera_frames_total", &[&label(camera)]) > 0.0;
        let unseen: Vec<_> = cameras.iter().filter(|camera| !seen(camera)).collect();
        if unseen.is_empty() { Ok(()) } else { Err(format!("nothing of {unseen:?}")) }
    })
    .await;
}
