//! Changes: which actors of which camera another configuration concerns. A pure core.
//!
//!   Edge ─▸ parts of each camera ─┐
//!                                 ├─▸ what is not equal
//!   Edge ─▸ parts of each camera ─┘
//!
//! An actor's part is all that it is made from, defaults of the edge filled in: what is not in it does not concern it.

use crate::camera::Camera;
use crate::edge::{Edge, Motion, Track};
use crate::recording::{Record, RecordMode};
use crate::watching::{Filter, GearMode, Gears, ObjectMask, Polygon, Regions, Schedule, Stationary, Zone};
use protocol::camera::{Gear, Source};
use protocol::{CameraId, Priority};
use std::time::Duration;

/// Something that differs between two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is there or enabled, and was not.
    Opened(CameraId),
    /// It is gone or disabled.
    Closed(CameraId),
    /// These of its actors are made from something else now; in the order in which they start.
    Changed { camera: CameraId, parts: Vec<Part> },
    /// `[retain]`
    Retention,
    /// `[snapshots]`
    Snapshots,
    /// Such a section or key is read once: the node has to be started again for it.
    Restart(&'static str),
}

/// The actors of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Recorder,
    Tracking,
    Watch,
    Session,
}

impl Part {
    /// The actor's name below the camera's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recorder => "recorder",
            Self::Tracking => "tracking",
            Self::Watch => "watch",
            Self::Session => "session",
        }
    }
}

/// What a camera's actors are made from.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraParts {
    /// Of the session: as the port opens it.
    pub source: Source,
    /// With the camera's own mode.
    pub gears: Gears,
    pub watch: WatchPart,
    pub tracking: TrackingPart,
    pub recorder: RecorderPart,
}

#[derive(Debug, Clone, PartialEq)]
pub struct WatchPart {
    pub frames_per_s: f32,
    pub motion: Motion,
    pub motion_masks: Vec<Polygon>,
    pub regions: Regions,
    pub stationary: Stationary,
    /// `None`: the gpu node's first.
    pub model: Option<String>,
    pub deadline: Duration,
    pub priority: Priority,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TrackingPart {
    pub score_min: f32,
    pub track: Track,
    pub stationary: Stationary,
    pub labels: Vec<String>,
    pub object_masks: Vec<ObjectMask>,
    pub zones: Vec<Zone>,
    pub filters: Vec<Filter>,
    pub schedule: Option<Schedule>,
    /// How seldom a camera may be looked at without being blind.
    pub look_every: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RecorderPart {
    /// With the camera's own mode.
    pub record: Record,
}

impl CameraParts {
    pub fn new(edge: &Edge, camera: &Camera) -> Self {
        let frames_per_s = camera.frames_per_s.unwrap_or(edge.detect.frames_per_s);
        let record = Record { mode: camera.record.unwrap_or(edge.record.mode), ..edge.record.clone() };
        let gears = Gears { mode: camera.gear.unwrap_or(edge.gears.mode), ..edge.gears.clone() };
        Self {
            source: source(edge, camera, &record, &gears, frames_per_s),
            gears,
            watch: WatchPart {
                frames_per_s,
                motion: edge.motion.clone(),
                motion_masks: camera.motion_masks.clone(),
                regions: edge.regions.clone(),
                stationary: edge.stationary.clone(),
                model: camera.model.clone().or_else(|| edge.detect.model.clone()),
                deadline: edge.detect.deadline,
                priority: camera.priority,
            },
            tracking: TrackingPart {
                score_min: edge.detect.score_min,
                track: edge.track.clone(),
                stationary: edge.stationary.clone(),
                labels: camera.labels.clone(),
                object_masks: camera.object_masks.clone(),
                zones: camera.zones.clone(),
                filters: camera.filters.clone(),
                schedule: camera.schedule.clone(),
                look_every: edge.gears.look_every,
            },
            recorder: RecorderPart { record },
        }
    }

    /// Footage is in all hands: what it is kept for concerns all. The gears are the watch's and the session's.
    fn differing(&self, other: &Self) -> Vec<Part> {
        let all = self.recorder != other.recorder;
        let gears = self.gears != other.gears;
        let concerned = [
            (Part::Recorder, all),
            (Part::Tracking, all || self.tracking != other.tracking),
            (Part::Watch, all || gears || self.watch != other.watch),
            (Part::Session, all || gears || self.source != other.source),
        ];
        concerned.into_iter().filter(|(_, is_concerned)| *is_concerned).map(|(part, _)| part).collect()
    }
}

fn source(edge: &Edge, camera: &Camera, record: &Record, gears: &Gears, frames_per_s: f32) -> Source {
    let units = record.mode != RecordMode::Off;
    Source {
        login: camera.login.clone(),
        detect: camera.detect.clone(),
        transport: camera.transport,
        allow: edge.allow,
        frames_per_s,
        frame_width_px_max: camera.frame_width_px_max,
        stall_ms: u32::try_from(camera.stall.as_millis()).unwrap_or(u32::MAX),
        repeat: camera.repeat,
        // Motion has to learn what is usual before a camera can idle.
        gear: if gears.mode == GearMode::Passthrough { Gear::Passthrough } else { Gear::Awake },
        units,
        audio: units && record.audio,
        ..Source::new(camera.source_url.clone())
    }
}

/// What has to be done so that a node that runs as `old` runs as `new`, as far as it can while it runs; closing comes
/// first.
pub fn changes(old: &Edge, new: &Edge) -> Vec<Change> {
    let restarts = restarts(old, new);
    let new = &as_far_as_possible(old, new);
    let mut changes = Vec::new();
    let closed = wanted(old).filter(|camera| find(new, &camera.id).is_none());
    changes.extend(closed.map(|camera| Change::Closed(camera.id.clone())));
    for camera in wanted(new) {
        let Some(before) = find(old, &camera.id) else {
            changes.push(Change::Opened(camera.id.clone()));
            continue;
        };
        let parts = CameraParts::new(old, before).differing(&CameraParts::new(new, camera));
        if !parts.is_empty() {
            changes.push(Change::Changed { camera: camera.id.clone(), parts });
        }
    }
    changes.extend((old.retain != new.retain).then_some(Change::Retention));
    changes.extend((old.snapshots != new.snapshots).then_some(Change::Snapshots));
    changes.extend(restarts.into_iter().map(Change::Restart));
    changes
}

fn wanted(edge: &Edge) -> impl Iterator<Item = &Camera> {
    edge.cameras.iter().filter(|camera| camera.enabled)
}

fn find<'a>(edge: &'a Edge, id: &CameraId) -> Option<&'a Camera> {
    wanted(edge).find(|camera| camera.id == *id)
}

fn restarts(old: &Edge, new: &Edge) -> Vec<&'static str> {
    let differing = [
        ("[node]", old.node != new.node),
        ("[tls]", old.tls != new.tls),
        ("[link]", old.link != new.link),
        ("[outbox]", old.outbox != new.outbox),
        ("record.dir", old.record.dir != new.record.dir),
        ("[supervision]", old.supervision != new.supervision),
    ];
    differing.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// `new`, but for what a running node cannot take.
pub fn as_far_as_possible(old: &Edge, new: &Edge) -> Edge {
    let mut edge = new.clone();
    (edge.node, edge.tls, edge.link) = (old.node.clone(), old.tls.clone(), old.link.clone());
    (edge.outbox, edge.supervision) = (old.outbox.clone(), old.supervision.clone());
    edge.record.dir = old.record.dir.clone();
    edge
}
