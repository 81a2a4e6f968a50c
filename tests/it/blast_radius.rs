//! Whoever fails is named and back, and nobody else notices.
//!
//! Eight cameras on an edge. Every actor class of every node, as its tree lists them, panics, returns an error, waits for
//! ever and blocks its thread; every port takes SEGV, ABRT, KILL and STOP; a supervisor that is not everybody's panics and
//! returns an error. A new actor is covered without being named here.

use crate::onlookers::{self, Count, Onlookers};
use crate::recovery::settled;
use protocol::admin::{ActorStatus, FailureRecord, NodeSnapshot};
use protocol::{Act, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tests::harness::{CameraServer, Cluster, Plan, http};

const SEED: u64 = 50;
const WITHIN: Duration = Duration::from_secs(40);
const CAMERAS: usize = 8;
pub const FRAMES_PER_S: f64 = 4.0;
/// The first in the tree.
const HIT: &str = "cam-1";
const SUPERVISOR: &str = "supervisor";
/// The process exits with it when a store's thread is blocked; nothing else may end a node.
const EXIT_BLOCKED: i32 = 70;
/// Shorter than the default, so that many faults fit into minutes. A disk that is synced by many at once may take seconds,
/// and this exits the node.
const STORE_HANG_MS: i64 = 6000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Commit(protocol::Fault),
    Signal(Signal),
}

const BLOCK: Fault = Fault::Commit(protocol::Fault::Block);
const OF_ACTORS: [Fault; 4] = [
    Fault::Commit(protocol::Fault::Panic),
    Fault::Commit(protocol::Fault::Error),
    Fault::Commit(protocol::Fault::Hang),
    BLOCK,
];
/// It waits and blocks nowhere: these two are what a mistake in its own code can be.
const OF_SUPERVISORS: [Fault; 2] = [Fault::Commit(protocol::Fault::Panic), Fault::Commit(protocol::Fault::Error)];
const OF_PORTS: [Fault; 4] = [
    Fault::Signal(Signal::SEGV),
    Fault::Signal(Signal::ABORT),
    Fault::Signal(Signal::KILL),
    Fault::Signal(Signal::STOP),
];

impl Fault {
    /// The kind of the failure that it must be told as.
    fn kind(self) -> &'static str {
        match self {
            Self::Commit(protocol::Fault::Panic) => "panic",
            Self::Commit(protocol::Fault::Error) => "error",
            Self::Commit(protocol::Fault::Hang | protocol::Fault::Block) | Self::Signal(Signal::STOP) => "hang",
            Self::Signal(_) => "signal",
        }
    }
}

/// One of a class: the first in the tree, which is camera 1's where cameras have one each.
#[derive(Debug, Clone)]
struct Victim {
    node: String,
    class: String,
    path: String,
    is_port: bool,
}

impl Victim {
    fn faults(&self) -> &'static [Fault] {
        match self.class.as_str() {
            _ if self.is_port => &OF_PORTS,
            SUPERVISOR => &OF_SUPERVISORS,
            _ => &OF_ACTORS,
        }
    }
}

#[tokio::test]
async fn whoever_fails_is_named_and_back_and_nobody_else_notices() {
    let (mut camera, mut site) = site().await;
    let (began, before) = (Instant::now(), Count::now(&site).await.expect("both edges count"));
    let mut onlookers = Onlookers::start();
    let mut victims = Vec::new();
    for node in ["yard", "engine", "hub"] {
        victims.extend(one_of_each_class(&site.node(node).tree().await.expect("it answers")));
    }
    let classes: BTreeSet<&str> = victims.iter().map(|victim| victim.class.as_str()).collect();
    println!("{} classes on three nodes: {classes:?}", classes.len());
    let (mut tried, mut exits) = (0, Vec::new());
    for blocks in [false, true] {
        for victim in &victims {
            for fault in victim.faults().iter().copied().filter(|fault| (*fault == BLOCK) == blocks) {
                exits.extend(fail(&mut site, &mut onlookers, victim, fault).await);
                tried += 1;
            }
        }
        if !blocks {
            // Before a process may exit and count anew.
            nobody_noticed(&site, &mut onlookers, &before).await;
        }
    }
    println!(
        "{tried} faults in {:.0} s; nodes that exited for a blocked store: {exits:?}",
        began.elapsed().as_secs_f32()
    );
    assert_eq!(exits.len(), 4, "the outbox, the record's store and the enrolment of two nodes, each once");
    camera.quit();
    let events = settled(&mut site).await;
    println!("{} events, each on the record once", events.len());
    assert!(!events.is_empty());
}

