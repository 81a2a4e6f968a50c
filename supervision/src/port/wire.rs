//! The frames between a node and a port: `u32` length, one kind byte, the payload.
//!
//! The length counts the payload alone and is checked before anything is allocated.

use std::io;

/// Raised when these frames change; a port of another version is refused by name.
pub const VERSION: u16 = 2;

/// Length and kind.
pub const HEAD_BYTES: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Port to node, first: version (u16) and program name.
    Hello,
    /// Port to node: alive; see [`Beat`].
    Beat,
    /// Both ways: a message of the layer above.
    Data,
    /// Node to port: end in good order.
    Stop,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Beat => 2,
            Self::Data => 3,
            Self::Stop => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Hello, Self::Beat, Self::Data, Self::Stop].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// What a beat says. A port that lives and does nothing is a hang, unless it has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// How much work was done so far; what one step is, the port decides.
    pub progress: u64,
    pub idle: bool,
}

const BEAT_BYTES: usize = 9;

impl Beat {
    pub fn encode(self) -> [u8; BEAT_BYTES] {
        let mut bytes = [0; BEAT_BYTES];
        bytes[..8].copy_from_slice(&self.progress.to_be_bytes());
        bytes[8] = u8::from(self.idle);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (progress, idle) = bytes.split_first_chunk::<8>()?;
        let idle = match idle {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        Some(Self { progress: u64::from_be_bytes(*progress), idle })
    }
}

pub fn head(kind: Kind, payload_bytes: usize) -> io::Result<[u8; HEAD_BYTES]> {
    let length = u32::try_from(payload_bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "port message exceeds 4 GiB"))?;
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[4] = kind.byte();
    Ok(head)
}

/// The kind and payload length, or why the frame is refused.
pub fn parse_head(head: [u8; HEAD_BYTES], payload_bytes_max: usize) -> Result<(Kind, usize), String> {
    let [a, b, c, d, kind] = head;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let kind = Kind::from_byte(kind).ok_or_else(|| format!("port frame has unknown kind {kind}"))?;
    if length > payload_bytes_max {
        return Err(format!("port frame is {length} B, the limit is {payload_bytes_max} B"));
    }
    Ok((kind, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_over_the_limit_is_refused() {
        let head = head(Kind::Data, 100).expect("fits");
        assert!(parse_head(head, 99).is_err());
        assert_eq!(parse_head(head, 100), Ok((Kind::Data, 100)));
    }

    proptest! {
        #[test]
        fn a_beat_comes_out_as_it_went_in(progress in any::<u64>(), idle in any::<bool>()) {
            let beat = Beat { progress, idle };
            prop_assert_eq!(Beat::decode(&beat.encode()), Some(beat));
            prop_assert_eq!(Beat::decode(&beat.encode()[..8]), None);
        }

        #[test]
        fn any_five_bytes_are_parsed_or_refused(bytes in any::<[u8; HEAD_BYTES]>()) {
            if let Ok((_, length)) = parse_head(bytes, 1000) {
                prop_assert!(length <= 1000);
            }
        }
    }
}
