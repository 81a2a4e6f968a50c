//! Gateway: accepts peers, learns who they are, and gives each connection a proxy.
//!
//!   QUIC ──▶ [gateway] ──handshake, certificate──▶ peers/main.edge.yard   (one proxy a connection)
//!
//! Stops when: its socket fails.  On restart: goes on accepting; the proxies are not its children and stay.
//! A proxy that fails ends its own connection and no other.

mod control;
mod doors;
mod proxy;
#[cfg(test)]
mod tests;

use super::enrolment::Enrolment;
use super::refusals;
use super::site::Site;
use crate::api::admin::Admin;
use crate::events::store::EventStore;
use crate::fabric::echo::Echo;
use crate::inference::desk::Desk;
pub(crate) use doors::Doors;
use protocol::enrol::{self, JoinDown, JoinUp};
use protocol::roles::{self, Listed, Who};
use protocol::transport::{Arrival, CloseCode, Connection, Endpoint, Incoming, Joining, Refusal};
use proxy::Proxy;
use std::sync::Arc;
use std::time::Duration;
use supervision::{Dynamic, Failure, Intensity, Node, ServiceCx, StartError, service};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{Instrument, info, warn};

/// Connections at once. When full, the next is turned away by QUIC's own refusal, reads "too busy", and dials
/// again later.
const CONNECTIONS_MAX: usize = 2048;
/// Connections that have not proved yet who they are, or wait for their proxy. When full, the next is turned
/// away too; handshakes have a limit of their own, of five seconds.
const ARRIVING_MAX: usize = 1024;
/// A proxy that turns no more keeps its peer from opening streams, and what it serves goes on. With a thousand of them,
/// to ask each as often as others are asked would be most of what they do.
const PROXY_ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// For the last words to every peer on an orderly stop.
const GOODBYE_WITHIN: Duration = Duration::from_millis(300);

/// What peers may reach on this node; `None` is not served here.
#[derive(Clone)]
pub struct Served {
    pub site: Site,
    pub store: Option<EventStore>,
    pub desk: Option<Desk>,
    pub enrolment: Option<Enrolment>,
}

#[derive(Clone)]
pub struct Gateway {
    endpoint: Endpoint,
    proxy: Arc<Proxy>,
    proxies: Dynamic,
    doors: Doors,
}

impl Gateway {
    pub fn new(endpoint: Endpoint, served: Served) -> Self {
        let admin = Admin::new(served.site.clone(), served.store.clone(), served.enrolment.clone());
        let proxy = Arc::new(Proxy { served, admin, echo: Echo::new() });
        Self { endpoint, proxy, proxies: Dynamic::new("peers", CONNECTIONS_MAX), doors: Doors::default() }
    }

    /// The supervisor of all connections; it stands ahead of the gateway in the tree, so that the gateway says
    /// goodbye before its proxies are stopped.
    pub fn peers(&self, intensity: Intensity) -> Node {
        self.proxies.node(intensity)
    }

    /// Who answers the peers' pings.
    pub fn echo(&self) -> Node {
        self.proxy.echo.child()
    }

    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let mut arriving = JoinSet::new();
        let addr = self.endpoint.local_addr().map_err(Failure::error)?;
        info!(%addr, "accepting peers");
        cx.place.note(format!("listening on {addr}"));
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { return Err(Failure::error("the QUIC socket is closed")) };
                    if arriving.len() >= ARRIVING_MAX || self.doors.count() >= CONNECTIONS_MAX {
                        turn_away(incoming);
                        continue;
                    }
                    let span = tracing::info_span!("arrives", from = %incoming.remote_addr());
                    arriving.spawn(cx.watched(self.clone().admit(incoming).instrument(span)));
                }
                Some(ended) = arriving.join_next(), if !arriving.is_empty() => {
                    if let Err(error) = ended {
                        warn!("a handshake failed: {error}");
                    }
                }
                () = cx.asked() => {}
                () = cx.stop.cancelled() => {
                    self.leave().await;
                    return Ok(());
                }
            }
        }
    }

    /// Restarted by hand, the gateway must find its socket open again.
    async fn leave(&self) {
        if self.proxy.served.site.facts.is_stopping() {
            self.endpoint.close("this node stops");
            let _ = timeout(GOODBYE_WITHIN, self.endpoint.drained()).await;
        }
    }

    /// One peer's handshake; what follows is its proxy's.
    async fn admit(self, incoming: Incoming) {
        let connection = match incoming.arrive().await {
            Ok(Arrival::Peer(connection)) => connection,
            Ok(Arrival::Joining(joining)) => return self.take_in(joining).await,
            Err(Refusal::Unfinished { from, why }) => return tracing::debug!(%from, "handshake not finished: {why}"),
            Err(refusal) => {
                metrics::counter!("watchtree_link_refusals_total", "what" => "certificate").increment(1);
                return warn!("{refusal}");
            }
        };
        let guest = match self.doors.enter(connection.peer()) {
            Ok(guest) => Arc::new(guest),
            Err(why) => {
                metrics::counter!("watchtree_link_refusals_total", "what" => "connections").increment(1);
                return refuse(&connection, CloseCode::Refused, &why);
            }
        };
        let (name, conversed) = (guest.name(), connection.clone());
        let proxy = self.proxy;
        let body = move |cx| {
            // Its place is taken for as long as the supervisor knows this child.
            let _ = &guest;
            proxy.clone().run(conversed.clone(), cx)
        };
        let child = service("proxy", body).waits_within(PROXY_ANSWERS_WITHIN).named(name).temporary();
        match self.proxies.start(child).await {
            Ok(()) => {}
            Err(StartError::Full { .. }) => {
                metrics::counter!("watchtree_link_refusals_total", "what" => "connections").increment(1);
                refuse(&connection, CloseCode::GivenUp, "this node has too many connections; dial again later");
            }
            // Its supervisor is being restarted: whoever dials again finds it back.
            Err(error) => refuse(&connection, CloseCode::GivenUp, &format!("{error}; dial again")),
        }
    }

    /// A box that has no certificate yet.
    async fn take_in(self, joining: Joining) {
        if let Err(denied) = roles::check(self.proxy.served.site.facts.node.role, Who::Stranger, &JoinUp::ROWS[0]) {
            refusals::denied(joining.remote_addr(), &denied);
            return drop(joining.serve(async |_| JoinDown::Refused(enrol::Refusal::NoAuthority)).await);
        }
        match &self.proxy.served.enrolment {
            Some(enrolment) => enrolment.admit(joining).await,
            None => drop(joining.serve(async |_| JoinDown::Refused(enrol::Refusal::NoAuthority)).await),
        }
    }
}

fn turn_away(incoming: Incoming) {
    metrics::counter!("watchtree_link_refusals_total", "what" => "connections").increment(1);
    warn!(from = %incoming.remote_addr(), "turned away: too many connections are open or under way");
    incoming.refuse();
}

pub(super) fn refuse(connection: &Connection, code: CloseCode, why: &str) {
    warn!(peer = %connection.peer(), "{code}: {why}");
    connection.close(code, why);
}
