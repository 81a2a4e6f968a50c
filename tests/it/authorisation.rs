//! The authorisation matrix: every thing that a node may be asked, by every kind of peer, against real nodes.
//!
//!   rows of the role table × {nobody, wrong certificates, each role, another tenant, this machine} × {relay, gpu}
//!
//! What is expected is spelled out by hand, and what is tried is generated from the table: a row without an attempt, or that
//! is spelled out otherwise, is a mistake too.

mod peers;
#[path = "../../protocol/tests/it/spelled_out.rs"]
mod spelled_out;
mod tries;

use futures_util::{StreamExt, stream};
use peers::{Authority, Files, Wrong};
use protocol::admin::{Reply, Request};
use protocol::codec::{decode, encode};
use protocol::enrol::{JoinDown, JoinUp, Refusal};
use protocol::link::{Down, Open, Up};
use protocol::roles::{Listed, Plane, Route, Row, Who, rows};
use protocol::transport::{Connection, Endpoint};
use protocol::{Identity, Role, Timestamp};
use spelled_out::is_allowed;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tests::harness::{Cluster, Plan, http, https, ports, stranger};
use tries::{Seen, Try};

const SEED: u64 = 19;
const NODES: [Role; 2] = [Role::Relay, Role::Gpu];
/// Attempts at once: beyond what a node's handshakes need, they would only wait for each other.
const AT_ONCE: usize = 8;
/// Identities of each role that take turns: a node has four connections at once, and one that has just ended may count.
const TURNS: usize = 8;
/// The issue asks for as many.
const CELLS_MIN: usize = 300;
const JOIN_ALPN: &[u8] = b"watchtree-join/1";
const JOIN_ANSWER_BYTES_MAX: usize = 64 * 1024;
const WITHIN: Duration = Duration::from_secs(30);
/// How long a datagram that is served is watched for a refusal.
const UNREFUSED_FOR: Duration = Duration::from_secs(1);

/// What is said to a node that accepts. The other planes are said to who dialled; tests of the link hold those.
const SAID_TO_LISTENERS: &[Plane] = &[
    Plane::Stream,
    Plane::Up,
    Plane::EventsUp,
    Plane::AskerUp,
    Plane::Request,
    Plane::Datagram,
    Plane::Tell,
    Plane::Ask,
    Plane::Http,
];

/// One attempt and what came of it.
struct Cell {
    what: String,
    /// Why it is a mistake, if it is.
    mistake: Option<String>,
}

impl Cell {
    fn new(row: &Row, here: Role, peer: impl std::fmt::Display, is_allowed: bool, seen: Seen) -> Self {
        let mistake = match (is_allowed, &seen) {
            (true, Seen::Served(_)) | (false, Seen::Refused(_)) => None,
            (true, _) => Some(format!("must be served: {seen:?}")),
            (false, _) => Some(format!("must be refused: {seen:?}")),
        };
        Self { what: format!("{row} by {peer} on {here}"), mistake }
    }
}

/// A relay and a gpu node without models, both with HTTPS, and who comes to them.
struct Site {
    cluster: Cluster,
    authority: Authority,
    https: BTreeMap<Role, u16>,
    wrong: BTreeMap<(Wrong, Role), Option<Files>>,
}

impl Site {
    async fn start() -> Self {
        let https = BTreeMap::from(NODES.map(|role| (role, ports::free())));
        let mut plan = Plan::new(SEED).relay("hub").gpu("engine", &[]);
        for (name, role) in [("hub", Role::Relay), ("engine", Role::Gpu)] {
            plan = plan.set(name, "listen.https", format!("127.0.0.1:{}", https[&role]));
        }
        let ca_dir = plan.dir().join("ca").display().to_string();
        plan = plan.set("hub", "enrol.ca_dir", ca_dir);
        let mut cluster = plan.start();
        let authority = Authority::new(cluster.dir());
        cluster.node_ready("hub").await;
        cluster
            .eventually("the gpu node is linked", WITHIN, async |site| {
                let metrics = http::get(site.node("engine").http, "/metrics").await?.body;
                let is_up = |line: &str| line.starts_with("watchtree_link_up{") && line.ends_with(" 1");
                if metrics.lines().any(is_up) { Ok(()) } else { Err("not yet".to_owned()) }
            })
            .await;
        let kinds = Wrong::ALL.into_iter().flat_map(|wrong| Role::ALL.map(|role| (wrong, role)));
        let wrong = kinds.map(|(wrong, role)| ((wrong, role), authority.wrong(wrong, role))).collect();
        let site = Self { cluster, authority, https, wrong };
        site.revoke().await;
        site
    }

