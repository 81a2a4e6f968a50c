//! What a link gets over without anybody noticing: another address, packets that come twice, late or broken.

use super::back::{greetings, verdicts};
use super::{busy, watching};
use crate::recovery::{outbox, settled};
use ::tests::harness::{CameraServer, Cluster, Plan, http};
use ::tests::impairment::{Conditions, Impairment};
use protocol::Timestamp;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

const SEED: u64 = 71;
const WITHIN: Duration = Duration::from_secs(60);
const KEYS: [&str; 2] = ["link.relay", "link.gpu"];
const ACCEPTED_MIN: u64 = 150;

/// What changes when a connection is lost, and only then.
#[derive(Debug, PartialEq)]
struct Connected {
    /// The relay's row of the edge.
    since: Timestamp,
    state: String,
    /// Welcomes that the edge's links had, of relay and gpu node.
    greetings: usize,
    /// Tries of the edge's links that failed.
    failures: BTreeSet<String>,
}

impl Connected {
    async fn look(site: &Cluster) -> Result<Self, String> {
        let nodes = site.operator().nodes().await?;
        let yard = nodes.into_iter().find(|node| node.node.name.as_str() == "yard").ok_or("the relay knows no yard")?;
        let metrics = http::get(site.node("yard").http, "/metrics").await?.body;
        let failures = metrics.lines().filter(|line| line.starts_with("watchtree_link_failures_total"));
        Ok(Self {
            since: yard.since,
            state: yard.state,
            greetings: greetings(&site.node("yard").log_text()),
            failures: failures.map(str::to_owned).collect(),
        })
    }

    async fn now(site: &mut Cluster) -> Self {
        site.eventually("relay and edge answer", WITHIN, async |site| Self::look(site).await).await
    }
}

/// One edge whose links to relay and gpu node are as bad as they are told to be.
async fn site(conditions: impl Into<Conditions>) -> (CameraServer, Cluster) {
    let conditions = conditions.into();
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "4", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub").gpu("engine", &["squares"]).edge("yard");
    let plan = watching(busy(plan, "yard", 1, &camera));
    let plan = KEYS.into_iter().fold(plan, |plan, key| plan.impaired("yard", key, conditions.clone()));
    let mut site = plan.start();
    site.ready().await;
    streams_go_on(&mut site).await;
    (camera, site)
}

/// Another entry is acknowledged, and another frame judged.
async fn streams_go_on(site: &mut Cluster) {
    let look = async |site: &Cluster| {
        let edge = site.node("yard");
        Ok::<_, String>((edge.outbox().await?.1, verdicts(edge.http).await?))
    };
    let (acked, judged) = site.eventually("the edge answers", WITHIN, look).await;
    site.eventually("events and verdicts go on", WITHIN, async |site| match look(site).await? {
        now if now.0 > acked && now.1 > judged => Ok(()),
        now => Err(format!("(acknowledged, judged) is {now:?} and was {:?}", (acked, judged))),
    })
    .await;
}

#[tokio::test]
async fn an_edge_that_moves_keeps_its_connections_and_their_streams() {
    let (mut camera, mut site) = site(Impairment::delay(Duration::from_millis(10))).await;
    let before = Connected::now(&mut site).await;
    // Another port, as a router gives after its restart; then other addresses, as from one network to the next.
    for to in [None, Some(IpAddr::from([127, 0, 0, 7])), Some(IpAddr::from([127, 0, 0, 8]))] {
        for key in KEYS {
            assert_eq!(site.link("yard", key).move_clients(to).expect("loopback has many addresses"), 1);
        }
        streams_go_on(&mut site).await;
    }
    assert_eq!(Connected::now(&mut site).await, before);
    assert!(site.links().all(|(.., proxy)| proxy.stats().moved == 3));
    camera.quit();
    settled(&mut site).await;
}

#[tokio::test]
async fn packets_that_come_twice_late_or_broken_harm_nothing() {
    let delay = Duration::from_millis(5);
    let (reorder, duplicate, corrupt) = (0.1, 0.2, 0.05);
    let bad = Impairment { reorder, duplicate, corrupt, ..Impairment::delay(delay) };
    let (mut camera, mut site) = site(bad).await;
    let before = Connected::now(&mut site).await;
    site.eventually("enough events were accepted", WITHIN, async |site| match site.node("yard").outbox().await? {
        (accepted, _) if accepted >= ACCEPTED_MIN => Ok(()),
        seen => Err(format!("(accepted, acknowledged) is {seen:?}")),
    })
    .await;
    assert_eq!(Connected::now(&mut site).await, before);
    camera.quit();
    settled(&mut site).await;
    let (accepted, _) = outbox(&mut site).await;
    for (node, key, proxy) in site.links() {
        let stats = proxy.stats();
        println!("{key} of {node}, {accepted} entries: {stats:?}");
        for tally in [stats.up, stats.down] {
            assert!(tally.corrupted > 0 && tally.duplicated > 0 && tally.reordered > 0, "{tally:?}");
        }
    }
}
