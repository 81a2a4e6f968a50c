//! A CA, certificates and endpoints for one test.

use protocol::transport::{Connection, CredentialError, Credentials, DialError, Endpoint, Refusal, TlsFiles};
use protocol::{Identity, Role, ca};
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
        let who: Identity = who.parse().expect("an identity");
        let out = dir.join(who.role.as_str());
        let issued = ca::issue(&self.ca_dir(), &out, &who, valid).expect("a certificate");
        TlsFiles { ca: self.ca_dir().join("ca.pem"), cert: issued.cert, key: issued.key }
    }

    pub fn credentials(&self, who: &str) -> Credentials {
        Credentials::load(&self.issue(who, DAY)).expect("credentials")
    }

    /// Credentials that were loaded while they were good and have expired since, and their files.
    pub async fn expired(&self, who: &str) -> (TlsFiles, Credentials) {
        // A machine that stands still between the two may find the first ones too old to load.
        let lives = [2, 4, 8, 16];
        let loaded = lives.iter().find_map(|seconds| {
            let dir = self.dir.path().join(format!("for-{seconds}-s"));
            let files = self.issue_into(&dir, who, Duration::from_secs(*seconds));
            Credentials::load(&files).ok().map(|credentials| (files, credentials))
        });
        let (files, credentials) = loaded.expect("one of them is valid for long enough");
        while !matches!(Credentials::load(&files), Err(CredentialError::Expired(_))) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (files, credentials)
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
