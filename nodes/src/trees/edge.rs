//! An edge: cameras, tracking, the outbox, links to a relay and a gpu node.

use super::cameras::{Cameras, Common};
use super::fleet;
use super::spool::Spool;
use super::terms::Terms;
use crate::launch::Ground;
use actors::api::http::kept::{Kept, Picture};
use actors::api::http::{Http, OfEdge};
use actors::api::{health, readiness};
use actors::camera::board::Board;
use actors::camera::coverage::book::Book;
use actors::camera::coverage::keeper::{Keeper, Parked};
use actors::camera::desk::Desk;
use actors::events::forwarder;
use actors::events::outbox::Outbox;
use actors::fabric::clips::Clips;
use actors::fabric::facts::Facts;
use actors::fabric::link::Link;
use actors::fabric::peers::Peers;
use actors::fabric::renewal::{Issues, Renewal};
use actors::fabric::site::Site;
use actors::inference::asker::{self, Asker};
use actors::inference::books::Journal;
use actors::inference::chooser;
use actors::recording::Library;
use actors::recording::snapshots::{self, Cut, Snapshots};
use actors::telemetry::sampler::Sampler;
use anyhow::anyhow;
use config::{Edge, Gpus, Plan};
use futures_util::future::BoxFuture;
use protocol::Role;
use protocol::transport::{Credentials, Endpoint};
use std::sync::Arc;
use std::time::Instant;
use supervision::{Failure, Node, ServiceCx, Tree};
use tokio::signal::unix::{SignalKind, signal};

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

pub fn tree(plan: Plan, mut ground: Ground) -> anyhow::Result<Tree> {
    // From here on it means "read the file again", also before the desk runs.
    drop(signal(SignalKind::hangup())?);
    let config = plan.edge.clone();
    let endpoint = Endpoint::dialer(&ground.credentials)?;
    let terms = Terms::new(&config.supervision);
    ground.facts.allow_faults = terms.allow_faults();
    let outbox = Outbox::new();
    let (library, board) = (library(&config, &ground), Board::default());
    let relay = Link::giving(config.link.relay.clone(), Role::Relay, Clips::of(library.clone()));
    let inference = inference(&config, &ground)?;
    ground.facts.outbox = Some(outbox.clone());
    if let Some(inference) = &inference {
        inference.keeps_books(&mut ground.facts);
    }
    probe_outbox(&config, &ground, &outbox, &relay);
    probe_links(&ground, &relay, inference.as_ref());
    let renewal = Renewal::new(ground.credentials.clone(), Issues::Relay(relay.connections()));
    let certificate = renewal.clone();
    ground.facts.health.shows("certificate", move || certificate.finding());
    let snapshots = Snapshots::new(library.root().to_owned(), config.snapshots.clone());
    let common = Common {
        node: ground.facts.node.name.to_string(),
        roll: ground.facts.roll.clone(),
        coverage: ground.facts.coverage.clone(),
        ports_dir: ground.ports_dir.clone(),
        outbox: outbox.clone(),
        asker: inference.as_ref().map(|inference| inference.asker.clone()),
        library: library.clone(),
        snapshots: snapshots.clone(),
        board: board.clone(),
        terms: terms.clone(),
    };
    let cameras = cameras(&config, &ground, common);
    let parked = parked(&cameras);
    let desk = desk(plan, &ground, &cameras);
    ground.facts.desk = Some(desk.clone());
    let facts = ground.facts;
    let sampler = sampler(&config, &facts, &ground.credentials, &relay, inference.as_ref(), &library);
    let site = Site { facts: facts.clone(), peers: Peers::default() };
    let book = Book::new(config.node.data_dir.join("coverage.redb"));
    let keeper = Keeper::new(facts.coverage.clone(), outbox.clone(), book.clone(), parked.clone());
    let of_edge = OfEdge { board, book, kept: kept(&library), parked };
    let http = Http::bind(config.node.http, site, ground.recorder, None)?.of_edge(of_edge);
    let [to_relay, forward] = to_relay(&terms, &endpoint, &facts, &relay, &outbox);
    let (health, notify) = (facts.health.clone(), ground.notify);
    let mut children = vec![
        // What is said to the manager of this process is said as long as anything runs.
        terms.service("health", move |cx| readiness::keep(health.clone(), notify.clone(), cx)),
        terms.service("http", move |cx| http.clone().run(cx)),
        terms.store(outbox.child(config.node.data_dir.join("outbox.redb"), config.outbox.entries_max)),
        to_relay,
        terms.service("renewal", move |cx| renewal.clone().run(cx)),
        forward,
        // Ahead of the cameras: it says when nobody looked, to their end.
        terms.service("coverage-keeper", move |cx| keeper.clone().run(cx)),
    ];
    children.extend(fleet::children(&terms, sampler, Peers::default()));
    if let Some(inference) = inference {
        children.extend(inference.children(&endpoint, &facts, &terms));
    }
    children.extend([
        terms.service("library", move |cx| library.clone().run(cx)),
        // Ahead of those who hand it frames to their last moment.
        terms.parked(terms.service("snapshots", move |cx| snapshots.clone().run(cx))),
        cameras.node(),
        terms.service("desk", move |cx| at_desk(desk.clone(), cameras.clone(), cx)),
    ]);
    Ok(terms.tree(facts.node.name.clone(), children))
}