/// Over the whole run: the cameras that nothing was done to have their frames, and no actor of theirs was restarted.
async fn nobody_noticed(site: &Cluster, onlookers: &mut Onlookers, before: &Count) {
    onlookers.lost_nothing(site, before, Some(HIT), "in the whole run").await;
    let after = Count::now(site).await.expect("both edges count");
    let least = onlookers::least_percent(before, &after, HIT);
    println!("in the whole run the seven other cameras had at least {least:.1} % of their frames");
    onlookers.were_not_restarted(site, HIT).await;
}

async fn site() -> (CameraServer, Cluster) {
    let scene = ["--gop-s", "0.5", "--fps", "8", "--size", "320x180", "--objects", "2", "--lifetime-s", "4"];
    let camera = CameraServer::start(&scene).await;
    let plan = onlookers::planned(Plan::new(SEED), camera.url());
    let mut plan = plan.relay("hub").gpu("engine", &["squares"]).edge("yard");
    for n in 1..=CAMERAS {
        plan = plan.camera("yard", &format!("cam-{n}"), camera.url());
    }
    for node in ["hub", "engine", "yard"] {
        plan = plan.set(node, "supervision.allow_faults", true);
        plan = plan.set(node, "supervision.store_hang_ms", STORE_HANG_MS);
        // A budget is for what should not happen; here each class fails four times within it.
        plan = plan.set(node, "supervision.restarts_max", 1000);
    }
    let plan = plan.set("yard", "gears.mode", "awake");
    let mut site = plan.set("yard", "detect.frames_per_s", FRAMES_PER_S).start();
    site.ready().await;
    site.eventually("every camera has sent frames", WITHIN, async |site| {
        let seen = Count::now(site).await?.cameras();
        if seen == CAMERAS { Ok(()) } else { Err(format!("{seen} have")) }
    })
    .await;
    (camera, site)
}

fn one_of_each_class(tree: &NodeSnapshot) -> Vec<Victim> {
    let mut classes: BTreeMap<&str, &ActorStatus> = BTreeMap::new();
    for actor in tree.actors.iter().filter(|actor| actor.class != SUPERVISOR || is_of_few(&actor.path)) {
        classes.entry(&actor.class).or_insert(actor);
    }
    let victim = |actor: &&ActorStatus| Victim {
        node: tree.node.name.to_string(),
        class: actor.class.clone(),
        path: actor.path.clone(),
        is_port: actor.pid.is_some(),
    };
    classes.values().map(victim).collect()
}

/// Not the whole node's, nor that of all cameras: who is below a supervisor is restarted with it.
fn is_of_few(path: &str) -> bool {
    own_camera(path).is_some() || (path.matches('/').count() == 1 && !path.ends_with("/cameras"))
}

/// Returns the node's name and the class if the node exited for it, as a blocked store's may.
async fn fail(site: &mut Cluster, onlookers: &mut Onlookers, victim: &Victim, fault: Fault) -> Option<String> {
    let what = format!("{} of {} ({})", victim.path, victim.class, describe(fault));
    let victim = &current(site, victim).await;
    let pids: Vec<_> = site.nodes().iter().map(|node| (node.name.clone(), node.pid())).collect();
    let (before, began) = (Count::now(site).await.expect("both edges count"), Instant::now());
    let since = Timestamp::now();
    commit(site, victim, fault, &what).await;
    if fault == BLOCK && exits(site, victim, since).await {
        site.node_mut(&victim.node).reap();
        site.node_mut(&victim.node).start();
        site.ready().await;
        let record = told(site, victim, fault, since, &what).await;
        assert!(record.then == "exited" && record.text.contains("holds a store"), "{what}: {record:?}");
        return Some(format!("{} ({})", victim.node, victim.class));
    }
    let record = told(site, victim, fault, since, &what).await;
    is_back(site, victim, &what).await;
    let took = began.elapsed();
    onlookers.lost_nothing(site, &before, own_camera(&victim.path), &what).await;
    let now: Vec<_> = site.nodes().iter().map(|node| (node.name.clone(), node.pid())).collect();
    assert_eq!(now, pids, "{what}: no node's process may end");
    println!("{what}: {}: {} ({}), after {} ms", record.kind, record.text, record.then, took.as_millis());
    None
}

