//! Steering by hand: restart, park, resume a child; commit a fault in it for a drill.
//!
//!   operator ──path, act──▶ [roll] ──reins──▶ the child's supervisor ──▶ what happened

use crate::roll::Roll;
use crate::supervisor::Order;
use ractor::ActorRef;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// A supervisor that starts or stops other children answers when it is done; whoever waits less is told that it goes on.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// Paths told to somebody who mistyped one.
const SUGGESTIONS_MAX: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Stop in good order and start again; what is parked or waits for its restart starts now.
    Restart,
    /// Stop in good order and stay down until resumed.
    Park,
    /// Start what is parked, with a fresh budget.
    Resume,
    /// Make it fail.
    Inject(Fault),
}

impl Act {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Park => "park",
            Self::Resume => "resume",
            Self::Inject(_) => "inject",
        }
    }
}

/// How an actor can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    Panic,
    Error,
    /// It waits for ever.
    Hang,
    /// It blocks its thread, until a successor has taken over.
    Block,
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
        let found = Self::ALL.into_iter().find(|fault| fault.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is not a fault; use panic, error, hang or block"))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SteerError {
    #[error("there is no {path} here{}", did_you_mean(.near))]
    NoSuch { path: String, near: Vec<String> },
    #[error("{0} is the node itself; stop or restart its process instead")]
    Top(String),
    #[error("{0} is not parked; restart starts what runs or waits anew")]
    NotParked(String),
    #[error("{0} is parked already")]
    ParkedAlready(String),
    #[error("{path} does not run ({state}); faults are committed by what runs")]
    NotRunning { path: String, state: String },
    #[error("{0} is a supervisor: it panics or fails; what hangs are the actors below it")]
    Supervisor(String),
    #[error("{path} was stopped and did not start again: {failure}")]
    NotStarted { path: String, failure: String },
    #[error("the supervisor of {0} is still busy; see its state in the tree")]
    Busy(String),
}

fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

/// Which child of which supervisor.
#[derive(Clone)]
pub(crate) struct Reins {
    pub supervisor: ActorRef<Order>,
    pub key: u64,
}

impl Roll {
    /// Does `act` to the child at `path`; `by` is who wants it. Says what happened.
    ///
    /// A port goes with its actor: what is done to the one is done to the other.
    pub async fn steer(&self, path: &str, act: Act, by: &str) -> Result<String, SteerError> {
        let path = path.trim_end_matches('/');
        self.get(path).ok_or_else(|| self.no_such(path))?;
        // Two rows have no supervisor: the top, which has nothing above it, and a port, which its actor has.
        let path = if self.reins(path).is_none() { parent(path).unwrap_or(path) } else { path };
        let reins = self.reins(path).ok_or_else(|| SteerError::Top(path.to_owned()))?;
        let (reply, answer) = oneshot::channel();
        let order = Order::Steer { key: reins.key, act, by: by.to_owned(), reply };
        let gone = || SteerError::NoSuch { path: path.to_owned(), near: Vec::new() };
        reins.supervisor.send_message(order).map_err(|_| gone())?;
        match timeout(ANSWER_WITHIN, answer).await {
            Err(_) => Err(SteerError::Busy(path.to_owned())),
            Ok(answered) => answered.map_err(|_| gone())?,
        }
    }

    fn no_such(&self, path: &str) -> SteerError {
        let mut near: Vec<_> = self.paths().into_iter().map(|there| (distance(path, &there), there)).collect();
        near.sort();
        // Half of it wrong is no longer a slip of the hand.
        near.retain(|(distance, there)| *distance * 2 <= there.len() || there.ends_with(path));
        let near = near.into_iter().take(SUGGESTIONS_MAX).map(|(_, there)| there).collect();
        SteerError::NoSuch { path: path.to_owned(), near }
    }
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// Whether `path` is `prefix` or stands below it.
pub fn is_at_or_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Levenshtein's, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_between_two_words_counts_slips_of_the_hand() {
        assert_eq!([distance("kitten", "sitting"), distance("", "ab"), distance("ab", "ab")], [3, 2, 0]);
    }

    #[test]
    fn below_means_whole_names() {
        assert!(is_at_or_below("yard/cameras", "yard"));
        assert!(is_at_or_below("yard", "yard/"));
        assert!(!is_at_or_below("yard-2", "yard"));
    }
}
