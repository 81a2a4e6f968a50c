//! The network fails: links lose, delay, double and reorder packets, they are cut and come back, their ends are
//! killed meanwhile. What was accepted is on the record once, and each link is back soon after its network.

mod back;
mod steady;

use ::tests::harness::{CameraServer, Cluster, Plan, Yardstick, checks, witness};
use ::tests::impairment::{Conditions, Impairment, Way};
use ::tests::test_camera::squares::Rng;
use back::{LinkName, Return, Witness};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const SEED: u64 = 70;
const WITHIN: Duration = Duration::from_secs(60);
/// What is on its way after the longest partition comes a few packets at a time.
const DRAINED_WITHIN: Duration = Duration::from_secs(120);
/// From the network's return to the link's. A machine that stands still meanwhile is not the link's fault.
const BACK_WITHIN: Duration = Duration::from_secs(3);
/// Cut one way, the end that still hears the other finds out when nothing of its own was acknowledged for 4 s. A cut
/// that ends before leaves the rest of this to be waited for.
const ONE_WAY_FOUND_WITHIN: Duration = Duration::from_secs(5);
/// A test of so many seconds, with partitions of up to [`LONGEST_S`], in place of the short one.
const SECONDS: &str = "WATCHTREE_PARTITION_SECONDS";
const LONGEST_S: u64 = 60;
/// Frames that get through a link that loses 5 %: of 14 kB.
const FRAME_WIDTH_PX: i64 = 128;
const FRAMES_PER_S: f64 = 2.0;

const LINKS: [LinkName; 4] =
    [("gate", "link.relay"), ("yard", "link.relay"), ("yard", "link.gpu"), ("engine", "link.relay")];
const EDGES: [(&str, usize); 2] = [("gate", 2), ("yard", 1)];

/// 100 ms there and back, and one packet in twenty lost each way.
fn bad_weather() -> Impairment {
    Impairment {
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(10),
        loss: 0.05,
        reorder: 0.02,
        duplicate: 0.02,
        ..Impairment::default()
    }
}

/// One time that the network was away.
#[derive(Debug, Clone)]
struct Round {
    links: Vec<LinkName>,
    way: Way,
    lasts: Duration,
    meanwhile: Meanwhile,
}

#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Nothing,
    /// `kill -9`, and started again.
    Killed(&'static str),
    /// The nodes come back from other addresses.
    Moved,
}

impl Round {
    fn draw(rng: &mut Rng, meanwhile: Meanwhile, [least_s, most_s]: [u64; 2]) -> Self {
        let some: Vec<LinkName> = LINKS.into_iter().filter(|_| rng.draw().is_multiple_of(2)).collect();
        // Whoever is killed loses all its links.
        let all = some.is_empty() || matches!(meanwhile, Meanwhile::Killed(_));
        // Whether a peer is dead, and not only its network, is known after 5 s: what follows is the network's alone.
        let least_s = if matches!(meanwhile, Meanwhile::Killed(_)) { least_s.max(6) } else { least_s };
        let way = [Way::Both, Way::Both, Way::Up, Way::Down][(rng.draw() % 4) as usize];
        let lasts_ms = 1000 * least_s + rng.draw() % (1000 * most_s.saturating_sub(least_s) + 1);
        let lasts = Duration::from_millis(lasts_ms);
        Self { links: if all { LINKS.to_vec() } else { some }, way, lasts, meanwhile }
    }
}

/// What can happen while the network is away.
const MEANWHILE: [Meanwhile; 7] = [
    Meanwhile::Nothing,
    Meanwhile::Nothing,
    Meanwhile::Moved,
    Meanwhile::Killed("hub"),
    Meanwhile::Killed("engine"),
    Meanwhile::Killed("gate"),
    Meanwhile::Killed("yard"),
];

/// All of it, in any order: about a minute of partitions.
fn short_rounds(rng: &mut Rng) -> Vec<Round> {
    let mut rounds: Vec<Round> = MEANWHILE.into_iter().map(|meanwhile| Round::draw(rng, meanwhile, [1, 8])).collect();
    rounds.push(Round { links: LINKS.to_vec(), way: Way::Both, ..Round::draw(rng, Meanwhile::Nothing, [11, 15]) });
    for last in (1..rounds.len()).rev() {
        rounds.swap(last, (rng.draw() % (last as u64 + 1)) as usize);
    }
    rounds
}

/// Any of it, for so long.
fn long_rounds(rng: &mut Rng, lasts: Duration) -> impl Iterator<Item = Round> {
    let began = Instant::now();
    std::iter::from_fn(move || {
        let meanwhile = MEANWHILE[(rng.draw() % MEANWHILE.len() as u64) as usize];
        (began.elapsed() < lasts).then(|| Round::draw(rng, meanwhile, [1, LONGEST_S]))
    })
}

