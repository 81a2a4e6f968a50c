//! What core nodes (relays, gpu nodes) say to each other through their one remotable actor.
//!
//!   gpu ──Tell::Load, every second──▶ relays ──Down::Directory──▶ edges
//!   relay ◀──Tell::Revoked──▶ all core nodes

use crate::{Epoch, Identity, Timestamp};
use serde::{Deserialize, Serialize};

/// Said to a core node, without an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Tell {
    /// How busy this gpu node is.
    Load(GpuNode),
    /// These are revoked: all that the sender knows of, or one more.
    Revoked(Vec<Revocation>),
}

/// Asked of a core node; answered by an [`Answer`] of the same name, or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// Who are you?
    Describe,
    /// Whom do you know to be revoked?
    Revoked,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Described {
        node: Identity,
        boot: Epoch,
        software: String,
    },
    Revoked(Vec<Revocation>),
    /// Why there is none.
    Refused(String),
}

/// A gpu node as edges choose it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuNode {
    pub node: Identity,
    pub boot: Epoch,
    /// `host:port` where edges dial it.
    pub addr: String,
    /// Some worker takes frames.
    pub ready: bool,
    pub models: Vec<String>,
    /// Frames that wait for a worker.
    pub waiting: u32,
    /// Share of its workers' time that was spent judging, 0 to 1.
    pub load: f32,
}

/// Certificates of `who` that were issued until `at` are worth nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub who: Identity,
    pub at: Timestamp,
    /// Who said so.
    pub by: Identity,
}
