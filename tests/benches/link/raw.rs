//! QUIC and nothing else: one stream, 64 bytes there and back.

use super::near::{self, PAYLOAD_BYTES};
use protocol::Identity;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const ALPN: &[u8] = b"raw";

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Gives back what comes on each stream; returns its port.
pub fn echo(dir: &Path) -> Result<u16, String> {
    let relay: Identity = near::RELAY.parse().expect("the bench's names are right");
    let files = near::tls_files(dir, &relay);
    let cert = CertificateDer::from_pem_file(&files.cert).map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|tls| tls.with_no_client_auth().with_single_cert(vec![cert], key))
        .map_err(|error| error.to_string())?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, loopback(0)).map_err(|error| error.to_string())?;
    let port = endpoint.local_addr().map_err(|error| error.to_string())?.port();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                let connection = incoming.await.ok()?;
                let (mut tx, mut rx) = connection.accept_bi().await.ok()?;
                let mut bytes = [0; PAYLOAD_BYTES];
                while rx.read_exact(&mut bytes).await.is_ok() {
                    tx.write_all(&bytes).await.ok()?;
                }
                Some(())
            });
        }
    });
    Ok(port)
}

pub struct Client {
    tx: quinn::SendStream,
    rx: quinn::RecvStream,
    _endpoint: quinn::Endpoint,
}

impl Client {
    pub async fn connect(dir: &Path, port: u16) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(dir.join("ca/ca.pem")).map_err(|error| error.to_string())?;
        roots.add(ca).map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
        let mut endpoint = quinn::Endpoint::client(loopback(0)).map_err(|error| error.to_string())?;
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        let dialled = endpoint.connect(loopback(port), "relay.watchtree").map_err(|error| error.to_string())?;
        let connection = dialled.await.map_err(|error| error.to_string())?;
        let (tx, rx) = connection.open_bi().await.map_err(|error| error.to_string())?;
        Ok(Self { tx, rx, _endpoint: endpoint })
    }

    /// In microseconds each.
    pub async fn echo(&mut self, count: usize) -> Result<Vec<f64>, String> {
        let (mut took, mut back) = (Vec::with_capacity(count), [0; PAYLOAD_BYTES]);
        for n in 0..count {
            near::pause().await;
            let payload = [n as u8; PAYLOAD_BYTES];
            let begun = Instant::now();
            self.tx.write_all(&payload).await.map_err(|error| error.to_string())?;
            self.rx.read_exact(&mut back).await.map_err(|error| error.to_string())?;
            took.push(begun.elapsed().as_secs_f64() * 1e6);
            if back != payload {
                return Err("the raw echo gave back something else".to_owned());
            }
        }
        Ok(took)
    }
}
