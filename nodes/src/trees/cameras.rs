//! An edge's cameras: each a tree of its own, which comes, goes and changes while the others run.
//!
//!   desk ──change──▶ [cameras] ─┬─ opened, closed ──▶ the supervisor of all cameras
//!                               └─ changed ──▶ its seat, then the actors whose settings are others
//!
//! An actor reads its camera's seat at each start, so that a change is a new seat and a restart.

use super::terms::Terms;
use crate::launch;
use actors::api::health::Finding;
use actors::camera::board::Board;
use actors::camera::coverage::{Coverage, Coverages};
use actors::camera::gears::Gearbox;
use actors::camera::live::Live;
use actors::camera::motion::MotionSettings;
use actors::camera::session::Session;
use actors::camera::slot::Slot;
use actors::camera::watch::{Model, Watch};
use actors::events::outbox::Outbox;
use actors::inference::asker::Asker;
use actors::recording::snapshots::Snapshots;
use actors::recording::{Footage, FootageSettings, Library, Recorder};
use actors::tracking::rules::RulesSettings;
use actors::tracking::teller::Sinks;
use actors::tracking::tracker::TrackerSettings;
use actors::tracking::{Tracking, TrackingSettings};
use config::{CAMERAS_MAX, Camera, CameraParts, Change, Edge, Part};
use protocol::CameraId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use supervision::{Act, Dynamic, FailureKind, Node, Roll, StartError};
use tokio::time::sleep;

/// A supervisor that is being restarted is waited for, so many times so long.
const TRIES_MAX: u32 = 20;
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Cameras(Arc<Shared>);

/// What all cameras have in common.
pub(super) struct Common {
    pub node: String,
    pub roll: Roll,
    pub coverage: Coverages,
    pub ports_dir: PathBuf,
    pub outbox: Outbox,
    /// `None`: no gpu node is configured.
    pub asker: Option<Asker>,
    pub library: Library,
    pub snapshots: Snapshots,
    pub board: Board,
    pub terms: Terms,
}

struct Shared {
    common: Common,
    set: Dynamic,
    /// Of those that are enabled.
    seats: Mutex<BTreeMap<CameraId, Live<Seat>>>,
}

/// What a camera's actors are made from.
struct Seat {
    parts: CameraParts,
    coverage: Coverage,
    gears: Gearbox,
    footage: Footage,
    /// It holds what is open over restarts of the actor.
    recorder: Recorder,
}

impl Seat {
    /// What of the one before it is not concerned, is kept.
    fn new(camera: &CameraId, parts: CameraParts, before: Option<&Self>, common: &Common) -> Self {
        let rate = parts.watch.frames_per_s;
        let same = before.filter(|before| before.parts.watch.frames_per_s == rate);
        let coverage = same.map_or_else(|| common.coverage.put(camera, rate), |same| same.coverage.clone());
        let same = before.filter(|before| before.parts.gears == parts.gears);
        let gears = same.map_or_else(|| Gearbox::new(parts.gears.clone()), |same| same.gears.clone());
        let same = before.filter(|before| before.parts.recorder == parts.recorder);
        let record = &parts.recorder.record;
        let fresh = || {
            let footage = Footage::new(&FootageSettings::new(record, None));
            let (library, status) = (common.library.clone(), common.board.of(camera));
            (footage.clone(), Recorder::new(camera.clone(), footage, library, record.segment, status))
        };
        let (footage, recorder) = same.map_or_else(fresh, |same| (same.footage.clone(), same.recorder.clone()));
        Self { parts, coverage, gears, footage, recorder }
    }
}

impl Cameras {
    /// As configured at the node's start.
    pub fn new(config: &Edge, common: Common) -> Self {
        let mut seats = BTreeMap::new();
        let mut trees = Vec::new();
        for camera in config.cameras.iter().filter(|camera| camera.enabled) {
            let seat = Live::new(Seat::new(&camera.id, CameraParts::new(config, camera), None, &common));
            trees.push(common.tree(&camera.id, &seat));
            seats.insert(camera.id.clone(), seat);
        }
        let set = Dynamic::lasting("cameras", CAMERAS_MAX, trees);
        Self(Arc::new(Shared { common, set, seats: Mutex::new(seats) }))
    }

