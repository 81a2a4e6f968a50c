//! Dialling: from a name and a port to a connection whose peer is proved to have the right role.
//!
//! Every address of the name is tried, a moment apart; the first that succeeds is kept. In TLS 1.3
//! the dialler is ready before the other side has looked at its certificate, so a dial here
//! ends only when that side has confirmed: `Ok` means that both accept each other's certificates.

use super::CloseCode;
use super::connection::Connection;
use super::endpoint::{Endpoint, canonical};
use super::reason::{Ending, ending};
use super::settings::DIAL_WITHIN;
use crate::Role;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Addresses of one name that are tried; what a resolver lists after them is ignored.
const ADDRESSES_MAX: usize = 4;

/// Between the first packets to one address and to the next.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(200);

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

impl Endpoint {
    /// Connects to a node of `role`, within [`DIAL_WITHIN`].
    ///
    /// The peer's identity is in the connection; whether that very node was meant is the caller's question.
    pub async fn dial(&self, host: &str, port: u16, role: Role) -> Result<Connection, DialError> {
        let target = format!("{role} at {host}:{port}");
        match timeout(DIAL_WITHIN, self.race(host, port, role, &target)).await {
            Ok(result) => result,
            Err(_) => {
                let why = format!("no answer within {} s", DIAL_WITHIN.as_secs());
                Err(DialError::Unreachable { target, why })
            }
        }
    }

    async fn race(&self, host: &str, port: u16, role: Role, target: &str) -> Result<Connection, DialError> {
        let unreachable = |why: String| DialError::Unreachable { target: target.to_owned(), why };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((host, port)).await;
        let found = found.map_err(|e| unreachable(format!("its name has no address ({e})")))?;
        let mut attempts = JoinSet::new();
        for (nth, addr) in (0u32..).zip(found.take(ADDRESSES_MAX)) {
            let (endpoint, target) = (self.clone(), target.to_owned());
            attempts.spawn(async move {
                sleep(NEXT_ADDRESS_AFTER * nth).await;
                endpoint.attempt(addr, role).await.map_err(|ending| dial_error(target, ending))
            });
        }
        // A refusal says more than silence: of several failures the first that is one is reported.
        let mut worst = unreachable("its name has no address".to_owned());
        while let Some(ended) = attempts.join_next().await {
            match ended {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) if matches!(worst, DialError::Unreachable { .. }) => worst = error,
                Ok(Err(_)) => {}
                Err(panic) => worst = unreachable(format!("the attempt ended early ({panic})")),
            }
        }
        Err(worst)
    }

    async fn attempt(&self, addr: SocketAddr, role: Role) -> Result<Connection, Ending> {
        let connecting = self.quic.connect(canonical(addr), &role.server_name());
        let connecting = connecting.map_err(|e| Ending::Other(e.to_string()))?;
        let quic = connecting.await.map_err(|e| ending(&e))?;
        confirmed(&quic).await.map_err(|e| ending(&e))?;
        let connection = Connection::new(quic, self.revoked.clone()).map_err(Ending::WeRefused)?;
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

pub(super) fn dial_error(target: String, ending: Ending) -> DialError {
    match ending {
        Ending::WeRefused(why) => DialError::WrongCertificate { target, why },
        Ending::PeerRefused(why) => DialError::RefusedByPeer { target, why },
        Ending::Other(why) => DialError::Unreachable { target, why },
    }
}
