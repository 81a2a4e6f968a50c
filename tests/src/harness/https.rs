//! As much of HTTPS as asking a node with a certificate needs.

use super::http::{Answer, parse};
use super::stranger;
use rustls::pki_types::ServerName;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Asks the node on loopback, with a certificate and its key or without any. An error is what TLS was told.
pub async fn get(
    ca: &Path,
    own: Option<&(PathBuf, PathBuf)>,
    server_name: &str,
    port: u16,
    path: &str,
) -> Result<Answer, String> {
    let exchange = async {
        let mut config = stranger::client_config(ca, own);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let name = ServerName::try_from(server_name.to_owned()).expect("a name");
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {server_name}\r\n\r\n").as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    match timeout(ANSWER_WITHIN, exchange).await {
        Ok(Ok(text)) => parse(&text).ok_or_else(|| format!("{path} answered no HTTP: {text:.80}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{path}: no answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}
