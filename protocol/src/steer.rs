//! What an operator may do to an actor: the same four verbs on every node.
//!
//!   watchtree restart PATH ──▶ relay ──▶ edge ──▶ supervisor of that actor
//!
//! Viewers look and never steer: [`crate::link::may_steer`].

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is done to the actor at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Act {
    /// Stop it in good order and start it again. Spends no restart budget.
    Restart,
    /// Stop it, and leave it down until it is resumed.
    Park,
    /// Start what is parked.
    Resume,
    /// For drills: make it fail. Refused unless the node's `supervision.allow_faults` is on.
    Inject(Fault),
}

/// How an actor is made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fault {
    Panic,
    /// It ends with an error.
    Error,
    /// It awaits for ever: killed and restarted by the watchdog.
    Hang,
    /// Its thread is blocked: fenced and replaced.
    Block,
}

impl Act {
    pub const ALL: [Self; 7] = [
        Self::Restart,
        Self::Park,
        Self::Resume,
        Self::Inject(Fault::Panic),
        Self::Inject(Fault::Error),
        Self::Inject(Fault::Hang),
        Self::Inject(Fault::Block),
    ];

    /// The verb, as in metrics; [`fmt::Display`] says which fault as well.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Park => "park",
            Self::Resume => "resume",
            Self::Inject(_) => "inject",
        }
    }
}

impl fmt::Display for Act {
    /// `restart`, `inject panic`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Inject(fault) => write!(f, " {fault}"),
            Self::Restart | Self::Park | Self::Resume => Ok(()),
        }
    }
}

impl FromStr for Act {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|act| act.to_string() == text)
            .ok_or_else(|| format!("`{text}` is not an act; use restart, park, resume, or inject and a fault"))
    }
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::Panic, Self::Error, Self::Hang, Self::Block];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Hang => "hang",
            Self::Block => "block",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Fault {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a fault; use panic, error, hang or block"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_survives_its_text() {
        for act in Act::ALL {
            assert_eq!(act.to_string().parse(), Ok(act));
        }
        assert!("inject".parse::<Act>().is_err(), "an injection without a fault was accepted");
        assert!("reboot".parse::<Act>().expect_err("is no act").contains("use restart, park, resume"));
        assert!("segv".parse::<Fault>().expect_err("is no fault").contains("use panic, error, hang or block"));
    }
}
