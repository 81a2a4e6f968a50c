//! As much of HTTP as asking a node on loopback needs.

use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A paused node never answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// A page of 1,000 events has a tenth of this; more is cut off, and is then no JSON.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

pub async fn get(addr: SocketAddr, path: &str) -> Result<Answer, String> {
    match timeout(ANSWER_WITHIN, exchange(addr, path)).await {
        Ok(Ok(text)) => parse(&text).ok_or_else(|| format!("http://{addr}{path} answered no HTTP: {text:.80}")),
        Ok(Err(error)) => Err(format!("http://{addr}{path}: {error}")),
        Err(_) => Err(format!("http://{addr}{path}: no answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

/// The body of a 200, parsed.
pub async fn get_json<T: DeserializeOwned>(addr: SocketAddr, path: &str) -> Result<T, String> {
    let Answer { status, body } = get(addr, path).await?;
    if status != 200 {
        return Err(format!("http://{addr}{path} answered {status}: {body}"));
    }
    serde_json::from_str(&body).map_err(|error| format!("http://{addr}{path}: {error} in {body:.200}"))
}

async fn exchange(addr: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    // HTTP/1.0: the end of the stream is the end of the answer, which is never chunked.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let answer = parse("HTTP/1.0 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(answer, Some(Answer { status: 503, body: "{}".to_owned() }));
        assert_eq!(parse("SSH-2.0-OpenSSH\r\n"), None);
    }
}
