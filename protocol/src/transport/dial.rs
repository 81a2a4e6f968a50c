//! Dialling: from names and ports to one connection whose peer is proved to have the right role.
//!
//! Every address of every name is tried, a moment apart, and again each second: when a network comes back, somebody is
//! knocking. The first that succeeds is kept. In TLS 1.3 the dialler is ready before the other side has looked at its
//! certificate, so a dial here ends only when that side has confirmed: `Ok` means that both accept each other's
//! certificates.

use super::CloseCode;
use super::connection::Connection;
use super::endpoint::{Endpoint, canonical};
use super::reason::{Ending, ending};
use super::settings::DIAL_WITHIN;
use crate::Role;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, interval, sleep, timeout_at};

/// Addresses of one name that are tried; what a resolver lists after them is ignored.
const ADDRESSES_MAX: usize = 4;

/// Between the first packets to one address and to the next.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(200);

/// An address that is silent is tried afresh this often: a handshake repeats its first packet after 0.3, 0.9 and 2.1 s,
/// and then more rarely than a network that is back should wait.
const AGAIN_EVERY: Duration = Duration::from_secs(1);

/// Tries at one address that are under way at once; the oldest is given up for the next. A handshake thus has three
/// seconds, which is a round trip of more than one.
const TRIES_MAX: usize = 3;

/// How often to look whether the peer has confirmed. The transport tells it, but wakes nobody.
const CONFIRM_EVERY: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// Dial again, with backoff.
    #[error("{target} cannot be reached: {why}; is it running, and is its UDP port open?")]
    Unreachable { target: String, why: String },
    /// Somebody answers, and it is not whom we want: the address or its certificate is wrong.
    #[error("{target} is not to be trusted: {why}")]
    WrongCertificate { target: String, why: String },
    /// It does not want us: our certificate is wrong. Dial again, rarely.
    #[error("{target} refused us: {why}")]
    RefusedByPeer { target: String, why: String },
}

/// One address to knock at.
#[derive(Clone)]
struct Door {
    /// Of whom it is, in the caller's order.
    place: usize,
    addr: SocketAddr,
    target: String,
}

impl Endpoint {
    /// Connects to a node of `role`, within [`DIAL_WITHIN`].
    ///
    /// The peer's identity is in the connection; whether that very node was meant is the caller's question.
    pub async fn dial(&self, host: &str, port: u16, role: Role) -> Result<Connection, DialError> {
        self.dial_any(&[(host, port)], role).await.map(|(_, connection)| connection)
    }

    /// As [`Endpoint::dial`], to whichever of these places answers first, the first one a little ahead; says which.
    pub async fn dial_any(&self, places: &[(&str, u16)], role: Role) -> Result<(usize, Connection), DialError> {
        let until = Instant::now() + DIAL_WITHIN;
        let mut worst = Worst(None);
        let found = timeout_at(until, find(places, role, &mut worst)).await.unwrap_or_default();
        if !found.is_empty()
            && let Ok(ended) = timeout_at(until, self.knock(found, role, &mut worst)).await
        {
            return ended.ok_or_else(|| worst.told(places, role, "nobody is there"));
        }
        Err(worst.told(places, role, &format!("no answer within {} s", DIAL_WITHIN.as_secs())))
    }

