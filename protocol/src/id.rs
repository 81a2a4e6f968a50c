//! Names and numbers that identify things. Parsed once; a value of these types is valid.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name of a node, camera or tenant. They become parts of paths, keys and metric labels.
pub const NAME_CHARS_MAX: usize = 48;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("`{0}` is not a name: use 1 to {NAME_CHARS_MAX} of a-z, 0-9 and `-`, starting with a letter or digit")]
    Name(String),
    #[error("`{0}` is not an id: use {1} hexadecimal digits")]
    Hex(String, usize),
}

fn check_name(name: &str) -> Result<(), IdError> {
    let fits = (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-');
    if fits { Ok(()) } else { Err(IdError::Name(name.chars().take(NAME_CHARS_MAX).collect())) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(name: &str) -> Result<Self, IdError> {
                check_name(name)?;
                Ok(Self(name.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(name: String) -> Result<Self, IdError> {
                check_name(&name)?;
                Ok(Self(name))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// A camera, unique on its edge.
    CameraId
);
name_type!(
    /// A node, unique within its tenant and role; what its certificate says.
    NodeName
);
name_type!(
    /// Whose edge this is. Part of every stored key.
    TenantId
);

impl CameraId {
    /// What an edge says of its outbox stands under this id; no camera may have it.
    pub const OUTBOX: &str = "outbox";

    pub fn outbox() -> Self {
        Self(Self::OUTBOX.to_owned())
    }
}

impl Default for TenantId {
    /// The only tenant until there are more.
    fn default() -> Self {
        Self("main".to_owned())
    }
}

/// A random number drawn once: by an outbox when its file is made, by a process when it starts.
///
/// Two runs that could be mistaken for each other differ in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    pub fn random() -> Self {
        Self(getrandom::u64().expect("the kernel's random source answers after boot"))
    }
}

/// One event for its whole life: start, updates and end carry the same id. 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u128);

impl EventId {
    /// Time-ordered like a UUIDv7: 48 bits of milliseconds, then 80 random bits.
    pub fn new(begin: crate::Timestamp) -> Self {
        let random = u128::from(Epoch::random().0) << 16 | u128::from(Epoch::random().0 & 0xffff);
        let millis = (begin.micros().max(0) / 1000) as u128 & 0xffff_ffff_ffff;
        Self(millis << 80 | random)
    }
}

macro_rules! hex_type {
    ($name:ident, $int:ty, $digits:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $digits, "x}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError::Hex(text.chars().take(40).collect(), $digits);
                if text.len() != $digits || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(wrong());
                }
                <$int>::from_str_radix(text, 16).map(Self).map_err(|_| wrong())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { self.0.serialize(s) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <$int>::deserialize(d).map(Self)
                }
            }
        }
    };
}

hex_type!(Epoch, u64, 16);
hex_type!(EventId, u128, 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_and_short() {
        assert!("front-door".parse::<CameraId>().is_ok());
        for wrong in ["", "Front", "a b", "../etc", "-x", &"x".repeat(49)] {
            assert!(wrong.parse::<CameraId>().is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn an_event_id_survives_its_text_form() {
        let id = EventId::new(crate::Timestamp::now());
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn later_events_have_larger_ids() {
        let early = EventId::new(crate::Timestamp::from_micros(1_000_000));
        let late = EventId::new(crate::Timestamp::from_micros(2_000_000));
        assert!(early < late);
    }
}
