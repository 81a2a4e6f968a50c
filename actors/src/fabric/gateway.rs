//! Gateway: accepts peers, learns who they are, and lets each open what its role may.
//!
//!   QUIC ──▶ [gateway] ──one proxy a connection──▶ control ▸ peers
//!                                                  events ▸ store · frames ▸ desk · admin ▸ api
//!
//! Stops when: its socket fails.  On restart: peers dial again.
//! A proxy that fails ends its own connection and no other.

mod doors;
#[cfg(test)]
mod tests;

use super::facts::{Facts, SOFTWARE};
use super::peers::{Peers, SnapshotCall};
use crate::api::admin::Admin;
use crate::events::receiver::{self, ReceiveError};
use crate::events::store::EventStore;
use crate::inference::desk::Desk;
use doors::Doors;
use protocol::link::{Down, Open, Up, may_open};
use protocol::transport::{CloseCode, Connection, Endpoint, Incoming, PendingStream, Refusal, Rx, StreamRefusal, Tx};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use supervision::{Failure, ServiceCx};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{Instrument, info, warn};

/// Connections at once, those that have not proved who they are included. When full, the next is turned
/// away by QUIC's own refusal, reads "too busy", and dials again later.
const CONNECTIONS_MAX: usize = 2048;
/// Snapshot calls that wait for one peer. When full, it is shown without its tree.
const CALLS_WAITING_MAX: usize = 4;
/// From the connection to its control or admin stream, and from there to the hello. Whoever is slower is closed.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// From a second verdicts stream on one connection to the end of the first: an asker that restarted is ahead
/// of the news of its end. After that it is a protocol error.
const DESK_FREE_WITHIN: Duration = Duration::from_secs(1);

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
        let (mut proxies, doors) = (JoinSet::new(), Doors::default());
        let addr = self.endpoint.local_addr().map_err(Failure::error)?;
        info!(%addr, "accepting peers");
        cx.place.note(format!("listening on {addr}"));
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { return Err(Failure::error("the QUIC socket is closed")) };
                    if proxies.len() >= CONNECTIONS_MAX {
                        turn_away(incoming);
                        continue;
                    }
                    let span = tracing::info_span!("proxy", from = %incoming.remote_addr());
                    proxies.spawn(self.clone().proxy(incoming, doors.clone()).instrument(span));
                }
                Some(ended) = proxies.join_next(), if !proxies.is_empty() => {
                    if let Err(error) = ended {
                        warn!("a proxy failed and its connection ended: {error}");
                    }
                }
                () = cx.stop.cancelled() => {
                    self.endpoint.close("this node stops");
                    let _ = timeout(Duration::from_millis(300), self.endpoint.drained()).await;
                    return Ok(());
                }
            }
        }
    }

    /// One peer, from its handshake to its end.
    async fn proxy(self, incoming: Incoming, doors: Doors) {
        let connection = match incoming.establish().await {
            Ok(connection) => connection,
            Err(Refusal::Unfinished { from, why }) => return tracing::debug!(%from, "handshake not finished: {why}"),
            Err(refusal) => {
                metrics::counter!("watchtree_link_refusals_total", "what" => "certificate").increment(1);
                return warn!("{refusal}");
            }
        };
        let _guest = match doors.enter(connection.peer()) {
            Ok(guest) => guest,
            Err(why) => {
                metrics::counter!("watchtree_link_refusals_total", "what" => "connections").increment(1);
                return refuse(&connection, CloseCode::Refused, &why);
            }
        };
        let reason = self.host(&connection).await;
        tracing::debug!(peer = %connection.peer(), "connection ended: {reason}");
    }

    /// Serves the peer's streams, which end with its connection; says why that ended.
    async fn host(self, connection: &Connection) -> String {
        let frames_come = self.desk.is_some() && may_open(self.facts.node.role, connection.peer().role, &Open::Frame);
        let visit = Arc::new(Visit::new(connection.clone()));
        let mut streams = JoinSet::new();
        let mut silence = pin!(tokio::time::sleep(HELLO_WITHIN));
        loop {
            tokio::select! {
                pending = connection.accept_bi() => match pending {
                    Ok(pending) => drop(streams.spawn(self.clone().open(visit.clone(), pending).in_current_span())),
                    Err(lost) => return lost.to_string(),
                },
                // Where a desk takes frames, it accepts them itself.
                frame = connection.accept_frame(), if !frames_come => match frame {
                    Ok(_) => refuse(connection, CloseCode::Refused, "this node judges no frames of yours"),
                    Err(lost) => return lost.to_string(),
                },
                Some(ended) = streams.join_next(), if !streams.is_empty() => {
                    if let Err(error) = ended.map_err(|error| error.to_string()) {
                        refuse(connection, CloseCode::Protocol, &format!("serving a stream failed: {error}"));
                    }
                }
                () = &mut silence, if !visit.is_known() => {
                    // It may have spoken since this was last asked.
                    if !visit.is_known() {
                        let why = format!("no control or admin stream within {} s", HELLO_WITHIN.as_secs());
                        refuse(connection, CloseCode::TooSlow, &why);
                        return why;
                    }
                }
            }
        }
    }

    async fn open(self, visit: Arc<Visit>, pending: PendingStream) {
        match pending.open().await {
            Ok((open, tx, rx)) => self.serve(&visit, open, tx, rx).await,
            Err(StreamRefusal::Garbled(why)) => refuse(&visit.connection, CloseCode::Protocol, &why),
            Err(error) => tracing::debug!(peer = %visit.connection.peer(), "stream: {error}"),
        }
    }

    async fn serve(self, visit: &Visit, open: Open, tx: Tx, rx: Rx) {
        let connection = visit.connection.clone();
        let (here, peer) = (self.facts.node.role, connection.peer().role);
        if !may_open(here, peer, &open) {
            metrics::counter!("watchtree_link_refusals_total", "what" => "role").increment(1);
            let why = format!("a node of role {peer} may not open {} on a node of role {here}", open.name());
            return refuse(&connection, CloseCode::Refused, &why);
        }
        if matches!(open, Open::Control | Open::Admin) {
            visit.known.store(true, Ordering::Relaxed);
        }
        match open {
            Open::Control => self.control(connection, tx, rx).await,
            Open::Events => self.events(connection, tx, rx).await,
            Open::Verdicts { asker } => match self.desk.clone() {
                Some(desk) => {
                    // Two desks would take each other's frames.
                    let Ok(_alone) = timeout(DESK_FREE_WITHIN, visit.desk.lock()).await else {
                        let why = "this connection has a verdicts stream; one asker speaks on one connection";
                        return refuse(&connection, CloseCode::Protocol, why);
                    };
                    desk.serve(connection, asker, tx, rx).await;
                }
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
        let hello = timeout(HELLO_WITHIN, rx.recv::<Up>()).await;
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

/// What is known of one connection.
struct Visit {
    connection: Connection,
    /// Its control or admin stream is open.
    known: AtomicBool,
    /// Held by the one desk that serves it.
    desk: Mutex<()>,
}

impl Visit {
    fn new(connection: Connection) -> Self {
        Self { connection, known: AtomicBool::new(false), desk: Mutex::new(()) }
    }

    fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
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

fn turn_away(incoming: Incoming) {
    metrics::counter!("watchtree_link_refusals_total", "what" => "connections").increment(1);
    warn!(from = %incoming.remote_addr(), "turned away: {CONNECTIONS_MAX} connections are open");
    incoming.refuse();
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
                Ok(Some(Up::Steered { .. } | Up::Failures { .. })) => {}
                Ok(Some(Up::Bye)) => return "it stopped in good order".to_owned(),
                Ok(Some(Up::Hello { .. })) => return "it said hello twice".to_owned(),
                Ok(None) => return "it ended its control stream".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }
}
