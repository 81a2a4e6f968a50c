//! Gateway: accepts peers, learns who they are, and lets each open what its role may.
//!
//!   QUIC ──▶ [gateway] ──one proxy a connection──▶ control ▸ peers
//!                                                  events ▸ store · frames ▸ desk · admin ▸ api
//!
//! Stops when: its socket fails.  On restart: peers dial again.
//! A proxy that fails ends its own connection and no other.

use super::facts::{Facts, SOFTWARE};
use super::peers::{Peers, SnapshotCall};
use crate::api::admin::Admin;
use crate::events::receiver::{self, ReceiveError};
use crate::events::store::EventStore;
use crate::inference::desk::Desk;
use protocol::link::{Down, Open, Up, may_open};
use protocol::transport::{CloseCode, Connection, Endpoint, Incoming, Refusal, Rx, StreamRefusal, Tx};
use std::collections::VecDeque;
use std::time::Duration;
use supervision::{Failure, ServiceCx};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{Instrument, info, warn};

/// Connections at once. When full, a new one is refused until another ends.
const CONNECTIONS_MAX: usize = 2048;
/// Snapshot calls that wait for one peer. When full, it is shown without its tree.
const CALLS_WAITING_MAX: usize = 4;
/// From the control stream's opening to its hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// What peers may reach on this node; `None` is not served here.
#[derive(Clone)]
pub struct Gateway {
    pub endpoint: Endpoint,
    pub facts: Facts,
    pub peers: Peers,
    pub admin: Admin,
    pub store: Option<EventStore>,
    pub desk: Option<Desk>,
}

impl Gateway {
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let mut proxies = JoinSet::new();
        let addr = self.endpoint.local_addr().map_err(Failure::error)?;
        info!(%addr, "accepting peers");
        cx.place.note(format!("listening on {addr}"));
        loop {
            tokio::select! {
                incoming = self.endpoint.accept(), if proxies.len() < CONNECTIONS_MAX => {
                    let Some(incoming) = incoming else { return Err(Failure::error("the QUIC socket is closed")) };
                    let span = tracing::info_span!("proxy", from = %incoming.remote_addr());
                    proxies.spawn(self.clone().proxy(incoming).instrument(span));
                }
                Some(ended) = proxies.join_next(), if !proxies.is_empty() => {
                    if let Err(error) = ended {
                        warn!("a proxy failed and its connection ended: {error}");
                    }
                }
                () = cx.stop.cancelled() => {
                    self.endpoint.close("this node stops");
                    let _ = tokio::time::timeout(Duration::from_millis(300), self.endpoint.drained()).await;
                    return Ok(());
                }
            }
        }
    }

    /// One peer, from its handshake to its end.
    async fn proxy(self, incoming: Incoming) {
        let connection = match incoming.establish().await {
            Ok(connection) => connection,
            Err(Refusal::Unfinished { from, why }) => return tracing::debug!(%from, "handshake not finished: {why}"),
            Err(refusal) => {
                metrics::counter!("watchtree_link_refusals_total", "what" => "certificate").increment(1);
                return warn!("{refusal}");
            }
        };
        // Streams of one connection end with it.
        let mut streams = JoinSet::new();
        let reason = loop {
            tokio::select! {
                pending = connection.accept_bi() => match pending {
                    Ok(pending) => {
                        let (gateway, connection) = (self.clone(), connection.clone());
                        streams.spawn(async move {
                            match pending.open().await {
                                Ok((open, tx, rx)) => gateway.serve(connection, open, tx, rx).await,
                                Err(StreamRefusal::Garbled(why)) => refuse(&connection, CloseCode::Protocol, &why),
                                Err(error) => tracing::debug!(peer = %connection.peer(), "stream: {error}"),
                            }
                        }.in_current_span());
                    }
                    Err(lost) => break lost.to_string(),
                },
                Some(ended) = streams.join_next(), if !streams.is_empty() => {
                    if let Err(error) = ended.map_err(|error| error.to_string()) {
                        refuse(&connection, CloseCode::Protocol, &format!("serving a stream failed: {error}"));
                    }
                }
            }
        };
        tracing::debug!(peer = %connection.peer(), "connection ended: {reason}");
    }

    async fn serve(self, connection: Connection, open: Open, tx: Tx, rx: Rx) {
        let (here, peer) = (self.facts.node.role, connection.peer().role);
        if !may_open(here, peer, &open) {
            metrics::counter!("watchtree_link_refusals_total", "what" => "role").increment(1);
            let why = format!("a node of role {peer} may not open {} on a node of role {here}", open.name());
            return refuse(&connection, CloseCode::Refused, &why);
        }
        match open {
            Open::Control => self.control(connection, tx, rx).await,
            Open::Events => self.events(connection, tx, rx).await,
            Open::Verdicts { asker } => match self.desk.clone() {
                Some(desk) => desk.serve(connection, asker, tx, rx).await,
                None => refuse(&connection, CloseCode::Refused, "this node judges no frames"),
            },
            Open::Admin => self.admin.serve(connection.peer().clone(), tx, rx).await,
            Open::Frame => refuse(&connection, CloseCode::Protocol, "a frame comes on a stream of its own, one way"),
        }
    }

    async fn events(self, connection: Connection, tx: Tx, rx: Rx) {
        let Some(store) = self.store else {
            return refuse(&connection, CloseCode::Refused, "this node keeps no record");
        };
        match receiver::receive(connection.peer().clone(), tx, rx, store).await {
            Ok(()) => {}
            Err(ReceiveError::Ended(why)) => tracing::debug!(peer = %connection.peer(), "events ended: {why}"),
            Err(ReceiveError::Protocol(why)) => refuse(&connection, CloseCode::Protocol, &why),
        }
    }

    async fn control(self, connection: Connection, mut tx: Tx, mut rx: Rx) {
        let hello = tokio::time::timeout(HELLO_WITHIN, rx.recv::<Up>()).await;
        let Ok(Ok(Some(Up::Hello { boot, software }))) = hello else {
            return refuse(&connection, CloseCode::Protocol, "the control stream must begin with a hello");
        };
        let (calls, mut called) = mpsc::channel(CALLS_WAITING_MAX);
        let welcome = Down::Welcome { node: self.facts.node.to_string(), software: SOFTWARE.to_owned() };
        if tx.send(&welcome).await.is_err() {
            return;
        }
        self.peers.arrive(&connection, boot, software, calls);
        let here = Presence { peers: &self.peers, connection: &connection };
        let reason = converse(&mut tx, &mut rx, &mut called).await;
        here.ends(&reason);
    }
}

