//! What the tests of this room share: connections between a relay's and an edge's socket on loopback, and an ear for
//! the audit log.

use protocol::transport::{Connection, Credentials, Endpoint, TlsFiles};
use protocol::{Role, ca};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// `main/relay/hub`, and another who dials it: `main/edge/yard` unless the test says otherwise.
pub struct Pair {
    relay: Endpoint,
    yard: Endpoint,
    dir: TempDir,
}

impl Pair {
    pub fn new() -> Self {
        Self::with("main/edge/yard")
    }

    pub fn with(dialler: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        ca::init(&dir.path().join("ca"), "test").expect("a CA");
        let relay = Endpoint::listen((Ipv4Addr::LOCALHOST, 0).into(), &credentials(&dir, "main/relay/hub"));
        let yard = Endpoint::dialer(&credentials(&dir, dialler)).expect("a socket");
        Self { relay: relay.expect("listens"), yard, dir }
    }

    /// Of one more node of the same authority; once for each.
    pub fn credentials(&self, who: &str) -> Credentials {
        credentials(&self.dir, who)
    }

    /// A new connection: the edge's end of it, and the relay's.
    pub async fn connect(&self) -> (Connection, Connection) {
        let port = self.relay.local_addr().expect("is bound").port();
        let accepting = async { self.relay.accept().await.expect("is open").establish().await.expect("is let in") };
        let (dialled, accepted) = tokio::join!(self.yard.dial("127.0.0.1", port, Role::Relay), accepting);
        (dialled.expect("is let in"), accepted)
    }
}

fn credentials(dir: &TempDir, who: &str) -> Credentials {
    let (ca, out) = (dir.path().join("ca"), dir.path().join(who.replace('/', "-")));
    let who = who.parse().expect("an identity");
    let paths = ca::issue(&ca, &out, &who, Duration::from_secs(3600)).expect("is issued");
    Credentials::load(&TlsFiles { ca: ca.join("ca.pem"), cert: paths.cert, key: paths.key }).expect("are good")
}

/// The messages of the audit log.
#[derive(Clone, Default)]
pub struct Audit(Arc<Mutex<Vec<String>>>);

impl Audit {
    pub fn read(&self) -> Vec<String> {
        self.0.lock().expect("no test panics while writing").clone()
    }
}

struct Message(String);

impl tracing::field::Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl tracing::Subscriber for Audit {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "audit"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().expect("no test panics while writing").push(message.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
