//! What dies comes back: ports without their node, nodes without their events.

use protocol::admin::NodeSnapshot;
use protocol::{Event, Phase};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tests::harness::{CameraServer, Cluster, Plan, checks, witness};

const SEED: u64 = 30;
const WITHIN: Duration = Duration::from_secs(40);
const SESSION: &str = "yard/cameras/front-door/session";

/// One camera with short visits and frequent updates, so that something is under way at any time.
async fn site() -> (CameraServer, Cluster) {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "3", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub").gpu("engine", &["squares"]).edge("yard");
    let plan = plan.camera("yard", "front-door", camera.url()).set("yard", "track.update_every_ms", 200);
    let mut site = plan.set("yard", "track.lost_after_ms", 1000).set("yard", "track.blind_after_ms", 1000).start();
    site.ready().await;
    (camera, site)
}

#[tokio::test]
async fn a_crashed_camera_port_is_back_with_a_frame_and_its_node_lives() {
    let (_camera, mut site) = site().await;
    sees(&mut site).await;
    let (pid, frames) = (site.node("yard").pid(), frames_total(&site).await.expect("it counts"));
    let port = site
        .eventually("one camera has one port", WITHIN, async |site| {
            let ports = site.node("yard").port_pids("watchtree-camera-port");
            if let [port] = ports[..] { Ok(port) } else { Err(format!("{ports:?}")) }
        })
        .await;
    let killed = Instant::now();
    kill_process(Pid::from_raw(port.cast_signed()).expect("not 0"), Signal::SEGV).expect("it is ours");
    // Frames on their way out of the dying port would be counted as the new one's.
    let ports = site
        .eventually("another port runs", WITHIN, async |site| {
            let ports = site.node("yard").port_pids("watchtree-camera-port");
            if ports.first().is_some_and(|new| *new != port) { Ok(ports) } else { Err(format!("{ports:?}")) }
        })
        .await;
    let again_ms = killed.elapsed().as_millis();
    let before = frames_total(&site).await.expect("it counts").max(frames);
    site.eventually("the new port sent a frame", WITHIN, async |site| {
        let now = frames_total(site).await?;
        if now > before { Ok(()) } else { Err(format!("{now} frames")) }
    })
    .await;
    println!(
        "camera port {port} killed with SEGV: {ports:?} ran after {again_ms} ms, a frame after {} ms",
        killed.elapsed().as_millis()
    );
    assert_eq!(site.node("yard").pid(), pid, "the node is the same process");
    let tree = site.node("yard").tree().await.expect("it answers");
    let session = tree.actors.iter().find(|actor| actor.path == SESSION).expect("the session is in the tree");
    let reason = session.last_reason.as_deref().unwrap_or_default();
    assert!(session.restarts >= 1 && reason.contains("SEGV"), "{session:?}");
    no_other_restarted(&tree);
}

fn no_other_restarted(tree: &NodeSnapshot) {
    // Its port is a row below it.
    let others = tree.actors.iter().filter(|actor| !actor.path.starts_with(SESSION) && actor.restarts > 0);
    let others: Vec<&str> = others.map(|actor| actor.path.as_str()).collect();
    assert!(others.is_empty(), "{others:?} restarted too");
}

async fn frames_total(site: &Cluster) -> Result<u64, String> {
    let metrics = tests::harness::http::get(site.node("yard").http, "/metrics").await?.body;
    let line = metrics.lines().find(|line| line.starts_with("watchtree_camera_frames_total{"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).ok_or("no frame was counted".to_owned())
}

async fn sees(site: &mut Cluster) {
    site.eventually("an entry is on the record", WITHIN, async |site| {
        let entries = site.operator().record("yard", None).await?;
        if entries.is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_killed_relay_loses_and_doubles_nothing() {
    killed_mid_run("hub").await;
}

#[tokio::test]
async fn a_killed_edge_loses_and_doubles_nothing_and_ends_what_it_was_tracking() {
    let cut = |event: &Event| event.reason == Some(protocol::EndReason::Restart);
    // The track may have ended between the look and the kill: not twice.
    let mut ends = killed_mid_run("yard").await;
    if !ends.iter().any(cut) {
        ends = killed_mid_run("yard").await;
    }
    assert!(ends.iter().any(cut), "it was killed with a track under way");
}

#[tokio::test]
async fn a_killed_gpu_node_loses_and_doubles_nothing() {
    killed_mid_run("engine").await;
}

/// Kills `name` while a track is under way, lets it come back, and returns the ends of all events.
async fn killed_mid_run(name: &str) -> Vec<Event> {
    let (mut camera, mut site) = site().await;
    site.eventually("a track is under way", WITHIN, async |site| {
        let events = site.operator().events().await?;
        let tracks = events.iter().filter(|event| !event.event.tells_of_coverage());
        let open = tracks.map(|event| event.event.phase).any(|phase| phase == Phase::Update);
        if open { Ok(()) } else { Err(format!("{} events", events.len())) }
    })
    .await;
    let (before, _) = outbox(&mut site).await;
    site.node_mut(name).kill();
    site.node_mut(name).start();
    site.node_ready(name).await;
    site.eventually("events go on", WITHIN, async |site| {
        let (accepted, acked) = site.node("yard").outbox().await?;
        if accepted > before + 10 && acked > before {
            Ok(())
        } else {
            Err(format!("{accepted} accepted, {acked} acked"))
        }
    })
    .await;
    camera.quit();
    settled(&mut site).await
}

/// Accepted and acknowledged; an edge that was just started, or whose disk is busy, needs a moment to say so.
pub async fn outbox(site: &mut Cluster) -> (u64, u64) {
    site.eventually("the outbox answers", WITHIN, async |site| site.node("yard").outbox().await).await
}

/// Waits until nothing more comes, and holds the record against the witness.
pub async fn settled(site: &mut Cluster) -> Vec<Event> {
    site.eventually("the record is whole and every event has ended", WITHIN, async |site| {
        let (accepted, acked) = site.node("yard").outbox().await?;
        if accepted != acked {
            return Err(format!("{accepted} accepted, {acked} acked"));
        }
        let operator = site.operator();
        let entries = operator.record("yard", None).await?;
        let log = witness::accepted(&site.node("yard").log_text());
        let epochs: BTreeSet<_> = log.iter().map(|accepted| accepted.epoch).collect();
        let mut faults = checks::record_faults(&entries, accepted, &log);
        if epochs.len() != 1 {
            faults.push(format!("the outbox changed its epoch: {epochs:?}"));
        }
        let events = operator.events().await?;
        faults.extend(checks::list_faults(&events, &entries));
        let (again, _) = site.node("yard").outbox().await?;
        if again == accepted && faults.is_empty() {
            let events = events.into_iter().map(|event| event.event);
            Ok(events.filter(|event| !event.tells_of_coverage()).collect())
        } else {
            Err(faults.join("\n"))
        }
    })
    .await
}
