//! What both measurements of a site share: its camera, and what an edge counts.

use tests::harness::{CameraServer, Cluster, http};

pub const SEED: u64 = 3;
pub const EDGE: &str = "yard";
/// From one key frame to the next, in seconds.
pub const GOP_S: &str = "0.5";

/// Things come and go in view all the time; encoded beforehand, so that its load is small and even.
pub async fn camera() -> CameraServer {
    CameraServer::start(&["--gop-s", GOP_S, "--fps", "10", "--objects", "3", "--lifetime-s", "3", "--prepare"]).await
}

/// The edge's counters as they are now.
pub struct Counters(String);

impl Counters {
    pub async fn read(site: &Cluster) -> Result<Self, String> {
        Ok(Self(http::get(site.node(EDGE).http, "/metrics").await?.body))
    }

    /// Of each series called `name` that has `label`.
    pub fn each(&self, name: &str, label: &str) -> Vec<u64> {
        let series = self.0.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    }

    /// Frames that came to a session, of all cameras.
    pub fn frames(&self) -> u64 {
        self.each("watchtree_camera_frames_total", "").iter().sum()
    }
}
