//! HTTP on loopback: health, metrics, the tree, the record.
//!
//!   GET /health /health/live /health/ready /health/deep     GET /metrics
//!   GET /api/v1/tree   GET /api/v1/failures   (?path=, and ?node= for those linked to this node)
//!   GET /api/v1/inference   GET /api/v1/events (relay)   GET /api/v1/core (relay, gpu node)
//!   GET /api/v1/nodes   GET /api/v1/nodes/history?node= (relay)   GET /api/v1/timeline?camera= (relay, edge)
//!   GET /api/v1/cameras   GET /api/v1/events/{id}/clip.mp4, snapshot.jpg, crop.jpg, thumb.jpg (edge)
//!
//!   role table ──▶ router ──▶ gate (who asks?) ──▶ handlers      here for this machine, in `https` for people elsewhere
//!
//! Stops when: it does not answer itself.  On restart: goes on with the same socket, whoever else still holds it.
//! Loopback alone: whoever is on this machine needs no login.

mod cameras;
mod fleet;
mod gate;
mod health;
pub mod kept;
mod members;
mod record;
mod site;
mod timeline;

use crate::camera::board::Board;
use crate::camera::coverage::book::Book;
use crate::camera::coverage::keeper::Parked;
use crate::events::store::EventStore;
use crate::fabric::site::Site;
use crate::telemetry::Recorder;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Extension, Json, Router, middleware};
pub use gate::Caller;
use gate::Gate;
use kept::Kept;
use protocol::roles::{Listed, Route};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use supervision::{Failure, ServiceCx};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Looks at all nodes whose answers are in memory at once. When full, the next waits for its turn.
const LOOKS_MAX: usize = 1;
/// After a look at itself that failed.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Somebody may hold all of this process's descriptors for a moment; the watchdog has the patience.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Http {
    socket: Arc<std::net::TcpListener>,
    site: Site,
    recorder: Recorder,
    store: Option<EventStore>,
    /// On an edge.
    edge: Option<Arc<OfEdge>>,
    /// Looks at all nodes, one at a time.
    looks: Arc<Semaphore>,
}

/// What an edge tells of its cameras and gives out.
pub struct OfEdge {
    pub board: Board,
    pub book: Book,
    pub kept: Kept,
    /// Why nothing works at a camera's place.
    pub parked: Parked,
}

#[derive(Debug, thiserror::Error)]
#[error("{key} {addr}: {why}; set {key} to a free port")]
pub struct NotBound {
    key: &'static str,
    addr: SocketAddr,
    why: io::Error,
}

impl NotBound {
    pub(super) fn new(key: &'static str, addr: SocketAddr, why: io::Error) -> Self {
        Self { key, addr, why }
    }
}

/// Takes the port, for all incarnations of a server: one whose thread is blocked would keep it from its successor.
pub(super) fn bind(key: &'static str, addr: SocketAddr) -> Result<Arc<std::net::TcpListener>, NotBound> {
    let bound = std::net::TcpListener::bind(addr).and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
    bound.map(Arc::new).map_err(|why| NotBound::new(key, addr, why))
}

impl Http {
    /// `store` on a relay.
    pub fn bind(addr: SocketAddr, site: Site, recorder: Recorder, store: Option<EventStore>) -> Result<Self, NotBound> {
        let socket = bind("node.http", addr)?;
        Ok(Self { socket, site, recorder, store, edge: None, looks: Arc::new(Semaphore::new(LOOKS_MAX)) })
    }

    /// On an edge.
    pub fn of_edge(self, edge: OfEdge) -> Self {
        Self { edge: Some(Arc::new(edge)), ..self }
    }

    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let listener = self.socket.try_clone().and_then(TcpListener::from_std).map_err(Failure::error)?;
        let addr = listener.local_addr().map_err(Failure::error)?;
        tracing::info!(%addr, "serving http");
        cx.place.note(format!("http://{addr}"));
        let stop = cx.stop.clone();
        let served = axum::serve(listener, self.router(Caller::Local))
            .with_graceful_shutdown(async move { stop.cancelled().await });
        tokio::select! {
            served = served => served.map_err(Failure::error),
            never = answer_if_answered(addr, &cx) => match never {},
            // Open connections are not waited for: everything served here can be asked again.
            () = cx.stop.cancelled() => Ok(()),
        }
    }

    /// What the role table lists for a node of this role, for one who asks.
    pub(super) fn router(self, caller: Caller) -> Router {
        let here = self.site.facts.node.role;
        let served = Route::ALL.into_iter().filter(|route| route.row().served_on().any(|role| role == here));
        let router = served.fold(Router::new(), |router, route| {
            let gate = Gate { here, caller: caller.clone(), route };
            router.route(route.path(), handler(route).layer(middleware::from_fn_with_state(gate, gate::pass)))
        });
        let nothing = move |uri: Uri| async move { gate::nothing(here, uri.path()) };
        router.fallback(nothing).layer(Extension(caller)).with_state(self)
    }
}

fn handler(route: Route) -> MethodRouter<Http> {
    match route {
        Route::Health | Route::Ready => get(health::ready),
        Route::Live => get(health::live),
        Route::Deep => get(health::deep),
        Route::Metrics => get(metrics_text),
        Route::Tree => get(site::tree),
        Route::Failures => get(site::failures),
        Route::Inference => get(inference),
        Route::Events => get(record::events),
        Route::Timeline => get(timeline::timeline),
        Route::Cameras => get(cameras::cameras),
        Route::Clip => get(kept::clip),
        Route::Snapshot => get(kept::snapshot),
        Route::Crop => get(kept::crop),
        Route::Thumb => get(kept::thumb),
        Route::Core => get(members::core),
        Route::Nodes => get(fleet::nodes),
        Route::NodesHistory => get(fleet::history),
    }
}