#[tokio::test]
async fn a_bad_network_that_comes_and_goes_loses_and_doubles_nothing_and_each_link_is_back_soon() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "4", "--lifetime-s", "3"]).await;
    let (mut site, mut camera, yardstick) = (start(&camera).await, camera, Arc::new(Yardstick::start()));
    let mut rng = Rng::new(site.seed(), 0);
    weather(&site, bad_weather());
    each_is_as_far_away_as_it_is_meant_to_be(&mut site).await;
    let rounds: Box<dyn Iterator<Item = Round>> = match std::env::var(SECONDS) {
        Ok(text) => {
            let seconds = text.parse().unwrap_or_else(|_| panic!("{SECONDS} is {text}; use a whole number of seconds"));
            Box::new(long_rounds(&mut rng, Duration::from_secs(seconds)))
        }
        Err(_) => Box::new(short_rounds(&mut rng).into_iter()),
    };
    let mut returns = Vec::new();
    for round in rounds {
        returns.extend(play(&mut site, &round, &yardstick).await);
    }
    camera.quit();
    settled(&mut site).await;
    the_network_was_bad(&site);
    let mut after: Vec<Duration> = returns.iter().map(|back| back.after).collect();
    after.sort();
    let (middle, worst) = (after[after.len() / 2], after[after.len() - 1]);
    println!("{} returns of links: {middle:.2?} in the middle, {worst:.2?} at worst", after.len());
    let late: Vec<&Return> = returns.iter().filter(|back| back.own() > BACK_WITHIN).collect();
    assert!(late.is_empty(), "later than {BACK_WITHIN:?} after the network: {late:#?}");
}

/// They start in good weather. `gate` reports motion and needs nobody; `yard` asks the gpu node.
async fn start(camera: &CameraServer) -> Cluster {
    let plan = Plan::new(SEED).relay("hub").edge("gate").gpu("engine", &["squares"]).edge("yard");
    let mut plan = watching(EDGES.into_iter().fold(plan, |plan, (edge, cameras)| busy(plan, edge, cameras, camera)));
    for (node, key) in LINKS {
        plan = plan.impaired(node, key, Impairment::default());
    }
    let mut site = plan.start();
    site.ready().await;
    site
}

/// Something is under way on this edge at any time.
fn busy(mut plan: Plan, edge: &str, cameras: usize, camera: &CameraServer) -> Plan {
    for nth in 0..cameras {
        plan = plan.camera(edge, &format!("camera-{nth}"), camera.url());
    }
    for (key, ms) in [("update_every_ms", 200), ("lost_after_ms", 600), ("blind_after_ms", 1000)] {
        plan = plan.set(edge, &format!("track.{key}"), ms);
    }
    plan
}

/// `yard` sends frames that get through.
fn watching(plan: Plan) -> Plan {
    let plan = plan.set("yard", "cameras.0.frame_width_px_max", FRAME_WIDTH_PX);
    // Frames are counted: a gear in which few come would look like a loss.
    let plan = plan.set("yard", "gears.mode", "awake");
    plan.set("yard", "detect.frames_per_s", FRAMES_PER_S).set("yard", "detect.deadline_ms", 3000)
}

fn weather(site: &Cluster, conditions: impl Into<Conditions>) {
    let conditions = conditions.into();
    site.links().for_each(|(.., proxy)| proxy.set(conditions.clone()));
}

/// Or everything below would prove nothing.
async fn each_is_as_far_away_as_it_is_meant_to_be(site: &mut Cluster) {
    let far = |rtt_us: Option<u64>| rtt_us.is_some_and(|us| us >= 90_000);
    site.eventually("all nodes are 100 ms away from the relay", WITHIN, async |site| {
        let nodes = site.operator().nodes().await?;
        let linked = nodes.iter().filter(|node| far(node.rtt_us)).count();
        if linked == 3 { Ok(()) } else { Err(format!("{nodes:?}")) }
    })
    .await;
}

