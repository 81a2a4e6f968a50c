//! Desk: where an edge's cameras are listed, and changed while it runs.
//!
//!   SIGHUP ────────────────────────────┐
//!   relay ══link══ set, remove, reset ─┴▶ [desk] ──▶ overlay file, then: which actors does it concern? ──▶ apply
//!
//! A change that is refused changes nothing. One that is kept is on disk before it counts, so a crash in between starts
//! with it. Changes come one after the other.
//!
//! Stops when: it panics.  On restart: waits for the next change; what its predecessor was doing is done at its next start
//! of the node, or by the next change.

#[cfg(test)]
mod tests;
mod told;

use super::coverage::Coverages;
use crate::fabric::facts::Outcome;
use config::{Change, Edge, Faults, Plan, as_far_as_possible, changes};
use futures_util::future::BoxFuture;
use protocol::admin::Steered;
use protocol::cameras::{CameraChange, CameraSheet};
use protocol::{CameraId, Identity, limits};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use supervision::{Failure, ServiceCx};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

/// Changes that wait for the one before them. When full, the next is refused.
const WAITING_MAX: usize = 8;

/// Brings one change about, with the configuration as it is after all of them; an error is for people.
pub type Apply = Arc<dyn Fn(Change, Arc<Edge>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Why nothing works at a camera's place, if somebody or its failures parked what does.
pub type Parked = Arc<dyn Fn(&CameraId) -> Option<String> + Send + Sync>;

/// Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Desk(Arc<Shared>);

struct Shared {
    asks: mpsc::Sender<Ask>,
    asked: tokio::sync::Mutex<mpsc::Receiver<Ask>>,
    now: Mutex<Arc<Now>>,
    coverage: Coverages,
    parked: Parked,
}

/// What counts.
struct Now {
    plan: Plan,
    /// As the node runs: what needs a restart of it is as it was at its start.
    runs: Edge,
}

struct Ask {
    camera: Option<CameraId>,
    change: CameraChange,
    reply: oneshot::Sender<Outcome>,
}

impl Desk {
    pub fn new(plan: Plan, coverage: Coverages, parked: Parked) -> Self {
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        let now = Mutex::new(Arc::new(Now { runs: plan.edge.clone(), plan }));
        Self(Arc::new(Shared { asks, asked: tokio::sync::Mutex::new(asked), now, coverage, parked }))
    }

    /// All cameras, or this one with its section.
    pub fn sheets(&self, camera: Option<&CameraId>) -> Result<Vec<CameraSheet>, String> {
        let now = self.now();
        let sheets = told::sheets(&now.plan, &self.0.coverage, &self.0.parked);
        let Some(camera) = camera else { return Ok(sheets) };
        let names = sheets.iter().map(|sheet| sheet.camera.as_str()).collect::<Vec<_>>().join(", ");
        match sheets.into_iter().find(|sheet| sheet.camera == *camera) {
            Some(sheet) => Ok(vec![CameraSheet { toml: now.plan.shown(camera), ..sheet }.short()]),
            None if names.is_empty() => Err(format!("there is no camera {camera}: this edge has none")),
            None => Err(format!("there is no camera {camera}; there are: {}", limits::short_text(&names))),
        }
    }

    /// Cameras that are configured and not to be opened.
    pub fn disabled(&self) -> Vec<CameraId> {
        let now = self.now();
        now.plan.edge.cameras.iter().filter(|camera| !camera.enabled).map(|camera| camera.id.clone()).collect()
    }

    /// Keeps the change and applies it; says what it did, or why nothing was changed. `camera`: `None` resets all.
    pub async fn change(&self, camera: Option<CameraId>, change: CameraChange) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let ask = Ask { camera, change, reply };
        self.0.asks.try_send(ask).map_err(|_| "too many changes of cameras wait already; ask again".to_owned())?;
        answer
            .await
            .unwrap_or_else(|_| Err("the desk failed on it; `watchtree camera list` shows what counts".to_owned()))
    }

    /// The service.
    pub async fn run(self, apply: Apply, cx: ServiceCx) -> Result<(), Failure> {
        let mut hangups = signal(SignalKind::hangup()).map_err(Failure::start)?;
        let mut asked = self.0.asked.lock().await;
        loop {
            tokio::select! {
                _ = hangups.recv() => {
                    let told = cx.waits(self.read_again(&apply)).await;
                    cx.place.note(told);
                }
                Some(Ask { camera, change, reply }) = asked.recv() => {
                    let outcome = cx.waits(self.obey(camera, change, &apply)).await;
                    // Whoever asked may have gone.
                    let _ = reply.send(outcome);
                }
                () = cx.asked() => {}
                () = cx.stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn read_again(&self, apply: &Apply) -> String {
        let old = self.now();
        let read = tokio::task::spawn_blocking(move || old.plan.again()).await;
        match read.map_err(|why| why.to_string()).and_then(|read| read.map_err(|faults| faults.to_string())) {
            Ok(plan) => {
                let text = self.take(plan, apply).await;
                count("applied");
                info!("the configuration was read again: {text}");
                format!("read again: {text}")
            }
            Err(faults) => {
                count("refused");
                // A line each, as at the start.
                faults.lines().for_each(|fault| error!("the configuration was read again and is refused: {fault}"));
                let first = faults.lines().next().unwrap_or_default();
                limits::short_text(&format!("read again and refused, nothing was changed: {first}"))
            }
        }
    }

    async fn obey(&self, camera: Option<CameraId>, change: CameraChange, apply: &Apply) -> Outcome {
        let old = self.now();
        let planned = tokio::task::spawn_blocking(move || {
            let plan = old.plan.changed(camera.as_ref(), &change).map_err(|faults| few(&faults))?;
            let (file, text) = plan.overlay_file();
            keep(&file, &text)
                .map_err(|why| format!("nothing was changed: {} cannot be written: {why}", file.display()))?;
            Ok(plan)
        });
        let planned = planned.await.map_err(|why| why.to_string()).flatten();
        count(if planned.is_ok() { "applied" } else { "refused" });
        Ok(Steered::done(self.take(planned?, apply).await).short())
    }

    /// Makes the node run as planned; says what that was.
    async fn take(&self, plan: Plan, apply: &Apply) -> String {
        let old = self.now();
        let wanted = changes(&old.runs, &plan.edge);
        let mut runs = as_far_as_possible(&old.runs, &plan.edge);
        let new = Arc::new(runs.clone());
        let mut texts = Vec::new();
        for change in wanted {
            let text = told::change(&change);
            match change {
                Change::Restart(_) => texts.push(text),
                change => match apply(change.clone(), new.clone()).await {
                    Ok(()) => texts.push(text),
                    Err(why) => {
                        warn!("{text}, and that failed: {why}");
                        texts.push(format!("{text}, and that failed: {why}"));
                        failed(&change, &old.runs, &mut runs);
                    }
                },
            }
        }
        if !plan.orphans.is_empty() {
            let names = plan.orphans.iter().map(CameraId::as_str).collect::<Vec<_>>().join(", ");
            texts.push(format!("what was changed of {names} does not count: the edge's own file has no such camera"));
        }
        *self.0.now.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Now { plan, runs });
        if texts.is_empty() { "nothing is to be done for it".to_owned() } else { texts.join("; ") }
    }

    fn now(&self) -> Arc<Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What did not come about is as it was, so that the next change tries it again.
fn failed(change: &Change, old: &Edge, runs: &mut Edge) {
    let (Change::Opened(camera) | Change::Closed(camera)) = change else { return };
    runs.cameras.retain(|there| there.id != *camera);
    runs.cameras.extend(old.cameras.iter().find(|there| there.id == *camera).cloned());
}

/// One change, for the audit log: who did what to whom, and what came of it.
pub fn audit(by: &Identity, node: &Identity, camera: Option<&CameraId>, change: &CameraChange, outcome: &Outcome) {
    let camera = camera.map_or("all", CameraId::as_str);
    // Of what is set the keys alone: a password may be among the values.
    let (act, keys) = (change.as_str(), limits::short_text(&told::keys(change)));
    match outcome {
        Ok(Steered { text, .. }) => {
            info!(target: "audit", %by, %node, camera, act, keys, result = text, "camera changed");
        }
        Err(why) => warn!(target: "audit", %by, %node, camera, act, keys, result = why, "camera not changed"),
    }
}

fn count(result: &'static str) {
    metrics::counter!("watchtree_config_changes_total", "result" => result).increment(1);
}

/// As many as a message has room for, all on one line.
fn few(faults: &Faults) -> String {
    let texts: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
    limits::short_text(&texts.join("; and "))
}

/// Whole or not at all. Passwords may be in it.
fn keep(file: &Path, text: &str) -> std::io::Result<()> {
    let new = file.with_extension("toml.new");
    let mut options = std::fs::OpenOptions::new();
    let mut written = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    std::fs::rename(&new, file)?;
    std::fs::File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}