    /// As an operator does with `watchtree revoke`, on each node.
    async fn revoke(&self) {
        let operator = self.authority.dialler(&"main/operator/boss".parse().expect("an identity"));
        for here in NODES {
            let connection = operator.dial("127.0.0.1", self.quic(here), here).await.expect("its certificate is good");
            for role in Role::ALL {
                let request = Request::Revoke { name: "revoked".parse().expect("a name"), role: Some(role) };
                let (mut tx, mut rx) = connection.open_bi(&Open::Admin).await.expect("a stream");
                tx.send(&request).await.expect("is sent");
                let told = rx.recv::<Reply>().await.expect("is readable");
                assert!(matches!(told, Some(Reply::Revoked(_))), "{told:?}");
            }
        }
    }

    /// What only a connection for joining carries: for who has no certificate, of whatever role he will be.
    async fn join_cells(&self, here: Role) -> Vec<Cell> {
        let (row, ca, server_name) = (&JoinUp::ROWS[0], self.authority.ca(), here.server_name());
        let up = JoinUp {
            token: "wt1.edge.new.main.00.00.00".to_owned(),
            csr: vec![1, 2, 3],
            now: Timestamp::now(),
            software: "a peer of the matrix".to_owned(),
        };
        let mut cells = Vec::new();
        for wrong in Wrong::ALL {
            let files = self.wrong[&(wrong, Role::Edge)].as_ref();
            let peer = stranger::connect_for(JOIN_ALPN, &ca, files, &server_name, self.quic(here)).await;
            let seen = match (peer, wrong) {
                (Ok(peer), Wrong::Missing) => joined(&peer, &up).await,
                (Ok(peer), _) => match tokio::time::timeout(WITHIN, peer.is_told(&[encode(&up)])).await {
                    Ok(told) => refusal(&told, wrong),
                    Err(_) => Seen::Odd("nobody ended the connection".to_owned()),
                },
                (Err(told), _) => refusal(&told, wrong),
            };
            let allowed = wrong == Wrong::Missing && is_allowed(&row.to_string(), here, Who::Stranger);
            cells.push(Cell::new(row, here, wrong, allowed, seen));
        }
        cells
    }

    fn node(&self, here: Role) -> &tests::harness::Node {
        self.cluster.node(if here == Role::Relay { "hub" } else { "engine" })
    }

    fn quic(&self, here: Role) -> u16 {
        self.node(here).quic_port.expect("it listens")
    }

    /// A peer whose certificate alone is at fault: of a role that would be served.
    async fn wrong_cell(&self, tried: &Try, here: Role, wrong: Wrong) -> Cell {
        let role = allowed_roles(tried.row(), here).next().unwrap_or(Role::Edge);
        let files = self.wrong[&(wrong, role)].as_ref();
        let ca = self.authority.ca();
        let server_name = here.server_name();
        let seen = match tried {
            Try::Http(route) => match https::get(&ca, files, &server_name, self.https[&here], route.path()).await {
                Err(told) if wrong.alerts().iter().any(|alert| told.contains(alert)) => Seen::Refused(told),
                told => Seen::Odd(format!("{told:?}")),
            },
            _ => {
                let told = match stranger::connect(&ca, files, &server_name, self.quic(here)).await {
                    Ok(peer) => {
                        if let Try::Datagram(datagram) = tried {
                            let _ = peer.connection.send_datagram(encode(datagram).into());
                        }
                        let told = tokio::time::timeout(WITHIN, peer.is_told(&tried.messages())).await;
                        told.map_err(|_| Seen::Odd("nobody ended the connection".to_owned()))
                    }
                    Err(told) => Ok(told),
                };
                told.map_or_else(|seen| seen, |told| refusal(&told, wrong))
            }
        };
        Cell::new(tried.row(), here, format!("{role} with {wrong}"), false, seen)
    }

