//! Fleet: how this node and those linked to it are, as it judges them; and how they were.
//!
//!   peer's control stream ──link up, telemetry, link gone──▶ ┌───────┐ ──list, sums──▶ http, admin
//!   peer's datagrams ──beats───────────────────────────────▶ │ fleet │
//!   sampler ──this node's own──────────────────────────────▶ └───┬───┘ ──a minute's figures──▶ history (sled)
//!                                        one sweep a second ─────┘
//!
//! Stops when: it panics.  On restart: goes on with what it knows. Without its service nobody notices silence, but whoever
//! asks is told what is so at that moment.

pub mod board;
pub mod history;
mod judge;
mod point;
#[cfg(test)]
pub mod samples;
mod sums;
#[cfg(test)]
mod tests;

use crate::fabric::peers::Peers;
use board::{Board, Change, Ended, Hello, Now};
use history::{History, ROWS_MAX, Step};
pub use point::Row;
use protocol::admin::{HealthState, NodeHealth};
use protocol::telemetry::{Beat, Telemetry};
use protocol::transport::{Connection, Version};
use protocol::{Epoch, Identity, Role, Timestamp, limits};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
pub use sums::{Sum, Sums};
use supervision::{Failure, ServiceCx};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

/// Between two looks at all nodes.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// What a sweep that comes late adds to a state's time at most: for longer, this node itself stood still.
const PASSED_MAX: Duration = Duration::from_secs(10);
/// From when nobody looks at a camera to when its edge's outbox knows.
const UNTOLD_MAX: Duration = Duration::from_secs(3);
/// For the minute under way, on an orderly stop.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Cheap to clone; one per node.
#[derive(Clone)]
pub struct Fleet(Arc<Shared>);

struct Shared {
    here: Identity,
    began: Instant,
    board: Mutex<Board>,
    /// On a relay.
    history: OnceLock<History>,
}

/// A row of the history as it is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryRow {
    pub at: Timestamp,
    #[serde(flatten)]
    pub row: Row,
}

impl Fleet {
    pub fn new(here: Identity, software: &str) -> Self {
        let began = Instant::now();
        let board = Board::new(here.clone(), software, Now { mono: Duration::ZERO, wall: Timestamp::now() });
        Self(Arc::new(Shared { here, began, board: Mutex::new(board), history: OnceLock::new() }))
    }

    /// What becomes of the nodes is written down in this directory. Told once, before the service runs.
    pub fn keeps_history(&self, dir: PathBuf) {
        let _ = self.0.history.set(History::new(dir));
    }

    /// A peer has said hello.
    pub fn arrived(&self, connection: &Connection, boot: Epoch, software: &str) {
        let software = limits::short(software, limits::SOFTWARE_CHARS_MAX);
        // Nodes tell their relay; to others they are a link.
        let tells = self.0.here.role == Role::Relay && connection.version() >= Version::FABRIC;
        let hello = Hello { boot, software, tells };
        let change = self.board().arrive(connection.peer(), connection.id(), hello, self.now());
        change.iter().for_each(tell);
    }

    /// Its control stream ended.
    pub fn left(&self, connection: &Connection, ended: Ended) {
        let change = self.board().leave(connection.peer(), connection.id(), ended, self.now());
        change.iter().for_each(tell);
    }

    pub fn beat(&self, peer: &Identity, beat: Beat) {
        let change = self.board().beat(peer, beat, self.now());
        change.iter().for_each(tell);
    }

    pub fn telemetry(&self, peer: &Identity, telemetry: Box<Telemetry>) {
        metrics::counter!("watchtree_telemetry_messages_total").increment(1);
        let telemetry = Box::new(telemetry.short());
        let change = self.board().telemetry(peer, telemetry, self.now());
        change.iter().for_each(tell);
    }

    /// Up to when this edge has told all, by its own clock: what it had accepted when it told last how it is, less what
    /// was still waiting then. `None` of one that never told.
    pub fn heard(&self, edge: &Identity) -> Option<Timestamp> {
        let health = self.page(None, 1, |node| node == edge).pop()?;
        let telemetry = health.telemetry?;
        let spool = telemetry.spool?;
        let waited = if spool.waiting > 0 { Duration::from_millis(spool.oldest_ms) } else { Duration::ZERO };
        Some(telemetry.at.minus(waited + UNTOLD_MAX))
    }

    /// This node's own.
    pub fn own_telemetry(&self, telemetry: Telemetry) {
        let change = self.board().own_telemetry(Box::new(telemetry), self.now());
        change.iter().for_each(tell);
    }

