//! Everything is killed, again and again, in the middle of its work: what was accepted is on the record once.

use crate::recovery::{outbox, settled};
use protocol::frame::{Ledger, LedgerState};
use std::collections::BTreeSet;
use std::time::Duration;
use tests::harness::{CameraServer, Cluster, Plan, checks};
use tests::test_camera::squares::Rng;

const SEED: u64 = 40;
const ROUNDS: u32 = 5;
const ACCEPTED_MIN: u64 = 500;
const CAMERAS: u32 = 4;
const WITHIN: Duration = Duration::from_secs(60);

/// What a run did to the site.
#[derive(Default, Debug)]
struct Toll {
    /// Events that were unacknowledged when a relay or an edge was killed.
    unacked: Vec<u64>,
    /// The askers' epochs of the edges that were killed.
    cut: Vec<u64>,
}

#[tokio::test]
async fn every_accepted_event_is_on_the_record_once_whoever_is_killed() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "4", "--lifetime-s", "3"]).await;
    let (mut site, mut camera, mut toll) = (start(&camera).await, camera, Toll::default());
    let mut rng = Rng::new(site.seed(), 0);
    for _ in 0..ROUNDS {
        kill_relay_with_work_left(&mut site, &mut toll).await;
        some_more(&mut site, 1 + rng.draw() % 20).await;
        kill_and_restart(&mut site, "engine").await;
        some_more(&mut site, 1 + rng.draw() % 20).await;
        kill_edge_with_work_left(&mut site, &mut toll).await;
        some_more(&mut site, 1 + rng.draw() % 20).await;
    }
    let (accepted, _) = outbox(&mut site).await;
    some_more(&mut site, ACCEPTED_MIN.saturating_sub(accepted)).await;
    camera.quit();
    let events = settled(&mut site).await;
    let (accepted, _) = outbox(&mut site).await;
    println!("{accepted} entries of {} events; unacknowledged at the kills: {:?}", events.len(), toll.unacked);
    assert!(accepted >= ACCEPTED_MIN, "only {accepted} were accepted");
    in_order_per_camera(&site).await;
    books_balance(&mut site, &toll).await;
}

async fn start(camera: &CameraServer) -> Cluster {
    let mut plan = Plan::new(SEED).relay("hub").gpu("engine", &["squares"]).edge("yard");
    for nth in 0..CAMERAS {
        plan = plan.camera("yard", &format!("camera-{nth}"), camera.url());
    }
    let keys = [("update_every_ms", 200), ("lost_after_ms", 600), ("blind_after_ms", 1000)];
    for (key, ms) in keys {
        plan = plan.set("yard", &format!("track.{key}"), ms);
    }
    let mut site = plan.start();
    site.ready().await;
    site
}

/// Waits until so many more entries were accepted.
async fn some_more(site: &mut Cluster, count: u64) {
    let (before, _) = outbox(site).await;
    site.eventually("more events were accepted", WITHIN, async |site| {
        let (accepted, acked) = site.node("yard").outbox().await?;
        if accepted >= before + count { Ok(()) } else { Err(format!("{accepted} accepted, {acked} acked")) }
    })
    .await;
}

async fn kill_and_restart(site: &mut Cluster, name: &str) {
    site.node_mut(name).kill();
    site.node_mut(name).start();
    site.node_ready(name).await;
}

/// A frozen relay acknowledges nothing, while the edge goes on. What it had acknowledged before may still be on its way
/// at the first look, and at the second no more.
async fn freeze_until_unacked(site: &mut Cluster) -> u64 {
    site.node("hub").pause();
    let mut before = None;
    site.eventually("events wait for the relay", WITHIN, async |site| {
        let (accepted, acked) = site.node("yard").outbox().await?;
        let stays = before.replace(acked) == Some(acked);
        if stays && accepted > acked {
            Ok(accepted - acked)
        } else {
            Err(format!("{accepted} accepted, {acked} acked"))
        }
    })
    .await
}

async fn kill_relay_with_work_left(site: &mut Cluster, toll: &mut Toll) {
    toll.unacked.push(freeze_until_unacked(site).await);
    kill_and_restart(site, "hub").await;
}

/// After a kill of the gpu node the edge needs seconds to notice; an edge killed before that was never asked about.
async fn gpu_node_answers_the_edge(site: &mut Cluster) {
    site.eventually("the gpu node answers the edge", WITHIN, async |site| {
        let edge = site.node("yard").ledgers().await?;
        let asker = edge.iter().find(|ledger| ledger.state == LedgerState::Open).map(|ledger| ledger.asker);
        let gpu = site.node("engine").ledgers().await?;
        let answered = gpu.iter().any(|ledger| Some(ledger.asker) == asker && ledger.tally.ok > 0);
        if answered { Ok(()) } else { Err(format!("{asker:?} is not in {gpu:?}")) }
    })
    .await;
}

async fn kill_edge_with_work_left(site: &mut Cluster, toll: &mut Toll) {
    gpu_node_answers_the_edge(site).await;
    toll.unacked.push(freeze_until_unacked(site).await);
    let ledgers = site.node("yard").ledgers().await.expect("it answers");
    let open = ledgers.iter().filter(|ledger| ledger.state == LedgerState::Open);
    toll.cut.extend(open.map(|ledger| ledger.asker.0));
    site.node_mut("yard").kill();
    site.node("hub").resume();
    site.node_mut("yard").start();
    site.node_ready("yard").await;
}

async fn in_order_per_camera(site: &Cluster) {
    let entries = site.operator().record("yard", None).await.expect("it answers");
    let cameras: BTreeSet<_> = entries.iter().map(|entry| &entry.event.camera).collect();
    assert_eq!(cameras.len(), CAMERAS as usize, "{cameras:?}");
    let faults = checks::camera_order_faults(&entries);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Per asker: submitted = outcomes + in flight, on both sides; who was killed is reported as cut.
async fn books_balance(site: &mut Cluster, toll: &Toll) {
    let edge = site.node("yard").ledgers().await.expect("it answers");
    let gpu = site.node("engine").ledgers().await.expect("it answers");
    let faults = [checks::ledger_faults(&edge), checks::ledger_faults(&gpu)].concat();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for cut in &toll.cut {
        let on_edge = edge.iter().find(|ledger| ledger.asker.0 == *cut);
        assert!(on_edge.is_some_and(|ledger| ledger.state == LedgerState::Cut), "{cut:016x} on the edge: {on_edge:?}");
        // The gpu node's books begin with its own life: an edge that was killed before it is not in them.
        let on_gpu = gpu.iter().find(|ledger| ledger.asker.0 == *cut);
        assert!(on_gpu.is_none_or(|ledger| ledger.state == LedgerState::Cut), "{cut:016x} on the gpu node: {on_gpu:?}");
    }
    assert_eq!(toll.cut.len(), ROUNDS as usize, "each edge that was killed had an asker");
    // Nobody killed the gpu node after the last edge: that one must be in its books.
    let last = gpu.iter().find(|ledger| Some(&ledger.asker.0) == toll.cut.last());
    assert_eq!(last.map(|ledger| ledger.state), Some(LedgerState::Cut), "the last edge killed, on the gpu node");
    assert!(gpu.iter().any(|ledger| ledger.tally.ok > 0), "the gpu node judged nothing: {gpu:?}");
    let frames = |ledgers: &[Ledger]| ledgers.iter().map(|ledger| ledger.tally.submitted).sum::<u64>();
    println!(
        "frames submitted: {} on the edge's books, {} on the gpu node's since it started",
        frames(&edge),
        frames(&gpu)
    );
}
