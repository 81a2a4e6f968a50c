//! A camera that is restarted again and again costs its edge no file, no thread and no memory.
//!
//! Sixty times; `WATCHTREE_RESTARTS=600` for long.

use super::{EDGE, all_seen, label, setting};
use protocol::Act;
use std::time::Duration;
use tests::harness::{CameraServer, Cluster, Counters, Plan, process};

const SEED: u64 = 520;
const CAMERA: &str = "front-door";
const SESSION: &str = "yard/cameras/front-door/session";
const TIMES: usize = 60;
/// The first ones fill caches and heaps.
const WARM_UP: usize = 10;
const WITHIN: Duration = Duration::from_secs(40);
/// A connection that is just being asked about, a thread for a file that is being written.
const FILES_MORE_MAX: usize = 8;
const THREADS_MORE_MAX: usize = 8;
const RSS_MORE_KIB_MAX: u64 = 24 * 1024;

/// What a process has.
#[derive(Debug, Clone, Copy)]
struct Has {
    files: usize,
    threads: usize,
    rss_kib: u64,
}

impl Has {
    fn now(pid: u32) -> Self {
        let entries = |of| std::fs::read_dir(format!("/proc/{pid}/{of}")).expect("it runs").count();
        let rss_kib = process::rss_kib(pid).expect("it runs");
        Self { files: entries("fd"), threads: entries("task"), rss_kib }
    }
}

#[tokio::test]
async fn a_camera_that_is_restarted_leaves_nothing_behind() {
    let times = setting("WATCHTREE_RESTARTS", TIMES);
    let camera = CameraServer::start(&["--gop-s", "0.5", "--length-s", "10", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub").edge(EDGE);
    let mut site = plan.camera_with(EDGE, CAMERA, camera.url(), "record = \"all\"").start();
    site.ready().await;
    all_seen(&mut site, &[CAMERA], WITHIN).await;
    let pid = site.node(EDGE).pid().expect("it runs");
    let mut warm = Has::now(pid);
    for nth in 0..times {
        if nth == WARM_UP.min(times / 2) {
            warm = Has::now(pid);
        }
        restart(&mut site, nth).await;
    }
    let end = Has::now(pid);
    println!("{times} restarts of a camera: {warm:?} at first, {end:?} at last");
    assert_eq!(site.node(EDGE).pid(), Some(pid));
    assert_eq!(site.node(EDGE).port_pids("watchtree-camera-port").len(), 1, "one camera has one port");
    assert!(end.files <= warm.files + FILES_MORE_MAX, "{warm:?}, then {end:?}");
    assert!(end.threads <= warm.threads + THREADS_MORE_MAX, "{warm:?}, then {end:?}");
    assert!(end.rss_kib <= warm.rss_kib + RSS_MORE_KIB_MAX, "{warm:?}, then {end:?}");
}

/// Once more, until a frame came out of the new one.
async fn restart(site: &mut Cluster, nth: usize) {
    let before = port(site).await;
    site.operator().steer(SESSION, Act::Restart).await.expect("an operator may");
    let what = format!("restart {nth} has a new port");
    site.eventually(&what, WITHIN, async |site| match site.node(EDGE).port_pids("watchtree-camera-port")[..] {
        [now] if now != before => Ok(()),
        ref ports => Err(format!("{ports:?} after {before}")),
    })
    .await;
    let frames = async |site: &Cluster| {
        Ok::<_, String>(Counters::read(site, EDGE).await?.sum("watchtree_camera_frames_total", &[&label(CAMERA)]))
    };
    let seen = frames(site).await.expect("it answers");
    site.eventually("a frame of it came", WITHIN, async |site| {
        let now = frames(site).await?;
        if now > seen { Ok(()) } else { Err(format!("{now} frames")) }
    })
    .await;
}

async fn port(site: &mut Cluster) -> u32 {
    site.eventually("one camera has one port", WITHIN, async |site| {
        match site.node(EDGE).port_pids("watchtree-camera-port")[..] {
            [port] => Ok(port),
            ref ports => Err(format!("{ports:?}")),
        }
    })
    .await
}