/// Cuts, waits, mends, and tells when each of the links was back.
async fn play(site: &mut Cluster, round: &Round, yardstick: &Arc<Yardstick>) -> Vec<Return> {
    let cut = Instant::now();
    let Round { links, way, lasts, meanwhile } = round;
    links.iter().for_each(|(node, key)| site.link(node, key).partition(*way));
    let before = accepted(site, "gate").await;
    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::Killed(name) => {
            site.node_mut(name).kill();
            site.node_mut(name).start();
            is_here(site, name).await;
        }
        Meanwhile::Moved => {
            for (nth, (node, key)) in (2u8..).zip(links) {
                let to = IpAddr::from([127, 0, 0, nth]);
                site.link(node, key).move_clients(Some(to)).expect("loopback has many addresses");
            }
        }
    }
    // Not a wait for a condition: for so long the network is away.
    tokio::time::sleep(lasts.saturating_sub(cut.elapsed())).await;
    let mut witnesses = Vec::new();
    for link in links {
        witnesses.push(Witness::of(site, *link).await);
    }
    let (after, healed) = (accepted(site, "gate").await, Instant::now());
    links.iter().for_each(|(node, key)| site.link(node, key).heal());
    let mut waits: JoinSet<_> =
        witnesses.into_iter().map(|witness| witness.returned(healed, yardstick.clone())).collect();
    let mut returns = Vec::new();
    while let Some(returned) = waits.join_next().await {
        let returned = returned.expect("a witness does not panic").unwrap_or_else(|never| panic!("{round:?}: {never}"));
        let unaware =
            if *way == Way::Both { Duration::ZERO } else { ONE_WAY_FOUND_WITHIN.saturating_sub(healed - cut) };
        returns.push(Return { unaware, ..returned });
    }
    tell(round, healed - cut, after.saturating_sub(before), &returns);
    // The cameras are at work without any network.
    let (long, killed) = (*lasts > Duration::from_secs(10), matches!(meanwhile, Meanwhile::Killed("gate")));
    assert!(!long || killed || after > before, "{round:?}: gate accepted nothing");
    returns
}

fn tell(round: &Round, away: Duration, spooled: u64, returns: &[Return]) {
    let links: Vec<String> = returns
        .iter()
        .map(|back| {
            let stood = if back.lost.is_zero() { String::new() } else { format!(" (machine: {:.1?})", back.lost) };
            format!("{}/{} {:.2?}{stood}", back.link.0, back.link.1, back.after)
        })
        .collect();
    println!(
        "away for {:4.1} s ({:?}, {:?}), gate accepted {spooled}; back after {}",
        away.as_secs_f32(),
        round.way,
        round.meanwhile,
        links.join(", ")
    );
}

/// A node that was started while its network was away.
async fn is_here(site: &mut Cluster, name: &'static str) {
    if EDGES.iter().any(|(edge, _)| *edge == name) {
        // It is not ready before somebody judges what its cameras see.
        accepted(site, name).await;
    } else {
        site.node_ready(name).await;
    }
}

async fn accepted(site: &mut Cluster, edge: &'static str) -> u64 {
    site.eventually("the outbox answers", WITHIN, async |site| site.node(edge).outbox().await).await.0
}

/// Waits until nothing more comes, and holds the record of each edge against its witness.
async fn settled(site: &mut Cluster) {
    for (edge, cameras) in EDGES {
        let (entries, events) = site
            .eventually("the record is whole and every event has ended", DRAINED_WITHIN, async |site| {
                let (accepted, acked) = site.node(edge).outbox().await?;
                if accepted != acked {
                    return Err(format!("{edge}: {accepted} accepted, {acked} acked"));
                }
                let operator = site.operator();
                let entries = operator.record(edge, None).await?;
                let log = witness::accepted(&site.node(edge).log_text());
                let mut faults = checks::record_faults(&entries, accepted, &log);
                let events = operator.events().await?;
                let events: Vec<_> = events.into_iter().filter(|event| event.edge.as_str() == edge).collect();
                faults.extend(checks::list_faults(&events, &entries));
                let (again, _) = site.node(edge).outbox().await?;
                if again == accepted && faults.is_empty() {
                    Ok((entries, events.len()))
                } else {
                    Err(format!("{edge}: {}", faults.join("\n")))
                }
            })
            .await;
        let faults = checks::camera_order_faults(&entries);
        assert!(faults.is_empty(), "{edge}: {}", faults.join("\n"));
        let seen: BTreeSet<_> = entries.iter().map(|entry| &entry.event.camera).collect();
        println!("{edge}: {} entries of {events} events of {} cameras", entries.len(), seen.len());
        assert_eq!(seen.len(), cameras, "cameras of {edge} with events");
    }
}

/// Every link did to its packets what it was to do.
fn the_network_was_bad(site: &Cluster) {
    for (node, key, proxy) in site.links() {
        let stats = proxy.stats();
        for tally in [stats.up, stats.down] {
            let done = [tally.lost, tally.reordered, tally.duplicated, tally.delivered];
            assert!(done.iter().all(|count| *count > 0), "{key} of {node}: {stats:?}");
        }
        // Who has nothing to say while it is cut off loses nothing by it.
        assert!(stats.up.cut + stats.down.cut > 0, "{key} of {node}: {stats:?}");
        println!(
            "{key} of {node}: {} packets up, {} down, {} µs late at worst",
            stats.up.entered, stats.down.entered, stats.late_us_max
        );
    }
}
