//! Proxy: one peer's connection as an actor of this node; lets it open what its role may.
//!
//!   peer ══streams══▶ [proxy] ──▶ control ▸ peers · events ▸ store · frames ▸ desk · admin ▸ api
//!
//! Stops when: its connection ends, which is no failure; or a stream's work panics.  It is not restarted: the
//! connection ends with it, and the peer dials again.

use super::{Served, refuse};
use crate::api::admin::Admin;
use crate::events::receiver::{self, ReceiveError};
use crate::fabric::echo::Echo;
use protocol::link::{Open, may_open};
use protocol::transport::{CloseCode, Connection, PendingStream, Rx, StreamRefusal, Tx};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use supervision::{Failure, ServiceCx};
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tracing::Instrument;

/// From the connection to its control or admin stream, and from there to the hello. Whoever is slower is closed.
pub(super) const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// From a second verdicts stream on one connection to the end of the first: an asker that restarted is ahead
/// of the news of its end. After that it is a protocol error.
const DESK_FREE_WITHIN: Duration = Duration::from_secs(1);

/// How often the tree shows a new round-trip time.
const NOTE_EVERY: Duration = Duration::from_secs(10);

/// One for all connections: each of their futures would hold what they have in common several times.
pub(super) struct Proxy {
    pub served: Served,
    pub admin: Admin,
    pub echo: Echo,
}

impl Proxy {
    /// One peer, from its certificate to its end.
    pub async fn run(self: Arc<Self>, connection: Connection, cx: ServiceCx) -> Result<(), Failure> {
        let _ends = Ends(connection.clone());
        let facts = self.served.site.facts.clone();
        let reason = tokio::select! {
            ended = self.host(&connection, &cx) => ended?,
            () = cx.stop.cancelled() => {
                let why = if facts.is_stopping() { "this node stops" } else { "an operator ended this connection" };
                connection.close(CloseCode::ShuttingDown, why);
                why.to_owned()
            }
        };
        tracing::debug!(peer = %connection.peer(), "connection ended: {reason}");
        Ok(())
    }

    /// Serves the peer's streams, which end with its connection; says why that ended.
    async fn host(self: Arc<Self>, connection: &Connection, cx: &ServiceCx) -> Result<String, Failure> {
        let (here, peer) = (self.served.site.facts.node.role, connection.peer());
        let frames_come = self.served.desk.is_some() && may_open(here, peer.role, &Open::Frame);
        let visit = Arc::new(Visit::new(connection.clone(), cx.clone()));
        let mut streams = JoinSet::new();
        let mut silence = pin!(tokio::time::sleep(HELLO_WITHIN));
        let mut notes = tokio::time::interval(NOTE_EVERY);
        loop {
            tokio::select! {
                pending = connection.accept_bi() => match pending {
                    Ok(pending) => {
                        let open = self.clone().open(visit.clone(), pending).in_current_span();
                        streams.spawn(cx.watched(open));
                    }
                    Err(lost) => return Ok(lost.to_string()),
                },
                // Where a desk takes frames, it accepts them itself.
                frame = connection.accept_frame(), if !frames_come => match frame {
                    Ok(_) => refuse(connection, CloseCode::Refused, "this node judges no frames of yours"),
                    Err(lost) => return Ok(lost.to_string()),
                },
                Some(ended) = streams.join_next(), if !streams.is_empty() => {
                    ended.map_err(|error| stream_failed(connection, error))?;
                }
                () = &mut silence, if !visit.is_known() => {
                    // It may have spoken since this was last asked.
                    if !visit.is_known() {
                        let why = format!("no control or admin stream within {} s", HELLO_WITHIN.as_secs());
                        refuse(connection, CloseCode::TooSlow, &why);
                        return Ok(why);
                    }
                }
                _ = notes.tick() => {
                    let (addr, rtt) = (connection.remote_addr(), connection.rtt());
                    cx.place.note(format!("{} at {addr}, {:.1} ms away", peer.role, rtt.as_secs_f64() * 1e3));
                }
                () = cx.asked() => {}
            }
        }
    }

