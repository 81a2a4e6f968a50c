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
use crate::fabric::refusals;
use protocol::Role;
use protocol::datagram::Datagram;
use protocol::link::Open;
use protocol::roles::{self, Denied, Listed};
use protocol::transport::{CloseCode, Connection, PendingStream, Rx, StreamRefusal, Tx};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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

/// Datagrams of one peer within [`NOTE_EVERY`] that are looked at; the others are dropped and counted.
const DATAGRAMS_MAX: u32 = 1000;

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
        let frames_come = self.served.desk.is_some() && roles::may(here, peer.role, Open::Frame.row());
        let visit = Arc::new(Visit::new(connection.clone(), cx.clone()));
        let mut streams = JoinSet::new();
        let mut silence = pin!(tokio::time::sleep(HELLO_WITHIN));
        let mut notes = tokio::time::interval(NOTE_EVERY);
        let mut distrusted = pin!(connection.distrusted());
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
                    Ok(_) => match roles::check(here, peer.role, Open::Frame.row()) {
                        Err(denied) => deny(connection, &denied),
                        Ok(()) => refuse(connection, CloseCode::Refused, "this node judges no frames"),
                    },
                    Err(lost) => return Ok(lost.to_string()),
                },
                datagram = connection.recv_datagram() => match datagram {
                    Ok(datagram) => self.datagram(&visit, datagram),
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
                why = &mut distrusted => {
                    metrics::counter!("watchtree_link_refusals_total", "what" => "trust").increment(1);
                    refuse(connection, CloseCode::Refused, &why);
                    return Ok(why);
                }
                _ = notes.tick() => {
                    visit.datagrams.store(0, Ordering::Relaxed);
                    let (addr, rtt) = (connection.remote_addr(), connection.rtt());
                    cx.place.note(format!("{} at {addr}, {:.1} ms away", peer.role, rtt.as_secs_f64() * 1e3));
                }
                () = cx.asked() => {}
            }
        }
    }

    /// Never waits. Whatever is wrong with one, it is dropped and counted, and the connection goes on.
    fn datagram(&self, visit: &Visit, datagram: Result<Datagram, String>) {
        let dropped = |what| metrics::counter!("watchtree_datagrams_dropped_total", "what" => what).increment(1);
        let (facts, peer) = (&self.served.site.facts, visit.connection.peer());
        if visit.datagrams.fetch_add(1, Ordering::Relaxed) >= DATAGRAMS_MAX {
            return dropped("too_many");
        }
        match datagram {
            Ok(datagram) if !visit.may_send(facts.node.role, &datagram) => {}
            Ok(Datagram::Beat(beat)) => facts.fleet.beat(peer, beat),
            // Nothing here takes one yet.
            Ok(Datagram::Gauge { .. }) => dropped("unused"),
            Err(_) => dropped("garbled"),
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
        if let Err(denied) = roles::check(here, peer, open.row()) {
            return deny(&connection, &denied);
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
            Open::Admin => {
                let admin = self.admin.clone();
                Box::pin(admin.serve(connection.peer().clone(), connection.version(), tx, rx)).await;
            }
            Open::Frame => refuse(&connection, CloseCode::Protocol, "a frame comes on a stream of its own, one way"),
            Open::Renew => match &self.served.enrolment {
                Some(enrolment) => Box::pin(enrolment.renew(&connection, tx, rx)).await,
                None => refuse(&connection, CloseCode::Refused, "this node renews no certificates"),
            },
            Open::Core => match &self.served.site.facts.core {
                // The session ends with the stream, and the peer opens another; the connection goes on.
                Some(core) => Box::pin(core.accept(&connection, tx, rx)).await,
                None => refuse(&connection, CloseCode::Refused, "this node is in no core"),
            },
            Open::Clip { .. } => {
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

/// What a role may not do ends the connection of who tries it: no program of ours does.
fn deny(connection: &Connection, denied: &Denied) {
    refusals::denied(connection.peer(), denied);
    metrics::counter!("watchtree_link_refusals_total", "what" => "role").increment(1);
    connection.close(CloseCode::Refused, &denied.to_string());
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
    /// A datagram of it was refused, and that was told.
    refused_datagram: AtomicBool,
    /// Datagrams that came since the last note.
    datagrams: AtomicU32,
}

impl Visit {
    fn new(connection: Connection, cx: ServiceCx) -> Self {
        Self {
            connection,
            cx,
            known: AtomicBool::new(false),
            desk: Mutex::default(),
            refused_datagram: AtomicBool::default(),
            datagrams: AtomicU32::default(),
        }
    }

    fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// One that its role may not send is counted.
    fn may_send(&self, here: Role, datagram: &Datagram) -> bool {
        let peer = self.connection.peer();
        let denied = roles::check(here, peer.role, datagram.row()).err();
        match &denied {
            Some(denied) if self.refused_datagram.swap(true, Ordering::Relaxed) => refusals::count(denied),
            Some(denied) => refusals::denied(peer, denied),
            None => {}
        }
        denied.is_none()
    }
}
