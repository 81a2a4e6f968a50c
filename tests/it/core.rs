//! The core: relays and gpu nodes find each other and miss each other; edges find gpu nodes, and have another at once.

use protocol::{EndReason, Evidence, Role};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tests::harness::{CameraServer, Cluster, Plan, Yardstick, checks, http};

const SEED: u64 = 60;
const WITHIN: Duration = Duration::from_secs(60);
/// A lost node's members are gone from every node by then, as far as the machine runs.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const RELAYS: [&str; 2] = ["hub", "hub2"];
const GPUS: [&str; 2] = ["engine", "engine2"];

#[derive(Deserialize)]
struct Core {
    members: BTreeMap<String, Vec<String>>,
    directory: Vec<Listed>,
    reachable_actors: usize,
}

#[derive(Deserialize)]
struct Listed {
    addr: String,
    ready: bool,
}

async fn core(site: &Cluster, node: &str) -> Result<Core, String> {
    http::get_json(site.node(node).http, "/api/v1/core").await
}

/// Two relays that dial each other, and two gpu nodes that are linked to both.
fn plan() -> Plan {
    let plan = Plan::new(SEED).relay("hub").relay("hub2").gpu("engine", &["squares"]).gpu("engine2", &["squares"]);
    let relays = RELAYS.map(|relay| plan.address(relay)).to_vec();
    let plan =
        plan.set("hub", "link.relays", vec![relays[1].clone()]).set("hub2", "link.relays", vec![relays[0].clone()]);
    GPUS.into_iter().fold(plan, |plan, gpu| plan.set(gpu, "link.relay", relays.clone()))
}

