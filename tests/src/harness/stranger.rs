//! A peer that keeps to TLS and QUIC and to nothing else: what a broken or hostile node can send.

use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What nodes call the protocol in their handshake.
const ALPN: &[u8] = b"watchtree/2";

pub struct Stranger {
    pub connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

/// Connects to a node on loopback, with a certificate and its key or without any.
pub async fn connect(
    ca: &Path,
    own: Option<&(PathBuf, PathBuf)>,
    server_name: &str,
    port: u16,
) -> Result<Stranger, quinn::ConnectionError> {
    connect_for(ALPN, ca, own, server_name, port).await
}

/// As [`connect`], for what it names in its handshake.
pub async fn connect_for(
    alpn: &[u8],
    ca: &Path,
    own: Option<&(PathBuf, PathBuf)>,
    server_name: &str,
    port: u16,
) -> Result<Stranger, quinn::ConnectionError> {
    let mut config = client_config(ca, own);
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = QuicClientConfig::try_from(config).expect("QUIC's cipher suite");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut endpoint = quinn::Endpoint::client(any).expect("a socket");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    let node = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connection = endpoint.connect(node, server_name).expect("a dial").await?;
    Ok(Stranger { connection, _endpoint: endpoint })
}

/// TLS 1.3 with what lies in these files, in order or not.
pub(super) fn client_config(ca: &Path, own: Option<&(PathBuf, PathBuf)>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("a CA")).expect("a CA");
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    match own {
        None => config.with_no_client_auth(),
        Some((cert, key)) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(cert).expect("a certificate")],
                PrivateKeyDer::from_pem_file(key).expect("a key"),
            )
            .expect("they belong together"),
    }
}

impl Stranger {
    /// Opens a stream both ways with one message; it stays open for as long as both halves are kept.
    pub async fn open(&self, message: &[u8]) -> (quinn::SendStream, quinn::RecvStream) {
        let (mut tx, rx) = self.connection.open_bi().await.expect("a stream");
        tx.write_all(&framed(message)).await.expect("nobody refused yet");
        (tx, rx)
    }

    /// Says all of it on a stream both ways, as far as it is let, and waits for the end of the connection.
    pub async fn is_told(&self, messages: &[Vec<u8>]) -> quinn::ConnectionError {
        let saying = async {
            let (mut tx, rx) = self.connection.open_bi().await.ok()?;
            for message in messages {
                tx.write_all(&framed(message)).await.ok()?;
            }
            Some((tx, rx))
        };
        // Kept open until the end: who gives up by itself is told nothing.
        let _stream = saying.await;
        self.connection.closed().await
    }

    /// A stream of its own, one way, with these messages.
    pub async fn send(&self, messages: &[Vec<u8>]) {
        let mut stream = self.connection.open_uni().await.expect("a stream");
        for message in messages {
            // Whoever refuses may hang up in the middle.
            if stream.write_all(&framed(message)).await.is_err() {
                return;
            }
        }
        let _ = stream.finish();
    }
}

/// Behind its length, as every message is.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a test's message is short");
    [&length.to_be_bytes(), message].concat()
}
