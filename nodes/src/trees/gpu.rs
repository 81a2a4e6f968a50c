//! A gpu node: models in ports, fed by the frames of many edges. Works on a CPU too.

use super::fleet;
use super::links::{Links, core};
use super::terms::Terms;
use crate::launch::Ground;
use actors::api::http::Http;
use actors::api::https::Https;
use actors::api::{health, readiness};
use actors::fabric::enrolment::Enrolment;
use actors::fabric::gateway::{Gateway, Served};
use actors::fabric::peers::Peers;
use actors::fabric::renewal::{Issues, Renewal};
use actors::fabric::site::Site;
use actors::inference::batcher::{BatcherSettings, PER_CAMERA_FRAMES_MAX};
use actors::inference::books::Books;
use actors::inference::desk::Desk;
use actors::inference::load::LoadMeter;
use actors::inference::pool::{Models, Pool};
use actors::inference::worker::Worker;
use actors::telemetry::sampler::Sampler;
use config::{Gpu, ModelEntry};
use protocol::model::{MockCost, ModelSpec};
use protocol::transport::Endpoint;
use std::sync::Arc;
use supervision::{Node, Tree};

pub fn tree(config: Gpu, mut ground: Ground) -> anyhow::Result<Tree> {
    let endpoint = Endpoint::listen(config.listen.quic, &ground.credentials)?;
    let terms = Terms::new(&config.supervision);
    ground.facts.allow_faults = terms.allow_faults();
    for class in ["peers", "gateway"] {
        ground.needs_actor(class);
    }
    let disk = config.node.data_dir.clone();
    ground.facts.health.shows_apart("disk", move || Box::pin(health::disk::writable(disk.clone())));
    let specs = config.models.iter().map(|entry| config::model::load(&entry.spec)).collect::<Result<Vec<_>, _>>()?;
    let settings = BatcherSettings {
        batch_max: config.batcher.batch_max,
        wait_max: config.batcher.wait_max,
        queue_frames_max: config.batcher.queue_frames_max,
        per_camera_max: PER_CAMERA_FRAMES_MAX,
    };
    let pools: Vec<_> = specs.iter().map(|spec| Pool::new(spec.name.clone(), settings.clone())).collect();
    let (models, books, peers) = (Models::new(pools.clone()), Books::default(), Peers::default());
    let ledgers = books.clone();
    ground.facts.ledgers = Arc::new(move || ledgers.all());
    probe_pools(&ground, &config.models, &pools);
    let count = peers.clone();
    ground.facts.health.shows_nodes(move || count.checks());
    ground.shows_actor("enrolment");
    let enrolment = Enrolment::new(&ground.credentials, None);
    let core = core(&ground, &enrolment);
    ground.facts.core = Some(core.clone());
    ground.shows_actor("core");
    let addr = config.advertise.map_or(format!(":{}", endpoint.local_addr()?.port()), |addr| addr.to_string());
    let meter = LoadMeter::new(ground.facts.node.clone(), ground.facts.boot, addr, pools.clone());
    let links = Links::to_relays(&config.link.relay, &ground);
    let facts = ground.facts.clone();
    let sampler = sampler(&config.node, &ground, &models, &links);
    let [fleet, telemetry] = fleet::children(&terms, sampler, peers.clone());
    let site = Site { facts: facts.clone(), peers };
    let desk = Some(Desk { models, books });
    let served = Served { site: site.clone(), store: None, desk, enrolment: Some(enrolment.clone()) };
    let gateway = Gateway::new(endpoint.clone(), served);
    let http = Http::bind(config.node.http, site, ground.recorder.clone(), None)?;
    let https = config.listen.https.map(|addr| Https::bind(addr, &ground.credentials, http.clone())).transpose()?;
    let workers = config.models.iter().zip(specs).zip(pools);
    let workers = workers.flat_map(|((entry, spec), pool)| workers_of(entry, spec, pool, &ground, &terms)).collect();
    let (told, notify, proxies) = (facts.health.clone(), ground.notify.clone(), gateway.clone());
    let fabric = config.node.data_dir.join("fabric.redb");
    let mut children = vec![
        // What is said to the manager of this process is said as long as anything runs.
        terms.service("health", move |cx| readiness::keep(told.clone(), notify.clone(), cx)),
        terms.service("http", move |cx| http.clone().run(cx)),
        fleet,
        telemetry,
        terms.tree("workers", workers).into(),
        // Ahead of the gateway: who is revoked is known before anybody comes in.
        terms.store(enrolment.child(fabric)),
        // Ahead of the gateway: it says goodbye to all peers at once, and then their proxies end.
        proxies.peers(terms.intensity()),
        proxies.echo(),
        terms.service("gateway", move |cx| gateway.clone().run(cx)),
    ];
    if let Some(https) = https {
        children.push(terms.service("https", move |cx| https.clone().run(cx)));
    }
    let (node, health) = (facts.node.name.clone(), facts.health.clone());
    let issues = links.first().map_or(Issues::Nobody, Issues::Relay);
    let renewal = Renewal::new(ground.credentials, issues);
    let certificate = renewal.clone();
    health.shows("certificate", move || certificate.finding());
    children.push(terms.service("renewal", move |cx| renewal.clone().run(cx)));
    children.extend(links.children(core, Some(Arc::new(move || meter.read())), &endpoint, &facts, &terms));
    Ok(terms.tree(node, children))
}

