//! Why an actor or a port stopped.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds that an operator tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// Our code panicked.
    Panic,
    /// It gave up with an error.
    Error,
    /// It was silent, or answered and did nothing.
    Hang,
    /// A process was ended by a signal.
    Signal,
    /// A process took more memory than it may.
    Oom,
    /// The other side broke the protocol between us.
    Protocol,
    /// It could not be started.
    Start,
    /// A subtree used up its restarts.
    Escalated,
    /// It was told to stop.
    Stopped,
}

impl FailureKind {
    pub const ALL: [Self; 9] = [
        Self::Panic,
        Self::Error,
        Self::Hang,
        Self::Signal,
        Self::Oom,
        Self::Protocol,
        Self::Start,
        Self::Escalated,
        Self::Stopped,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Hang => "hang",
            Self::Signal => "signal",
            Self::Oom => "oom",
            Self::Protocol => "protocol",
            Self::Start => "start",
            Self::Escalated => "escalated",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {text}")]
pub struct Failure {
    pub kind: FailureKind,
    pub text: String,
}

macro_rules! constructor {
    ($($name:ident => $kind:ident),*) => {
        impl Failure {
            $(pub fn $name(text: impl fmt::Display) -> Self {
                Self { kind: FailureKind::$kind, text: text.to_string() }
            })*
        }
    };
}

constructor!(panic => Panic, error => Error, hang => Hang, signal => Signal, oom => Oom, protocol => Protocol, start => Start,
    escalated => Escalated, stopped => Stopped);