/// Answers the watchdog after this server has answered: an accept loop that is dead or stuck is silent.
async fn answer_if_answered(addr: SocketAddr, cx: &ServiceCx) -> std::convert::Infallible {
    loop {
        let look = timeout(LOOK_WITHIN, looks_alive(addr)).await;
        match look.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(true) => {
                cx.asked().await;
                continue;
            }
            Ok(false) => tracing::debug!(%addr, "this server does not answer itself with a 200"),
            Err(error) => tracing::debug!(%addr, "this server does not answer itself: {error}"),
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn looks_alive(addr: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(addr).await?;
    // HTTP/1.0: the end of the stream is the end of the answer.
    stream.write_all(format!("GET /health/live HTTP/1.0\r\nHost: {addr}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(1024).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.0 200"))
}

async fn metrics_text(State(http): State<Http>, Extension(caller): Extension<Caller>) -> Response {
    let (facts, sees) = (&http.site.facts, caller.sees());
    facts.coverage.show();
    facts.health.show();
    let peers: Vec<_> = http.site.peers.lines().into_iter().filter(|peer| sees.node(&peer.node)).collect();
    let text = http.recorder.render(&facts.roll, &peers);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn inference(State(http): State<Http>, Extension(caller): Extension<Caller>) -> Response {
    let (facts, sees) = (&http.site.facts, caller.sees());
    let ledgers: Vec<_> = (facts.ledgers)().into_iter().filter(|ledger| sees.ledger(ledger)).collect();
    Json(json!({ "node": facts.node.to_string(), "ledgers": ledgers })).into_response()
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    problem_with(status, detail, &[])
}

/// With what else helps the one who asked.
fn problem_with(status: StatusCode, detail: &str, more: &[(&str, Value)]) -> Response {
    let mut body = json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
    for (name, value) in more {
        body[*name] = value.clone();
    }
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::health::Health;
    use crate::fabric::facts::Facts;
    use crate::fabric::peers::Peers;
    use std::net::Ipv4Addr;
    use supervision::watchdog::Heart;
    use supervision::{History, Intensity, Roll, Root, State, Strategy, Tree, service};

    /// More than the service's own patience with itself.
    const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

    /// A node with nothing but its heart and its HTTP, and its address.
    async fn node() -> ((Heart, Root), Facts, SocketAddr) {
        let heart = supervision::watchdog::heart(History::default());
        let facts = Facts::new("main/edge/yard".parse().expect("an identity"), Roll::default(), Health::default());
        let site = Site { facts: facts.clone(), peers: Peers::default() };
        let addr = (Ipv4Addr::LOCALHOST, 0).into();
        let http = Http::bind(addr, site, Recorder::install(&facts.node.name), None).expect("a free port");
        let child = service("http", move |cx| http.clone().run(cx)).answers_within(ANSWERS_WITHIN);
        let intensity = Intensity { restarts: 5, within: Duration::from_secs(60) };
        let tree = Tree { name: "yard".to_owned(), strategy: Strategy::OneForOne, intensity, children: vec![child] };
        let root = Root::start(tree, facts.roll.clone()).await.expect("starts");
        let bound = async {
            loop {
                let note = facts.roll.get("yard/http").and_then(|row| row.note).unwrap_or_default();
                match note.strip_prefix("http://").and_then(|addr| addr.parse().ok()) {
                    Some(addr) => break addr,
                    None => sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let addr = timeout(Duration::from_secs(20), bound).await.expect("it is bound");
        ((heart, root), facts, addr)
    }

    #[tokio::test]
    async fn a_server_that_answers_itself_answers_the_watchdog() {
        let (_node, facts, addr) = node().await;
        // Several times the watchdog's patience, and requests all along.
        let until = std::time::Instant::now() + 3 * ANSWERS_WITHIN;
        while std::time::Instant::now() < until {
            assert!(looks_alive(addr).await.expect("it answers"));
            sleep(Duration::from_millis(100)).await;
        }
        let row = facts.roll.get("yard/http").expect("it is there");
        assert_eq!((row.state, row.restarts), (State::Running, 0), "{row:?}");
    }

    #[tokio::test]
    async fn a_successor_serves_though_its_predecessor_still_holds_the_socket() {
        let facts = Facts::new("main/edge/yard".parse().expect("an identity"), Roll::default(), Health::default());
        let site = Site { facts: facts.clone(), peers: Peers::default() };
        let http = Http::bind((Ipv4Addr::LOCALHOST, 0).into(), site, Recorder::install(&facts.node.name), None);
        let http = http.expect("a free port");
        let addr = http.socket.local_addr().expect("is bound");
        let _blocked = http.socket.try_clone().and_then(TcpListener::from_std).expect("the same socket");
        let child = service("http", move |cx| http.clone().run(cx)).answers_within(Duration::from_secs(60));
        let intensity = Intensity { restarts: 0, within: Duration::from_secs(60) };
        let tree = Tree { name: "yard".to_owned(), strategy: Strategy::OneForOne, intensity, children: vec![child] };
        let root = Root::start(tree, facts.roll.clone()).await.expect("starts");
        assert!(timeout(Duration::from_secs(20), looks_alive(addr)).await.expect("in time").expect("it answers"));
        root.stop().await;
    }

    #[tokio::test]
    async fn a_socket_that_nobody_accepts_from_does_not_look_alive() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
        let addr = listener.local_addr().expect("is bound");
        assert!(timeout(Duration::from_millis(300), looks_alive(addr)).await.is_err(), "it took an answer for one");
        drop(listener);
        assert!(looks_alive(addr).await.is_err(), "nobody listens any more");
    }
}