fn sampler(node: &config::Node, ground: &Ground, models: &Models, links: &Links) -> Sampler {
    let mut sampler = Sampler::new(ground.facts.clone(), node.data_dir.clone(), &ground.credentials);
    let figures = models.clone();
    sampler.inference = Some(Arc::new(move || figures.figures()));
    sampler.links = links.all();
    sampler
}

/// Those who judge for one model.
struct Crew {
    pool: Pool,
    /// Of each worker: why it is parked, if it is.
    parked: Vec<Box<dyn Fn() -> Option<String> + Send + Sync>>,
}

impl Crew {
    fn new(ground: &Ground, entry: &ModelEntry, pool: &Pool) -> Self {
        let paths = names(entry, pool.model()).map(|name| format!("workers/{name}"));
        let parked = paths.map(|path| Box::new(ground.parked(&path)) as Box<_>).collect();
        Self { pool: pool.clone(), parked }
    }

    /// Why nobody takes frames, or `None`.
    fn idle_reason(&self) -> Option<String> {
        let idle = self.pool.idle_reason()?;
        // Those that are parked are the reason only if nobody else is on the way.
        let all_parked: Option<Vec<String>> = self.parked.iter().map(|parked| parked()).collect();
        Some(all_parked.and_then(|mut all| all.pop()).unwrap_or(idle))
    }
}

fn probe_pools(ground: &Ground, models: &[ModelEntry], pools: &[Pool]) {
    let crew = |(entry, pool)| Arc::new(Crew::new(ground, entry, pool));
    let all: Vec<Arc<Crew>> = models.iter().zip(pools).map(crew).collect();
    for crew in &all {
        let (name, crew) = (format!("model {}", crew.pool.model()), crew.clone());
        let finding = move || crew.idle_reason().map_or(Ok(format!("{} frames wait", crew.pool.waiting())), Err);
        ground.facts.health.shows(name, finding);
    }
    ground.facts.health.needs("workers", move || {
        if all.iter().any(|crew| crew.pool.idle_reason().is_none()) {
            return Ok("at least one worker is ready".to_owned());
        }
        let reasons = all.iter().filter_map(|crew| Some(format!("{}: {}", crew.pool.model(), crew.idle_reason()?)));
        Err(reasons.reduce(|all, next| format!("{all}; {next}")).unwrap_or_else(|| "models is empty".to_owned()))
    });
}

/// Of the instances of one model.
fn names(entry: &ModelEntry, model: &str) -> impl Iterator<Item = String> {
    (0..entry.instances.get()).map(move |instance| format!("{model}-{instance}"))
}

/// The instances of one model. A model that cannot run is parked; the others go on.
fn workers_of(entry: &ModelEntry, spec: ModelSpec, pool: Pool, ground: &Ground, terms: &Terms) -> Vec<Node> {
    let mock = MockCost { fixed_ms: entry.mock_fixed_ms, item_ms: entry.mock_item_ms };
    let port = terms.model_port(ground.ports_dir.join("watchtree-model-port"), entry.turn_max);
    let worker = Worker { pool, port, spec, engine: entry.engine, mock };
    let node = |name: String| {
        let worker = worker.clone();
        ground.shows_actor(&format!("workers/{name}"));
        terms.parked(terms.service("worker", move |cx| worker.clone().run(cx)).named(name))
    };
    names(entry, &worker.spec.name).map(node).collect()
}
