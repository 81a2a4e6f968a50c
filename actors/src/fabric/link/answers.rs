//! Answers: what the upstream asks on the control stream, and what of it is under way.
//!
//!   Down ──▶ [answers] ──▶ facts of this node: tree, failures, acts, cameras ──▶ Up

use super::{News, Uses, newest};
use crate::camera::desk;
use crate::fabric::asks::Asked;
use crate::fabric::facts::{Facts, Outcome, Steering, audit};
use crate::fabric::refusals;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use protocol::admin::Steered;
use protocol::cameras::CameraChange;
use protocol::link::{Down, Up};
use protocol::roles::{self, Denied, Listed};
use protocol::transport::{Rx, SendError, Tx};
use protocol::{Act, CameraId, Identity};
use std::time::Duration;
use tokio::time::timeout;
use tracing::warn;

/// A peer that takes no answer for so long is not there, whatever its transport says.
const SENT_WITHIN: Duration = Duration::from_secs(5);
/// Acts of operators under way on this node. When full, the next is refused.
const ACTS_MAX: usize = 8;
/// Acts that took long and whose end the peer is told too. When full, it is told that it will not hear of the next.
const ENDS_MAX: usize = 8;
const TOO_MANY_ACTS: &str = "too many acts are under way on this node already; ask again";
pub(super) const THROUGH_ITS_RELAY: &str = "a node is steered through its relay alone";

/// Answers the peer's calls until the stream ends; says why it did.
pub(super) async fn answer(
    tx: &mut Tx,
    rx: &mut Rx,
    Uses { news, asked, .. }: &mut Uses,
    facts: &Facts,
    upstream: &Identity,
) -> String {
    let mut acts = Acts::default();
    loop {
        let answer = match next(rx, news, asked, &mut acts, facts, upstream).await {
            Ok(Some(answer)) => answer,
            Ok(None) => continue,
            Err(reason) => return reason,
        };
        match timeout(SENT_WITHIN, tx.send(&answer)).await {
            Ok(Ok(())) => {}
            // Better no tree than no link.
            Ok(Err(SendError::TooLarge { .. })) => warn!("an answer of this node does not fit a message"),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("the peer took no answer within {} s", SENT_WITHIN.as_secs()),
        }
    }
}

/// The next thing to say, if what happened calls for one; or why the stream ends.
async fn next(
    rx: &mut Rx,
    news: &mut News,
    asked: &mut Asked,
    acts: &mut Acts,
    facts: &Facts,
    upstream: &Identity,
) -> Result<Option<Up>, String> {
    let down = tokio::select! {
        message = rx.recv::<Down>() => match message {
            Ok(Some(down)) => down,
            Ok(None) => return Err("the peer ended the control stream".to_owned()),
            Err(error) => return Err(error.to_string()),
        },
        done = acts.next() => return Ok(done),
        telemetry = newest(news) => return Ok(Some(Up::Telemetry(telemetry))),
        question = asked.next() => return Ok(Some(question)),
    };
    if !roles::may(facts.node.role, upstream.role, down.row()) {
        return refused(facts, upstream, down).map(Some);
    }
    match down {
        Down::Snapshot { call, path } => {
            Ok(Some(Up::Snapshot { call, snapshot: Box::new(facts.snapshot(path.as_deref()).await) }))
        }
        Down::Failures { call, path, limit } => {
            let (failures, omitted) = facts.failures_that_fit(path.as_deref(), limit as usize);
            Ok(Some(Up::Failures { call, failures, omitted }))
        }
        Down::Cameras { call, camera } => {
            let (cameras, omitted) = facts.cameras(camera.as_ref());
            Ok(Some(Up::Cameras { call, cameras, omitted }))
        }
        act @ (Down::Steer { .. } | Down::ChangeCamera { .. }) => Ok(acts.begin(act, facts)),
        Down::Directory(list) => {
            facts.told_directory(list, upstream.role);
            Ok(None)
        }
        Down::Pong { call, answer } => {
            asked.answered(call, answer);
            Ok(None)
        }
        Down::Welcome { .. } => Err("the peer welcomed us twice".to_owned()),
    }
}

