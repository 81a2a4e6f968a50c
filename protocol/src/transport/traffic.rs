//! Traffic: bytes of this process by what they are for, over all its connections, since it began.

use crate::link::Open;
use std::sync::atomic::{AtomicU64, Ordering};

/// What bytes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    Control,
    Core,
    Verdicts,
    Events,
    /// Admin calls, renewals and boxes that join.
    Calls,
    Frames,
    Clips,
    Datagrams,
}

const KINDS: usize = 8;

static SENT: [AtomicU64; KINDS] = [const { AtomicU64::new(0) }; KINDS];
static RECEIVED: [AtomicU64; KINDS] = [const { AtomicU64::new(0) }; KINDS];

impl Traffic {
    pub const ALL: [Self; KINDS] = [
        Self::Control,
        Self::Core,
        Self::Verdicts,
        Self::Events,
        Self::Calls,
        Self::Frames,
        Self::Clips,
        Self::Datagrams,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Core => "core",
            Self::Verdicts => "verdicts",
            Self::Events => "events",
            Self::Calls => "calls",
            Self::Frames => "frames",
            Self::Clips => "clips",
            Self::Datagrams => "datagrams",
        }
    }

    pub(super) fn of(open: &Open) -> Self {
        match open {
            Open::Control => Self::Control,
            Open::Core => Self::Core,
            Open::Verdicts { .. } => Self::Verdicts,
            Open::Events => Self::Events,
            Open::Admin | Open::Renew => Self::Calls,
            Open::Frame => Self::Frames,
            Open::Clip { .. } => Self::Clips,
        }
    }

    /// Bytes that were handed to the transport.
    pub fn sent(self) -> u64 {
        SENT[self as usize].load(Ordering::Relaxed)
    }

    /// Bytes that the transport handed on.
    pub fn received(self) -> u64 {
        RECEIVED[self as usize].load(Ordering::Relaxed)
    }

    /// For streams that were given away: whoever has them counts.
    pub fn count_sent(self, bytes: usize) {
        SENT[self as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn count_received(self, bytes: usize) {
        RECEIVED[self as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
