//! What a peer with a good certificate may not do, over loopback.

mod asking;
mod health;
mod others;
mod pings;

use super::*;
use crate::api::health::Health;
use crate::fabric::facts::Facts;
use crate::fabric::peers::Peers;
use crate::inference::books::Books;
use crate::inference::pool::Models;
use protocol::admin::{Reply, Request, Steered};
use protocol::frame::LedgerState;
use protocol::link::{Down, Open, Up, VIEWERS_LOOK};
use protocol::transport::{Credentials, Rx, TlsFiles, Tx};
use protocol::{Act, Epoch, Fault, FrameHeader, Priority, Role, Timestamp, ca};
use std::net::Ipv4Addr;
use supervision::watchdog::Heart;
use supervision::{History, Roll, Root, State, Strategy, Tree};
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(20);

struct Fixture {
    port: u16,
    role: Role,
    edge: Endpoint,
    books: Books,
    peers: Peers,
    facts: Facts,
    _root: Root,
    /// As every node has one: while this test gets no time, nobody in it is blamed.
    _heart: Heart,
    dir: TempDir,
}

impl Fixture {
    /// A node, `main/relay/hub` or `main/gpu/hub`, that accepts; and the edge `main/edge/yard`.
    async fn of(role: Role) -> Self {
        let dir = TempDir::new().expect("a directory");
        ca::init(&dir.path().join("ca"), "test").expect("a CA");
        let here = format!("main/{role}/hub");
        let own = credentials(&dir, &here);
        let endpoint = Endpoint::listen((Ipv4Addr::LOCALHOST, 0).into(), &own).expect("listens");
        let port = endpoint.local_addr().expect("is bound").port();
        let (books, peers) = (Books::default(), Peers::default());
        let mut facts = Facts::new(here.parse().expect("an identity"), Roll::default(), Health::default());
        facts.allow_faults = true;
        let desk = (role == Role::Gpu).then(|| Desk { models: Models::new(Vec::new()), books: books.clone() });
        let site = Site { facts: facts.clone(), peers: peers.clone() };
        let _heart = supervision::watchdog::heart(History::default());
        let gateway = Gateway::new(endpoint, Served { site, store: None, desk, enrolment: None });
        let intensity = Intensity { restarts: 5, within: Duration::from_secs(60) };
        let (proxies, echo) = (gateway.peers(intensity), gateway.echo());
        let children = vec![proxies, echo, service("gateway", move |cx: ServiceCx| gateway.clone().run(cx))];
        let tree = Tree { name: "hub".to_owned(), strategy: Strategy::OneForOne, intensity, children };
        let root = Root::start(tree, facts.roll.clone()).await.expect("starts");
        let edge = Endpoint::dialer(&credentials(&dir, "main/edge/yard")).expect("a socket");
        Self { port, role, edge, books, peers, facts, _root: root, _heart, dir }
    }

    async fn dial(&self) -> Connection {
        self.edge.dial("127.0.0.1", self.port, self.role).await.expect("its certificate is good")
    }

    async fn dial_with(&self, credentials: &Credentials) -> Connection {
        let endpoint = Endpoint::dialer(credentials).expect("a socket");
        endpoint.dial("127.0.0.1", self.port, self.role).await.expect("its certificate is good")
    }

    /// An edge that is linked: its connection and its control stream.
    async fn link_as(&self, who: &str) -> (Connection, Tx, Rx) {
        self.link_with(&credentials(&self.dir, who)).await
    }

    async fn link_with(&self, credentials: &Credentials) -> (Connection, Tx, Rx) {
        self.link_of(credentials, Epoch(1)).await
    }

    async fn link_of(&self, credentials: &Credentials, boot: Epoch) -> (Connection, Tx, Rx) {
        let connection = self.dial_with(credentials).await;
        let (mut tx, mut rx) = connection.open_bi(&Open::Control).await.expect("a stream");
        tx.send(&Up::Hello { boot, software: "test".to_owned() }).await.expect("is sent");
        let welcome = timeout(WITHIN, rx.recv::<Down>()).await.expect("in time").expect("is readable");
        assert!(matches!(welcome, Some(Down::Welcome { .. })), "{welcome:?}");
        (connection, tx, rx)
    }

