//! An edge: cameras, tracking, the outbox, links to a relay and a gpu node.

use super::fleet;
use super::spool::Spool;
use super::terms::Terms;
use crate::launch::Ground;
use actors::api::http::Http;
use actors::api::{health, readiness};
use actors::camera::coverage::{Coverage, Coverages};
use actors::camera::motion::MotionSettings;
use actors::camera::session::Session;
use actors::camera::slot::Slot;
use actors::camera::watch::{Model, Watch};
use actors::events::forwarder;
use actors::events::outbox::Outbox;
use actors::fabric::facts::Facts;
use actors::fabric::link::Link;
use actors::fabric::peers::Peers;
use actors::fabric::renewal::{Issues, Renewal};
use actors::fabric::site::Site;
use actors::inference::asker::{self, Asker};
use actors::inference::books::Journal;
use actors::inference::chooser;
use actors::telemetry::sampler::Sampler;
use actors::tracking::tracker::TrackerSettings;
use actors::tracking::{Tracking, TrackingSettings};
use anyhow::anyhow;
use config::{Camera, Edge, Gpus};
use protocol::Role;
use protocol::camera::Source;
use protocol::transport::{Credentials, Endpoint};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use supervision::{Node, Tree};

/// The links to gpu nodes and those who read their verdicts, by name.
const PLACES: [(&str, &str); 2] = [("gpu-link", "asker"), ("gpu-standby", "asker-standby")];

/// Inference on this edge, if a gpu node is configured.
struct Inference {
    gpus: Gpus,
    /// To the two gpu nodes that are asked.
    links: [Link; 2],
    asker: Asker,
    journal: Journal,
}

pub fn tree(config: Edge, mut ground: Ground) -> anyhow::Result<Tree> {
    let endpoint = Endpoint::dialer(&ground.credentials)?;
    let terms = Terms::new(&config.supervision);
    ground.facts.allow_faults = terms.allow_faults();
    let outbox = Outbox::new();
    let relay = Link::new(config.link.relay.clone(), Role::Relay);
    let inference = inference(&config, &ground)?;
    ground.facts.outbox = Some(outbox.clone());
    let rate = |camera: &Camera| camera.frames_per_s.unwrap_or(config.detect.frames_per_s);
    ground.facts.coverage = Coverages::new(config.cameras.iter().map(|camera| (camera.id.clone(), rate(camera))));
    if let Some(Inference { asker, journal, .. }) = &inference {
        let (asker, journal) = (asker.clone(), journal.clone());
        let ledgers = move || journal.earlier().into_iter().chain([asker.ledger()]).collect();
        ground.facts.ledgers = Arc::new(ledgers);
    }
    probe_outbox(&config, &ground, &outbox, &relay);
    probe_links(&ground, &relay, inference.as_ref());
    let renewal = Renewal::new(ground.credentials.clone(), Issues::Relay(relay.connections()));
    let certificate = renewal.clone();
    ground.facts.health.shows("certificate", move || certificate.finding());
    let cameras = cameras(&config, &ground, &outbox, inference.as_ref(), &terms);
    let facts = ground.facts;
    let sampler = sampler(&config, &facts, &ground.credentials, &relay, inference.as_ref());
    let site = Site { facts: facts.clone(), peers: Peers::default() };
    let http = Http::bind(config.node.http, site, ground.recorder, None)?;
    let queue = config.node.data_dir.join("outbox.redb");
    let entries_max = config.outbox.entries_max;
    let to_relay = {
        let (relay, endpoint, facts) = (relay.clone(), endpoint.clone(), facts.clone());
        terms.service("relay-link", move |cx| relay.clone().run(endpoint.clone(), facts.clone(), cx))
    };
    let forward = {
        let outbox = outbox.clone();
        let drain_within = forwarder::DRAIN_WITHIN;
        terms.service("forwarder", move |cx| forwarder::forward(outbox.clone(), relay.connections(), drain_within, cx))
    };
    let (health, notify) = (facts.health.clone(), ground.notify);
    let mut children = vec![
        // What is said to the manager of this process is said as long as anything runs.
        terms.service("health", move |cx| readiness::keep(health.clone(), notify.clone(), cx)),
        terms.service("http", move |cx| http.clone().run(cx)),
        terms.store(outbox.child(queue, entries_max)),
        to_relay,
        terms.service("renewal", move |cx| renewal.clone().run(cx)),
        forward,
    ];
    children.extend(fleet::children(&terms, sampler, Peers::default()));
    let node = facts.node.name.clone();
    if let Some(inference) = inference {
        children.extend(inference.children(&endpoint, &facts, &terms));
    }
    children.push(cameras.into());
    Ok(terms.tree(node, children))
}