/// Why nothing works at a camera's place, if somebody or its failures parked what does.
fn parked(cameras: &Cameras) -> Parked {
    let cameras = cameras.clone();
    Arc::new(move |id| cameras.parked(id))
}

/// Changes of cameras, until the node stops.
async fn at_desk(desk: Desk, cameras: Cameras, cx: ServiceCx) -> Result<(), Failure> {
    let apply = move |change, config| {
        let cameras = cameras.clone();
        Box::pin(async move { cameras.apply(change, config).await }) as BoxFuture<'static, Result<(), String>>
    };
    desk.run(Arc::new(apply), cx).await
}

/// The link to the relay, and who sends over it what happened.
fn to_relay(terms: &Terms, endpoint: &Endpoint, facts: &Facts, relay: &Link, outbox: &Outbox) -> [Node; 2] {
    let (link, endpoint, facts) = (relay.clone(), endpoint.clone(), facts.clone());
    let (relay, outbox) = (relay.clone(), outbox.clone());
    let forward = move |cx| forwarder::forward(outbox.clone(), relay.connections(), forwarder::DRAIN_WITHIN, cx);
    [
        terms.service("relay-link", move |cx| link.clone().run(endpoint.clone(), facts.clone(), cx)),
        terms.service("forwarder", forward),
    ]
}

fn sampler(
    config: &Edge,
    facts: &Facts,
    credentials: &Credentials,
    relay: &Link,
    inference: Option<&Inference>,
    library: &Library,
) -> Sampler {
    let mut sampler = Sampler::new(facts.clone(), config.node.data_dir.clone(), credentials);
    sampler.links = vec![relay.clone()];
    let library = library.clone();
    sampler.storage = Some(Arc::new(move |camera| library.bytes_of(camera)));
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
    ground.shows_actor("coverage-keeper");
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
    fn keeps_books(&self, facts: &mut Facts) {
        let (asker, journal) = (self.asker.clone(), self.journal.clone());
        facts.ledgers = Arc::new(move || journal.earlier().into_iter().chain([asker.ledger()]).collect());
    }

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

/// What is recorded is worth knowing, and no reason for the edge not to do its job.
fn library(config: &Edge, ground: &Ground) -> Library {
    let root = config.record.dir.clone().unwrap_or_else(|| config.node.data_dir.join("recordings"));
    let library = Library::new(root, (&config.retain).into());
    let probe = library.clone();
    ground.facts.health.shows("recording", move || probe.finding());
    library
}

/// What the cameras need, and what is told of them.
fn cameras(config: &Edge, ground: &Ground, common: Common) -> Cameras {
    let facts = &ground.facts;
    let cameras = Cameras::new(config, common);
    let shown = cameras.clone();
    facts.health.shows_each(move || shown.findings());
    let (coverage, parked) = (facts.coverage.clone(), cameras.clone());
    facts.health.needs("coverage", move || coverage.finding(|id| parked.parked(id)));
    cameras
}

/// Clips and pictures, for this machine's own HTTP.
fn kept(library: &Library) -> Kept {
    let (codecs, pictures) = (library.clone(), library.root().to_owned());
    let codecs = move |event| {
        let library = codecs.clone();
        Box::pin(async move { library.open_clip(event, 0).await.ok().map(|clip| clip.codecs) }) as BoxFuture<'static, _>
    };
    let find = move |event, picture| {
        let cut = match picture {
            Picture::Whole => Cut::Whole,
            Picture::Crop => Cut::Crop,
            Picture::Thumb => Cut::Thumbnail,
        };
        snapshots::find(&pictures, event, cut)
    };
    Kept::default().clips(library.clone()).codecs(codecs).pictures(find)
}

/// Where cameras are listed and changed; nothing depends on it but that.
fn desk(plan: Plan, ground: &Ground, cameras: &Cameras) -> Desk {
    let parked = cameras.clone();
    let desk = Desk::new(plan, ground.facts.coverage.clone(), Arc::new(move |id| parked.parked(id)));
    let shown = desk.clone();
    let disabled =
        move || shown.disabled().iter().map(|id| (format!("camera {id}"), Ok("disabled".to_owned()))).collect();
    ground.facts.health.shows_each(disabled);
    desk
}