    /// What `who` is answered.
    async fn ask(&self, who: &str, request: Request) -> Vec<Reply> {
        let connection = self.dial_with(&credentials(&self.dir, who)).await;
        let (mut tx, mut rx) = connection.open_bi(&Open::Admin).await.expect("a stream");
        tx.send(&request).await.expect("is sent");
        let mut replies = Vec::new();
        while let Some(reply) = timeout(WITHIN, rx.recv()).await.expect("in time").expect("is readable") {
            replies.push(reply);
        }
        replies
    }

    async fn steer(&self, who: &str, path: &str, act: Act) -> Result<String, String> {
        match self.ask(who, Request::Steer { path: path.to_owned(), act }).await.pop().expect("an answer") {
            Reply::Steered(told) => Ok(told.text),
            Reply::Refused(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    /// The rows below `hub/peers`, once they are these.
    async fn proxies_are(&self, wanted: &[&str]) {
        let names = || -> Vec<String> {
            let rows = self.facts.roll.snapshot().into_iter();
            rows.filter_map(|(path, _)| path.strip_prefix("hub/peers/").map(str::to_owned)).collect()
        };
        let there = async {
            while names() != wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(WITHIN, there).await.unwrap_or_else(|_| panic!("proxies are {:?}, not {wanted:?}", names()));
    }
}

#[tokio::test]
async fn a_box_that_was_power_cycled_gets_in_at_once_and_its_old_connection_ends() {
    let site = Fixture::of(Role::Relay).await;
    let yard = credentials(&site.dir, "main/edge/yard");
    let (old, _tx, _rx) = site.link_of(&yard, Epoch(1)).await;
    let (new, _tx, _rx) = site.link_of(&yard, Epoch(2)).await;
    let reason = timeout(WITHIN, old.closed()).await.expect("it ends");
    assert!(reason.contains("a newer connection of the same node took over"), "{reason}");
    assert_eq!(old.close_code(), Some(CloseCode::Replaced));
    site.proxies_are(&["main.edge.yard.2"]).await;
    assert_eq!(new.close_code(), None);
}

#[tokio::test]
async fn a_second_connection_of_the_same_boot_overlaps_the_first() {
    let site = Fixture::of(Role::Relay).await;
    let yard = credentials(&site.dir, "main/edge/yard");
    let (old, mut old_tx, old_rx) = site.link_of(&yard, Epoch(1)).await;
    let since = |site: &Fixture| site.peers.lines().first().map(|line| (line.state.clone(), line.since));
    let before = since(&site).expect("it is listed");
    let (new, _tx, mut rx) = site.link_of(&yard, Epoch(1)).await;
    // Calls come over the newer one, and the older one lives until its own side ends it.
    let asking = tokio::spawn({
        let peers = site.peers.clone();
        async move { peers.failures(&"main/edge/yard".parse().expect("an identity"), None, 1).await }
    });
    let call = timeout(WITHIN, rx.recv::<Down>()).await.expect("in time").expect("is readable");
    assert!(matches!(call, Some(Down::Failures { .. })), "{call:?}");
    assert_eq!((old.close_code(), new.close_code()), (None, None));
    asking.abort();
    old_tx.send(&Up::Bye).await.expect("the older one is served");
    drop((old, old_rx, old_tx));
    site.proxies_are(&["main.edge.yard.2"]).await;
    assert_eq!(since(&site), Some(before), "nobody saw it gone");
}

fn credentials(dir: &TempDir, who: &str) -> Credentials {
    // Each its own: a certificate is never written over another.
    let out = tempfile::tempdir_in(dir).expect("a directory").keep();
    let who = who.parse().expect("an identity");
    let paths = ca::issue(&dir.path().join("ca"), &out, &who, Duration::from_secs(3600)).expect("is issued");
    let ca = dir.path().join("ca/ca.pem");
    Credentials::load(&TlsFiles { ca, cert: paths.cert, key: paths.key }).expect("are good")
}

async fn told(connection: &Connection) -> (Option<CloseCode>, String) {
    let why = timeout(WITHIN, connection.closed()).await.expect("it is hung up on");
    (connection.close_code(), why)
}

#[tokio::test]
async fn who_opens_nothing_is_hung_up_on() {
    let site = Fixture::of(Role::Relay).await;
    let (code, why) = told(&site.dial().await).await;
    assert_eq!(code, Some(CloseCode::TooSlow));
    assert!(why.contains("no control or admin stream"), "{why}");
}

#[tokio::test]
async fn one_identity_has_four_connections_and_no_fifth() {
    let site = Fixture::of(Role::Relay).await;
    // At once: one that has said nothing for a while is hung up on.
    let first = futures_util::future::join_all((0..4).map(|_| site.dial())).await;
    // Which of the two notices first is a matter of luck.
    let why = match site.edge.dial("127.0.0.1", site.port, site.role).await {
        Ok(fifth) => told(&fifth).await.1,
        Err(refused) => refused.to_string(),
    };
    assert!(why.contains("has 4 connections already"), "{why}");
    let closed: Vec<_> = first.iter().map(Connection::close_code).collect();
    assert_eq!(closed, [None; 4], "the first stay");
}

#[tokio::test]
async fn a_frame_where_nobody_judges_ends_the_connection() {
    let site = Fixture::of(Role::Relay).await;
    let connection = site.dial().await;
    let header = FrameHeader {
        asker: Epoch(7),
        seq: 1,
        camera: "door".parse().expect("a name"),
        captured: Timestamp::now(),
        deadline_ms: 500,
        priority: Priority::Normal,
        model: None,
        width: 2,
        height: 2,
    };
    let _ = connection.open_frame(&header, &[0; 6]).await;
    let (code, why) = told(&connection).await;
    assert_eq!(code, Some(CloseCode::Refused), "{why}");
}

#[tokio::test]
async fn a_second_asker_on_one_connection_is_refused_and_the_books_of_the_first_are_cut() {
    let site = Fixture::of(Role::Gpu).await;
    let connection = site.dial().await;
    let _first = connection.open_bi(&Open::Verdicts { asker: Epoch(7) }).await.expect("a stream");
    let _second = connection.open_bi(&Open::Verdicts { asker: Epoch(8) }).await.expect("a stream");
    let (code, why) = told(&connection).await;
    assert_eq!(code, Some(CloseCode::Protocol), "{why}");
    let ended = async {
        while site.books.all().iter().any(|ledger| ledger.state == LedgerState::Open) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WITHIN, ended).await.expect("the ledger ends with its connection");
    let states: Vec<LedgerState> = site.books.all().iter().map(|ledger| ledger.state).collect();
    assert_eq!(states, [LedgerState::Cut]);
}

#[tokio::test]
async fn each_connection_is_a_row_of_the_tree_that_goes_with_it() {
    let site = Fixture::of(Role::Relay).await;
    // Issued first: the second connection says nothing, and is hung up on after a while.
    let barns = credentials(&site.dir, "main/edge/barn");
    let (first, ..) = site.link_as("main/edge/yard").await;
    let second = site.dial().await;
    let (barn, ..) = site.link_with(&barns).await;
    site.proxies_are(&["main.edge.barn", "main.edge.yard", "main.edge.yard.2"]).await;
    let row = site.facts.roll.get("hub/peers/main.edge.barn").expect("it is there");
    let note = row.note.expect("it says where it is");
    assert!(row.class == "proxy" && note.starts_with("edge at 127.0.0.1:"), "{note}");
    first.close(CloseCode::Done, "the test leaves");
    site.proxies_are(&["main.edge.barn", "main.edge.yard.2"]).await;
    assert!(site.facts.roll.history().of(None, 10).is_empty(), "to leave is no failure");
    drop((second, barn));
}

#[tokio::test]
async fn a_panic_in_a_proxy_ends_its_connection_alone() {
    let site = Fixture::of(Role::Relay).await;
    let (yard, ..) = site.link_as("main/edge/yard").await;
    let (barn, ..) = site.link_as("main/edge/barn").await;
    let act = Act::Inject(Fault::Panic);
    site.steer("main/operator/ada", "hub/peers/main.edge.yard", act).await.expect("is done");
    let (code, why) = told(&yard).await;
    assert_eq!(code, Some(CloseCode::GivenUp), "{why}");
    assert_eq!(barn.close_code(), None, "the other stays");
    let recorded = async {
        while site.facts.roll.history().of(None, 10).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WITHIN, recorded).await.expect("it is recorded");
    let records = site.facts.roll.history().of(None, 10);
    let kinds: Vec<_> = records.iter().map(|record| (record.path.as_str(), record.failure.kind.as_str())).collect();
    assert_eq!(kinds, [("hub/peers/main.edge.yard", "panic")]);
    // Whoever dials again is let in, under the name that is free again.
    let _again = site.link_as("main/edge/yard").await;
    assert!(site.facts.roll.get("hub/peers/main.edge.yard").is_some_and(|row| row.state == State::Running));
}

#[tokio::test]
async fn a_gateway_that_is_restarted_keeps_its_connections_and_its_socket() {
    let site = Fixture::of(Role::Relay).await;
    let (yard, ..) = site.link_as("main/edge/yard").await;
    site.steer("main/operator/ada", "hub/gateway", Act::Restart).await.expect("is done");
    let act = Act::Inject(Fault::Panic);
    site.steer("main/operator/ada", "hub/gateway", act).await.expect("is done");
    let restarted = async {
        while site.facts.roll.get("hub/gateway").is_none_or(|row| row.restarts < 2 || row.state != State::Running) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WITHIN, restarted).await.expect("it comes back");
    let _barn = site.link_as("main/edge/barn").await;
    assert_eq!(yard.close_code(), None, "it was never asked to go");
    assert!(site.facts.roll.get("hub/peers/main.edge.yard").is_some());
}

#[tokio::test]
async fn only_an_operator_of_this_tenant_steers() {
    let site = Fixture::of(Role::Relay).await;
    let viewer = site.steer("main/viewer/bob", "hub/gateway", Act::Restart).await;
    assert_eq!(viewer, Err(VIEWERS_LOOK.to_owned()));
    let stranger = site.steer("acme/operator/eve", "hub/gateway", Act::Restart).await.expect_err("another tenant");
    assert!(stranger.contains("another tenant"), "{stranger}");
    let restarts = site.facts.roll.get("hub/gateway").expect("it is there").restarts;
    assert_eq!(restarts, 0);
}

#[tokio::test]
async fn an_edge_is_steered_over_its_control_stream_and_its_answer_comes_back() {
    let site = Fixture::of(Role::Relay).await;
    let (_yard, mut tx, mut rx) = site.link_as("main/edge/yard").await;
    let edge = async {
        let order = timeout(WITHIN, rx.recv::<Down>()).await.expect("in time").expect("is readable");
        let Some(Down::Steer { call, path, act, by }) = order else { panic!("{order:?}") };
        assert_eq!((path.as_str(), act, by.to_string().as_str()), ("yard/outbox", Act::Park, "main/operator/ada"));
        tx.send(&Up::Steered { call, result: Ok(Steered::done("parked")) }).await.expect("is sent");
    };
    let steer = site.steer("main/operator/ada", "yard/outbox", Act::Park);
    let (done, ()) = tokio::join!(steer, edge);
    assert_eq!(done, Ok("parked".to_owned()));
    let unseen = site.steer("acme/operator/eve", "yard/outbox", Act::Park).await.expect_err("another tenant's");
    assert!(unseen.contains("no node is called yard"), "{unseen}");
}

#[tokio::test]
async fn a_stranger_sees_the_node_and_no_neighbours_connections() {
    let site = Fixture::of(Role::Relay).await;
    let (_yard, ..) = site.link_as("main/edge/yard").await;
    let (_shed, ..) = site.link_as("acme/edge/shed").await;
    let replies = site.ask("acme/viewer/eve", Request::Tree { path: Some("hub".to_owned()) }).await;
    let [Reply::Node(hub), Reply::Done] = &replies[..] else { panic!("{replies:?}") };
    let paths: Vec<&str> = hub.actors.iter().map(|actor| actor.path.as_str()).collect();
    assert!(paths.contains(&"hub/gateway") && paths.contains(&"hub/peers/acme.edge.shed"), "{paths:?}");
    assert!(!paths.iter().any(|path| path.contains("main.edge")), "{paths:?}");
    let wrong = site.ask("main/viewer/bob", Request::Tree { path: Some("hub/gatewya".to_owned()) }).await;
    let Reply::Refused(why) = &wrong[0] else { panic!("{wrong:?}") };
    assert!(why.contains("hub has: ") && why.contains("gateway"), "{why}");
}
