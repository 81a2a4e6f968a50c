//! Outbox ▸ forwarder ══QUIC══▶ receiver ▸ store on loopback, with the link cut at random.

use crate::events::outbox::Outbox;
use crate::events::store::EventStore;
use crate::events::testing::{edge, event, run, status};
use crate::events::{forwarder, receiver};
use protocol::admin::EventFilter;
use protocol::event::DROPPED_LABEL;
use protocol::link::{EventsDown, EventsUp, Open};
use protocol::transport::{CloseCode, Connection, Credentials, Endpoint, TlsFiles};
use protocol::{EventId, Evidence, Phase, Role, ca};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;
use supervision::{Root, service};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// One commit each, as each waits for the one before: a disk that takes 50 ms for one is still in time.
const EVENTS: u64 = 600;
const CUTS: u64 = 12;
const WITHIN: Duration = Duration::from_secs(60);

struct Site {
    dir: TempDir,
    relay: Endpoint,
    yard: Endpoint,
    entries_max: NonZeroU64,
}

impl Site {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        ca::init(&dir.path().join("ca"), "test").expect("a CA");
        let listen: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let relay = Endpoint::listen(listen, &credentials(dir.path(), "main/relay/hub")).expect("listens");
        let yard = Endpoint::dialer(&credentials(dir.path(), "main/edge/yard")).expect("has a socket");
        Self { dir, relay, yard, entries_max: NonZeroU64::MAX }
    }

    async fn connect(&self) -> (Connection, Connection) {
        let port = self.relay.local_addr().expect("is bound").port();
        let accepting = async { self.relay.accept().await.expect("is open").establish().await.expect("is let in") };
        let (dialled, accepted) = tokio::join!(self.yard.dial("127.0.0.1", port, Role::Relay), accepting);
        (dialled.expect("is let in"), accepted)
    }

    /// The edge's half: an outbox, and a forwarder on whatever link there is.
    async fn edge(&self, outbox: &Outbox, link: watch::Receiver<Option<Connection>>) -> Root {
        self.draining_edge(outbox, link, forwarder::DRAIN_WITHIN).await
    }

    async fn draining_edge(
        &self,
        outbox: &Outbox,
        link: watch::Receiver<Option<Connection>>,
        drain_within: Duration,
    ) -> Root {
        let to_forward = outbox.clone();
        let forward = move |cx| forwarder::forward(to_forward.clone(), link.clone(), drain_within, cx);
        run(vec![
            outbox.child(self.dir.path().join("outbox.redb"), self.entries_max).stop_within(WITHIN),
            service("forwarder", forward).stop_within(drain_within + WITHIN),
        ])
        .await
    }

    async fn store(&self, store: &EventStore) -> Root {
        run(vec![store.child(self.dir.path().join("events.redb"))]).await
    }
}

fn credentials(dir: &Path, who: &str) -> Credentials {
    let out = dir.join(who.replace('/', "-"));
    let paths = ca::issue(&dir.join("ca"), &out, &edge(who), Duration::from_secs(3600)).expect("is issued");
    Credentials::load(&TlsFiles { ca: dir.join("ca/ca.pem"), cert: paths.cert, key: paths.key }).expect("are good")
}

/// The relay's half of one connection: serves every events stream that the edge opens.
async fn serve(accepted: Connection, store: EventStore, ended: mpsc::Sender<Result<(), receiver::ReceiveError>>) {
    while let Ok(stream) = accepted.accept_bi().await {
        let Ok((Open::Events, tx, rx)) = stream.open().await else { continue };
        let (who, store, ended) = (accepted.peer().clone(), store.clone(), ended.clone());
        tokio::spawn(async move {
            let _ = ended.try_send(receiver::receive(who, tx, rx, store).await);
        });
    }
}

/// Small and seeded; a failure prints the seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

async fn push_all(outbox: Outbox) {
    for n in 1..=EVENTS {
        assert_eq!(outbox.push(event(0, n, 0, Phase::Start)).await, Ok(n), "the outbox does not fail here");
    }
}

