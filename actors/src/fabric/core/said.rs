//! What crosses between the gateways of two core nodes: bytes of our own codec, in an envelope that ractor_cluster carries.
//!
//!   Tell ──pack──▶ Said::Tell(bytes) ══════════▶ unpack ──▶ what the peer is told
//!   Ask  ──pack──▶ Said::Ask(bytes, port) ═════▶ unpack ──▶ Answer ──pack──▶ port
//!
//! ractor's derive would panic on bytes that it cannot read. Here the envelope holds bytes alone, whoever opens it gets
//! the codec's error, and what is none of these two envelopes is dropped by ractor without a word.

use protocol::codec::{self, CodecError};
use protocol::limits::MESSAGE_BYTES_MAX;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Message, RpcReplyPort};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// On the wire, each envelope is known by its name.
const TELL: &str = "Tell";
const ASK: &str = "Ask";

/// The only message of ours that leaves the process by ractor_cluster.
pub(super) enum Said {
    Tell(Vec<u8>),
    Ask(Vec<u8>, RpcReplyPort<Vec<u8>>),
}

impl Message for Said {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        Ok(match self {
            Self::Tell(args) => SerializedMessage::Cast { variant: TELL.to_owned(), args, metadata: None },
            Self::Ask(args, reply) => SerializedMessage::Call { variant: ASK.to_owned(), args, reply, metadata: None },
        })
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Cast { variant, args, .. } if variant == TELL => Ok(Self::Tell(args)),
            SerializedMessage::Call { variant, args, reply, .. } if variant == ASK => Ok(Self::Ask(args, reply)),
            SerializedMessage::Cast { .. } | SerializedMessage::Call { .. } | SerializedMessage::CallReply(..) => {
                Err(BoxedDowncastErr)
            }
        }
    }
}

/// ractor_cluster checks no size on its way out, and a frame that is too large for the peer ends the whole session.
pub(super) fn pack<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = codec::encode(message);
    let (len, limit) = (bytes.len(), MESSAGE_BYTES_MAX);
    if len > limit { Err(CodecError::TooLarge { bytes: len, limit }) } else { Ok(bytes) }
}

pub(super) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    codec::decode::<T, MESSAGE_BYTES_MAX>(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::core::{Ask, Revocation, Tell};
    use protocol::{Identity, Timestamp};

    #[test]
    fn an_envelope_survives_the_wire_and_another_one_is_dropped() {
        let sent = Said::Tell(vec![1, 2]).serialize().expect("it is serialised");
        assert!(matches!(Said::deserialize(sent), Ok(Said::Tell(bytes)) if bytes == [1, 2]));
        let (port, _answer) = ractor::concurrency::oneshot();
        let sent = Said::Ask(vec![3], port.into()).serialize().expect("it is serialised");
        assert!(matches!(Said::deserialize(sent), Ok(Said::Ask(bytes, _)) if bytes == [3]));
        let other = SerializedMessage::Cast { variant: "Shell".to_owned(), args: Vec::new(), metadata: None };
        assert!(Said::deserialize(other).is_err());
        assert!(Said::deserialize(SerializedMessage::CallReply(1, Vec::new())).is_err());
    }

    #[test]
    fn what_is_too_large_for_the_peer_is_not_sent() {
        let who: Identity = "main/edge/yard".parse().expect("an identity");
        let revocation = Revocation { who: who.clone(), at: Timestamp::from_micros(1), by: who };
        let few = Tell::Revoked(vec![revocation.clone(); 10]);
        assert_eq!(unpack::<Tell>(&pack(&few).expect("fits")), Ok(few));
        let refused = pack(&Tell::Revoked(vec![revocation; MESSAGE_BYTES_MAX]));
        assert!(matches!(refused, Err(CodecError::TooLarge { .. })), "{refused:?}");
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error_and_no_panic() {
        for bytes in [&[][..], &[1], &[1, 255], &[9, 0], &[1, 0, 255, 255, 255, 255]] {
            assert!(unpack::<Tell>(bytes).is_err() || unpack::<Ask>(bytes).is_err(), "{bytes:?}");
        }
    }
}
