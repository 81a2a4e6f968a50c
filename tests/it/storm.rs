//! A camera whose port dies at once at every start costs next to nothing, and comes back when its source heals.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};
use tests::harness::{CameraServer, Cluster, Plan, programs};

const SEED: u64 = 51;
const WITHIN: Duration = Duration::from_secs(60);
const SESSION: &str = "yard/cameras/front-door/session";
/// For how long the parked camera's cost is measured, twice before it is tried again.
const MEASURED: Duration = Duration::from_secs(6);
const PROGRAM: &str = "watchtree-camera-port";

#[tokio::test]
async fn a_port_that_dies_at_every_start_is_parked_costs_nothing_and_comes_back() {
    let camera = CameraServer::start(&["--gop-s", "0.5"]).await;
    let ports = tempfile::tempdir().expect("a directory");
    be_ill(ports.path());
    let plan = Plan::new(SEED).relay("hub").edge("yard").camera("yard", "front-door", camera.url());
    let plan = plan.set("yard", "node.ports_dir", ports.path().display().to_string());
    let mut site = plan
        // The default budget; only the pause is short, or the test would be long.
        .set("yard", "supervision.resume_after_s", 20)
        .set("yard", "supervision.resume_after_max_s", 40)
        .start();
    let began = Instant::now();
    site.eventually("the camera is parked", WITHIN, async |site| state(site).await.and_then(|row| row.is("parked")))
        .await;
    let (parked_after, row) = (began.elapsed(), state(&site).await.expect("it is there"));
    assert!(row.reason.contains("exited with code 3"), "{}", row.reason);
    let (budget, starts) = (5, starts(ports.path()));
    assert_eq!(starts, budget + 1, "its first start and its budget");

    // The smaller of two: what neighbours do to the caches is on a process's account too.
    let measured = [cost_percent(&site).await, cost_percent(&site).await];
    let percent = measured[0].min(measured[1]);
    assert_eq!(state(&site).await.expect("it is there").state, "parked", "it was parked all the while");

    be_well(ports.path());
    let healed = Instant::now();
    site.eventually("the camera runs", WITHIN, async |site| state(site).await.and_then(|row| row.is("running"))).await;
    site.node_ready("yard").await;
    println!(
        "parked after {starts} starts and {:.1} s; the whole node then took {measured:.2?} % of a core; ready {:.1} s after \
         its source had healed",
        parked_after.as_secs_f32(),
        healed.elapsed().as_secs_f32()
    );
    assert!(percent < 2.0, "a parked camera costs {percent:.2} % of a core");
}

/// A program that counts its starts and dies.
fn be_ill(dir: &Path) {
    let program = dir.join(PROGRAM);
    fs::write(&program, format!("#!/bin/sh\necho >> {}/starts\nexit 3\n", dir.display()))
        .expect("the directory is ours");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the file is ours");
}

fn be_well(dir: &Path) {
    fs::remove_file(dir.join(PROGRAM)).expect("the file is ours");
    symlink(programs::path(PROGRAM), dir.join(PROGRAM)).expect("the directory is ours");
}

fn starts(dir: &Path) -> usize {
    fs::read_to_string(dir.join("starts")).unwrap_or_default().lines().count()
}

struct Row {
    state: String,
    reason: String,
}

impl Row {
    fn is(&self, state: &str) -> Result<(), String> {
        if self.state == state { Ok(()) } else { Err(format!("{}: {}", self.state, self.reason)) }
    }
}

async fn state(site: &Cluster) -> Result<Row, String> {
    let tree = site.node("yard").tree().await?;
    let row = tree.actors.into_iter().find(|actor| actor.path == SESSION).ok_or("no session")?;
    Ok(Row { state: row.state, reason: row.last_reason.unwrap_or_default() })
}

async fn cost_percent(site: &Cluster) -> f64 {
    let (before, began) = (cpu(site), Instant::now());
    tokio::time::sleep(MEASURED).await;
    (cpu(site) - before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0
}

/// The edge's own process: user and system time.
fn cpu(site: &Cluster) -> Duration {
    let pid = site.node("yard").pid().expect("it runs");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name in brackets").1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number");
    Duration::from_secs_f64(ticks as f64 / 100.0)
}
