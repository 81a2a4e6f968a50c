//! Sampler: how this node is, told at set intervals to its own fleet and over the link to its relay.
//!
//!   machine, health, cameras, outbox, inference ──▶ [sampler] ──telemetry──▶ fleet (this node's), link ══▶ relay
//!                                                        └──────beats, datagrams───▶ link ══════════════▶ relay
//!
//! Telemetry goes out each ten seconds, when the link comes up, and with the next beat when a camera goes blind, sees
//! again, or readiness changes. Newest wins, and none is repeated: what is late is of no use.
//!
//! Stops when: it panics.  On restart: tells at once; beats go on counting.

use super::machine::{self, Cpu};
use crate::api::health::{self, Check};
use crate::camera::coverage::Coverages;
use crate::fabric::facts::Facts;
use crate::fabric::link::Link;
use futures_util::future::select_all;
use protocol::datagram::Datagram;
use protocol::telemetry::{BEAT_EVERY, Beat, CameraFigures, InferenceFigures, System, TELEMETRY_EVERY, Telemetry};
use protocol::transport::{Connection, Credentials, Version};
use protocol::{CameraId, Timestamp, limits};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use supervision::{Failure, ServiceCx, jitter};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

type Ask<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Bytes on disk of a camera.
type Stored = Arc<dyn Fn(&CameraId) -> u64 + Send + Sync>;

/// What a node's tree knows of itself. Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Sampler {
    pub facts: Facts,
    pub data_dir: PathBuf,
    /// To its relays; a relay's to others.
    pub links: Vec<Link>,
    /// On an edge and a gpu node.
    pub inference: Option<Ask<InferenceFigures>>,
    /// On an edge: how much is recorded of a camera.
    pub storage: Option<Stored>,
    /// The newest of the node's own certificate, which is renewed while it runs.
    credentials: Credentials,
    /// Counts within the process, over all incarnations.
    beats: Arc<AtomicU64>,
}

/// What one incarnation remembers from message to message.
struct Told {
    cpu: Cpu,
    system: System,
    frames: BTreeMap<CameraId, u64>,
    at: Instant,
    /// Ready, and who is blind: when it changes, nobody waits for the next message.
    gist: Option<Gist>,
}

type Gist = (bool, Vec<CameraId>);

impl Sampler {
    pub fn new(facts: Facts, data_dir: PathBuf, credentials: &Credentials) -> Self {
        let credentials = credentials.clone();
        Self { facts, data_dir, links: Vec::new(), inference: None, storage: None, credentials, beats: Arc::default() }
    }