    /// All that is tried over QUIC with good certificates of one role of one tenant, one after the other.
    async fn right_cells(&self, here: Role, tenant: &str, role: Role, all: &[Try]) -> Vec<Cell> {
        let who = |turn| -> Identity { format!("{tenant}/{role}/m{turn}-on-{here}").parse().expect("an identity") };
        let peers: Vec<Endpoint> = (0..TURNS).map(|turn| self.authority.dialler(&who(turn))).collect();
        let mut cells = Vec::new();
        for (tried, peer) in all.iter().zip(peers.iter().cycle()) {
            let row = tried.row();
            let seen = match peer.dial("127.0.0.1", self.quic(here), here).await {
                Ok(connection) => {
                    let seen = match tried {
                        Try::Datagram(_) => self.datagram(&connection, here, role, tried).await,
                        _ => tries::over_quic(&connection, tried).await,
                    };
                    connection.close(protocol::transport::CloseCode::Done, "tried");
                    seen
                }
                Err(error) => Seen::Odd(error.to_string()),
            };
            let peer = format!("{tenant}/{role}");
            cells.push(Cell::new(row, here, peer, is_allowed(&row.to_string(), here, role.into()), seen));
        }
        cells
    }

    /// One that is refused is counted, and the connection goes on.
    async fn datagram(&self, connection: &Connection, here: Role, role: Role, tried: &Try) -> Seen {
        let Try::Datagram(datagram) = tried else { return Seen::Odd("is no datagram".to_owned()) };
        let before = self.refused_datagrams(here, role).await;
        let began = Instant::now();
        while began.elapsed() < UNREFUSED_FOR {
            if let Err(error) = connection.send_datagram(datagram) {
                return Seen::Odd(error.to_string());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.refused_datagrams(here, role).await > before {
                return Seen::Refused("counted as refused".to_owned());
            }
        }
        Seen::Served("and not counted as refused".to_owned())
    }

    async fn refused_datagrams(&self, here: Role, role: Role) -> f64 {
        let metrics = http::get(self.node(here).http, "/metrics").await.expect("it answers").body;
        let labels = [format!("role=\"{role}\""), "what=\"datagram\"".to_owned()];
        let is_meant = |line: &&str| {
            line.starts_with("watchtree_refused_total{") && labels.iter().all(|label| line.contains(label))
        };
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse().ok());
        metrics.lines().find(is_meant).and_then(value).unwrap_or_default()
    }

    /// All routes with a good certificate of one role of one tenant.
    async fn https_cells(&self, here: Role, tenant: &str, role: Role) -> Vec<Cell> {
        let files = self.authority.issue(&format!("{tenant}/{role}/w-{here}").parse().expect("an identity"));
        let (ca, server_name) = (self.authority.ca(), here.server_name());
        let mut cells = Vec::new();
        for route in Route::ALL {
            let answer = https::get(&ca, Some(&files), &server_name, self.https[&here], route.path());
            let seen = answered(answer.await);
            let row = Try::Http(route).row();
            let allowed = is_allowed(&row.to_string(), here, role.into());
            cells.push(Cell::new(row, here, format!("{tenant}/{role}"), allowed, seen));
        }
        cells
    }

    /// All routes for whoever is on this machine.
    async fn local_cells(&self, here: Role) -> Vec<Cell> {
        let mut cells = Vec::new();
        for route in Route::ALL {
            let seen = answered(http::get(self.node(here).http, route.path()).await);
            let row = Try::Http(route).row();
            cells.push(Cell::new(row, here, Who::Local, is_allowed(&row.to_string(), here, Who::Local), seen));
        }
        cells
    }

    /// Nothing that was tried made a node fail.
    async fn is_well(&mut self) -> Vec<String> {
        let mut faults: Vec<String> = self.cluster.death().into_iter().collect();
        for here in NODES {
            let node = self.node(here);
            let failures = http::get(node.http, "/api/v1/failures?limit=1000").await.expect("it answers").body;
            if failures.contains("panic") {
                faults.push(format!("{here}: {failures}"));
            }
            let tree = node.tree().await.expect("it answers");
            let restarted = tree.actors.iter().filter(|actor| actor.restarts > 0);
            faults.extend(restarted.map(|actor| format!("{} was restarted: {:?}", actor.path, actor.last_reason)));
            let log = node.log_text();
            faults.extend(log.lines().filter(|line| line.contains("panic")).map(str::to_owned));
        }
        faults
    }
}