/// Whatever ends the control stream, the peer is no longer listed as linked.
struct Presence<'a> {
    peers: &'a Peers,
    connection: &'a Connection,
}

impl Presence<'_> {
    fn ends(&self, reason: &str) {
        self.peers.leave(self.connection, reason);
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.ends("its connection ended");
    }
}

fn refuse(connection: &Connection, code: CloseCode, why: &str) {
    warn!(peer = %connection.peer(), "{code}: {why}");
    connection.close(code, why);
}

/// Passes calls to the peer and answers back, until the stream ends; says why it did.
async fn converse(tx: &mut Tx, rx: &mut Rx, called: &mut mpsc::Receiver<SnapshotCall>) -> String {
    let mut waiting: VecDeque<(u64, SnapshotCall)> = VecDeque::new();
    let mut calls = 0;
    loop {
        tokio::select! {
            Some(reply) = called.recv() => {
                calls += 1;
                waiting.push_back((calls, reply));
                // Those who asked long ago have given up.
                if waiting.len() > CALLS_WAITING_MAX * 2 {
                    waiting.pop_front();
                }
                if let Err(error) = tx.send(&Down::Snapshot { call: calls }).await {
                    return error.to_string();
                }
            }
            message = rx.recv::<Up>() => match message {
                Ok(Some(Up::Snapshot { call, snapshot })) => {
                    while let Some((number, reply)) = waiting.pop_front() {
                        if number == call {
                            let _ = reply.send(*snapshot);
                            break;
                        }
                    }
                }
                Ok(Some(Up::Bye)) => return "it stopped in good order".to_owned(),
                Ok(Some(Up::Hello { .. })) => return "it said hello twice".to_owned(),
                Ok(None) => return "it ended its control stream".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }
}