fn sampler(
    config: &Edge,
    facts: &Facts,
    credentials: &Credentials,
    relay: &Link,
    inference: Option<&Inference>,
) -> Sampler {
    let mut sampler = Sampler::new(facts.clone(), config.node.data_dir.clone(), credentials);
    sampler.links = vec![relay.clone()];
    let asker = inference.map(|inference| inference.asker.clone());
    sampler.inference = asker.map(|asker| Arc::new(move || asker.figures()) as _);
    sampler
}

/// An edge does its job while it can write down what happens, and while what it wrote has somewhere to go or room
/// to wait.
fn probe_outbox(config: &Edge, ground: &Ground, outbox: &Outbox, relay: &Link) {
    let health = &ground.facts.health;
    for class in ["outbox", "forwarder"] {
        ground.needs_actor(class);
    }
    let (probe, disk) = (outbox.clone(), config.node.data_dir.clone());
    health.needs("events", move || probe.finding());
    health.needs_apart("disk", move || Box::pin(health::disk::writable(disk.clone())));
    let (outbox, relay) = (outbox.clone(), relay.clone());
    let spool = Arc::new(Spool::new(config.outbox.entries_max.get()));
    health.needs_apart("spool", move || {
        let (outbox, relay, spool) = (outbox.clone(), relay.clone(), spool.clone());
        Box::pin(async move {
            let status = outbox.status().await.map_err(|error| format!("the outbox does not answer: {error}"))?;
            // Of the numbers between the two, those are no entries that a full outbox had to drop.
            spool.finding(status.acked, outbox.waiting(), relay.finding(), Instant::now())
        })
    });
}

fn inference(config: &Edge, ground: &Ground) -> anyhow::Result<Option<Inference>> {
    let Some(gpus) = &config.link.gpu else {
        tracing::warn!("link.gpu is not set: cameras report motion alone, without labels");
        return Ok(None);
    };
    // Whom they dial, the chooser says.
    let links = ["gpu", "gpu-standby"].map(|label| Link::labelled(Vec::new(), Role::Gpu, label));
    let asker = Asker::new(ground.facts.boot, ground.facts.node.to_string(), links.clone());
    let dir = &config.node.data_dir;
    let unreadable = |why| anyhow!("{}: {why}; let this user read and write it", dir.join("askers.json").display());
    let journal = Journal::open(dir).map_err(unreadable)?;
    Ok(Some(Inference { gpus: gpus.clone(), links, asker, journal }))
}

impl Inference {
    /// Links to two gpu nodes, who reads their verdicts, and who chooses them.
    fn children(self, endpoint: &Endpoint, facts: &Facts, terms: &Terms) -> Vec<Node> {
        let Self { gpus, links, asker, journal } = self;
        let (chosen, books) = (links.clone(), asker.clone());
        let mut children = Vec::new();
        for (place, (link, names)) in links.into_iter().zip(PLACES).enumerate() {
            let (endpoint, facts, asker) = (endpoint.clone(), facts.clone(), asker.clone());
            let link = terms.service("gpu-link", move |cx| link.clone().run(endpoint.clone(), facts.clone(), cx));
            let asker = terms.service("asker", move |cx| asker.clone().run(place, cx));
            children.extend([link.named(names.0), asker.named(names.1)]);
        }
        let facts = facts.clone();
        let choose = move |cx| chooser::keep(gpus.clone(), chosen.clone(), asker.clone(), facts.clone(), cx);
        children.push(terms.service("chooser", choose));
        children.push(terms.service("books", move |cx| asker::keep_books(books.clone(), journal.clone(), cx)));
        children
    }
}

