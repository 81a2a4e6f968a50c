//! What comes through the handshake, and how much of it is heard.

use super::*;
use crate::api::health::Health;
use crate::fabric::facts::Facts;
use crate::fabric::peers::Peers;
use crate::fabric::site::Site;
use crate::telemetry::Recorder;
use protocol::ca;
use protocol::transport::TlsFiles;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use supervision::{History, Intensity, Roll, Root, Strategy, Tree, service};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_rustls::{TlsConnector, client};

const WITHIN: Duration = Duration::from_secs(20);

type Stream = client::TlsStream<TcpStream>;

struct Fixture {
    addr: SocketAddr,
    revoked: Revoked,
    dir: TempDir,
    _root: Root,
    _heart: supervision::watchdog::Heart,
}

impl Fixture {
    /// The relay `main/relay/hub` with nothing but its HTTPS.
    async fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        ca::init(&dir.path().join("ca"), "test").expect("a CA");
        let (cert, key) = issue(&dir, "main/relay/hub");
        let files = TlsFiles { ca: dir.path().join("ca/ca.pem"), cert, key };
        let credentials = Credentials::load(&files).expect("are good");
        let facts = Facts::new(credentials.identity().clone(), Roll::default(), Health::default());
        let site = Site { facts: facts.clone(), peers: Peers::default() };
        let local = (Ipv4Addr::LOCALHOST, 0).into();
        let http = Http::bind(local, site, Recorder::install(&facts.node.name), None).expect("a free port");
        let https = Https::bind(local, &credentials, http).expect("a free port");
        let addr = https.socket.local_addr().expect("is bound");
        let heart = supervision::watchdog::heart(History::default());
        let intensity = Intensity { restarts: 0, within: Duration::from_secs(60) };
        let children = vec![service("https", move |cx| https.clone().run(cx))];
        let tree = Tree { name: "hub".to_owned(), strategy: Strategy::OneForOne, intensity, children };
        let root = Root::start(tree, facts.roll.clone()).await.expect("starts");
        let revoked = credentials.revoked().clone();
        Self { addr, revoked, dir, _root: root, _heart: heart }
    }

    async fn connect(&self, who: &(PathBuf, PathBuf)) -> Stream {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.dir.path().join("ca/ca.pem")).expect("a CA");
        roots.add(ca).expect("a CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&who.0).expect("a certificate")],
                PrivateKeyDer::from_pem_file(&who.1).expect("a key"),
            )
            .expect("they belong together");
        let stream = TcpStream::connect(self.addr).await.expect("it listens");
        let name = ServerName::try_from("relay.watchtree").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("its certificate is good")
    }

    /// The first line of the answer, and all of it.
    async fn ask(&self, who: &str, request: &str) -> (String, String) {
        said(&mut self.connect(&issue(&self.dir, who)).await, request).await
    }
}

fn issue(dir: &TempDir, who: &str) -> (PathBuf, PathBuf) {
    let out = tempfile::tempdir_in(dir).expect("a directory").keep();
    let who = who.parse().expect("an identity");
    let issued = ca::issue(&dir.path().join("ca"), &out, &who, Duration::from_secs(3600)).expect("is issued");
    (issued.cert, issued.key)
}

async fn said(stream: &mut Stream, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).await.expect("is sent");
    let mut bytes = Vec::new();
    // A server that hangs up in the middle of a request has said why before.
    let _ = timeout(WITHIN, stream.read_to_end(&mut bytes)).await.expect("it ends");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (text.lines().next().unwrap_or_default().to_owned(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_served_and_nodes_are_told_who_is() {
    let site = Fixture::new().await;
    let request = "GET /api/v1/tree HTTP/1.0\r\n\r\n";
    for who in ["main/operator/ada", "main/viewer/bob"] {
        let (status, text) = site.ask(who, request).await;
        assert!(status.contains(" 200 ") && text.contains("hub"), "{text}");
    }
    for role in ["edge", "gpu", "relay"] {
        let (status, text) = site.ask(&format!("main/{role}/barn"), request).await;
        assert!(status.contains(" 403 ") && text.contains("application/problem+json"), "{text}");
        assert!(text.contains(&format!("the role {role} may not get /api/v1/tree")), "{text}");
        assert!(text.contains("\"roles\":[\"local\",\"operator\",\"viewer\"]"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_beyond_its_limits_and_any_body_are_refused() {
    let site = Fixture::new().await;
    let long = format!("GET /health HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX));
    let many: String = (0..2 * HEADERS_MAX).map(|n| format!("X-{n}: x\r\n")).collect();
    let many = format!("GET /health HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    let body = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello".to_owned();
    let post = "POST /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned();
    for (request, status) in [(long, " 431 "), (many, " 431 "), (body, " 413 "), (post, " 405 ")] {
        let (told, text) = site.ask("main/viewer/bob", &request).await;
        assert!(told.contains(status), "{status}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_has_sixteen_connections_and_keeps_nobody_out() {
    let site = Fixture::new().await;
    let bob = issue(&site.dir, "main/viewer/bob");
    let request = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut stream = site.connect(&bob).await;
        // One that is answered is inside.
        stream.write_all(request.as_bytes()).await.expect("is sent");
        let read = timeout(WITHIN, stream.read(&mut [0; 16])).await.expect("in time");
        assert_eq!(read.ok(), Some(16));
        held.push(stream);
    }
    let (status, _) = said(&mut site.connect(&bob).await, request).await;
    assert_eq!(status, "", "the seventeenth is not heard");
    let (status, text) = site.ask("main/operator/ada", "GET /health/live HTTP/1.0\r\n\r\n").await;
    assert!(status.contains(" 200 "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_hung_up_on() {
    let site = Fixture::new().await;
    let (began, mut mute) = (Instant::now(), TcpStream::connect(site.addr).await.expect("it listens"));
    let ended = timeout(WITHIN, mute.read(&mut [0; 16])).await.expect("in time");
    assert!(matches!(ended, Ok(0) | Err(_)) && began.elapsed() >= HANDSHAKE_WITHIN, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_is_cut_off() {
    let site = Fixture::new().await;
    let mut stream = site.connect(&issue(&site.dir, "main/viewer/bob")).await;
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("is sent");
    assert_eq!(timeout(WITHIN, stream.read(&mut [0; 8])).await.expect("in time").ok(), Some(8));
    let (who, by) = ("main/viewer/bob", "main/operator/ada");
    let [who, by] = [who, by].map(|who| who.parse().expect("an identity"));
    site.revoked.add([protocol::core::Revocation { who, at: protocol::Timestamp::now(), by }]);
    let mut rest = Vec::new();
    let ended = timeout(HEAD_WITHIN / 2, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it is still served: {}", String::from_utf8_lossy(&rest));
}
