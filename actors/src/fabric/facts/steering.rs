//! Steering: what an operator's order does to an actor of this node, and what the audit log says of it.
//!
//!   admin, link ──act, path, who──▶ [steering] ──▶ roll ──▶ its supervisor
//!               ◀─told, and the end─┘   └──▶ audit log

use super::Facts;
use futures_util::future::BoxFuture;
use protocol::admin::Steered;
use protocol::link::{VIEWERS_LOOK, may_steer};
use protocol::{Act, Fault, Identity, limits};
use std::time::Duration;
use supervision::{SteerError, steer};
use tokio::task::JoinError;
use tokio::time::timeout;
use tracing::{info, warn};

/// An act that takes longer goes on: whoever asked is told to look for himself.
pub const STEER_WITHIN: Duration = Duration::from_secs(15);

/// What may be restarted and not parked, and why.
const NEVER_PARKED: [(&str, &str); 4] =
    [("relay-link", A_WAY_HERE), ("gateway", A_WAY_HERE), ("peers", A_WAY_HERE), ("health", A_SIGN_OF_LIFE)];
const A_WAY_HERE: &str = "is on the way by which this node is reached: parked, nobody could resume it";
const A_SIGN_OF_LIFE: &str = "tells systemd that this node lives: parked, the node would be killed";

/// What an act did or does, or why it was not done.
pub type Outcome = Result<Steered, String>;

/// An act, as far as it is.
pub struct Steering {
    pub told: Outcome,
    /// What comes of an act that is under way.
    pub end: Option<BoxFuture<'static, Outcome>>,
}

impl Steering {
    pub fn ended(told: Outcome) -> Self {
        Self { told, end: None }
    }
}

/// One line: who did what to whom, and what came of it so far.
pub fn audit(by: &Identity, node: &Identity, path: &str, act: Act, outcome: &Outcome) {
    let path = limits::short_path(path);
    match outcome {
        Ok(Steered { done: true, text }) => info!(target: "audit", %by, %node, path, %act, result = text, "steered"),
        Ok(Steered { done: false, text }) => info!(target: "audit", %by, %node, path, %act, result = text, "under way"),
        Err(why) => warn!(target: "audit", %by, %node, path, %act, result = why, "not steered"),
    }
}

impl Facts {
    /// Does `act` to an actor of this node and says what was done. Whatever comes of it is on the audit log, also
    /// when it ends the very link or connection it was asked over, and when whoever asked no longer waits.
    pub async fn steer(&self, path: String, act: Act, by: Identity) -> Steering {
        self.steer_within(STEER_WITHIN, path, act, by).await
    }

    pub(super) async fn steer_within(&self, within: Duration, path: String, act: Act, by: Identity) -> Steering {
        let (facts, at, who) = (self.clone(), path.clone(), by.clone());
        let mut steering = tokio::spawn(async move {
            let outcome = facts.obey(&at, act, &who).await;
            audit(&who, &facts.node, &at, act, &outcome);
            outcome
        });
        if let Ok(joined) = timeout(within, &mut steering).await {
            return Steering::ended(joined.unwrap_or_else(torn));
        }
        let shown = limits::short_path(&path);
        let text = format!("{act} of {shown} is under way and goes on; `watchtree tree {shown}` shows how it is");
        let told = Ok(Steered::under_way(text));
        audit(&by, &self.node, &path, act, &told);
        Steering { told, end: Some(Box::pin(async move { steering.await.unwrap_or_else(torn) })) }
    }

    async fn obey(&self, path: &str, act: Act, by: &Identity) -> Outcome {
        self.may(path, act, by)?;
        match self.roll.steer(path, same(act), &by.to_string()).await {
            Ok(done) => {
                metrics::counter!("watchtree_steered_total", "act" => act.as_str()).increment(1);
                Ok(Steered::done(done))
            }
            // Its supervisor has the order, and obeys when it can.
            Err(busy @ SteerError::Busy(_)) => Ok(Steered::under_way(busy.to_string())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The relay has asked the same. A relay that was taken over asks in an operator's name at least.
    fn may(&self, path: &str, act: Act, by: &Identity) -> Result<(), String> {
        limits::check_path(path)?;
        if !may_steer(by.role) {
            return Err(VIEWERS_LOOK.to_owned());
        }
        if by.tenant != self.node.tenant {
            return Err(format!("{by} is an operator of another tenant than {}", self.node));
        }
        let name = path.split_once('/').map_or("", |(_, rest)| rest.split('/').next().unwrap_or(rest));
        let never = NEVER_PARKED.iter().find(|(class, _)| act == Act::Park && *class == name);
        if let Some((_, why)) = never {
            return Err(format!("{path} {why}; use restart"));
        }
        if matches!(act, Act::Inject(_)) && !self.allow_faults {
            return Err(format!(
                "{} takes no injected faults; set supervision.allow_faults = true in its configuration for a drill",
                self.node
            ));
        }
        Ok(())
    }
}

fn torn(error: JoinError) -> Outcome {
    Err(format!("steering failed: {error}"))
}

/// The wire's word for it, in supervision's.
fn same(act: Act) -> steer::Act {
    match act {
        Act::Restart => steer::Act::Restart,
        Act::Park => steer::Act::Park,
        Act::Resume => steer::Act::Resume,
        Act::Inject(fault) => steer::Act::Inject(match fault {
            Fault::Panic => steer::Fault::Panic,
            Fault::Error => steer::Fault::Error,
            Fault::Hang => steer::Fault::Hang,
            Fault::Block => steer::Fault::Block,
        }),
    }
}
