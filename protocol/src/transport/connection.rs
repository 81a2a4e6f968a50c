//! A connection to a peer whose certificate was verified: who it is, and its streams.

use super::endpoint::canonical;
use super::message::{PendingStream, Rx, SendError, Tx};
use super::reason::{connection_lost, ending};
use super::settings::Version;
use super::traffic::Traffic;
use super::{CloseCode, Lost, PendingFrame};
use crate::datagram::Datagram;
use crate::link::Open;
use crate::revoked::Revoked;
use crate::{Certificate, FrameHeader, Identity};
use quinn::ConnectionError;
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Cheap to clone; closes when the last clone and the last stream are dropped.
#[derive(Clone)]
pub struct Connection {
    quic: quinn::Connection,
    peer: Arc<Certificate>,
    version: Version,
    revoked: Revoked,
    /// What this side said when it closed: QUIC remembers only the peer's words.
    closed_as: Arc<OnceLock<String>>,
    /// Frames sent so far.
    frames: Arc<AtomicU32>,
}

impl Connection {
    /// Takes a verified connection; one without an identity is closed, and the error says why.
    pub(super) fn new(quic: quinn::Connection, revoked: Revoked) -> Result<Self, String> {
        let certificates = quic.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        let peer = match certificates.as_deref().and_then(|chain| chain.first()) {
            Some(certificate) => Certificate::read(certificate).map_err(|e| e.to_string()),
            // Without one a box may join and do nothing else.
            None => Err("it presented no certificate; issue one from our CA".to_owned()),
        };
        match peer.and_then(|peer| Ok((Arc::new(peer), negotiated(&quic)?))) {
            Ok((peer, version)) => {
                let (closed_as, frames) = (Arc::default(), Arc::default());
                Ok(Self { quic, peer, version, revoked, closed_as, frames })
            }
            Err(why) => {
                quic.close(CloseCode::Refused.on_wire(), why.as_bytes());
                Err(why)
            }
        }
    }

    /// Who the peer is, from its certificate.
    pub fn peer(&self) -> &Identity {
        &self.peer.who
    }

    /// What the peer showed.
    pub fn certificate(&self) -> &Certificate {
        &self.peer
    }

    /// Waits until the peer's certificate is worth nothing any more, and says why: it was revoked, or it ended longer
    /// ago than clocks may be apart. Cancel-safe. Who watches a connection closes it then as [`CloseCode::Refused`].
    pub async fn distrusted(&self) -> String {
        self.peer.distrusted(&self.revoked).await
    }

    /// What both sides speak.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Sends it now or never: one that does not fit, or that comes too fast, is dropped. Newest wins.
    pub fn send_datagram(&self, datagram: &Datagram) -> Result<(), SendError> {
        let bytes = datagram.encode().map_err(|error| SendError::Unfit(error.to_string()))?;
        let len = bytes.len();
        match self.quic.send_datagram(bytes.into()) {
            Ok(()) => {
                Traffic::Datagrams.count_sent(len);
                Ok(())
            }
            Err(quinn::SendDatagramError::ConnectionLost(error)) => Err(connection_lost(&error).into()),
            Err(unfit) => Err(SendError::Unfit(unfit.to_string())),
        }
    }

    /// The next datagram of the peer, or why it cannot be read; the connection goes on. Cancel-safe.
    pub async fn recv_datagram(&self) -> Result<Result<Datagram, String>, Lost> {
        let bytes = self.quic.read_datagram().await.map_err(|e| connection_lost(&e))?;
        Traffic::Datagrams.count_received(bytes.len());
        Ok(Datagram::decode(&bytes).map_err(|error| error.to_string()))
    }

    /// What QUIC counted: bytes, packets, losses.
    pub fn stats(&self) -> quinn::ConnectionStats {
        self.quic.stats()
    }

    /// Tells this connection from every other of the process, those from the same socket included.
    pub fn id(&self) -> usize {
        self.quic.stable_id()
    }

    pub fn remote_addr(&self) -> SocketAddr {
        canonical(self.quic.remote_address())
    }

    /// The current estimate of a round trip.
    pub fn rtt(&self) -> Duration {
        self.quic.rtt()
    }

    /// Waits for the end of the connection and says why it ended. Cancel-safe; any number may wait.
    pub async fn closed(&self) -> String {
        let error = self.quic.closed().await;
        match (&error, self.closed_as.get()) {
            (ConnectionError::LocallyClosed, Some(reason)) => reason.clone(),
            _ => ending(&error).text(),
        }
    }

