//! A peer that keeps to TLS and QUIC and to nothing else: what a broken or hostile node can send.

use crate::site::{Listener, Site, loopback};
use protocol::transport::{Connection, KEEP_ALIVE_EVERY, TlsFiles};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

pub struct RawPeer {
    pub connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

/// Connects to `port` as `server_name`, with the certificate in `own` or with none.
pub async fn connect(
    ca: &std::path::Path,
    own: Option<&TlsFiles>,
    server_name: &str,
    port: u16,
    alpn: &[u8],
) -> Result<RawPeer, quinn::ConnectionError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("a CA")).expect("a CA");
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some(files) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&files.cert).expect("a certificate")],
                PrivateKeyDer::from_pem_file(&files.key).expect("a key"),
            )
            .expect("they belong together"),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = QuicClientConfig::try_from(config).expect("QUIC's cipher suite");
    let mut endpoint = quinn::Endpoint::client(loopback()).expect("a socket");
    let mut config = quinn::ClientConfig::new(Arc::new(config));
    // As every dialler does: who is silent on its connection is gone, whatever it would have sent.
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(KEEP_ALIVE_EVERY));
    config.transport_config(Arc::new(transport));
    endpoint.set_default_client_config(config);
    let connection = endpoint.connect(([127, 0, 0, 1], port).into(), server_name).expect("a dial").await?;
    Ok(RawPeer { connection, _endpoint: endpoint })
}

/// A raw peer with an edge's certificate on a gpu node, and the gpu node's end of the connection.
pub async fn edge_on_gpu() -> (RawPeer, Connection, Listener) {
    let site = Site::new("test");
    let mut gpu = Listener::start(&site.credentials("main/gpu/brain"));
    let own = site.issue("main/edge/yard", crate::site::DAY);
    let peer = connect(&own.ca, Some(&own), "gpu.watchtree", gpu.port, b"watchtree/2").await.expect("a connection");
    let at_gpu = gpu.arrival().await.expect("a connection");
    (peer, at_gpu, gpu)
}
