//! A gpu node's configuration: its models and how their work is batched.

use crate::Kind;
use crate::common::{self, HOST_PORT, HostPort, Listen, Node, Tls, UPSTREAMS_MAX};
use crate::env::Vars;
use crate::fault::{Fault, Faults};
use crate::model;
use crate::reader::{Reader, Section};
use crate::supervision::{self, Supervision};
use protocol::model::EngineKind;
use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Gpu {
    pub node: Node,
    pub tls: Tls,
    pub listen: Listen,
    /// Where edges dial it, as `listen.advertise` says; `None`: where its relay sees it, at the port of `listen.quic`.
    pub advertise: Option<HostPort>,
    pub link: GpuLink,
    /// The first one judges frames that name no model. Without any, every frame is answered `failed`.
    pub models: Vec<ModelEntry>,
    pub batcher: Batcher,
    pub supervision: Supervision,
}

/// `[link]`: whom the gpu node dials.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuLink {
    /// Each gets a link of its own. Empty: it serves edges and tells no relay.
    pub relay: Vec<HostPort>,
}

/// `[[models]]`
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEntry {
    /// Read with [`crate::model::load`].
    pub spec: PathBuf,
    pub engine: EngineKind,
    /// Processes that run it side by side.
    pub instances: NonZeroU32,
    /// For one turn of its engine. A port that takes longer hangs, and is replaced.
    pub turn_max: Duration,
    /// What a batch costs with the engine `mock`.
    pub mock_fixed_ms: f32,
    /// What each picture in it costs on top.
    pub mock_item_ms: f32,
}

/// `[batcher]`: one for each model.
#[derive(Debug, Clone, PartialEq)]
pub struct Batcher {
    pub batch_max: NonZeroUsize,
    /// How long a free worker waits for a batch to fill.
    pub wait_max: Duration,
    /// Frames that wait for a worker. When full, the frame of least priority is answered `shed`.
    pub queue_frames_max: NonZeroUsize,
}

/// Where gpu nodes listen unless told otherwise.
const PORT_DEFAULT: u16 = 7444;

/// Each instance is a process with the whole model in memory.
const INSTANCES_MAX: u64 = 64;

/// Larger batches add latency and no throughput.
const BATCH_MAX: u64 = 256;

/// At one megabyte a frame, some 16 GB of memory.
const QUEUE_FRAMES_MAX: u64 = 16_384;

/// A turn is judged as a whole, and nothing of it can be seen before: long enough for a batch on one busy core.
const TURN_MS_DEFAULT: u64 = 5_000;

/// Sooner, a busy machine looks like a hang; a whole batch may take ten seconds.
const TURN_MS: RangeInclusive<u64> = 200..=10_000;

/// A batch of the mock engine that takes longer would look like a hang.
const MOCK_MS_MAX: f32 = 600_000.0;

const BATCH_DEFAULT: NonZeroUsize = NonZeroUsize::new(8).expect("it is not zero");
const QUEUE_FRAMES_DEFAULT: NonZeroUsize = NonZeroUsize::new(256).expect("it is not zero");

/// As [`crate::gpu`], from text: relative paths start at `dir`, variables come from `vars`.
pub fn gpu_from(text: &str, dir: &Path, vars: &Vars) -> Result<Gpu, Faults> {
    let reader = Reader::new(text, "", dir, Some(Kind::Gpu), vars)?;
    let gpu = read(&reader);
    reader.finish(gpu)
}

pub(crate) fn read(reader: &Reader) -> Option<Gpu> {
    let mut root = reader.root();
    let node = common::node(&mut root, Kind::Gpu);
    let tls = common::tls(&mut root);
    let mut section = root.section("listen");
    let listen = common::listen_in(&mut section, PORT_DEFAULT);
    let advertise = section.opt("advertise", HOST_PORT);
    drop(section);
    let link = GpuLink { relay: root.section("link").some("relay", UPSTREAMS_MAX, HOST_PORT).unwrap_or_default() };
    let models = root.sections("models").into_iter().filter_map(model_entry).collect();
    let batcher = batcher(root.section("batcher"));
    let supervision = supervision::read(&mut root);
    Some(Gpu { node: node?, tls: tls?, listen, advertise, link, models, batcher, supervision })
}

fn model_entry(mut s: Section) -> Option<ModelEntry> {
    let spec = s.must_path("spec", "name a model's spec, such as models/yolox-nano.toml");
    Some(ModelEntry {
        engine: s.choice("engine").unwrap_or(EngineKind::Auto),
        instances: s.int("instances", 1..=INSTANCES_MAX, "").unwrap_or(NonZeroU32::MIN),
        turn_max: s.millis("turn_ms_max", TURN_MS_DEFAULT, TURN_MS),
        mock_fixed_ms: s.number("mock_fixed_ms", 0.0..=MOCK_MS_MAX).unwrap_or(0.0),
        mock_item_ms: s.number("mock_item_ms", 0.0..=MOCK_MS_MAX).unwrap_or(0.0),
        spec: spec?,
    })
}

fn batcher(mut s: Section) -> Batcher {
    Batcher {
        batch_max: s.int("batch_max", 1..=BATCH_MAX, "; 1 turns batching off").unwrap_or(BATCH_DEFAULT),
        wait_max: s.millis("wait_ms_max", 0, 0..=10_000),
        queue_frames_max: s.int("queue_frames_max", 1..=QUEUE_FRAMES_MAX, "").unwrap_or(QUEUE_FRAMES_DEFAULT),
    }
}

/// Whether every model's spec can be used, and whether each has a name of its own.
pub(crate) fn check_specs(file: &Path, gpu: &Gpu) -> Result<(), Faults> {
    let mut faults = Vec::new();
    let mut first_of = BTreeMap::new();
    for (index, entry) in gpu.models.iter().enumerate() {
        match model::load(&entry.spec) {
            Ok(spec) => {
                if let Some(first) = first_of.insert(spec.name.clone(), index) {
                    faults.push(Fault {
                        file: file.display().to_string(),
                        key: format!("models.{index}.spec"),
                        value: format!("a second model named \"{}\"", spec.name),
                        way_out: format!("remove it, or rename one: models.{first} has this name"),
                    });
                }
            }
            Err(more) => faults.extend(more.0),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
}