/// What a box is answered. That its token is wrong is for who looks at tokens.
async fn joined(peer: &stranger::Stranger, up: &JoinUp) -> Seen {
    let asking = async {
        let (mut tx, mut rx) = peer.open(&encode(up)).await;
        let _ = tx.finish();
        rx.read_to_end(JOIN_ANSWER_BYTES_MAX).await
    };
    let told = match tokio::time::timeout(WITHIN, asking).await {
        Ok(Ok(bytes)) => bytes,
        other => return Seen::Odd(format!("{other:?}")),
    };
    // Behind its length.
    match decode::<JoinDown, JOIN_ANSWER_BYTES_MAX>(told.get(4..).unwrap_or_default()) {
        Ok(JoinDown::Refused(why @ Refusal::NoAuthority)) => Seen::Refused(why.to_string()),
        Ok(down) => Seen::Served(format!("{down:?}")),
        Err(error) => Seen::Odd(error.to_string()),
    }
}

/// The roles with a certificate that are spelled out.
fn allowed_roles(row: &Row, here: Role) -> impl Iterator<Item = Role> {
    let what = row.to_string();
    Role::ALL.into_iter().filter(move |role| is_allowed(&what, here, (*role).into()))
}

/// Whether the words that a peer was told are those of what is wrong with it.
fn refusal(told: &quinn::ConnectionError, wrong: Wrong) -> Seen {
    let (alerts, words) = wrong.reasons();
    let is_right = match told {
        quinn::ConnectionError::ConnectionClosed(close) => {
            alerts.iter().any(|alert| u64::from(close.error_code) == 0x100 + alert)
        }
        quinn::ConnectionError::ApplicationClosed(close) => String::from_utf8_lossy(&close.reason).contains(words),
        _ => false,
    };
    if is_right { Seen::Refused(told.to_string()) } else { Seen::Odd(told.to_string()) }
}

fn answered(answer: Result<http::Answer, String>) -> Seen {
    match answer {
        Ok(answer) if answer.status == 403 => Seen::told(answer.body),
        Ok(answer) => match (answer.status, Seen::told(answer.body)) {
            // There is no such path here, and the answer says where it is.
            (404, refused @ Seen::Refused(_)) => refused,
            (status, told) => Seen::Served(format!("{status} {told:.60?}")),
        },
        Err(error) => Seen::Odd(error),
    }
}

/// Who may open the core's stream, or has it opened to him, speaks ractor_cluster there; what he may ask, tests of the core
/// hold. All others must not come so far.
fn is_tried(tried: &Try, here: Role, role: Role) -> bool {
    let may = |what: &str| is_allowed(what, here, role.into());
    let is_said_in_the_core = matches!(tried, Try::Tell(_) | Try::Ask(_));
    !(is_said_in_the_core && (may("stream core") || may(&tried.row().to_string())))
}