    /// Of the nodes that are `seen`, at most `most` of those after `after`, by their identities.
    pub fn page(&self, after: Option<&Identity>, most: usize, seen: impl Fn(&Identity) -> bool) -> Vec<NodeHealth> {
        self.board().page(after, most, seen, self.now())
    }

    /// Of the nodes that are `seen`.
    pub fn sums(&self, seen: impl Fn(&Identity) -> bool) -> Sums {
        Sums::of(self.board().each().filter(|(id, ..)| seen(id)))
    }

    /// How a node was, from `from` and before `to`, the minute under way included; or why nobody knows. Reads a disk:
    /// not for a thread that must not wait.
    pub fn history(
        &self,
        node: &Identity,
        step: Step,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<HistoryRow>, String> {
        let history = self.0.history.get();
        let history = history.ok_or_else(|| format!("{} keeps no history; ask its relay", self.0.here))?;
        let mut rows = history.read(node, step, from, to)?;
        let (index, now) = (step.index(self.now().wall), self.board().point(node).cloned());
        let begin = step.begin(index);
        if let Some(now) = now.filter(|now| !now.is_empty() && from <= begin && begin < to && rows.len() < ROWS_MAX) {
            match rows.last_mut() {
                Some((last, point)) if *last == index => point.merge(&now),
                _ => rows.push((index, now)),
            }
        }
        Ok(rows.into_iter().map(|(index, point)| HistoryRow { at: step.begin(index), row: point.row() }).collect())
    }

    /// The service.
    pub async fn run(self, peers: Peers, cx: ServiceCx) -> Result<(), Failure> {
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut swept, mut minute) = (Instant::now(), Step::Minute.index(Timestamp::now()));
        let mut writing: Option<JoinHandle<()>> = None;
        loop {
            tokio::select! {
                now = sweep.tick() => {
                    self.sweep(&peers, (now - swept).min(PASSED_MAX));
                    swept = now;
                    // Backwards too, if somebody set the clock.
                    let ended = std::mem::replace(&mut minute, Step::Minute.index(Timestamp::now()));
                    if ended != minute {
                        writing = self.keep(ended, writing.take());
                    }
                    cx.place.note(self.sums(|_| true).site.line());
                }
                () = done(&mut writing), if writing.is_some() => writing = None,
                () = cx.asked() => {}
                () = cx.stop.cancelled() => {
                    if let Some(mut writing) = self.keep(minute, writing.take()) {
                        let _ = cx.waits(timeout(LAST_WORDS_WITHIN, &mut writing)).await;
                    }
                    return Ok(());
                }
            }
        }
    }

    fn sweep(&self, peers: &Peers, passed: Duration) {
        let now = self.now();
        // The peers' lock and the board's are never held together: peers are told of while theirs is.
        let looks = peers.links();
        let mut board = self.board();
        looks.into_iter().for_each(|(id, packets, rtt)| board.look(&id, packets, rtt, now));
        let changes = board.sweep(passed, now);
        let (sums, skew_ms) = (Sums::of(board.each()), board.skew_ms_max());
        drop(board);
        changes.iter().for_each(tell);
        sums.show();
        metrics::gauge!("watchtree_fleet_clock_skew_seconds_max").set(skew_ms as f64 / 1e3);
    }

    /// Writes the minute's figures on a thread that may wait. While an earlier minute is still being written, they are lost.
    fn keep(&self, minute: u64, writing: Option<JoinHandle<()>>) -> Option<JoinHandle<()>> {
        let points = self.board().minute();
        let history = self.0.history.get()?.clone();
        if let Some(writing) = writing.filter(|writing| !writing.is_finished()) {
            warn!("the telemetry history waits for its disk: a minute is left out");
            return Some(writing);
        }
        Some(tokio::task::spawn_blocking(move || {
            if let Err(why) = history.write(minute, &points) {
                warn!("a minute of the telemetry history is not written: {why}");
            }
        }))
    }

    fn now(&self) -> Now {
        Now { mono: self.0.began.elapsed(), wall: Timestamp::now() }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only while there is something to wait for. What it panicked of is on the log.
async fn done(writing: &mut Option<JoinHandle<()>>) {
    if let Some(writing) = writing {
        let _ = writing.await;
    }
}

fn tell(change: &Change) {
    let Change { node, from, to, why } = change;
    let (from, to) = (from.as_str(), to.as_str());
    match change.to {
        HealthState::Healthy => info!(%node, "{from}, now {to}"),
        HealthState::Degraded | HealthState::Down => warn!(%node, "{from}, now {to}: {why}"),
    }
}