/// Waits until each relay sees these gpu nodes, and both relays.
async fn relays_see(site: &mut Cluster, gpus: &[&str]) {
    let workers: Vec<String> = gpus.iter().map(|gpu| format!("main/gpu/{gpu}")).collect();
    let relays = RELAYS.map(|relay| format!("main/relay/{relay}"));
    site.eventually(&format!("both relays see {gpus:?}"), WITHIN, async |site| {
        for relay in RELAYS {
            let Core { members, directory, .. } = core(site, relay).await?;
            let is_so = members["workers"] == workers && members["jobs"] == workers && members["relays"] == relays;
            if !is_so || directory.len() != gpus.len() || directory.iter().any(|node| !node.ready) {
                return Err(format!("{relay} sees {members:?} and lists {}", directory.len()));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn whoever_is_lost_is_missed_on_every_node_and_found_again() {
    let mut site = plan().start();
    site.ready().await;
    relays_see(&mut site, &GPUS).await;
    for gpu in GPUS {
        let Core { members, .. } = core(&site, gpu).await.expect("it answers");
        assert_eq!(members["relays"], ["main/relay/hub", "main/relay/hub2"], "{gpu}");
        assert_eq!(members["workers"], [format!("main/gpu/{gpu}")], "gpu nodes have no links to each other");
    }
    for node in RELAYS.iter().chain(&GPUS) {
        assert_eq!(core(&site, node).await.expect("it answers").reachable_actors, 1, "{node} has its gateway alone");
        let tree = site.node(node).tree().await.expect("it answers");
        let row = tree.actors.iter().find(|actor| actor.path == format!("{node}/core")).expect("it is in the tree");
        let note = row.note.as_deref().unwrap_or_default();
        assert!(note.contains("relays: hub, hub2"), "{node}: {note}");
    }

    let (yardstick, began) = (Yardstick::start(), Instant::now());
    site.node_mut("engine").kill();
    relays_see(&mut site, &["engine2"]).await;
    in_time("killed", began, &yardstick);
    site.node_mut("engine").start();
    relays_see(&mut site, &GPUS).await;

    let began = Instant::now();
    site.node("engine2").pause();
    relays_see(&mut site, &["engine"]).await;
    in_time("frozen", began, &yardstick);
    site.node("engine2").resume();
    relays_see(&mut site, &GPUS).await;

    // A relay that is lost is missed by the other, whose record and whose members go on.
    site.node_mut("hub2").kill();
    site.eventually("the others miss the relay", WITHIN, async |site| {
        for node in ["hub", "engine", "engine2"] {
            let members = core(site, node).await?.members;
            if members["relays"] != ["main/relay/hub"] {
                return Err(format!("{node} sees {members:?}"));
            }
        }
        Ok(())
    })
    .await;
    site.node_mut("hub2").start();
    relays_see(&mut site, &GPUS).await;
    site.stop().await;
}

fn in_time(what: &str, began: Instant, yardstick: &Yardstick) {
    let took = began.elapsed().saturating_sub(yardstick.lost_since(began));
    println!("{what}: gone from every node after {took:.1?}");
    assert!(took <= GONE_WITHIN, "{what}: gone only after {took:?}");
}

#[tokio::test]
async fn an_edge_finds_gpu_nodes_by_its_relay_and_a_frozen_one_makes_it_not_blind() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "3", "--lifetime-s", "3"]).await;
    let plan = plan().edge("yard").set("yard", "link.gpu", "auto").camera("yard", "front-door", camera.url());
    let mut site = plan.set("yard", "track.lost_after_ms", 1000).start();
    site.ready().await;
    let primary = site
        .eventually("the edge is linked to both and asks one of them", WITHIN, async |site| {
            for gpu in GPUS {
                judged_by(site, gpu).await?;
            }
            first(site).await
        })
        .await;
    let standby = GPUS.into_iter().find(|gpu| **gpu != primary).expect("there are two");
    site.eventually("the first one judges", WITHIN, async |site| some(judged_by(site, &primary).await?)).await;

    let (before, began) = (judged_by(&site, standby).await.expect("it answers"), Instant::now());
    site.node(&primary).pause();
    site.eventually("the standby judges", WITHIN, async |site| {
        some(judged_by(site, standby).await?.saturating_sub(before))
    })
    .await;
    println!("{primary} frozen, {standby} judges after {:.1?}", began.elapsed());
    site.eventually("an event's evidence is the standby's", WITHIN, async |site| {
        let events = site.operator().events().await?;
        let of = |evidence: &Evidence| matches!(evidence, Evidence::Model { node, .. } if node == standby);
        some(events.iter().filter(|event| of(&event.event.evidence)).count() as u64)
    })
    .await;
    site.node(&primary).resume();
    relays_see(&mut site, &GPUS).await;
    let events = site.operator().events().await.expect("it answers");
    let blind: Vec<_> = events.iter().filter(|event| event.event.reason == Some(EndReason::Blind)).collect();
    assert!(blind.is_empty(), "nobody was blind: {blind:?}");

    drop(camera);
    site.eventually("no frame is out", WITHIN, async |site| {
        let out: u64 = site.node("yard").ledgers().await?.iter().map(|ledger| ledger.tally.in_flight).sum();
        if out == 0 { Ok(()) } else { Err(format!("{out} are out")) }
    })
    .await;
    let edge = site.node("yard").ledgers().await.expect("it answers");
    let mut judged = 0;
    for gpu in GPUS {
        let ledgers = site.node(gpu).ledgers().await.expect("it answers");
        assert!(checks::ledger_faults(&ledgers).is_empty(), "{ledgers:?}");
        judged += ledgers.iter().map(|ledger| ledger.tally.ok).sum::<u64>();
    }
    assert!(checks::ledger_faults(&edge).is_empty(), "{edge:?}");
    // Those that were judged too late are judged on one side alone.
    assert!(edge[0].tally.ok <= judged, "{edge:?}, and {judged} judged");
}

fn some(count: u64) -> Result<(), String> {
    if count > 0 { Ok(()) } else { Err("none yet".to_owned()) }
}

/// Frames of the edge that this gpu node has judged; an error if the edge has no ledger there.
async fn judged_by(site: &Cluster, gpu: &str) -> Result<u64, String> {
    let ledgers = site.node(gpu).ledgers().await?;
    let ledger = ledgers.first().ok_or(format!("the edge is not linked to {gpu}"))?;
    Ok(ledger.tally.ok)
}

/// Whom the edge asks first, as its chooser says.
async fn first(site: &Cluster) -> Result<String, String> {
    let tree = site.node("yard").tree().await?;
    let row = tree.actors.into_iter().find(|actor| actor.path == "yard/chooser").ok_or("there is no chooser")?;
    let note = row.note.unwrap_or_default();
    let of = |gpu: &&&str| {
        let port = site.node(gpu).quic_port.expect("it listens");
        assert_eq!(site.node(gpu).role, Role::Gpu);
        note.starts_with(&format!("first 127.0.0.1:{port},"))
    };
    GPUS.iter().find(of).map(|gpu| (*gpu).to_owned()).ok_or(note.clone())
}

#[tokio::test]
async fn a_relay_lists_its_gpu_nodes_where_they_say_that_they_are() {
    let plan = Plan::new(SEED).relay("hub").gpu("engine", &["squares"]);
    let mut site = plan.set("engine", "listen.advertise", "engine.example:7444").start();
    site.ready().await;
    site.eventually("the relay lists it", WITHIN, async |site| {
        let listed = core(site, "hub").await?.directory;
        let addrs: Vec<&str> = listed.iter().map(|node| node.addr.as_str()).collect();
        if addrs == ["engine.example:7444"] { Ok(()) } else { Err(format!("{addrs:?}")) }
    })
    .await;
}
