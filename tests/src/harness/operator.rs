//! Asks a relay as an operator: the admin RPC over QUIC, with an operator's certificate.

use protocol::admin::{EventFilter, NodeLine, NodeSnapshot, RecordedEvent, Reply, Request};
use protocol::enrol::{Token, TokenError};
use protocol::link::Open;
use protocol::transport::{Connection, Credentials, Endpoint, Rx, TlsFiles, Tx};
use protocol::{Act, Entry, Epoch, NodeName, Role};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// A killed relay answers nobody.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Entries asked for at once.
const PAGE_ENTRIES: u32 = 1000;

pub struct Operator {
    endpoint: Endpoint,
    host: String,
    port: u16,
}

/// Events as they come on the record. Dropped, it hangs up.
pub struct Following {
    rx: Rx,
    // Both keep the stream open; the relay ends it when they go.
    _tx: Tx,
    _connection: Connection,
}

impl Operator {
    /// With the certificate that the plan issued in `site`.
    pub fn new(site: &Path, port: u16) -> Result<Self, String> {
        let files = TlsFiles {
            ca: site.join("ca/ca.pem"),
            cert: site.join("tls-ca-operator/operator.pem"),
            key: site.join("tls-ca-operator/operator.key"),
        };
        Self::with(&files, "127.0.0.1", port)
    }

    /// With a certificate of any site.
    pub fn with(files: &TlsFiles, host: &str, port: u16) -> Result<Self, String> {
        let credentials = Credentials::load(files).map_err(|e| e.to_string())?;
        let endpoint = Endpoint::dialer(&credentials).map_err(|e| e.to_string())?;
        Ok(Self { endpoint, host: host.to_owned(), port })
    }

    /// A token for one new edge, good for an hour.
    pub async fn token(&self, name: NodeName) -> Result<Token, String> {
        let request = Request::CreateToken { role: Role::Edge, name, ttl_s: 3600 };
        match self.ask(request).await?.into_iter().next() {
            Some(Reply::Token { token, .. }) => token.0.parse().map_err(|e: TokenError| e.to_string()),
            other => Err(format!("the relay answered {other:?}")),
        }
    }

    /// All entries of one edge's outbox, in the record's order; without an epoch, of the outbox it uses now.
    pub async fn record(&self, edge: &str, epoch: Option<Epoch>) -> Result<Vec<Entry>, String> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.seq);
            let edge = edge.parse().map_err(|e| format!("{e}"))?;
            let replies = self.ask(Request::Record { edge, epoch, after, limit: PAGE_ENTRIES }).await?;
            let page: Vec<Entry> = replies
                .into_iter()
                .filter_map(|reply| match reply {
                    Reply::Entry(entry) => Some(*entry),
                    _ => None,
                })
                .collect();
            if page.is_empty() {
                return Ok(entries);
            }
            entries.extend(page);
        }
    }

    /// Every event in its last revision.
    pub async fn events(&self) -> Result<Vec<RecordedEvent>, String> {
        let replies = self.ask(Request::Events { filter: EventFilter::default(), follow: false }).await?;
        let event = |reply| match reply {
            Reply::Event(event) => Some(*event),
            _ => None,
        };
        Ok(replies.into_iter().filter_map(event).collect())
    }

    /// The relay, and those that are or were linked to it.
    pub async fn nodes(&self) -> Result<Vec<NodeLine>, String> {
        let nodes = |reply| match reply {
            Reply::Nodes(nodes) => nodes,
            _ => Vec::new(),
        };
        Ok(self.ask(Request::Nodes).await?.into_iter().flat_map(nodes).collect())
    }

    /// The relay's tree, and those of the nodes linked to it.
    pub async fn trees(&self) -> Result<Vec<NodeSnapshot>, String> {
        let node = |reply| match reply {
            Reply::Node(node) => Some(*node),
            _ => None,
        };
        Ok(self.ask(Request::Tree { path: None }).await?.into_iter().filter_map(node).collect())
    }

    /// Does `act` to the actor at `path` of any node; what was told.
    pub async fn steer(&self, path: &str, act: Act) -> Result<String, String> {
        match self.ask(Request::Steer { path: path.to_owned(), act }).await?.into_iter().next() {
            Some(Reply::Steered(told)) => Ok(told.text),
            other => Err(format!("the relay answered {other:?}")),
        }
    }

    /// Everything that comes on the record from now on.
    pub async fn follow(&self) -> Result<Following, String> {
        let (connection, tx, rx) = self.send(Request::Events { filter: EventFilter::default(), follow: true }).await?;
        Ok(Following { rx, _tx: tx, _connection: connection })
    }

    /// All replies before `Done`.
    async fn ask(&self, request: Request) -> Result<Vec<Reply>, String> {
        let asking = async {
            let (_connection, _tx, mut rx) = self.send(request).await?;
            let mut replies = Vec::new();
            loop {
                match rx.recv::<Reply>().await.map_err(|e| e.to_string())? {
                    Some(Reply::Done) | None => return Ok(replies),
                    Some(Reply::Refused(why)) => return Err(why),
                    Some(reply) => replies.push(reply),
                }
            }
        };
        let late = |_| format!("the relay did not answer within {} s", ANSWER_WITHIN.as_secs());
        timeout(ANSWER_WITHIN, asking).await.map_err(late)?
    }

    async fn send(&self, request: Request) -> Result<(Connection, Tx, Rx), String> {
        let dialled = self.endpoint.dial(&self.host, self.port, Role::Relay).await;
        let connection = dialled.map_err(|e| e.to_string())?;
        let (mut tx, rx) = connection.open_bi(&Open::Admin).await.map_err(|e| e.to_string())?;
        tx.send(&request).await.map_err(|e| e.to_string())?;
        Ok((connection, tx, rx))
    }
}

impl Following {
    /// The next revision of an event; cancel-safe.
    pub async fn next(&mut self) -> Result<RecordedEvent, String> {
        loop {
            match self.rx.recv::<Reply>().await.map_err(|e| e.to_string())? {
                Some(Reply::Event(event)) => return Ok(*event),
                Some(Reply::Refused(why)) => return Err(why),
                Some(_) => {}
                None => return Err("the relay ended the list".to_owned()),
            }
        }
    }
}
