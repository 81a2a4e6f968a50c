//! A CA, certificates and endpoints for one test.

use protocol::transport::{CLOCK_SKEW_TOLERATED, Connection, Credentials, DialError, Endpoint, Refusal, TlsFiles};
use protocol::{Identity, Role, Timestamp, ca};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// Far above what anything here takes, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Site {
    pub dir: TempDir,
}

impl Site {
    /// With a CA of the given name.
    pub fn new(ca_name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        ca::init(&dir.path().join("ca"), ca_name).expect("a new CA");
        Self { dir }
    }

    pub fn ca_dir(&self) -> PathBuf {
        self.dir.path().join("ca")
    }

    pub fn issue(&self, who: &str, valid: Duration) -> TlsFiles {
        self.issue_into(self.dir.path(), who, valid)
    }

    fn issue_into(&self, dir: &Path, who: &str, valid: Duration) -> TlsFiles {
        self.issue_at(dir, who, Timestamp::now(), valid)
    }

    fn issue_at(&self, dir: &Path, who: &str, issued: Timestamp, valid: Duration) -> TlsFiles {
        let who: Identity = who.parse().expect("an identity");
        let out = dir.join(who.role.as_str());
        let issued = ca::issue_at(&self.ca_dir(), &out, &who, issued, valid).expect("a certificate");
        TlsFiles { ca: self.ca_dir().join("ca.pem"), cert: issued.cert, key: issued.key }
    }

    pub fn credentials(&self, who: &str) -> Credentials {
        Credentials::load(&self.issue(who, DAY)).expect("credentials")
    }

    /// Those of a node whose certificate ended so long ago, as it has them that has run since before that.
    pub fn ended(&self, who: &str, ago: Duration) -> (TlsFiles, Credentials) {
        let dir = tempfile::tempdir_in(&self.dir).expect("a directory").keep();
        let issued = Timestamp::now().minus(DAY + ago);
        let files = self.issue_at(&dir, who, issued, DAY);
        let credentials = Credentials::load_at(&files, issued).expect("they were good then");
        (files, credentials)
    }

    /// Those of a node whose certificate begins only so much later, as it has them whose clock is ahead.
    pub fn begins(&self, who: &str, later: Duration) -> Credentials {
        let dir = tempfile::tempdir_in(&self.dir).expect("a directory").keep();
        // What is issued at a time has begun an hour before.
        let issued = Timestamp::now().plus(Duration::from_secs(3600) + later);
        let files = self.issue_at(&dir, who, issued, DAY);
        Credentials::load_at(&files, issued).expect("they will be good then")
    }

    pub fn expired(&self, who: &str) -> (TlsFiles, Credentials) {
        self.ended(who, 2 * CLOCK_SKEW_TOLERATED)
    }
}

pub fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A listener that establishes every peer in a task of its own and hands over what came of it.
pub struct Listener {
    pub endpoint: Endpoint,
    pub port: u16,
    pub arrivals: mpsc::Receiver<Result<Connection, Refusal>>,
}

impl Listener {
    pub fn start(credentials: &Credentials) -> Self {
        let endpoint = Endpoint::listen(loopback(), credentials).expect("a free port");
        let port = endpoint.local_addr().expect("is bound").port();
        let (arrived, arrivals) = mpsc::channel(64);
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let arrived = arrived.clone();
                tokio::spawn(async move { arrived.send(incoming.establish().await).await });
            }
        });
        Self { endpoint, port, arrivals }
    }

    pub async fn arrival(&mut self) -> Result<Connection, Refusal> {
        within(self.arrivals.recv()).await.expect("the listener runs")
    }

    pub async fn refusal(&mut self) -> String {
        self.arrival().await.expect_err("a refusal").to_string()
    }
}

pub async fn within<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("an answer in time")
}

pub async fn dial(credentials: &Credentials, port: u16, role: Role) -> Result<Connection, DialError> {
    Endpoint::dialer(credentials).expect("a socket").dial("127.0.0.1", port, role).await
}

/// An edge `main/edge/yard` and a gpu node `main/gpu/brain`, connected: the edge's end first.
pub async fn edge_and_gpu() -> (Connection, Connection, Listener) {
    let site = Site::new("test");
    let mut gpu = Listener::start(&site.credentials("main/gpu/brain"));
    let edge = dial(&site.credentials("main/edge/yard"), gpu.port, Role::Gpu).await.expect("a connection");
    let at_gpu = gpu.arrival().await.expect("a connection");
    (edge, at_gpu, gpu)
}

/// For property tests, which are not async.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}
