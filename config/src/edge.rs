//! An edge's configuration: its links, its limits and its cameras.

use crate::Kind;
use crate::camera::{self, Camera};
use crate::common::{self, HOST_PORT, HostPort, Node, Tls, UPSTREAMS_MAX};
use crate::env::Vars;
use crate::fault::{Faults, shown};
use crate::reader::{Reader, Section};
use crate::recording::{self, Record, Retain, Snapshots};
use crate::supervision::{self, Supervision};
use crate::watching::read as watching;
use crate::watching::{Gears, Regions, Stationary};
use protocol::CameraId;
use protocol::camera::Allow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    pub node: Node,
    pub tls: Tls,
    pub link: EdgeLink,
    pub outbox: Outbox,
    pub detect: Detect,
    pub motion: Motion,
    pub track: Track,
    pub gears: Gears,
    pub regions: Regions,
    pub stationary: Stationary,
    pub record: Record,
    pub retain: Retain,
    pub snapshots: Snapshots,
    /// `[sources]`: which addresses a camera may have beside those of a network.
    pub allow: Allow,
    pub supervision: Supervision,
    /// Ids are unique. May be empty: an edge can be installed before its cameras.
    pub cameras: Vec<Camera>,
}

/// `[link]`: whom the edge dials.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeLink {
    /// The first that answers is kept; not empty.
    pub relay: Vec<HostPort>,
    /// `None`: nobody judges frames, so motion is all that is reported.
    pub gpu: Option<Gpus>,
}

/// Which gpu nodes an edge may ask; it keeps links to two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gpus {
    /// Those that its relay tells it of.
    Auto,
    /// These, the first ones preferred; not empty.
    These(Vec<HostPort>),
}

/// `[outbox]`
#[derive(Debug, Clone, PartialEq)]
pub struct Outbox {
    /// Entries that wait for the relay. When full, the oldest of the lowest severity is dropped and counted.
    pub entries_max: NonZeroU64,
}

/// `[detect]`: what is asked of a gpu node.
#[derive(Debug, Clone, PartialEq)]
pub struct Detect {
    /// Of each camera, unless the camera says otherwise.
    pub frames_per_s: f32,
    /// `None`: the gpu node's first.
    pub model: Option<String>,
    /// An answer later than this is of no use.
    pub deadline: Duration,
    /// Detections with a lower score are ignored.
    pub score_min: f32,
}

/// `[motion]`: what counts as movement.
#[derive(Debug, Clone, PartialEq)]
pub struct Motion {
    /// How much a cell's brightness has to change, of 255.
    pub threshold: u8,
    /// How many cells have to change.
    pub cells_min: u32,
}

/// `[track]`: when an event ends, and how often it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Looked for and not found for so long: it left.
    pub lost_after: Duration,
    /// Not even looked for, for so long: nobody knows.
    pub blind_after: Duration,
    /// While an event goes on, at most one update in this time.
    pub update_every: Duration,
}

/// In place of addresses: whom the relay tells of.
const AUTO: &str = "auto";
const GPUS: &str = "use \"auto\", host:port, such as 10.0.0.2:7444, or a list of those";

/// Frames a second that a camera may be looked at.
pub(crate) const FRAMES_PER_S: RangeInclusive<f32> = 0.1..=30.0;

/// Some 300 B an entry: a larger outbox than this outgrows the disk of any edge.
const OUTBOX_ENTRIES_MAX: u64 = 1_000_000_000;

/// Of one edge. More are refused: no machine opens so many, and lists of them fit a message.
pub const CAMERAS_MAX: usize = 128;

const OUTBOX_ENTRIES_DEFAULT: NonZeroU64 = NonZeroU64::new(1_000_000).expect("it is not zero");

/// As [`crate::edge`], from text: relative paths start at `dir`, variables come from `vars`.
pub fn edge_from(text: &str, dir: &Path, vars: &Vars) -> Result<Edge, Faults> {
    let reader = Reader::new(text, "", dir, Some(Kind::Edge), vars)?;
    let edge = read(&reader);
    reader.finish(edge)
}

