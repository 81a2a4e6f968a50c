//! Bytes from messages and back: one version byte, then bincode.
//!
//! The only module that names bincode, which nobody maintains any more: one file to swap.
//! Decoding allocates in proportion to its limit and never leaves bytes over.

use crate::limits::MESSAGE_BYTES_MAX;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Raised when a stored record changes shape: bincode cannot add fields. What nodes say to each other has a version
/// of its own, agreed in the handshake ([`crate::transport`]), so that a change there costs no stored record.
pub const VERSION: u8 = 1;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("message is {bytes} B, the limit here is {limit} B")]
    TooLarge { bytes: usize, limit: usize },
    #[error("message has version {0}, this program speaks {VERSION}: upgrade the older side")]
    Version(u8),
    #[error("message is garbled: {0}")]
    Garbled(String),
}

/// What is kept for years and once had another shape. The version in front of a record says which it has.
pub trait Record: Serialize + DeserializeOwned {
    /// Its shape behind [`VERSION`].
    type Before: DeserializeOwned;

    fn from_before(before: Self::Before) -> Self;
}

/// In front of records of a newer shape than [`VERSION`] means. A program of before refuses them by name.
pub const RECORD_VERSION: u8 = 2;

pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_behind(message, &mut bytes);
    bytes
}

/// In place of what is in `bytes`, for who encodes many large messages: their room is asked for once.
pub fn encode_into<T: Serialize>(message: &T, bytes: &mut Vec<u8>) {
    bytes.clear();
    encode_behind(message, bytes);
}

pub fn encode_record<T: Record>(record: &T) -> Vec<u8> {
    let mut bytes = encode(record);
    bytes[0] = RECORD_VERSION;
    bytes
}

/// A record of this shape or the one before. Limits are those of [`decode`].
pub fn decode_record<T: Record, const LIMIT: usize>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.first() {
        Some(&VERSION) => decode::<T::Before, LIMIT>(bytes).map(T::from_before),
        _ => decode_of::<T, LIMIT>(RECORD_VERSION, bytes),
    }
}

/// Behind what is in `bytes` already, such as room for its length.
pub(crate) fn encode_behind<T: Serialize>(message: &T, bytes: &mut Vec<u8>) {
    bytes.push(VERSION);
    bincode::serde::encode_into_std_write(message, bytes, bincode::config::standard())
        .expect("our messages have no map without a length and a Vec takes every write");
}

/// bincode counts a number as eight bytes where it takes one: a message full of small numbers reaches the limit of its
/// count at an eighth of its own. The input's limit is ours to check; this one bounds what a forged length allocates.
const COUNTED_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;

/// `LIMIT` bounds the input, and it or [`COUNTED_BYTES_MAX`] every allocation made on its behalf.
pub fn decode<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_of::<T, LIMIT>(VERSION, bytes)
}

fn decode_of<T: DeserializeOwned, const LIMIT: usize>(due: u8, bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > LIMIT {
        return Err(CodecError::TooLarge { bytes: bytes.len(), limit: LIMIT });
    }
    let (&version, body) = bytes.split_first().ok_or_else(|| CodecError::Garbled("empty".to_owned()))?;
    if version != due {
        return Err(CodecError::Version(version));
    }
    let config = bincode::config::standard();
    let decoded = if LIMIT <= MESSAGE_BYTES_MAX {
        bincode::serde::borrow_decode_from_slice(body, config.with_limit::<COUNTED_BYTES_MAX>())
    } else {
        // From our own ports: pixels, and few numbers beside them.
        bincode::serde::borrow_decode_from_slice(body, config.with_limit::<LIMIT>())
    };
    let (message, used) = decoded.map_err(|e| CodecError::Garbled(e.to_string()))?;
    if used != body.len() {
        return Err(CodecError::Garbled(format!("{} B left over", body.len() - used)));
    }
    Ok(message)
}

/// Bytes that are copied whole: serde would visit a `Vec<u8>` one element at a time.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Blob(pub Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} B)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }
        // Borrowed, they are copied once; owned, their place would be filled with zeros first.
        d.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_forged_length_is_refused_before_it_is_allocated() {
        let mut bytes = vec![VERSION, 253];
        bytes.extend(u64::MAX.to_le_bytes());
        assert!(matches!(decode::<Blob, 1024>(&bytes), Err(CodecError::Garbled(_))));
    }

    #[test]
    fn a_message_full_of_small_numbers_is_read_up_to_its_limit() {
        let mut numbers = vec![1_u64; MESSAGE_BYTES_MAX - 6];
        let bytes = encode(&numbers);
        assert_eq!(bytes.len(), MESSAGE_BYTES_MAX);
        assert_eq!(decode::<Vec<u64>, MESSAGE_BYTES_MAX>(&bytes).as_ref(), Ok(&numbers));
        numbers.push(1);
        let refused = decode::<Vec<u64>, MESSAGE_BYTES_MAX>(&encode(&numbers));
        assert!(matches!(refused, Err(CodecError::TooLarge { .. })), "{refused:?}");
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let mut bytes = encode(&7u32);
        bytes.push(0);
        assert!(matches!(decode::<u32, 64>(&bytes), Err(CodecError::Garbled(_))));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = encode(&7u32);
        bytes[0] = 9;
        assert_eq!(decode::<u32, 64>(&bytes), Err(CodecError::Version(9)));
    }

    #[test]
    fn a_record_is_read_in_the_shape_that_its_version_says() {
        let entry = crate::limits::tests::small_entry();
        let old = crate::event::v3::Entry::from(entry.clone());
        let as_it_was = crate::Entry::from(old.clone());
        assert_eq!(decode_record::<crate::Entry, 512>(&encode_record(&entry)).as_ref(), Ok(&entry));
        assert_eq!(decode_record::<crate::Entry, 512>(&encode(&old)).as_ref(), Ok(&as_it_was));
        assert_eq!(decode::<crate::Entry, 512>(&encode_record(&entry)), Err(CodecError::Version(RECORD_VERSION)));
        let mut newer = encode_record(&entry);
        newer[0] = 9;
        assert_eq!(decode_record::<crate::Entry, 512>(&newer), Err(CodecError::Version(9)));
    }

    proptest! {
        #[test]
        fn no_input_panics_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode::<crate::link::Up, 512>(&bytes);
            let _ = decode::<crate::link::Down, 512>(&bytes);
            let _ = decode::<crate::Entry, 512>(&bytes);
            let _ = decode_record::<crate::Entry, 512>(&bytes);
            let _ = decode::<crate::FrameHeader, 512>(&bytes);
            let _ = decode::<crate::camera::Report, 512>(&bytes);
            let _ = decode::<crate::admin::Request, 512>(&bytes);
        }
    }
}
