//! Fifty simulated edges on a real relay: nothing is lost when it is killed, and who behaves ill harms no other.

use protocol::codec::encode;
use protocol::link::{ClipDown, Down, EventsUp, Open, Up};
use protocol::transport::{Connection, Credentials, Endpoint, TlsFiles, Tx};
use protocol::{Epoch, EventId, Role, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tests::fleet::script::Script;
use tests::fleet::{Certificates, Fleet, Settings, clips};
use tests::harness::{Cluster, Plan, stranger, wait_for};
use tests::test_camera::squares::Rng;

const SEED: u64 = 70;
const EDGES: usize = 50;
const EVENTS_PER_S: f64 = 5.0;
const KILLS: usize = 2;
/// Entries that each edge has told before the next thing happens, on average.
const SOME: u64 = 10;
const WITHIN: Duration = Duration::from_secs(60);

type Own = (PathBuf, PathBuf);

fn settings(ca: PathBuf, port: u16, edges: usize, seed: u64) -> Settings {
    let relay = ("127.0.0.1".to_owned(), port);
    let certificates = Certificates::Issued(ca);
    Settings { edges, prefix: "edge".to_owned(), relay, certificates, events_per_s: EVENTS_PER_S, seed }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_edges_lose_nothing_while_their_relay_is_killed_and_others_misbehave() {
    let plan = Plan::new(SEED).relay("hub");
    let own = ["garbler", "sloth"].map(|name| plan.certificate("ca", name, Role::Edge));
    let mut site = plan.start();
    site.ready().await;
    let (dir, port) = (site.dir().to_owned(), site.node("hub").quic_port.expect("a relay listens"));
    let fleet = Fleet::start(settings(dir.join("ca"), port, EDGES, site.seed())).await.expect("a fleet");
    all_linked(&mut site, &fleet, &[0; EDGES]).await;
    let [garbler, sloth] = own;
    let ca = dir.join("ca/ca.pem");
    let garbling = tokio::spawn(garble(ca.clone(), garbler, port, site.seed()));
    let dawdling = tokio::spawn(dawdle(ca, sloth, port));
    for _ in 0..KILLS {
        some_more(&mut site, &fleet).await;
        kill_with_work_left(&mut site, &fleet).await;
    }
    some_more(&mut site, &fleet).await;
    assert!(!garbling.is_finished() && !dawdling.is_finished(), "who misbehaves has done so to the end");
    garbling.abort();
    dawdling.abort();
    fleet.rest();
    site.eventually("everything is acknowledged", WITHIN, async |_| match fleet.unsettled() {
        0 => Ok(()),
        edges => Err(format!("{edges} edges have something to tell")),
    })
    .await;
    let faults = [fleet.faults(), fleet.record_faults(&site.operator()).await.expect("it answers")].concat();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let refused = site.node("hub").log_text().lines().filter(|line| line.contains("garbler")).count();
    println!("{:?} entries accepted and acknowledged; {refused} lines on the garbler", fleet.entries());
    assert!(refused > 0, "the relay has refused what it was sent");
    let trees = site.operator().trees().await.expect("it answers");
    let told = trees.iter().filter(|tree| tree.software == "watchtree-fleet").count();
    assert!(told > 0, "none of {} trees is a simulated edge's", trees.len());
    fleet.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_that_join_with_tokens_are_linked_and_their_events_are_on_the_record() {
    const BOXES: usize = 20;
    let plan = Plan::new(SEED + 1).relay("hub");
    let ca = plan.dir().join("ca");
    let mut site = plan.set("hub", "enrol.ca_dir", ca.display().to_string()).start();
    site.ready().await;
    let port = site.node("hub").quic_port.expect("a relay listens");
    let certificates = Certificates::Joined(Arc::new(site.operator()));
    let fleet = Fleet::start(Settings { certificates, ..settings(ca, port, BOXES, SEED) }).await.expect("all join");
    site.eventually("all boxes are linked and tell something", WITHIN, async |_| {
        match (fleet.linked(), fleet.entries()) {
            (BOXES, (_, acked)) if acked >= SOME * BOXES as u64 => Ok(()),
            so_far => Err(format!("{so_far:?}")),
        }
    })
    .await;
    fleet.rest();
    site.eventually("everything is acknowledged", WITHIN, async |_| match fleet.unsettled() {
        0 => Ok(()),
        edges => Err(format!("{edges} edges have something to tell")),
    })
    .await;
    let faults = [fleet.faults(), fleet.record_faults(&site.operator()).await.expect("it answers")].concat();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    fleet.leave().await;
}

async fn all_linked(site: &mut Cluster, fleet: &Fleet, since: &[u64]) {
    site.eventually("all edges are linked", WITHIN, async |_| match fleet.linked_since(since) {
        EDGES => Ok(()),
        linked => Err(format!("{linked} are")),
    })
    .await;
}

async fn some_more(site: &mut Cluster, fleet: &Fleet) {
    let (_, before) = fleet.entries();
    site.eventually("more is acknowledged", WITHIN, async |_| match fleet.entries() {
        (_, acked) if acked >= before + SOME * EDGES as u64 => Ok(()),
        entries => Err(format!("{entries:?} are accepted and acknowledged")),
    })
    .await;
}

/// A frozen relay acknowledges nothing, while its edges go on.
async fn kill_with_work_left(site: &mut Cluster, fleet: &Fleet) {
    let links = fleet.links();
    site.node("hub").pause();
    site.eventually("entries wait for the relay", WITHIN, async |_| match fleet.entries() {
        (accepted, acked) if accepted >= acked + EDGES as u64 => Ok(()),
        entries => Err(format!("{entries:?} are accepted and acknowledged")),
    })
    .await;
    site.node_mut("hub").kill();
    site.node_mut("hub").start();
    all_linked(site, fleet, &links).await;
}

/// Sends whatever comes to its mind, again and again.
async fn garble(ca: PathBuf, own: Own, port: u16, seed: u64) {
    let mut rng = Rng::new(seed, 1);
    loop {
        if let Ok(peer) = stranger::connect(&ca, Some(&own), &Role::Relay.server_name(), port).await {
            let noise: Vec<u8> = (0..rng.draw() % 2000).map(|_| rng.draw() as u8).collect();
            let messages = match rng.draw() % 5 {
                0 => vec![noise],
                1 => vec![encode(&Open::Control), noise],
                2 => vec![encode(&Open::Events), noise],
                3 => vec![encode(&Open::Events), encode(&EventsUp::Entries(Vec::new()))],
                // A stream that never says what it is.
                _ => Vec::new(),
            };
            // Whoever refuses may hang up in the middle.
            if let Ok((mut tx, _rx)) = peer.connection.open_bi().await {
                for message in messages {
                    let _ = tx.write_all(&(message.len() as u32).to_be_bytes()).await;
                    let _ = tx.write_all(&message).await;
                }
                let _ = tokio::time::timeout(Duration::from_millis(300), peer.connection.closed()).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends much and reads nothing; begins again when it is cut off.
async fn dawdle(ca: PathBuf, own: Own, port: u16) {
    let files = TlsFiles { ca, cert: own.0, key: own.1 };
    let endpoint = Endpoint::dialer(&Credentials::load(&files).expect("the site's CA issued it")).expect("a socket");
    loop {
        if let Ok(relay) = endpoint.dial("127.0.0.1", port, Role::Relay).await {
            let _ = flood(&relay).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn flood(relay: &Connection) -> Result<(), String> {
    const ENTRIES: u64 = 200;
    const MESSAGES: u64 = 20;
    let (mut control, _unread) = relay.open_bi(&Open::Control).await.map_err(|e| e.to_string())?;
    say(&mut control, &Up::Hello { boot: Epoch::random(), software: "sloth".to_owned() }).await?;
    let (mut events, _acks) = relay.open_bi(&Open::Events).await.map_err(|e| e.to_string())?;
    let script = Script { epoch: Epoch::random(), begins: Timestamp::now(), every: Duration::from_millis(1) };
    say(&mut events, &EventsUp::Outbox { epoch: script.epoch }).await?;
    for message in 0..MESSAGES {
        let entries = (1..=ENTRIES).map(|nth| script.entry(message * ENTRIES + nth)).collect();
        say(&mut events, &EventsUp::Entries(entries)).await?;
    }
    Err(relay.closed().await)
}

async fn say<T: serde::Serialize>(tx: &mut Tx, message: &T) -> Result<(), String> {
    tx.send(message).await.map_err(|e| e.to_string())
}

/// The accepting end of one simulated edge: its control stream, welcomed.
async fn welcome(relay: &Endpoint) -> (Connection, Tx, protocol::transport::Rx) {
    let connection = relay.accept().await.expect("it dials").establish().await.expect("the same CA issued it");
    let (open, mut tx, mut rx) = connection.accept_bi().await.expect("a stream").open().await.expect("says what it is");
    assert_eq!(open, Open::Control);
    assert!(matches!(rx.recv().await, Ok(Some(Up::Hello { .. }))));
    say(&mut tx, &Down::Welcome { node: "hub".to_owned(), software: "a test".to_owned() }).await.expect("it reads");
    (connection, tx, rx)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_edge_hands_over_the_clips_it_is_asked_for_from_where_they_are_wanted() {
    let plan = Plan::new(SEED);
    let (cert, key) = plan.certificate("ca", "hub", Role::Relay);
    let credentials = Credentials::load(&TlsFiles { ca: plan.dir().join("ca/ca.pem"), cert, key }).expect("it fits");
    let relay = Endpoint::listen("127.0.0.1:0".parse().expect("an address"), &credentials).expect("a free port");
    let port = relay.local_addr().expect("it listens").port();
    let fleet = Fleet::start(settings(plan.dir().join("ca"), port, 1, SEED)).await.expect("a fleet");
    let (connection, _tx, mut rx) = welcome(&relay).await;
    for offset in [0, clips::CLIP_BYTES - 1000, clips::CLIP_BYTES] {
        let clip = EventId(77);
        let (_tx, mut bytes) = connection.open_bi(&Open::Clip { clip, offset }).await.expect("there is room");
        assert_eq!(bytes.recv().await, Ok(Some(ClipDown::Begins { bytes: clips::CLIP_BYTES })));
        let mut at = offset;
        while let Some(piece) = bytes.recv_bytes(100_000).await.expect("it comes whole") {
            assert!((at..).zip(piece.as_ref()).all(|(at, byte)| *byte == clips::byte(clip, at)), "from {at} on");
            at += piece.as_ref().len() as u64;
        }
        assert_eq!(at, clips::CLIP_BYTES);
    }
    let (_tx, mut refused) =
        connection.open_bi(&Open::Clip { clip: EventId(1), offset: u64::MAX }).await.expect("room");
    assert!(matches!(refused.recv().await, Ok(Some(ClipDown::Refused(why))) if why.contains("ends at")));
    let telemetry = wait_for("it tells how it is", WITHIN, async || match rx.recv::<Up>().await {
        Ok(Some(Up::Telemetry(telemetry))) => Ok(telemetry),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(telemetry.await.cameras.len(), 4);
    let beat = connection.recv_datagram().await.expect("it is linked");
    assert!(matches!(beat, Ok(protocol::datagram::Datagram::Beat(_))), "{beat:?}");
    drop(fleet);
}
