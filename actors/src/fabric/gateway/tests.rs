//! What a peer with a good certificate may not do, over loopback.

use super::*;
use crate::api::health::Health;
use crate::inference::books::Books;
use crate::inference::pool::Models;
use protocol::frame::LedgerState;
use protocol::transport::{Credentials, TlsFiles};
use protocol::{Epoch, FrameHeader, Priority, Role, Timestamp, ca};
use std::net::Ipv4Addr;
use supervision::Roll;
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(20);

struct Site {
    port: u16,
    role: Role,
    edge: Endpoint,
    books: Books,
    _dir: TempDir,
}

impl Site {
    /// A node, `main/relay/hub` or `main/gpu/hub`, that accepts; and the edge `main/edge/yard`.
    fn of(role: Role) -> Self {
        let dir = TempDir::new().expect("a directory");
        ca::init(&dir.path().join("ca"), "test").expect("a CA");
        let credentials = |who: &str| {
            let out = dir.path().join(who.replace('/', "-"));
            let who = who.parse().expect("an identity");
            let paths = ca::issue(&dir.path().join("ca"), &out, &who, Duration::from_secs(3600)).expect("is issued");
            let ca = dir.path().join("ca/ca.pem");
            Credentials::load(&TlsFiles { ca, cert: paths.cert, key: paths.key }).expect("are good")
        };
        let here = format!("main/{role}/hub");
        let endpoint = Endpoint::listen((Ipv4Addr::LOCALHOST, 0).into(), &credentials(&here)).expect("listens");
        let port = endpoint.local_addr().expect("is bound").port();
        let (books, peers) = (Books::default(), Peers::default());
        let facts = Facts::new(here.parse().expect("an identity"), Roll::default(), Health::default());
        let admin = Admin { facts: facts.clone(), peers: peers.clone(), store: None };
        let desk = (role == Role::Gpu).then(|| Desk { models: Models::new(Vec::new()), books: books.clone() });
        let gateway = Gateway { endpoint, facts, peers, admin, store: None, desk };
        tokio::spawn(async move {
            let doors = Doors::default();
            while let Some(incoming) = gateway.endpoint.accept().await {
                tokio::spawn(gateway.clone().proxy(incoming, doors.clone()));
            }
        });
        let edge = Endpoint::dialer(&credentials("main/edge/yard")).expect("a socket");
        Self { port, role, edge, books, _dir: dir }
    }

    async fn dial(&self) -> Connection {
        self.edge.dial("127.0.0.1", self.port, self.role).await.expect("its certificate is good")
    }
}

async fn told(connection: &Connection) -> (Option<CloseCode>, String) {
    let why = timeout(WITHIN, connection.closed()).await.expect("it is hung up on");
    (connection.close_code(), why)
}

#[tokio::test]
async fn who_opens_nothing_is_hung_up_on() {
    let site = Site::of(Role::Relay);
    let (code, why) = told(&site.dial().await).await;
    assert_eq!(code, Some(CloseCode::TooSlow));
    assert!(why.contains("no control or admin stream"), "{why}");
}

#[tokio::test]
async fn one_identity_has_four_connections_and_no_fifth() {
    let site = Site::of(Role::Relay);
    let mut first = Vec::new();
    for _ in 0..4 {
        first.push(site.dial().await);
    }
    // Which of the two notices first is a matter of luck.
    let why = match site.edge.dial("127.0.0.1", site.port, site.role).await {
        Ok(fifth) => told(&fifth).await.1,
        Err(refused) => refused.to_string(),
    };
    assert!(why.contains("has 4 connections already"), "{why}");
    assert_eq!(first[0].close_code(), None, "the first stay");
}

#[tokio::test]
async fn a_frame_where_nobody_judges_ends_the_connection() {
    let site = Site::of(Role::Relay);
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
    let site = Site::of(Role::Gpu);
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
