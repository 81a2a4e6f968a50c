//! QUIC with mutual TLS between nodes: one connection a peer, one stream a purpose.
//!
//!   Credentials ──▶ Endpoint ──dial────────────────▶ Connection ──open_bi─────▶ Tx, Rx
//!                      └─────accept▸Incoming▸establish──▶ │ │ ────accept_bi▸PendingStream──▶ Tx, Rx
//!                                                         │ └─────open_frame
//!                                                         └───────accept_frame▸PendingFrame──▶ header, pixels
//!
//! Nobody waits for a stranger: what depends on a peer's next packet (a handshake, the first message
//! of a stream, a frame) is a value of its own, which the accepting task hands to another.
//! Whoever refuses says why, and the reason reaches both sides.

mod congestion;
mod connection;
mod credentials;
mod dial;
mod endpoint;
mod frames;
mod join;
mod message;
mod own;
mod reason;
mod settings;
mod traffic;
mod verifier;

pub use connection::Connection;
pub use credentials::{CredentialError, Credentials, TlsFiles};
pub use dial::DialError;
pub use endpoint::{Arrival, Endpoint, Incoming, Refusal, TransportError};
pub use frames::{FrameRefusal, PendingFrame};
pub use join::{JOIN_WITHIN, Joining, join};
pub use message::{PendingStream, RecvError, Rx, SendError, StreamRefusal, Tx};
pub use settings::{
    DIAL_WITHIN, FRAME_WITHIN, HANDSHAKE_WITHIN, HANDSHAKES_MAX, KEEP_ALIVE_EVERY, OPEN_WITHIN, SILENCE_MAX, VERSIONS,
    Version,
};
pub use traffic::Traffic;
pub use verifier::CLOCK_SKEW_TOLERATED;

use quinn::VarInt;
use std::fmt;

/// Why a connection was closed or a stream given up, as a number on the wire. The text beside it says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CloseCode {
    /// Nothing more to say.
    Done = 0,
    /// The peer may not do this: its identity or role forbids it. Dialling again does not help.
    Refused = 1,
    /// The peer sent what cannot be read, or more than it may.
    Protocol = 2,
    /// A newer connection of the same peer took over.
    Replaced = 3,
    /// This node is going down; dial again later.
    ShuttingDown = 4,
    /// A stream whose sender or reader went away half way; a frame that became stale.
    GivenUp = 5,
    /// The peer took longer than it may.
    TooSlow = 6,
}

impl CloseCode {
    const ALL: [CloseCode; 7] =
        [Self::Done, Self::Refused, Self::Protocol, Self::Replaced, Self::ShuttingDown, Self::GivenUp, Self::TooSlow];

    fn on_wire(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    fn from_wire(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.on_wire() == code)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Protocol => "protocol error",
            Self::Replaced => "replaced",
            Self::ShuttingDown => "shutting down",
            Self::GivenUp => "given up",
            Self::TooSlow => "too slow",
        })
    }
}

/// What was in use has ended, and why. Nothing more comes or goes on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Dial again.
    #[error("{0}")]
    Connection(String),
    /// Only this stream; the connection carries on.
    #[error("{0}")]
    Stream(String),
}