    /// To be put into the edge's tree once.
    pub fn node(&self) -> Node {
        self.0.set.node(self.0.common.terms.intensity())
    }

    /// Brings one change about.
    pub async fn apply(&self, change: Change, config: Arc<Edge>) -> Result<(), String> {
        match change {
            Change::Opened(id) => match config.cameras.iter().find(|camera| camera.id == id) {
                Some(camera) => self.open(&config, camera).await,
                None => Ok(()),
            },
            Change::Closed(id) => self.close(&id).await,
            Change::Changed { camera: id, parts } => match config.cameras.iter().find(|camera| camera.id == id) {
                Some(camera) => self.renew(CameraParts::new(&config, camera), &id, &parts).await,
                None => Ok(()),
            },
            Change::Retention => {
                self.0.common.library.retain((&config.retain).into());
                Ok(())
            }
            Change::Snapshots => {
                self.0.common.snapshots.set(config.snapshots.clone());
                Ok(())
            }
            Change::Restart(_) => Ok(()),
        }
    }

    async fn open(&self, config: &Edge, camera: &Camera) -> Result<(), String> {
        let common = &self.0.common;
        let seat = Live::new(Seat::new(&camera.id, CameraParts::new(config, camera), None, common));
        for _ in 0..TRIES_MAX {
            match self.0.set.start(common.tree(&camera.id, &seat)).await {
                Ok(()) => {
                    self.seats().insert(camera.id.clone(), seat);
                    return Ok(());
                }
                Err(StartError::Gone(_)) => sleep(TRY_AGAIN).await,
                // What is left of it there is not what is wanted now.
                Err(StartError::Taken { .. }) => drop(self.0.set.stop(camera.id.as_str()).await),
                Err(error) => {
                    common.coverage.remove(&camera.id);
                    return Err(error.to_string());
                }
            }
        }
        common.coverage.remove(&camera.id);
        Err("the supervisor of cameras does not run".to_owned())
    }

    async fn close(&self, id: &CameraId) -> Result<(), String> {
        for _ in 0..TRIES_MAX {
            if self.0.set.stop(id.as_str()).await.is_ok() {
                self.seats().remove(id);
                self.0.common.coverage.remove(id);
                self.0.common.board.remove(id);
                return Ok(());
            }
            sleep(TRY_AGAIN).await;
        }
        Err("the supervisor of cameras does not run".to_owned())
    }

    async fn renew(&self, parts: CameraParts, id: &CameraId, concerned: &[Part]) -> Result<(), String> {
        let Some(seat) = self.seats().get(id).cloned() else { return Ok(()) };
        seat.set(Seat::new(id, parts, Some(&seat.get()), &self.0.common));
        let at = format!("{}/cameras/{id}", self.0.common.node);
        // All of its actors hold its footage.
        if concerned.contains(&Part::Recorder) {
            return self.restart(&at).await;
        }
        for part in concerned {
            self.restart(&format!("{at}/{}", part.as_str())).await?;
        }
        Ok(())
    }

    /// Not of what somebody parked: that stays down until it is resumed, and reads its settings then.
    async fn restart(&self, path: &str) -> Result<(), String> {
        let roll = &self.0.common.roll;
        let mut path = path.to_owned();
        if let Some((parked, why)) = roll.parked(&path) {
            if why.is_some_and(|why| why.kind == FailureKind::Stopped) {
                return Ok(());
            }
            // What failed too often for its settings of before is tried with the new ones.
            path = parked;
        }
        roll.steer(&path, Act::Restart, "a changed configuration").await.map(drop).map_err(|error| error.to_string())
    }

    /// Why nothing works at this camera, if somebody or its failures parked what does.
    pub fn parked(&self, id: &CameraId) -> Option<String> {
        self.0.common.parked(id)
    }