    /// The code with which the peer closed; `None` while open, or when it ended in another way.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self.quic.close_reason()? {
            ConnectionError::ApplicationClosed(close) => CloseCode::from_wire(close.error_code),
            _ => None,
        }
    }

    /// Counts acknowledgements of the peer: while it does not move, nothing of ours is known to have arrived.
    pub fn acknowledgements(&self) -> u64 {
        self.quic.stats().frame_rx.acks
    }

    /// Counts what this side has said that the peer has to acknowledge, repetitions included.
    pub fn said(&self) -> u64 {
        let sent = self.quic.stats().frame_tx;
        sent.ping + sent.stream + sent.datagram
    }

    /// In a word, for counting: how it ended, if it has.
    pub fn ended_as(&self) -> Option<&'static str> {
        Some(match self.quic.close_reason()? {
            ConnectionError::ApplicationClosed(close) => match CloseCode::from_wire(close.error_code) {
                Some(CloseCode::ShuttingDown) => "stopped",
                Some(CloseCode::Refused) => "refused",
                Some(CloseCode::Replaced) => "replaced",
                Some(_) | None => "closed",
            },
            ConnectionError::TimedOut => "silent",
            ConnectionError::Reset => "restarted",
            ConnectionError::LocallyClosed => "left",
            _ => "broken",
        })
    }

    /// Ends the connection now; what is on the way is dropped. The peer reads `reason`.
    ///
    /// To be sure that a last message arrives, let its receiver close.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.closed_as.get_or_init(|| format!("closed by this side ({code}): {reason}"));
        self.quic.close(code.on_wire(), reason.as_bytes());
    }

    /// Opens a stream and says what it is. Waits while the peer has `STREAMS_MAX` of ours open.
    pub async fn open_bi(&self, open: &Open) -> Result<(Tx, Rx), Lost> {
        let (send, recv) = self.quic.open_bi().await.map_err(|e| connection_lost(&e))?;
        let traffic = Traffic::of(open);
        let mut tx = Tx::new(send, stream_priority(open), traffic);
        match tx.send(open).await {
            Ok(()) => Ok((tx, Rx::new(recv, traffic))),
            Err(SendError::Lost(lost)) => Err(lost),
            Err(unfit) => Err(Lost::Stream(unfit.to_string())),
        }
    }

    /// The next stream that the peer opens. Does not wait for what it says: see [`PendingStream::open`]. Cancel-safe.
    pub async fn accept_bi(&self) -> Result<PendingStream, Lost> {
        let (send, recv) = self.quic.accept_bi().await.map_err(|e| connection_lost(&e))?;
        Ok(PendingStream::new(send, recv))
    }

    /// Sends one frame on a stream of its own, behind everything else and by its priority.
    ///
    /// Returns when the transport has taken all of it, not when it has arrived. Waits while
    /// `FRAMES_IN_FLIGHT_MAX` frames are on the way. Dropped half way (a stale frame), it resets the stream.
    pub async fn open_frame(&self, header: &FrameHeader, pixels: &[u8]) -> Result<(), SendError> {
        let head = super::frames::head(header, pixels)?;
        let send = self.quic.open_uni().await.map_err(|e| connection_lost(&e))?;
        let nth = self.frames.fetch_add(1, Ordering::Relaxed);
        let priority = super::frames::stream_priority(header.priority, nth);
        super::frames::send(Tx::new(send, priority, Traffic::Frames), &head, pixels).await
    }

    /// The next frame's stream. Does not wait for its bytes: see [`PendingFrame::read`]. Cancel-safe.
    pub async fn accept_frame(&self) -> Result<PendingFrame, Lost> {
        let recv = self.quic.accept_uni().await.map_err(|e| connection_lost(&e))?;
        Ok(PendingFrame::new(Rx::new(recv, Traffic::Frames)))
    }
}

/// A clip may take as long as it takes.
const CLIP_PRIORITY: i32 = super::frames::BELOW_FRAMES;

/// What TLS agreed on; without it nobody came through the handshake.
fn negotiated(quic: &quinn::Connection) -> Result<Version, String> {
    let data = quic.handshake_data().and_then(|any| any.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    let name = data.and_then(|data| data.protocol).unwrap_or_default();
    let unknown = || format!("it agreed to no version of the protocol but to `{}`", String::from_utf8_lossy(&name));
    Version::from_alpn(&name).ok_or_else(unknown)
}

/// Higher leaves first: control and the core, verdicts, events, then frames (below 0), then clips.
pub(super) fn stream_priority(open: &Open) -> i32 {
    match open {
        Open::Control | Open::Core => 2,
        // A verdict is late or on time; events may take as long as they take.
        Open::Verdicts { .. } => 1,
        Open::Events | Open::Admin | Open::Renew | Open::Frame => 0,
        Open::Clip { .. } => CLIP_PRIORITY,
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} at {})", self.peer(), self.remote_addr())
    }
}
