//! Datagrams: what is worth nothing once it is late. Newest wins, none is repeated.
//!
//!   [version][kind][body, bincode]     at most `limits::DATAGRAM_BYTES_MAX`
//!
//! Which kinds a role may send stands in the role table ([`crate::roles`]); others are dropped and counted.

use crate::codec::{self, CodecError};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::telemetry::Beat;
use serde::{Deserialize, Serialize};

/// What a datagram is; new kinds are added at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Datagram {
    /// A node's sign of life.
    Beat(Beat),
    /// A figure that changes all the time; only its newest value is of use. `seq` counts within `boot` and `name`.
    Gauge { boot: crate::Epoch, name: String, seq: u64, value: f64 },
}

impl Datagram {
    /// Its bytes, or why it does not fit.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let bytes = codec::encode(self);
        let (len, limit) = (bytes.len(), DATAGRAM_BYTES_MAX);
        if len > limit { Err(CodecError::TooLarge { bytes: len, limit }) } else { Ok(bytes) }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode::<Self, DATAGRAM_BYTES_MAX>(bytes)
    }
}