async fn everything_is_on_the_record_once(store: &EventStore, outbox: &Outbox, seed: u64) {
    let yard = edge("main/edge/yard");
    let arrived = async {
        while status(outbox).await.acked != EVENTS {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WITHIN, arrived).await.unwrap_or_else(|_| panic!("seed {seed}: not all was acknowledged"));
    let entries = store.record(yard.name, None, 0, 2 * EVENTS as u32).await.expect("answers");
    let found: Vec<(u64, u64)> = entries.iter().map(|entry| (entry.seq, (entry.event.id.0 >> 80) as u64)).collect();
    assert_eq!(found, (1..=EVENTS).map(|n| (n, n)).collect::<Vec<_>>(), "seed {seed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_cut_at_random_costs_no_event_and_repeats_none() {
    for seed in 1..=3 {
        let (site, mut random) = (Site::new(), Random(seed));
        let (outbox, store) = (Outbox::new(), EventStore::new());
        let (link, links) = watch::channel(None);
        let (ended, _ends) = mpsc::channel(16);
        let relay = site.store(&store).await;
        let yard = site.edge(&outbox, links).await;
        let pushing = tokio::spawn(push_all(outbox.clone()));
        for _ in 0..CUTS {
            let (dialled, accepted) = site.connect().await;
            tokio::spawn(serve(accepted, store.clone(), ended.clone()));
            link.send_replace(Some(dialled.clone()));
            sleep(Duration::from_millis(random.below(60))).await;
            if random.below(2) == 0 {
                link.send_replace(None);
            }
            dialled.close(CloseCode::Done, "cut by the test");
        }
        let (dialled, accepted) = site.connect().await;
        tokio::spawn(serve(accepted, store.clone(), ended.clone()));
        link.send_replace(Some(dialled));
        timeout(WITHIN, pushing).await.unwrap_or_else(|_| panic!("seed {seed}: pushing hangs")).expect("no panic");
        everything_is_on_the_record_once(&store, &outbox, seed).await;
        yard.stop().await;
        relay.stop().await;
    }
}

/// Everything in the outbox, in order.
async fn spooled(outbox: &Outbox) -> Vec<(u64, EventId)> {
    let mut spooled = Vec::<(u64, EventId)>::new();
    loop {
        let after = spooled.last().map_or(0, |(seq, _)| *seq);
        let entries = outbox.next(after).await.expect("answers");
        if entries.is_empty() {
            return spooled;
        }
        spooled.extend(entries.iter().map(|entry| (entry.seq, entry.event.id)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_outbox_did_not_drop_is_on_the_record_once_and_in_order_and_the_rest_is_told() {
    /// Of four an event: its start, two updates and its end.
    const PUSHED: u64 = 2000;
    for seed in 1..=2 {
        let (site, mut random) = (Site { entries_max: entries_max(700), ..Site::new() }, Random(seed));
        let (outbox, store) = (Outbox::new(), EventStore::new());
        let (link, links) = watch::channel(None);
        let (ended, mut ends) = mpsc::channel(1024);
        let relay = site.store(&store).await;
        let yard = site.edge(&outbox, links).await;
        let push = |n: u64| {
            let revision = n % 4;
            let phase = [Phase::Start, Phase::Update, Phase::Update, Phase::End][revision as usize];
            outbox.push(event((n % 3) as u8, n / 4 + 1, revision as u32, phase))
        };
        futures_util::future::try_join_all((0..PUSHED).map(push)).await.expect("accepted");
        let mut left = spooled(&outbox).await;
        assert!(left.windows(2).any(|pair| pair[1].0 > pair[0].0 + 1), "seed {seed}: it has no gap");
        let newest = *outbox.newest().borrow();
        for _ in 0..CUTS {
            let (dialled, accepted) = site.connect().await;
            tokio::spawn(serve(accepted, store.clone(), ended.clone()));
            link.send_replace(Some(dialled.clone()));
            sleep(Duration::from_millis(random.below(20))).await;
            dialled.close(CloseCode::Done, "cut by the test");
        }
        let (dialled, accepted) = site.connect().await;
        tokio::spawn(serve(accepted, store.clone(), ended.clone()));
        link.send_replace(Some(dialled));
        let arrived = async {
            while outbox.waiting() > 0 || *outbox.newest().borrow() == newest {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(WITHIN, arrived).await.unwrap_or_else(|_| panic!("seed {seed}: not all was acknowledged"));
        let record = store.record(edge("main/edge/yard").name, None, 0, 10_000).await.expect("answers");
        // What was dropped after the first report is told by another, once there was room again.
        left.extend(record.iter().filter(|entry| entry.seq > newest).map(|entry| (entry.seq, entry.event.id)));
        let found: Vec<_> = record.iter().map(|entry| (entry.seq, entry.event.id)).collect();
        assert_eq!(found, left, "seed {seed}");
        let told = record.iter().filter_map(|entry| match entry.event.evidence {
            Evidence::Dropped { entries, .. } => Some(entries),
            _ => None,
        });
        let told: Vec<u64> = told.collect();
        assert_eq!(told.iter().sum::<u64>() + record.len() as u64 - told.len() as u64, PUSHED, "seed {seed}: {told:?}");
        while let Ok(end) = ends.try_recv() {
            assert!(!matches!(end, Err(receiver::ReceiveError::Protocol(_))), "seed {seed}: {end:?}");
        }
        let filter = EventFilter { label: Some(DROPPED_LABEL.to_owned()), ..Default::default() };
        let shown = store.events(filter, None).await.expect("answers").events;
        assert_eq!(shown.len(), told.len(), "seed {seed}");
        yard.stop().await;
        relay.stop().await;
    }
}

fn entries_max(entries: u64) -> NonZeroU64 {
    NonZeroU64::new(entries).expect("is not zero")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_store_comes_back_goes_on_over_the_same_link() {
    let site = Site::new();
    let (outbox, store) = (Outbox::new(), EventStore::new());
    let (_link, links) = {
        let (dialled, accepted) = site.connect().await;
        let (ended, _ends) = mpsc::channel(16);
        tokio::spawn(serve(accepted, store.clone(), ended));
        watch::channel(Some(dialled))
    };
    let yard = site.edge(&outbox, links).await;
    let pushing = tokio::spawn(push_all(outbox.clone()));
    for _ in 0..3 {
        let relay = site.store(&store).await;
        sleep(Duration::from_millis(50)).await;
        relay.stop().await;
    }
    let relay = site.store(&store).await;
    timeout(WITHIN, pushing).await.expect("pushing hangs").expect("no panic");
    everything_is_on_the_record_once(&store, &outbox, 0).await;
    yard.stop().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_the_order_is_told_off_and_nothing_is_recorded() {
    let site = Site::new();
    let store = EventStore::new();
    let relay = site.store(&store).await;
    let (dialled, accepted) = site.connect().await;
    let (ended, mut ends) = mpsc::channel(16);
    tokio::spawn(serve(accepted, store.clone(), ended));
    let entries = |seqs: [u64; 2]| EventsUp::Entries(seqs.map(|seq| crate::events::testing::entry(1, seq)).to_vec());
    let announced = EventsUp::Outbox { epoch: protocol::Epoch(1) };
    for (messages, told) in [
        (vec![entries([1, 2])], "before their outbox was announced"),
        (vec![announced.clone(), announced.clone()], "a second outbox"),
        (vec![announced.clone(), entries([1, 3])], "entry 3 came where 2 was due"),
    ] {
        let (mut tx, mut rx) = dialled.open_bi(&Open::Events).await.expect("is open");
        for message in messages {
            tx.send(&message).await.expect("is sent");
        }
        let why =
            timeout(WITHIN, ends.recv()).await.expect("hangs").expect("ends").expect_err("is refused").to_string();
        assert!(why.contains(told), "{why}");
        while let Ok(Some(EventsDown::Resume { .. })) = rx.recv().await {}
    }
    let yard = edge("main/edge/yard");
    assert_eq!(store.record(yard.name, Some(protocol::Epoch(1)), 0, 10).await, Ok(vec![]));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_as_an_older_edge_sends_them_are_recorded_beside_those_of_today() {
    let site = Site::new();
    let store = EventStore::new();
    let relay = site.store(&store).await;
    let (dialled, accepted) = site.connect().await;
    let (ended, _ends) = mpsc::channel(16);
    tokio::spawn(serve(accepted, store.clone(), ended));
    let entry = |seq| crate::events::testing::entry(1, seq);
    let (mut tx, mut rx) = dialled.open_bi(&Open::Events).await.expect("is open");
    for message in [
        EventsUp::Outbox { epoch: protocol::Epoch(1) },
        EventsUp::OldEntries(vec![entry(1).into(), entry(2).into()]),
        EventsUp::Entries(vec![entry(3)]),
    ] {
        tx.send(&message).await.expect("is sent");
    }
    let mut acked = 0;
    while acked < 3 {
        match timeout(WITHIN, rx.recv()).await.expect("hangs").expect("is readable") {
            Some(EventsDown::Ack { through }) => acked = through,
            Some(EventsDown::Resume { .. }) => {}
            None => panic!("the stream ended"),
        }
    }
    let recorded = store.record(edge("main/edge/yard").name, None, 0, 10).await.expect("answers");
    let events: Vec<_> = recorded.iter().map(|recorded| recorded.event.id).collect();
    assert_eq!(events, [1, 2, 3].map(|seq| entry(seq).event.id));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_put_back_from_an_older_copy_loses_no_event() {
    let site = Site::new();
    let (store, file) = (EventStore::new(), site.dir.path().join("outbox.redb"));
    let relay = site.store(&store).await;
    let (ended, _ends) = mpsc::channel(16);
    let mut pushed = 0;
    // The third day begins with the file as it was after the first, and overtakes the second without a link.
    for (day, events) in [(1, 20), (2, 30), (3, 80)] {
        let outbox = Outbox::new();
        let (link, links) = watch::channel(None);
        let yard = site.edge(&outbox, links).await;
        for _ in 0..events {
            pushed += 1;
            outbox.push(event(0, pushed, 0, Phase::Start)).await.expect("accepted");
        }
        let (dialled, accepted) = site.connect().await;
        tokio::spawn(serve(accepted, store.clone(), ended.clone()));
        link.send_replace(Some(dialled));
        let all_acked = async {
            loop {
                let status = status(&outbox).await;
                if status.acked == status.accepted {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(WITHIN, all_acked).await.unwrap_or_else(|_| panic!("day {day}: not all was acknowledged"));
        yard.stop().await;
        let copy = file.with_extension("copy");
        match day {
            1 => drop(std::fs::copy(&file, &copy).expect("is copied")),
            _ => drop(std::fs::copy(&copy, &file).expect("is put back")),
        }
    }
    let filter = protocol::admin::EventFilter { limit: Some(1000), ..Default::default() };
    let found = store.events(filter, None).await.expect("answers").events;
    let found: Vec<u64> = found.iter().map(|recorded| (recorded.event.id.0 >> 80) as u64).collect();
    assert_eq!(found, (1..=pushed).collect::<Vec<_>>());
    relay.stop().await;
}

/// A relay that acknowledges nothing beyond `held` until it is let; returns the last entry it saw, and whether the
/// stream ended cleanly.
async fn acknowledge_late(accepted: Connection, held: u64, mut let_go: watch::Receiver<bool>) -> (u64, bool) {
    let stream = accepted.accept_bi().await.expect("a stream");
    let (_, mut tx, mut rx) = stream.open().await.expect("is opened");
    let mut last = 0;
    loop {
        match rx.recv::<EventsUp>().await {
            Ok(Some(EventsUp::Outbox { .. })) => tx.send(&EventsDown::Resume { through: 0 }).await.expect("is sent"),
            Ok(Some(EventsUp::Entries(entries))) => {
                last = entries.last().expect("are some").seq;
                if last > held && let_go.wait_for(|go| *go).await.is_err() {
                    return (last, false);
                }
                let _ = tx.send(&EventsDown::Ack { through: last }).await;
            }
            ended => return (last, matches!(ended, Ok(None))),
        }
    }
}

async fn acked(outbox: &Outbox, entries: u64) {
    let arrived = async {
        while status(outbox).await.acked != entries {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WITHIN, arrived).await.expect("is acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_last_is_acknowledged_before_an_orderly_stop_ends() {
    let site = Site::new();
    let (dialled, accepted) = site.connect().await;
    let (let_go, may_go) = watch::channel(false);
    let seen = tokio::spawn(acknowledge_late(accepted, 5, may_go));
    let outbox = Outbox::new();
    let (_link, links) = watch::channel(Some(dialled));
    // However slow this machine is: how long a stop may take is the next test.
    let yard = site.draining_edge(&outbox, links.clone(), WITHIN).await;
    for n in 1..=5 {
        outbox.push(event(0, n, 0, Phase::Start)).await.expect("accepted");
    }
    acked(&outbox, 5).await;
    outbox.push(event(0, 6, 0, Phase::End)).await.expect("accepted");
    let mut stopping = std::pin::pin!(yard.stop());
    // Well into the stop, and nothing has come back yet.
    assert!(timeout(Duration::from_millis(100), &mut stopping).await.is_err(), "it waits for the acknowledgement");
    let_go.send_replace(true);
    timeout(WITHIN, stopping).await.expect("ends when all is acknowledged");
    assert_eq!(timeout(WITHIN, seen).await.expect("hangs").expect("no panic"), (6, true));
    let again = Outbox::new();
    let yard = site.edge(&again, links).await;
    assert_eq!(status(&again).await.acked, 6);
    yard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_never_acknowledges_does_not_hold_up_an_orderly_stop() {
    let site = Site::new();
    let (dialled, accepted) = site.connect().await;
    let (_let_go, may_go) = watch::channel(false);
    let _seen = tokio::spawn(acknowledge_late(accepted, 0, may_go));
    let outbox = Outbox::new();
    let (_link, links) = watch::channel(Some(dialled));
    let yard = site.edge(&outbox, links.clone()).await;
    outbox.push(event(0, 1, 0, Phase::Start)).await.expect("accepted");
    timeout(WITHIN, yard.stop()).await.expect("ends without it");
    let again = Outbox::new();
    let yard = site.edge(&again, links).await;
    let left = status(&again).await;
    assert_eq!((left.accepted, left.acked), (1, 0), "it goes next time");
    yard.stop().await;
}
