//! NATS: its own server, and as much of its protocol as a request and its answer need.
//!
//!   requester ──PUB ask inbox──▶ nats-server ──MSG──▶ responder
//!             ◀──MSG inbox──────             ◀──PUB──

use super::near::{self, PAYLOAD_BYTES};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::harness::ports;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

const ASK: &str = "ask";
const INBOX: &str = "inbox";
const UP_WITHIN: Duration = Duration::from_secs(10);
/// Between two tries to reach a server that is just starting.
const TRY_EVERY: Duration = Duration::from_millis(20);
/// Larger than any message here.
const LINE_BYTES_MAX: usize = 4096;

/// On a free port; killed when it is dropped.
pub struct Server {
    pub port: u16,
    pub version: String,
    child: Child,
}

impl Server {
    pub fn start(dir: &Path) -> Result<Self, String> {
        let missing = |error| format!("nats-server: {error}; `make setup` installs it");
        let said = Command::new("nats-server").arg("--version").output().map_err(missing)?;
        let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        let (port, log) = (ports::free(), dir.join("nats.log"));
        let log = std::fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let child = Command::new("nats-server")
            .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(missing)?;
        Ok(Self { port, version, child })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
}

impl Client {
    /// Hears what is sent to `subject`.
    async fn connect(port: u16, subject: &str) -> Result<Self, String> {
        let connecting = async {
            loop {
                match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(TRY_EVERY).await,
                }
            }
        };
        let stream = timeout(UP_WITHIN, connecting).await.map_err(|_| "nats-server does not come up".to_owned())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (from, to) = stream.into_split();
        let mut client = Self { from: BufReader::new(from), to };
        let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {subject} 1\r\nPING\r\n");
        client.write(hello.as_bytes()).await?;
        // INFO comes first; PONG when all of this was heard.
        while client.line().await? != "PONG" {}
        Ok(client)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.to.write_all(bytes).await.map_err(|error| error.to_string())
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let limit = LINE_BYTES_MAX as u64;
        let read = (&mut self.from).take(limit).read_line(&mut line).await.map_err(|error| error.to_string())?;
        if read == 0 { Err("nats-server hung up".to_owned()) } else { Ok(line.trim_end().to_owned()) }
    }

    async fn publish(&mut self, subject: &str, reply: &str, payload: &[u8]) -> Result<(), String> {
        let mut bytes = Vec::with_capacity(64 + payload.len());
        bytes.extend_from_slice(format!("PUB {subject} {reply} {}\r\n", payload.len()).as_bytes());
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.write(&bytes).await
    }

    /// The next message: where its answer goes, and what is in it.
    async fn message(&mut self) -> Result<(String, Vec<u8>), String> {
        loop {
            let line = self.line().await?;
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["PING"] => self.write(b"PONG\r\n").await?,
                ["MSG", _, _, .., bytes] => {
                    let reply = if words.len() == 5 { words[3] } else { "" };
                    let bytes: usize = bytes.parse().map_err(|error| format!("{line}: {error}"))?;
                    if bytes > LINE_BYTES_MAX {
                        return Err(format!("{line}: nobody sends so much"));
                    }
                    let mut payload = vec![0; bytes + 2];
                    self.from.read_exact(&mut payload).await.map_err(|error| error.to_string())?;
                    payload.truncate(bytes);
                    return Ok((reply.to_owned(), payload));
                }
                ["PONG" | "+OK"] => {}
                _ => return Err(format!("nats-server said {line}")),
            }
        }
    }
}

/// Gives back what it is asked, until the server is gone.
pub async fn respond(port: u16) -> Result<(), String> {
    let mut client = Client::connect(port, ASK).await?;
    tokio::spawn(async move {
        while let Ok((reply, payload)) = client.message().await {
            if client.publish(&reply, "", &payload).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

pub struct Requester(Client);

impl Requester {
    pub async fn connect(port: u16) -> Result<Self, String> {
        Ok(Self(Client::connect(port, INBOX).await?))
    }

    /// In microseconds each.
    pub async fn request(&mut self, count: usize) -> Result<Vec<f64>, String> {
        let mut took = Vec::with_capacity(count);
        for n in 0..count {
            near::pause().await;
            let payload = [n as u8; PAYLOAD_BYTES];
            let begun = Instant::now();
            self.0.publish(ASK, INBOX, &payload).await?;
            let (_, back) = self.0.message().await?;
            took.push(begun.elapsed().as_secs_f64() * 1e6);
            if back != payload {
                return Err("NATS gave back something else".to_owned());
            }
        }
        Ok(took)
    }
}