#[test]
fn each_row_that_a_listener_hears_is_tried() {
    let wanted: BTreeSet<String> =
        rows().filter(|row| SAID_TO_LISTENERS.contains(&row.plane)).map(ToString::to_string).collect();
    let mut tried: BTreeSet<String> = tries::all().iter().map(|tried| tried.row().to_string()).collect();
    // Its plane has answers too, which are said to who dialled.
    assert!(tried.remove("renew renew"));
    assert_eq!(tried, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_table_holds_for_every_peer_on_every_node() {
    let mut site = Site::start().await;
    let (all, began) = (tries::all(), Instant::now());
    let over_quic: Vec<Try> = all.iter().filter(|tried| !matches!(tried, Try::Http(_))).cloned().collect();
    let mut cells = Vec::new();

    let wrong = all.iter().flat_map(|tried| NODES.map(|here| (tried, here)));
    let wrong = wrong.flat_map(|(tried, here)| Wrong::ALL.map(|wrong| site.wrong_cell(tried, here, wrong)));
    cells.extend(Box::pin(stream::iter(wrong).buffer_unordered(AT_ONCE).collect::<Vec<_>>()).await);

    let groups = NODES.into_iter().flat_map(|here| Role::ALL.map(|role| ("main", here, role)));
    let groups: Vec<_> =
        groups.chain(NODES.into_iter().flat_map(|here| Role::ALL.map(|role| ("acme", here, role)))).collect();
    let right = groups.iter().map(|(tenant, here, role)| {
        let is_meant = |tried: &&Try| is_tried(tried, *here, *role);
        let tried: Vec<Try> = over_quic.iter().filter(is_meant).cloned().collect();
        let (site, tenant) = (&site, *tenant);
        async move { site.right_cells(*here, tenant, *role, &tried).await }
    });
    let right: Vec<Vec<Cell>> = stream::iter(right).buffer_unordered(AT_ONCE).collect().await;
    cells.extend(right.into_iter().flatten());

    for (tenant, here, role) in &groups {
        cells.extend(site.https_cells(*here, tenant, *role).await);
    }
    for here in NODES {
        cells.extend(site.local_cells(here).await);
        cells.extend(site.join_cells(here).await);
    }

    let mistakes: Vec<String> = cells
        .iter()
        .filter_map(|cell| Some(format!("{}: {}", cell.what, cell.mistake.as_ref()?)))
        .chain(site.is_well().await)
        .collect();
    println!("{} cells in {:.1} s, {} mistakes", cells.len(), began.elapsed().as_secs_f32(), mistakes.len());
    assert!(mistakes.is_empty(), "{} mistakes in {} cells:\n{}", mistakes.len(), cells.len(), mistakes.join("\n"));
    assert!(cells.len() >= CELLS_MIN, "{} cells", cells.len());
}

/// An edge that is linked to the relay, and shows one actor to whoever asks for its tree.
async fn linked(site: &Site, who: &str) -> (Connection, tokio::task::JoinHandle<()>) {
    let who: Identity = who.parse().expect("an identity");
    let connection = site.authority.dialler(&who).dial("127.0.0.1", site.quic(Role::Relay), Role::Relay).await;
    let connection = connection.expect("its certificate is good");
    let (mut tx, mut rx) = connection.open_bi(&Open::Control).await.expect("a stream");
    tx.send(&tries::hello()).await.expect("is sent");
    let welcome = rx.recv::<Down>().await.expect("is readable");
    assert!(matches!(welcome, Some(Down::Welcome { .. })), "{welcome:?}");
    let answering = tokio::spawn(async move {
        while let Ok(Some(down)) = rx.recv::<Down>().await {
            if let Down::Snapshot { call, .. } = down {
                let snapshot = Box::new(tries::snapshot());
                let _ = tx.send(&Up::Snapshot { call, snapshot }).await;
            }
        }
    });
    (connection, answering)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_the_own_tenant_over_https_and_whoever_is_on_the_machine_sees_all() {
    let site = Site::start().await;
    let _barn = linked(&site, "main/edge/barn").await;
    let _shed = linked(&site, "acme/edge/shed").await;
    let pages =
        ["/api/v1/tree?node=all", "/api/v1/tree?path=nowhere", "/api/v1/failures?node=all", "/metrics", "/health/deep"];
    for (who, sees, never) in [("main/viewer/bob", "barn", "shed"), ("acme/operator/eve", "shed", "barn")] {
        let files = site.authority.issue(&who.parse().expect("an identity"));
        let (ca, port) = (site.authority.ca(), site.https[&Role::Relay]);
        for page in pages {
            let answer = https::get(&ca, Some(&files), "relay.watchtree", port, page).await.expect("is served").body;
            // Of failures there are none to tell of.
            assert!(
                answer.contains(sees) || page.contains("failures"),
                "{who} does not see {sees} at {page}: {answer}"
            );
            assert!(!answer.contains(never), "{who} sees {never} at {page}: {answer}");
        }
        let unseen = format!("/api/v1/tree?path={never}/outbox");
        let answer = https::get(&ca, Some(&files), "relay.watchtree", port, &unseen).await.expect("is answered");
        assert_eq!(answer.status, 404, "{}", answer.body);
    }
    for page in pages.into_iter().filter(|page| !page.contains("failures")) {
        let answer = http::get(site.node(Role::Relay).http, page).await.expect("is served").body;
        assert!(answer.contains("barn") && answer.contains("shed"), "{page}: {answer}");
    }
}