    async fn open(self: Arc<Self>, visit: Arc<Visit>, pending: PendingStream) {
        match pending.open().await {
            Ok((open, tx, rx)) => self.serve(&visit, open, tx, rx).await,
            Err(StreamRefusal::Garbled(why)) => refuse(&visit.connection, CloseCode::Protocol, &why),
            Err(error) => tracing::debug!(peer = %visit.connection.peer(), "stream: {error}"),
        }
    }

    async fn serve(&self, visit: &Visit, open: Open, tx: Tx, rx: Rx) {
        let connection = visit.connection.clone();
        let (here, peer) = (self.served.site.facts.node.role, connection.peer().role);
        if !may_open(here, peer, &open) {
            metrics::counter!("watchtree_link_refusals_total", "what" => "role").increment(1);
            let why = format!("a node of role {peer} may not open {} on a node of role {here}", open.name());
            return refuse(&connection, CloseCode::Refused, &why);
        }
        if matches!(open, Open::Control | Open::Admin) {
            visit.known.store(true, Ordering::Relaxed);
        }
        // Boxed one by one: a connection has a stream or two, and each would have room for the largest of these.
        match open {
            Open::Control => {
                Box::pin(super::control::serve(&self.served.site, &self.echo, connection, tx, rx)).await;
            }
            Open::Events => Box::pin(self.events(connection, tx, rx)).await,
            Open::Verdicts { asker } => match self.served.desk.clone() {
                Some(desk) => {
                    // Two desks would take each other's frames.
                    let Ok(_alone) = timeout(DESK_FREE_WITHIN, visit.desk.lock()).await else {
                        let why = "this connection has a verdicts stream; one asker speaks on one connection";
                        return refuse(&connection, CloseCode::Protocol, why);
                    };
                    Box::pin(desk.serve(connection, asker, tx, rx, &visit.cx)).await;
                }
                None => refuse(&connection, CloseCode::Refused, "this node judges no frames"),
            },
            Open::Admin => Box::pin(self.admin.clone().serve(connection.peer().clone(), tx, rx)).await,
            Open::Frame => refuse(&connection, CloseCode::Protocol, "a frame comes on a stream of its own, one way"),
            Open::Renew | Open::Core | Open::Clip { .. } => {
                refuse(&connection, CloseCode::Refused, &format!("this node serves no {} stream", open.name()));
            }
        }
    }

    async fn events(&self, connection: Connection, tx: Tx, rx: Rx) {
        let Some(store) = self.served.store.clone() else {
            return refuse(&connection, CloseCode::Refused, "this node keeps no record");
        };
        match receiver::receive(connection.peer().clone(), tx, rx, store).await {
            Ok(()) => {}
            Err(ReceiveError::Ended(why)) => tracing::debug!(peer = %connection.peer(), "events ended: {why}"),
            Err(ReceiveError::Protocol(why)) => refuse(&connection, CloseCode::Protocol, &why),
        }
    }
}

fn stream_failed(connection: &Connection, error: JoinError) -> Failure {
    let text = format!("serving a stream failed: {error}");
    refuse(connection, CloseCode::GivenUp, &text);
    if error.is_panic() { Failure::panic(text) } else { Failure::error(text) }
}

/// However a proxy ends, by a panic included, its connection ends with it: others hold clones.
struct Ends(Connection);

impl Drop for Ends {
    fn drop(&mut self) {
        // Changes nothing if it has ended already.
        self.0.close(CloseCode::GivenUp, "this node no longer serves this connection; dial again");
    }
}

/// What is known of one connection.
struct Visit {
    connection: Connection,
    cx: ServiceCx,
    /// Its control or admin stream is open.
    known: AtomicBool,
    /// Held by the one desk that serves it.
    desk: Mutex<()>,
}

impl Visit {
    fn new(connection: Connection, cx: ServiceCx) -> Self {
        Self { connection, cx, known: AtomicBool::new(false), desk: Mutex::new(()) }
    }

    fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }
}