fn describe(fault: Fault) -> String {
    match fault {
        Fault::Commit(fault) => fault.to_string(),
        Fault::Signal(signal) => format!("signal {}", signal.as_raw()),
    }
}

/// A dynamic child has another name after each of its ends.
async fn current(site: &mut Cluster, victim: &Victim) -> Victim {
    site.eventually(&format!("a {} runs", victim.class), WITHIN, async |site| {
        let tree = site.node(&victim.node).tree().await?;
        let found = one_of_each_class(&tree).into_iter().find(|other| other.class == victim.class);
        let found = found.ok_or("none is there")?;
        let row = tree.actors.iter().find(|actor| actor.path == found.path).ok_or("it is gone")?;
        if row.state == "running" { Ok(found) } else { Err(format!("{} is {}", found.path, row.state)) }
    })
    .await
}

async fn commit(site: &mut Cluster, victim: &Victim, fault: Fault, what: &str) {
    match fault {
        Fault::Commit(fault) => {
            // What carries the order may be what fails of it; that it failed is seen on the books.
            let act = Act::Inject(fault);
            // The one before this may have been the relay's hold on all links: they are made again first.
            site.eventually(&format!("{what} is ordered"), WITHIN, async |site| {
                match site.operator().steer(&victim.path, act).await {
                    Err(why) if why.contains("is not linked now") => Err(why),
                    Err(lost) => {
                        println!("{what}: {lost}");
                        Ok(())
                    }
                    Ok(_) => Ok(()),
                }
            })
            .await;
        }
        Fault::Signal(signal) => {
            let tree = site.node(&victim.node).tree().await.expect("it answers");
            let row = tree.actors.iter().find(|actor| actor.path == victim.path).expect("its row is there");
            let pid = row.pid.and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("a running port has a process");
            kill_process(pid, signal).expect("it is ours");
        }
    }
}

/// Waits until the fault is on the books, or its node is gone.
async fn exits(site: &mut Cluster, victim: &Victim, since: Timestamp) -> bool {
    let began = Instant::now();
    while began.elapsed() < WITHIN {
        if let Some(status) = site.node_mut(&victim.node).try_wait() {
            assert_eq!(status.code(), Some(EXIT_BLOCKED), "{}: {status}", victim.path);
            return true;
        }
        if known_failures(site, victim, since).await.last().is_some_and(|record| record.then != "exited") {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} blocks a thread and nobody has found it", victim.path);
}

/// Failures of the victim, or of the actor that owns the port, since it was hit.
async fn known_failures(site: &Cluster, victim: &Victim, since: Timestamp) -> Vec<FailureRecord> {
    let owner = if victim.is_port { victim.path.trim_end_matches("/port") } else { &victim.path };
    let all: Vec<FailureRecord> = failures(site, &victim.node, owner).await.unwrap_or_default();
    all.into_iter().filter(|record| record.path == owner && record.at >= since).collect()
}

async fn failures(site: &Cluster, node: &str, path: &str) -> Result<Vec<FailureRecord>, String> {
    http::get_json(site.node(node).http, &format!("/api/v1/failures?path={path}")).await
}

async fn told(site: &mut Cluster, victim: &Victim, fault: Fault, since: Timestamp, what: &str) -> FailureRecord {
    let expected = fault.kind();
    site.eventually(&format!("{what} is told as {expected}"), WITHIN, async |site| {
        let records = known_failures(site, victim, since).await;
        let told = records.iter().find(|record| record.kind == expected).cloned();
        told.ok_or_else(|| format!("{} failures, the last {:?}", records.len(), records.last()))
    })
    .await
}

async fn is_back(site: &mut Cluster, victim: &Victim, what: &str) {
    site.eventually(&format!("{what}: it is back"), WITHIN, async |site| {
        let tree = site.node(&victim.node).tree().await?;
        let running = |actor: &&ActorStatus| actor.class == victim.class && actor.state == "running";
        let all_cameras = tree.actors.iter().filter(running).count();
        let down: Vec<_> = (tree.actors.iter())
            .filter(|actor| !matches!(actor.state.as_str(), "running"))
            .map(|actor| format!("{} is {}", actor.path, actor.state))
            .collect();
        if all_cameras > 0 && down.is_empty() { Ok(()) } else { Err(format!("{down:?}")) }
    })
    .await;
}

pub fn own_camera(path: &str) -> Option<&str> {
    path.split_once("/cameras/").map(|(_, rest)| rest.split('/').next().unwrap_or(rest))
}