    /// The service.
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        // Edges that were started together must not speak together.
        let offset = |every: Duration| Instant::now() + every.mul_f64(jitter());
        let (mut beats, mut round) =
            (every(BEAT_EVERY, offset(BEAT_EVERY)), every(TELEMETRY_EVERY, offset(TELEMETRY_EVERY)));
        let mut links: Vec<Connections> = self.links.iter().map(Link::connections).collect();
        let mut told = Told::new();
        let mut reading = Some(self.read(told.cpu));
        loop {
            tokio::select! {
                _ = round.tick() => {
                    // One that hangs with its disk is waited for; it is never two.
                    reading.get_or_insert_with(|| self.read(told.cpu));
                }
                _ = beats.tick() => {
                    let gist = self.gist();
                    self.beat(gist.0);
                    if told.gist.as_ref().is_some_and(|before| *before != gist) {
                        reading.get_or_insert_with(|| self.read(told.cpu));
                    }
                }
                read = finished(&mut reading) => {
                    reading = None;
                    if let Some((system, cpu)) = read {
                        (told.system, told.cpu) = (system, cpu);
                    }
                    let telemetry = cx.waits(self.compose(&mut told)).await;
                    self.tell(telemetry);
                }
                is_up = link_changed(&mut links) => if is_up {
                    reading.get_or_insert_with(|| self.read(told.cpu));
                },
                () = cx.asked() => {}
                () = cx.stop.cancelled() => return Ok(()),
            }
        }
    }

    fn read(&self, before: Cpu) -> JoinHandle<(System, Cpu)> {
        let dir = self.data_dir.clone();
        tokio::task::spawn_blocking(move || machine::read(&dir, before))
    }

    fn gist(&self) -> Gist {
        let blind = self.facts.coverage.iter().filter(|(_, coverage)| coverage.blind().is_some());
        (health::ready(&self.facts.health.checks()), blind.map(|(id, _)| id).collect())
    }

    fn beat(&self, ready: bool) {
        let seq = self.beats.fetch_add(1, Ordering::Relaxed) + 1;
        let beat = Datagram::Beat(Beat { boot: self.facts.boot, seq, ready });
        let up = self.links.iter().filter_map(|link| link.connections().borrow().clone());
        for connection in up.filter(|connection| connection.version() >= Version::FABRIC) {
            // One that cannot be sent is late; a lost link is the link's to tell.
            let _ = connection.send_datagram(&beat);
        }
    }

    async fn compose(&self, told: &mut Told) -> Telemetry {
        let facts = &self.facts;
        let checks = facts.health.checks();
        let spool = match &facts.outbox {
            // One that does not answer is health's to tell.
            Some(outbox) => outbox.spool().await.ok(),
            None => None,
        };
        let mut cameras = told.cameras(&facts.coverage, Instant::now());
        if let Some(stored) = &self.storage {
            cameras.iter_mut().for_each(|camera| camera.storage_bytes = stored(&camera.camera));
        }
        let ready = health::ready(&checks);
        let blind = cameras.iter().filter(|camera| !camera.on_line).map(|camera| camera.camera.clone()).collect();
        told.gist = Some((ready, blind));
        let telemetry = Telemetry {
            boot: facts.boot,
            at: Timestamp::now(),
            ready,
            notes: notes(&checks),
            system: told.system.clone(),
            cameras,
            spool,
            inference: self.inference.as_ref().map(|figures| figures()),
            certificate_until: Some(self.credentials.certificate().until),
        };
        telemetry.short()
    }

    fn tell(&self, telemetry: Telemetry) {
        self.links.iter().for_each(|link| link.tell(telemetry.clone()));
        self.facts.fleet.own_telemetry(telemetry);
    }
}

impl Told {
    fn new() -> Self {
        Self { cpu: Cpu::default(), system: System::default(), frames: BTreeMap::new(), at: Instant::now(), gist: None }
    }

    /// Frames a second are those judged since the last message. How much is stored, the library is asked.
    fn cameras(&mut self, coverage: &Coverages, now: Instant) -> Vec<CameraFigures> {
        let span_s = now.saturating_duration_since(self.at).as_secs_f32();
        self.at = now;
        let mut figures = |(id, coverage): (CameraId, crate::camera::coverage::Coverage)| {
            let frames = coverage.frames();
            let before = self.frames.insert(id.clone(), frames).unwrap_or(0);
            let why = coverage.blind();
            let frames_per_s = if span_s > 0.0 { frames.saturating_sub(before) as f32 / span_s } else { 0.0 };
            CameraFigures { camera: id.clone(), on_line: why.is_none(), why, frames_per_s, storage_bytes: 0 }
        };
        coverage.iter().map(&mut figures).collect()
    }
}

/// What is not well, what is needed first. Cameras tell of themselves, and other nodes too.
fn notes(checks: &[Check]) -> Vec<String> {
    let tells = |check: &&Check| !check.ok && !check.is_a_node && !check.name.starts_with("camera ");
    let mut failing: Vec<&Check> = checks.iter().filter(tells).collect();
    failing.sort_by_key(|check| !check.needed);
    failing.into_iter().take(limits::TELEMETRY_NOTES_MAX).map(Check::line).collect()
}

fn every(period: Duration, first: Instant) -> Interval {
    let mut interval = interval_at(first, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Never, while nothing is being read; `None` if reading failed.
async fn finished(reading: &mut Option<JoinHandle<(System, Cpu)>>) -> Option<(System, Cpu)> {
    match reading {
        Some(reading) => reading.await.ok(),
        None => std::future::pending().await,
    }
}

type Connections = tokio::sync::watch::Receiver<Option<Connection>>;

/// Whether one that has just changed is up now; never, where there is none. Cancel-safe.
async fn link_changed(links: &mut [Connections]) -> bool {
    if links.is_empty() {
        return std::future::pending().await;
    }
    let (changed, which, _) = select_all(links.iter_mut().map(|link| Box::pin(link.changed()))).await;
    match changed {
        Ok(()) => links[which].borrow_and_update().is_some(),
        // The sampler holds its links: none of them goes before it.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