pub(crate) fn read(reader: &Reader) -> Option<Edge> {
    let mut root = reader.root();
    let node = common::node(&mut root, Kind::Edge);
    let tls = common::tls(&mut root);
    let link = link(root.section("link"));
    let entries_max = root.section("outbox").int("entries_max", 1..=OUTBOX_ENTRIES_MAX, "");
    let outbox = Outbox { entries_max: entries_max.unwrap_or(OUTBOX_ENTRIES_DEFAULT) };
    let allow = allow(root.section("sources"));
    let (detect, regions) = detect(root.section("detect"));
    let motion = motion(root.section("motion"));
    let (track, stationary) = track(root.section("track"));
    let gears = watching::gears(&mut root);
    let (record, retain) = (recording::record(&mut root), recording::retain(&mut root));
    let snapshots = recording::snapshots(&mut root);
    let supervision = supervision::read(&mut root);
    let cameras = cameras(&mut root, &reader.laid().removed);
    Some(Edge {
        node: node?,
        tls: tls?,
        link: link?,
        outbox,
        detect,
        motion,
        track,
        gears,
        regions,
        stationary,
        record,
        retain,
        snapshots,
        allow,
        supervision,
        cameras,
    })
}

fn link(mut s: Section) -> Option<EdgeLink> {
    let relay = s.require("relay", HOST_PORT).some("relay", UPSTREAMS_MAX, HOST_PORT);
    let gpu = gpus(&mut s);
    Some(EdgeLink { relay: relay?, gpu })
}

fn gpus(s: &mut Section) -> Option<Gpus> {
    if s.takes("gpu", AUTO) {
        return Some(Gpus::Auto);
    }
    s.some("gpu", UPSTREAMS_MAX, GPUS).map(Gpus::These)
}

fn allow(mut s: Section) -> Allow {
    let way_out = "list \"loopback\" for cameras of this machine, \"link_local\" for those with a 169.254 or fe80 \
                   address, or remove it";
    let mut allow = Allow::default();
    for (index, kind) in s.texts("allow", way_out).unwrap_or_default().into_iter().enumerate() {
        match kind.as_str() {
            "loopback" => allow.loopback = true,
            "link_local" => allow.link_local = true,
            _ => s.fault(&format!("allow.{index}"), &shown(&kind.into()), way_out),
        }
    }
    allow
}

fn detect(mut s: Section) -> (Detect, Regions) {
    let regions = watching::regions(&mut s);
    let detect = Detect {
        frames_per_s: s.number("frames_per_s", FRAMES_PER_S).unwrap_or(5.0),
        model: s.text("model", "name a model of the gpu node, or remove it for its first"),
        deadline: s.millis("deadline_ms", 1000, 10..=60_000),
        score_min: s.number("score_min", 0.0..=1.0).unwrap_or(0.5),
    };
    (detect, regions)
}

fn motion(mut s: Section) -> Motion {
    Motion {
        threshold: s.int("threshold", 1..=255, "").unwrap_or(18),
        cells_min: s.int("cells_min", 1..=100_000, "").unwrap_or(3),
    }
}

fn track(mut s: Section) -> (Track, Stationary) {
    let stationary = watching::stationary(&mut s);
    let track = Track {
        lost_after: s.millis("lost_after_ms", 2500, 100..=600_000),
        blind_after: s.millis("blind_after_ms", 10_000, 100..=3_600_000),
        update_every: s.millis("update_every_ms", 1000, 100..=3_600_000),
    };
    (track, stationary)
}

/// Those that operators have removed through the API are not looked at.
fn cameras(root: &mut Section, removed: &BTreeSet<String>) -> Vec<Camera> {
    let mut first_of = BTreeMap::new();
    let mut cameras = Vec::new();
    let sections = root.sections("cameras");
    if sections.len() > CAMERAS_MAX {
        let way_out = format!("use {CAMERAS_MAX} at most; a second edge takes the others");
        root.fault("cameras", &format!("{} of them", sections.len()), &way_out);
    }
    for (index, mut s) in sections.into_iter().enumerate() {
        if s.is_one_of("id", removed) {
            s.ignore();
            continue;
        }
        // A camera that is wrong has left its faults; the others are still looked at.
        let Some(camera) = camera::read(&mut s) else { continue };
        if camera.id.as_str() == CameraId::OUTBOX {
            s.fault("id", "\"outbox\"", "choose another: what the edge says of its outbox has this id");
        } else if let Some(first) = first_of.get(&camera.id) {
            let way_out = format!("choose another: cameras.{first} has this id");
            s.fault("id", &format!("\"{}\"", camera.id), &way_out);
        } else {
            first_of.insert(camera.id.clone(), index);
        }
        cameras.push(camera);
    }
    cameras
}
