//! An edge: cameras, tracking, the outbox, links to a relay and a gpu node.

use crate::launch::Ground;
use actors::api::http::Http;
use actors::camera::coverage::{Coverage, Coverages};
use actors::camera::motion::MotionSettings;
use actors::camera::session::Session;
use actors::camera::slot::Slot;
use actors::camera::watch::{Model, Watch};
use actors::events::forwarder;
use actors::events::outbox::Outbox;
use actors::fabric::link::Link;
use actors::inference::asker::{self, Asker};
use actors::inference::books::Journal;
use actors::tracking::tracker::TrackerSettings;
use actors::tracking::{Tracking, TrackingSettings};
use anyhow::anyhow;
use config::{Camera, Edge};
use protocol::Role;
use protocol::camera::Source;
use protocol::transport::Endpoint;
use std::sync::Arc;
use std::time::Duration;
use supervision::{Intensity, Node, Strategy, Tree, service};

/// Inference on this edge, if a gpu node is configured.
struct Inference {
    link: Link,
    asker: Asker,
    journal: Journal,
}

pub fn tree(config: Edge, mut ground: Ground) -> anyhow::Result<Tree> {
    let endpoint = Endpoint::dialer(&ground.credentials)?;
    let outbox = Outbox::new();
    let relay = Link::new(config.link.relay.clone(), Role::Relay);
    let inference = inference(&config, &ground)?;
    ground.needs_actor("outbox");
    let probe = outbox.clone();
    ground.facts.health.needs("events", move || probe.finding());
    ground.facts.outbox = Some(outbox.clone());
    ground.facts.coverage = Coverages::new(config.cameras.iter().map(|camera| camera.id.clone()));
    if let Some(Inference { asker, journal, .. }) = &inference {
        let (asker, journal) = (asker.clone(), journal.clone());
        let ledgers = move || journal.earlier().into_iter().chain([asker.ledger()]).collect();
        ground.facts.ledgers = Arc::new(ledgers);
    }
    let cameras = cameras(&config, &ground, &outbox, inference.as_ref());
    probe_links(&ground, &relay, inference.as_ref());
    let facts = ground.facts;
    let http = Http { addr: config.node.http, facts: facts.clone(), recorder: ground.recorder, store: None };
    let queue = config.node.data_dir.join("outbox.redb");
    let entries_max = config.outbox.entries_max;
    let to_relay = {
        let (relay, endpoint, facts) = (relay.clone(), endpoint.clone(), facts.clone());
        service("relay-link", move |cx| relay.clone().run(endpoint.clone(), facts.clone(), cx))
    };
    let forward = {
        let outbox = outbox.clone();
        service("forwarder", move |cx| forwarder::forward(outbox.clone(), relay.connections(), cx))
    };
    let mut children =
        vec![service("http", move |cx| http.clone().run(cx)), outbox.child(queue, entries_max), to_relay, forward];
    if let Some(Inference { link, asker, journal }) = inference {
        let books = asker.clone();
        children.push(service("gpu-link", move |cx| link.clone().run(endpoint.clone(), facts.clone(), cx)));
        children.push(service("asker", move |cx| asker.clone().run(cx)));
        children.push(service("books", move |cx| asker::keep_books(books.clone(), journal.clone(), cx)));
    }
    children.push(cameras.into());
    Ok(Tree {
        name: ground.credentials.identity().name.to_string(),
        // Handles survive restarts, so nobody needs to restart with a neighbour.
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 5, within: Duration::from_secs(60) },
        children,
    })
}

fn inference(config: &Edge, ground: &Ground) -> anyhow::Result<Option<Inference>> {
    let Some(gpu) = &config.link.gpu else {
        tracing::warn!("link.gpu is not set: cameras report motion alone, without labels");
        return Ok(None);
    };
    let link = Link::new(gpu.clone(), Role::Gpu);
    let asker = Asker::new(ground.facts.boot, ground.facts.node.to_string(), link.clone());
    let dir = &config.node.data_dir;
    let unreadable = |why| anyhow!("{}: {why}; let this user read and write it", dir.join("askers.json").display());
    let journal = Journal::open(dir).map_err(unreadable)?;
    Ok(Some(Inference { link, asker, journal }))
}

fn probe_links(ground: &Ground, relay: &Link, inference: Option<&Inference>) {
    let relay = relay.clone();
    // An edge works for days without its relay: the outbox keeps what happened.
    ground.facts.health.shows("relay-link", move || relay.finding());
    match inference {
        Some(Inference { link, .. }) => {
            let link = link.clone();
            ground.facts.health.shows("gpu-link", move || link.finding());
        }
        None => ground.facts.health.shows("detection", || Ok("motion alone: link.gpu is not set".to_owned())),
    }
}

fn cameras(config: &Edge, ground: &Ground, outbox: &Outbox, inference: Option<&Inference>) -> Tree {
    let children = config.cameras.iter().zip(ground.facts.coverage.iter()).map(|(camera, (_, coverage))| {
        let probed = coverage.clone();
        let see = move || probed.blind().map_or(Ok("sees".to_owned()), |reason| Err(format!("blind: {reason}")));
        ground.facts.health.shows(format!("camera {}", camera.id), see);
        camera_tree(config, camera, ground, outbox, inference, coverage.clone())
    });
    let children = children.collect();
    let coverage = ground.facts.coverage.clone();
    ground.facts.health.needs("coverage", move || coverage.finding());
    Tree {
        name: "cameras".to_owned(),
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 5, within: Duration::from_secs(60) },
        children,
    }
}

/// One camera. It parks when it fails too often; no other camera notices.
fn camera_tree(
    config: &Edge,
    camera: &Camera,
    ground: &Ground,
    outbox: &Outbox,
    inference: Option<&Inference>,
    coverage: Coverage,
) -> Node {
    let (slot, tracking) = (Slot::default(), Tracking::default());
    let session = Session {
        camera: camera.id.clone(),
        source: source(config, camera),
        port: ground.ports_dir.join("watchtree-camera-port"),
        slot: slot.clone(),
        coverage: coverage.clone(),
    };
    let model = inference.map(|inference| Model {
        asker: inference.asker.clone(),
        name: camera.model.clone().or_else(|| config.detect.model.clone()),
        deadline: config.detect.deadline,
        priority: camera.priority,
    });
    let settings = TrackingSettings {
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
    };
    let motion = MotionSettings { threshold: config.motion.threshold, cells_min: config.motion.cells_min };
    let watch = Watch { camera: camera.id.clone(), slot, coverage, motion, tracking: tracking.clone(), model };
    let tree = Tree {
        name: camera.id.to_string(),
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 5, within: Duration::from_secs(60) },
        children: vec![
            tracking.child(settings, outbox.clone()),
            service("watch", move |cx| watch.clone().run(cx)),
            service("session", move |cx| session.clone().run(cx)).parked(),
        ],
    };
    Node::from(tree).parked()
}

fn source(config: &Edge, camera: &Camera) -> Source {
    Source {
        url: camera.source_url.clone(),
        login: camera.login.clone(),
        frames_per_s: camera.frames_per_s.unwrap_or(config.detect.frames_per_s),
        frame_width_px_max: camera.frame_width_px_max,
        stall_ms: u32::try_from(camera.stall.as_millis()).unwrap_or(u32::MAX),
        every_frame: false,
    }
}