    /// Tries every door until one opens, or all have said why they do not.
    async fn knock(&self, mut doors: Vec<Door>, role: Role, worst: &mut Worst) -> Option<(usize, Connection)> {
        let mut tries: JoinSet<(Door, Result<Connection, DialError>)> = JoinSet::new();
        let mut volleys: VecDeque<Vec<AbortHandle>> = VecDeque::new();
        let mut again = interval(AGAIN_EVERY);
        loop {
            tokio::select! {
                _ = again.tick() => {
                    if volleys.len() >= TRIES_MAX {
                        volleys.pop_front().into_iter().flatten().for_each(|oldest| oldest.abort());
                    }
                    let volley = (0u32..).zip(&doors).map(|(nth, door)| {
                        let (endpoint, door) = (self.clone(), door.clone());
                        tries.spawn(async move {
                            sleep(NEXT_ADDRESS_AFTER * nth).await;
                            let opened = endpoint.attempt(door.addr, role).await;
                            let opened = opened.map_err(|ending| dial_error(door.target.clone(), ending));
                            (door, opened)
                        })
                    });
                    volleys.push_back(volley.collect());
                }
                Some(ended) = tries.join_next(), if !tries.is_empty() => match ended {
                    Ok((door, Ok(connection))) => return Some((door.place, connection)),
                    Ok((door, Err(error))) => {
                        worst.is(error);
                        // It has answered; the others may still open.
                        doors.retain(|other| other.addr != door.addr);
                        if doors.is_empty() {
                            return None;
                        }
                    }
                    // Given up for a newer one.
                    Err(_) => {}
                }
            }
        }
    }

    async fn attempt(&self, addr: SocketAddr, role: Role) -> Result<Connection, Ending> {
        let connecting = self.quic.connect(canonical(addr), &role.server_name());
        let connecting = connecting.map_err(|e| Ending::Other(e.to_string()))?;
        let quic = connecting.await.map_err(|e| ending(&e))?;
        confirmed(&quic).await.map_err(|e| ending(&e))?;
        let connection = Connection::new(quic, self.credentials.revoked().clone()).map_err(Ending::WeRefused)?;
        // The verified DNS name and the identity come from the same CA; when they differ, it erred.
        let peer = connection.peer();
        if peer.role != role {
            let why = format!("its certificate is for {} and for {peer}; issue another", role.server_name());
            connection.close(CloseCode::Refused, &why);
            return Err(Ending::WeRefused(why));
        }
        Ok(connection)
    }
}

/// Waits until the peer has verified our certificate, or has refused it.
async fn confirmed(quic: &quinn::Connection) -> Result<(), quinn::ConnectionError> {
    while quic.stats().frame_rx.handshake_done == 0 {
        tokio::select! {
            error = quic.closed() => return Err(error),
            () = sleep(CONFIRM_EVERY) => {}
        }
    }
    Ok(())
}

/// The addresses of these places; those that have none are told.
async fn find(places: &[(&str, u16)], role: Role, worst: &mut Worst) -> Vec<Door> {
    let mut doors = Vec::new();
    for (place, (host, port)) in places.iter().enumerate() {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let target = target(role, host, *port);
        match tokio::net::lookup_host((host, *port)).await {
            Ok(found) => {
                let door = |addr| Door { place, addr: canonical(addr), target: target.clone() };
                doors.extend(found.take(ADDRESSES_MAX).map(door));
            }
            Err(error) => {
                worst.is(DialError::Unreachable { target, why: format!("its name has no address ({error})") })
            }
        }
    }
    doors
}

fn target(role: Role, host: &str, port: u16) -> String {
    if host.contains(':') { format!("{role} at [{host}]:{port}") } else { format!("{role} at {host}:{port}") }
}

/// A refusal says more than silence: of several failures the first that is one is reported.
struct Worst(Option<DialError>);

impl Worst {
    fn is(&mut self, error: DialError) {
        let is_worse = self.0.as_ref().is_none_or(|known| matches!(known, DialError::Unreachable { .. }));
        if is_worse {
            self.0 = Some(error);
        }
    }

    fn told(self, places: &[(&str, u16)], role: Role, why: &str) -> DialError {
        self.0.unwrap_or_else(|| {
            let target = places.iter().map(|(host, port)| target(role, host, *port));
            let target = target.reduce(|all, next| format!("{all}, {next}")).unwrap_or_else(|| format!("a {role}"));
            DialError::Unreachable { target, why: why.to_owned() }
        })
    }
}

pub(super) fn dial_error(target: String, ending: Ending) -> DialError {
    match ending {
        Ending::WeRefused(why) => DialError::WrongCertificate { target, why },
        Ending::PeerRefused(why) => DialError::RefusedByPeer { target, why },
        Ending::Other(why) => DialError::Unreachable { target, why },
    }
}