/// What operators have asked for and is under way: it takes seconds, and the peer's other calls do not wait for it.
#[derive(Default)]
struct Acts {
    steering: FuturesUnordered<BoxFuture<'static, (u64, Steering)>>,
    changes: FuturesUnordered<BoxFuture<'static, (u64, Outcome)>>,
    /// The ends of what was told to be under way.
    ends: FuturesUnordered<BoxFuture<'static, Up>>,
}

impl Acts {
    /// What is said at once, if something is.
    fn begin(&mut self, act: Down, facts: &Facts) -> Option<Up> {
        let is_one_too_many = self.steering.len() + self.changes.len() >= ACTS_MAX;
        let facts = facts.clone();
        match act {
            Down::Steer { call, path, act, by } if is_one_too_many => {
                Some(not_steered(&facts, call, &path, act, &by, TOO_MANY_ACTS))
            }
            Down::Steer { call, path, act, by } => {
                self.steering.push(Box::pin(async move { (call, facts.steer(path, act, by).await) }));
                None
            }
            Down::ChangeCamera { call, camera, change, by } if is_one_too_many => {
                Some(not_changed(&facts, call, camera.as_ref(), &change, &by, TOO_MANY_ACTS))
            }
            Down::ChangeCamera { call, camera, change, by } => {
                let changing = async move { (call, facts.change_camera(camera, change, by).await) };
                self.changes.push(Box::pin(changing));
                None
            }
            _ => None,
        }
    }

    /// What came of one of them; waits for ever while there is none. Cancel-safe.
    async fn next(&mut self) -> Option<Up> {
        tokio::select! {
            Some((call, Steering { told: result, end })) = self.steering.next(), if !self.steering.is_empty() => {
                if let Some(end) = end {
                    let is_one_too_many = self.ends.len() >= ENDS_MAX;
                    self.ends.push(Box::pin(async move {
                        let untold = || Ok(Steered::under_way("what comes of it is on its node's log alone"));
                        Up::Steered { call, result: if is_one_too_many { untold() } else { end.await } }
                    }));
                }
                Some(Up::Steered { call, result })
            }
            Some((call, result)) = self.changes.next(), if !self.changes.is_empty() => Some(Up::Steered { call, result }),
            Some(end) = self.ends.next(), if !self.ends.is_empty() => Some(end),
            else => std::future::pending().await,
        }
    }
}

/// What the upstream's role may not say. An act is answered, and is on the audit log; anything else ends the link. A
/// node is steered by its relay, which knows operators from viewers.
pub(super) fn refused(facts: &Facts, upstream: &Identity, down: Down) -> Result<Up, String> {
    let denied = Denied { here: facts.node.role, peer: upstream.role.into(), row: down.row() };
    refusals::denied(upstream, &denied);
    match down {
        Down::Steer { call, path, act, by } => Ok(not_steered(facts, call, &path, act, &by, THROUGH_ITS_RELAY)),
        Down::ChangeCamera { call, camera, change, by } => {
            Ok(not_changed(facts, call, camera.as_ref(), &change, &by, THROUGH_ITS_RELAY))
        }
        _ => Err(denied.to_string()),
    }
}

fn not_changed(
    facts: &Facts,
    call: u64,
    camera: Option<&CameraId>,
    change: &CameraChange,
    by: &Identity,
    why: &str,
) -> Up {
    let result = Err(why.to_owned());
    desk::audit(by, &facts.node, camera, change, &result);
    Up::Steered { call, result }
}

fn not_steered(facts: &Facts, call: u64, path: &str, act: Act, by: &Identity, why: &str) -> Up {
    let result = Err(why.to_owned());
    audit(by, &facts.node, path, act, &result);
    Up::Steered { call, result }
}
