//! An edge with cameras of one scene, and what its processes cost.

use super::peers::{self, Peer};
use std::time::{Duration, Instant};
use tests::harness::{CameraServer, Cluster, Counters, Plan, process};

const SEED: u64 = 5;
const EDGE: &str = "yard";
/// Until nothing has moved for long enough, on a machine that has just started many ports.
const GEAR_WITHIN: Duration = Duration::from_secs(120);
/// What starting left behind is over.
const CALM: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub enum Scene {
    Quiet,
    Busy,
}

impl Scene {
    /// Encoded beforehand: a loop that holds whole groups of pictures of any of the rhythms.
    pub async fn cameras(self, gop_s: &str, count: usize) -> Vec<CameraServer> {
        let scene = match self {
            Self::Quiet => "quiet",
            Self::Busy => "busy",
        };
        let mut cameras = Vec::new();
        for _ in 0..count {
            let size = ["--size", "1280x720", "--fps", "15", "--length-s", "16", "--prepare"];
            let arguments: Vec<&str> = ["--scene", scene, "--gop-s", gop_s].into_iter().chain(size).collect();
            cameras.push(CameraServer::start(&arguments).await);
        }
        cameras
    }
}

/// So many URLs, those of the servers in turn: one serves many.
pub fn urls(cameras: &[CameraServer], count: usize) -> Vec<String> {
    cameras.iter().cycle().take(count).map(|camera| camera.url().to_owned()).collect()
}

/// An edge whose cameras are all in `gear`, with nothing else configured but `toml` of each camera.
pub async fn edge(urls: &[String], toml: &str, gear: &str) -> Result<Cluster, String> {
    let plan = Plan::new(SEED).relay("hub").edge(EDGE).set(EDGE, "node.log_level", "info");
    let plan = plan.set(EDGE, "retain.free_min_mib", 64);
    let plan = (1..).zip(urls).fold(plan, |plan, (n, url)| plan.camera_with(EDGE, &format!("camera-{n}"), url, toml));
    let mut site = plan.start();
    let count = urls.len();
    if toml.is_empty() {
        // What nobody judges is never ready.
        site.ready().await;
    }
    let what = format!("{count} cameras are {gear}");
    site.eventually(&what, GEAR_WITHIN, async |site| {
        let counters = Counters::read(site, EDGE).await?;
        let are = counters.sum("watchtree_camera_gear", &[&format!("gear=\"{gear}\"")]);
        if are == count as f64 { Ok(()) } else { Err(format!("{are} are")) }
    })
    .await;
    tokio::time::sleep(CALM).await;
    Ok(site)
}

/// In a window.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Of node and ports, in percent of a core.
    pub pct: f64,
    pub ports_pct: f64,
    pub ports_rss_kib: f64,
    /// Frames a second of each camera, on average.
    pub fps: f64,
    /// How often one of the cameras left the idle gear.
    pub wakes: f64,
}

pub async fn measure(site: &Cluster, window: Duration) -> Result<Cost, String> {
    Ok(measure_beside(site, window, &mut []).await?.0)
}

/// And what each of the peers took in the same window, in percent of a core.
pub async fn measure_beside(site: &Cluster, window: Duration, peers: &mut [Peer]) -> Result<(Cost, Vec<f64>), String> {
    let node = site.node(EDGE).pid().ok_or("the edge does not run")?;
    let ports = site.node(EDGE).port_pids("watchtree-camera-port");
    if !peers.is_empty() {
        tokio::time::sleep(peers::WARM_UP).await;
    }
    let (began, counted) = (Instant::now(), count(site).await?);
    let (before, peers_before) = (took(node, &ports)?, of_peers(peers)?);
    tokio::time::sleep(window).await;
    let (after, peers_after, lasted) = (took(node, &ports)?, of_peers(peers)?, began.elapsed().as_secs_f64());
    let [frames, wakes] = count(site).await?;
    let pct = |after: Duration, before: Duration| (after - before).as_secs_f64() * 100.0 / lasted;
    let ports_pct = pct(after.1, before.1);
    let rss = ports.iter().map(|port| process::rss_kib(*port)).sum::<Result<u64, String>>()?;
    let cost = Cost {
        pct: pct(after.0, before.0) + ports_pct,
        ports_pct,
        ports_rss_kib: rss as f64,
        fps: (frames - counted[0]) / lasted / ports.len().max(1) as f64,
        wakes: wakes - counted[1],
    };
    let took = peers_after.into_iter().zip(peers_before).map(|(after, before)| pct(after, before));
    let took = peers.iter_mut().zip(took).map(|(peer, pct)| peer.works(pct)).collect::<Result<_, String>>()?;
    Ok((cost, took))
}

/// CPU time of the node, and of its ports.
fn took(node: u32, ports: &[u32]) -> Result<(Duration, Duration), String> {
    let of_ports = ports.iter().map(|port| process::cpu_time(*port)).sum::<Result<Duration, String>>()?;
    Ok((process::cpu_time(node)?, of_ports))
}

fn of_peers(peers: &[Peer]) -> Result<Vec<Duration>, String> {
    peers.iter().map(Peer::cpu_time).collect()
}

/// Frames that came, and how often a camera was woken.
async fn count(site: &Cluster) -> Result<[f64; 2], String> {
    let counters = Counters::read(site, EDGE).await?;
    Ok(["frames", "wakes"].map(|what| counters.sum(&format!("watchtree_camera_{what}_total"), &[])))
}

pub fn node_rss_kib(site: &Cluster) -> Result<f64, String> {
    Ok(process::rss_kib(site.node(EDGE).pid().ok_or("the edge does not run")?)? as f64)
}
