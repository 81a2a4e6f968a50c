//! One UDP socket: where others reach this node, and from where it dials.

use super::connection::Connection;
use super::join::Joining;
use super::reason::{Ending, ending};
use super::settings::{self, HANDSHAKE_WITHIN, HANDSHAKES_MAX};
use super::{CloseCode, Credentials};
use crate::revoked::Revoked;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, ServerConfig, TokioRuntime};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("cannot listen on UDP {addr}: {why}; is another node running here? else choose another address")]
    Listen { addr: SocketAddr, why: String },
    #[error("cannot open a UDP socket to dial from: {0}; raise this process's limit of open files")]
    Socket(String),
}

/// A handshake that came to nothing. The connection is closed and the peer was told the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It may not come in.
    #[error("{from} was refused: {why}")]
    Refused { from: SocketAddr, why: String },
    /// It dialled us and does not accept us: usually its address list is wrong.
    #[error("{from} refused us: {why}")]
    RefusedByPeer { from: SocketAddr, why: String },
    /// Gone before it came in: weather, a port scan, or a node that stopped.
    #[error("{from} did not finish its handshake: {why}")]
    Unfinished { from: SocketAddr, why: String },
}

/// Cheap to clone. Must be made inside a tokio runtime.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) quic: quinn::Endpoint,
    handshakes: Arc<Semaphore>,
    pub(super) credentials: Credentials,
}

impl Endpoint {
    /// Moves when this node has a renewed certificate: connections made before show the old one.
    pub fn renewed(&self) -> watch::Receiver<u64> {
        self.credentials.renewed()
    }

    /// Accepts peers on `addr`; can dial as well.
    pub fn listen(addr: SocketAddr, credentials: &Credentials) -> Result<Self, TransportError> {
        let crypto = QuicServerConfig::try_from(credentials.server.clone())
            .expect("the aws-lc-rs provider has the cipher suite that QUIC begins with");
        let mut server = ServerConfig::with_crypto(Arc::new(crypto));
        server.transport_config(settings::accepting_config(credentials.identity().role)).max_incoming(HANDSHAKES_MAX);
        let listen = |e: std::io::Error| TransportError::Listen { addr, why: e.to_string() };
        let socket = settings::listening_socket(addr).map_err(listen)?;
        Self::on(socket, Some(server), credentials).map_err(listen)
    }

    /// Only dials, from a port that the system chooses.
    pub fn dialer(credentials: &Credentials) -> Result<Self, TransportError> {
        let socket = settings::dialling_socket().map_err(|e| TransportError::Socket(e.to_string()))?;
        Self::on(socket, None, credentials).map_err(|e| TransportError::Socket(e.to_string()))
    }

    fn on(socket: UdpSocket, server: Option<ServerConfig>, credentials: &Credentials) -> std::io::Result<Self> {
        let mut quic = quinn::Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?;
        quic.set_default_client_config(client_config(credentials));
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        Ok(Self { quic, handshakes, credentials: credentials.clone() })
    }

    /// The same socket, for another identity to dial from.
    pub fn dialling_as(&self, credentials: &Credentials) -> Self {
        let mut other = self.clone();
        other.quic.set_default_client_config(client_config(credentials));
        other
    }

    /// The next peer that knocks; `None` when the endpoint is closed. Never waits for a handshake:
    /// call [`Incoming::establish`] in a task of its own. Cancel-safe.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let quic = self.quic.accept().await?;
            match self.handshakes.clone().try_acquire_owned() {
                Ok(permit) => return Some(Incoming { quic, revoked: self.credentials.revoked().clone(), permit }),
                Err(_) => {
                    tracing::warn!(from = %quic.remote_address(), "turned away: {HANDSHAKES_MAX} handshakes under way");
                    quic.refuse();
                }
            }
        }
    }

    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.quic.local_addr()
    }

    /// Closes every connection as [`CloseCode::ShuttingDown`] with this reason and takes no more.
    pub fn close(&self, reason: &str) {
        self.quic.close(CloseCode::ShuttingDown.on_wire(), reason.as_bytes());
    }

    /// Returns when every connection's last packets are out. Bound it: a peer that is gone costs seconds.
    pub async fn drained(&self) {
        self.quic.wait_idle().await;
    }
}

fn client_config(credentials: &Credentials) -> ClientConfig {
    let crypto = QuicClientConfig::try_from(credentials.client.clone())
        .expect("the aws-lc-rs provider has the cipher suite that QUIC begins with");
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(settings::dialling_config(credentials.identity().role));
    client
}

/// A peer that knocked and has proved nothing yet.
pub struct Incoming {
    quic: quinn::Incoming,
    revoked: Revoked,
    permit: OwnedSemaphorePermit,
}

impl Incoming {
    pub fn remote_addr(&self) -> SocketAddr {
        canonical(self.quic.remote_address())
    }

    /// Turns the peer away before anything is done for it: it reads that this node is too busy.
    pub fn refuse(self) {
        self.quic.refuse();
    }

    /// Verifies the peer's certificate and reads its identity, within [`HANDSHAKE_WITHIN`]. Who has none is refused.
    pub async fn establish(self) -> Result<Connection, Refusal> {
        match self.arrive().await? {
            Arrival::Peer(connection) => Ok(connection),
            Arrival::Joining(joining) => {
                let why = "this node takes nobody in; name a relay".to_owned();
                Err(Refusal::Refused { from: joining.remote_addr(), why })
            }
        }
    }

    /// As [`Self::establish`], where a box that has no certificate may come to join.
    pub async fn arrive(self) -> Result<Arrival, Refusal> {
        let from = self.remote_addr();
        let _held_until_done = self.permit;
        let connecting = self.quic.accept().map_err(|e| refusal(from, ending(&e)))?;
        let quic = match timeout(HANDSHAKE_WITHIN, connecting).await {
            Ok(Ok(quic)) => quic,
            Ok(Err(e)) => return Err(refusal(from, ending(&e))),
            Err(_) => {
                let why = format!("it took more than {} s", HANDSHAKE_WITHIN.as_secs());
                return Err(Refusal::Unfinished { from, why });
            }
        };
        if Joining::is_meant(&quic) {
            return Ok(Arrival::Joining(Joining::new(quic)));
        }
        let connection = Connection::new(quic, self.revoked);
        connection.map(Arrival::Peer).map_err(|why| Refusal::Refused { from, why })
    }
}

/// Who has come in.
pub enum Arrival {
    /// With a certificate that is believed.
    Peer(Connection),
    /// Without one that counts: it may ask to be taken in, and do nothing else.
    Joining(Joining),
}

fn refusal(from: SocketAddr, ending: Ending) -> Refusal {
    match ending {
        Ending::WeRefused(why) => Refusal::Refused { from, why },
        Ending::PeerRefused(why) => Refusal::RefusedByPeer { from, why },
        Ending::Other(why) => Refusal::Unfinished { from, why },
    }
}

/// `127.0.0.1` rather than `::ffff:127.0.0.1`.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