fn probe_links(ground: &Ground, relay: &Link, inference: Option<&Inference>) {
    let relay = relay.clone();
    // An edge works for days without its relay: the outbox keeps what happened.
    ground.facts.health.shows("relay-link", move || relay.finding());
    match inference {
        Some(Inference { gpus, links, .. }) => {
            // One address has no standby.
            let count = if matches!(gpus, Gpus::These(addrs) if addrs.len() == 1) { 1 } else { links.len() };
            for (link, (name, _)) in links.iter().take(count).zip(PLACES) {
                let link = link.clone();
                ground.facts.health.shows(name, move || link.finding());
            }
        }
        None => ground.facts.health.shows("detection", || Ok("motion alone: link.gpu is not set".to_owned())),
    }
}

fn cameras(config: &Edge, ground: &Ground, outbox: &Outbox, inference: Option<&Inference>, terms: &Terms) -> Tree {
    let children = config.cameras.iter().zip(ground.facts.coverage.iter()).map(|(camera, (_, coverage))| {
        let (probed, parked) = (coverage.clone(), parked(ground, camera));
        let blind = move || probed.blind().map(|reason| parked().unwrap_or(reason));
        let see = move || blind().map_or(Ok("sees".to_owned()), |reason| Err(format!("blind: {reason}")));
        ground.facts.health.shows(format!("camera {}", camera.id), see);
        ground.shows_actor(&format!("cameras/{}/session", camera.id));
        camera_tree(config, camera, ground, outbox, inference, coverage.clone(), terms)
    });
    let children = children.collect();
    let coverage = ground.facts.coverage.clone();
    let parked: BTreeMap<_, _> =
        config.cameras.iter().map(|camera| (camera.id.clone(), parked(ground, camera))).collect();
    ground.facts.health.needs("coverage", move || coverage.finding(|id| parked.get(id)?()));
    terms.tree("cameras", children)
}

/// Why nothing works at this camera, if somebody or its failures parked what does.
fn parked(ground: &Ground, camera: &Camera) -> impl Fn() -> Option<String> + Send + Sync + use<> {
    let parts = ["session", "watch", "tracking"].map(|part| ground.parked(&format!("cameras/{}/{part}", camera.id)));
    move || parts.iter().find_map(|parked| parked())
}

/// One camera. It parks when it fails too often; no other camera notices.
fn camera_tree(
    config: &Edge,
    camera: &Camera,
    ground: &Ground,
    outbox: &Outbox,
    inference: Option<&Inference>,
    coverage: Coverage,
    terms: &Terms,
) -> Node {
    let (slot, tracking) = (Slot::default(), Tracking::default());
    let session = Session {
        camera: camera.id.clone(),
        source: source(config, camera),
        port: terms.camera_port(ground.ports_dir.join("watchtree-camera-port")),
        slot: slot.clone(),
        coverage: coverage.clone(),
    };
    let model = inference.map(|inference| Model {
        asker: inference.asker.clone(),
        name: camera.model.clone().or_else(|| config.detect.model.clone()),
        deadline: config.detect.deadline,
        priority: camera.priority,
    });
    let motion = MotionSettings { threshold: config.motion.threshold, cells_min: config.motion.cells_min };
    let watch = Watch { camera: camera.id.clone(), slot, coverage, motion, tracking: tracking.clone(), model };
    let children = vec![
        terms.waits_for_store(tracking.child(tracking_settings(config, camera), outbox.clone())),
        terms.service("watch", move |cx| watch.clone().run(cx)),
        terms.parked(terms.service("session", move |cx| session.clone().run(cx))),
    ];
    terms.parked(terms.tree(&camera.id, children))
}

fn tracking_settings(config: &Edge, camera: &Camera) -> TrackingSettings {
    TrackingSettings {
        camera: camera.id.clone(),
        tracker: TrackerSettings {
            score_min: config.detect.score_min,
            lost_after: config.track.lost_after,
            blind_after: config.track.blind_after,
            ..TrackerSettings::default()
        },
        lost_after: config.track.lost_after,
        update_every: config.track.update_every,
        labels: camera.labels.clone(),
    }
}

fn source(config: &Edge, camera: &Camera) -> Source {
    Source {
        login: camera.login.clone(),
        frames_per_s: camera.frames_per_s.unwrap_or(config.detect.frames_per_s),
        frame_width_px_max: camera.frame_width_px_max,
        stall_ms: u32::try_from(camera.stall.as_millis()).unwrap_or(u32::MAX),
        ..Source::new(camera.source_url.clone())
    }
}