    /// For health: each camera, and each session.
    pub fn findings(&self) -> Vec<(String, Finding)> {
        let common = &self.0.common;
        let mut findings = Vec::new();
        for (id, coverage) in common.coverage.iter() {
            let blind = coverage.blind().map(|reason| common.parked(&id).unwrap_or(reason));
            let sees = blind.map_or(Ok(coverage.sight().to_owned()), |reason| Err(format!("blind: {reason}")));
            let session = format!("cameras/{id}/session");
            let runs = launch::state_of(&common.roll, &format!("{}/{session}", common.node));
            findings.extend([(format!("camera {id}"), sees), (session, runs)]);
        }
        findings
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<CameraId, Live<Seat>>> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Common {
    pub fn parked(&self, id: &CameraId) -> Option<String> {
        ["session", "watch", "tracking", "recorder"]
            .iter()
            .find_map(|part| launch::why_parked(&self.roll, &format!("{}/cameras/{id}/{part}", self.node)))
    }

    /// One camera. It parks when it fails too often; no other camera notices.
    fn tree(&self, id: &CameraId, seat: &Live<Seat>) -> Node {
        let (slot, tracking) = (Slot::default(), Tracking::default());
        let terms = &self.terms;
        let session = {
            let port = terms.camera_port(self.ports_dir.join("watchtree-camera-port"));
            let (id, seat, slot) = (id.clone(), seat.clone(), slot.clone());
            let status = self.board.of(&id);
            move || {
                let seat = seat.get();
                Session {
                    camera: id.clone(),
                    source: seat.parts.source.clone(),
                    port: port.clone(),
                    slot: slot.clone(),
                    coverage: seat.coverage.clone(),
                    gears: seat.gears.clone(),
                    footage: seat.footage.clone(),
                    status: status.clone(),
                }
            }
        };
        let watch = {
            let (id, seat, tracking, asker) = (id.clone(), seat.clone(), tracking.clone(), self.asker.clone());
            move || {
                let seat = seat.get();
                let part = &seat.parts.watch;
                let model = asker.clone().map(|asker| Model {
                    asker,
                    name: part.model.clone(),
                    deadline: part.deadline,
                    priority: part.priority,
                });
                let motion = MotionSettings { threshold: part.motion.threshold, cells_min: part.motion.cells_min };
                Watch {
                    camera: id.clone(),
                    slot: slot.clone(),
                    coverage: seat.coverage.clone(),
                    motion,
                    masks: part.motion_masks.clone(),
                    regions: part.regions.clone(),
                    gears: seat.gears.clone(),
                    footage: seat.footage.clone(),
                    tracking: tracking.clone(),
                    model,
                }
            }
        };
        let made_from = {
            let (id, seat, outbox, snapshots) = (id.clone(), seat.clone(), self.outbox.clone(), self.snapshots.clone());
            move || {
                let seat = seat.get();
                let footage = seat.footage.clone();
                let sinks = Sinks { outbox: outbox.clone(), footage, snapshots: snapshots.clone() };
                (tracking_settings(&id, &seat.parts), sinks)
            }
        };
        let recorder = {
            let seat = seat.clone();
            move || seat.get().recorder.clone()
        };
        let children = vec![
            // Ahead of those who want footage kept: it is the last to stop.
            terms.service("recorder", move |cx| recorder().run(cx)),
            terms.waits_for_store(tracking.child(made_from)),
            terms.service("watch", move |cx| watch().run(cx)),
            terms.parked(terms.service("session", move |cx| session().run(cx))),
        ];
        terms.parked(terms.tree(id, children))
    }
}

fn tracking_settings(id: &CameraId, parts: &CameraParts) -> TrackingSettings {
    let part = &parts.tracking;
    let rules = RulesSettings {
        labels: part.labels.clone(),
        object_masks: part.object_masks.clone(),
        filters: part.filters.clone(),
        zones: part.zones.clone(),
        schedule: part.schedule.clone(),
    };
    let (score_min, score_min_by_label) = rules.score_mins(part.score_min);
    TrackingSettings {
        camera: id.clone(),
        tracker: TrackerSettings {
            score_min,
            score_min_by_label,
            lost_after: part.track.lost_after,
            // In the idle gear, whoever is looked at seldom is not out of sight between two looks.
            blind_after: part.track.blind_after.max(part.look_every * 2),
            stationary: part.stationary.clone(),
            ..TrackerSettings::default()
        },
        lost_after: part.track.lost_after,
        update_every: part.track.update_every,
        rules,
    }
}
