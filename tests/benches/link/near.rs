//! The near side: an edge's link, and an actor that calls over it. And what both processes have in common.

use actors::api::health::Health;
use actors::fabric::clips::Clips;
use actors::fabric::facts::Facts;
use actors::fabric::link::Link;
use protocol::transport::{Credentials, Endpoint, TlsFiles};
use protocol::{Identity, Role, ca};
use std::path::Path;
use std::time::{Duration, Instant};
use supervision::{
    Actor, Context, Failure, Intensity, Mailbox, Node, Overflow, Roll, Root, Strategy, Tree, child, service,
};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub const RELAY: &str = "main/relay/hub";
pub const EDGE: &str = "main/edge/yard";
/// What goes there and back.
pub const PAYLOAD_BYTES: usize = 64;

const VALID: Duration = Duration::from_secs(24 * 3600);
const LINKED_WITHIN: Duration = Duration::from_secs(30);
/// Between two calls, so that none meets the one before it.
const PAUSE: Duration = Duration::from_micros(50);

/// As every node has it.
pub fn runtime() -> Result<Runtime, String> {
    let threads = nodes::launch::worker_threads();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    runtime.map_err(|error| error.to_string())
}

pub fn certificates(dir: &Path) -> Result<(), String> {
    ca::init(&dir.join("ca"), "bench").map_err(|error| error.to_string())?;
    for who in [RELAY, EDGE] {
        let who: Identity = who.parse().map_err(|error| format!("{error}"))?;
        ca::issue(&dir.join("ca"), &dir.join(who.role.as_str()), &who, VALID).map_err(|error| error.to_string())?;
    }
    Ok(())
}

pub fn tls_files(dir: &Path, who: &Identity) -> TlsFiles {
    let own = |end: &str| dir.join(who.role.as_str()).join(format!("{}.{end}", who.name));
    TlsFiles { ca: dir.join("ca/ca.pem"), cert: own("pem"), key: own("key") }
}

pub fn facts(who: &str) -> Facts {
    let who = who.parse().expect("the bench's names are right");
    Facts::new(who, Roll::default(), Health::default())
}

pub fn tree(name: &str, children: Vec<Node>) -> Tree {
    let intensity = Intensity { restarts: 3, within: Duration::from_secs(60) };
    Tree { name: name.to_owned(), strategy: Strategy::OneForOne, intensity, children }
}

/// An edge with nothing but a link and somebody who calls.
pub struct Edge {
    calls: Mailbox<Order>,
    root: Root,
}

/// So many calls, one after the other.
struct Order {
    count: usize,
    reply: oneshot::Sender<Result<Vec<f64>, String>>,
}

struct Caller(Link);

impl Actor for Caller {
    type Msg = Order;

    async fn handle(&mut self, Order { count, reply }: Order, cx: &mut Context<Order>) -> Result<(), Failure> {
        let link = self.0.clone();
        cx.spawn(async move {
            let _ = reply.send(call(&link, count).await);
            Ok(())
        });
        Ok(())
    }
}

/// In microseconds each.
async fn call(link: &Link, count: usize) -> Result<Vec<f64>, String> {
    let mut took = Vec::with_capacity(count);
    for n in 0..count {
        tokio::time::sleep(PAUSE).await;
        let payload = vec![n as u8; PAYLOAD_BYTES];
        let begun = Instant::now();
        let back = link.ping(payload).await.map_err(|error| error.to_string())?;
        took.push(begun.elapsed().as_secs_f64() * 1e6);
        if back.len() != PAYLOAD_BYTES || back[0] != n as u8 {
            return Err("an answer was that of another call".to_owned());
        }
    }
    Ok(took)
}

/// As the others wait between two of theirs.
pub async fn pause() {
    tokio::time::sleep(PAUSE).await;
}

impl Edge {
    /// Linked to `port` on this machine.
    pub async fn start(dir: &Path, port: u16, clips: Clips) -> Result<Self, String> {
        let facts = facts(EDGE);
        let credentials = Credentials::load(&tls_files(dir, &facts.node)).map_err(|error| error.to_string())?;
        let endpoint = Endpoint::dialer(&credentials).map_err(|error| error.to_string())?;
        let upstream = vec![format!("127.0.0.1:{port}").parse()?];
        let link = Link::giving(upstream, Role::Relay, clips);
        let calls = Mailbox::new("caller", 1, Overflow::Refuse);
        let (caller, linked, roll) = (link.clone(), link.clone(), facts.roll.clone());
        let children = vec![
            service("relay-link", move |cx| link.clone().run(endpoint.clone(), facts.clone(), cx)),
            child("caller", &calls, move || Ok(Caller(caller.clone()))),
        ];
        let root = Root::start(tree("yard", children), roll).await.map_err(|error| error.to_string())?;
        let mut connections = linked.connections();
        let up = timeout(LINKED_WITHIN, connections.wait_for(Option::is_some)).await;
        up.map_err(|_| format!("no link: {}", linked.state()))?.map_err(|error| error.to_string())?;
        Ok(Self { calls, root })
    }

    /// In microseconds each.
    pub async fn call(&self, count: usize) -> Result<Vec<f64>, String> {
        self.calls.ask(|reply| Order { count, reply }).await.map_err(|error| error.to_string())?
    }

    pub async fn stop(self) {
        self.root.stop().await;
    }
}
