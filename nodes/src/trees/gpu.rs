//! A gpu node: models in ports, fed by the frames of many edges. Works on a CPU too.

use crate::launch::Ground;
use actors::api::admin::Admin;
use actors::api::http::Http;
use actors::fabric::gateway::Gateway;
use actors::fabric::link::Link;
use actors::fabric::peers::Peers;
use actors::inference::batcher::{BatcherSettings, PER_CAMERA_FRAMES_MAX};
use actors::inference::books::Books;
use actors::inference::desk::Desk;
use actors::inference::pool::{Models, Pool};
use actors::inference::worker::Worker;
use config::{Gpu, ModelEntry};
use protocol::Role;
use protocol::model::{MockCost, ModelSpec};
use protocol::transport::Endpoint;
use std::sync::Arc;
use std::time::Duration;
use supervision::{Intensity, Node, Strategy, Tree, service};

pub fn tree(config: Gpu, mut ground: Ground) -> anyhow::Result<Tree> {
    let endpoint = Endpoint::listen(config.listen.quic, &ground.credentials)?;
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
    probe_pools(&ground, &pools);
    let facts = ground.facts.clone();
    let admin = Admin { facts: facts.clone(), peers: peers.clone(), store: None };
    let desk = Some(Desk { models, books });
    let gateway = Gateway { endpoint: endpoint.clone(), facts: facts.clone(), peers, admin, store: None, desk };
    let http = Http { addr: config.node.http, facts: facts.clone(), recorder: ground.recorder.clone(), store: None };
    let workers = config.models.iter().zip(specs).zip(pools);
    let workers = workers.flat_map(|((entry, spec), pool)| workers_of(entry, spec, pool, &ground)).collect();
    let mut children = vec![
        service("http", move |cx| http.clone().run(cx)),
        Node::from(Tree {
            name: "workers".to_owned(),
            strategy: Strategy::OneForOne,
            intensity: Intensity { restarts: 5, within: Duration::from_secs(60) },
            children: workers,
        }),
        service("gateway", move |cx| gateway.clone().run(cx)),
    ];
    if let Some(relay) = config.link.relay {
        let link = Link::new(relay, Role::Relay);
        let probe = link.clone();
        ground.facts.health.shows("relay-link", move || probe.finding());
        children.push(service("relay-link", move |cx| link.clone().run(endpoint.clone(), facts.clone(), cx)));
    }
    Ok(Tree {
        name: ground.credentials.identity().name.to_string(),
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 5, within: Duration::from_secs(60) },
        children,
    })
}

fn probe_pools(ground: &Ground, pools: &[Pool]) {
    for pool in pools {
        let (name, pool) = (format!("model {}", pool.model()), pool.clone());
        let finding = move || pool.idle_reason().map_or(Ok(format!("{} frames wait", pool.waiting())), Err);
        ground.facts.health.shows(name, finding);
    }
    let all = pools.to_vec();
    ground.facts.health.needs("workers", move || {
        if all.iter().any(|pool| pool.idle_reason().is_none()) {
            return Ok("at least one worker is ready".to_owned());
        }
        let reasons = all.iter().filter_map(|pool| Some(format!("{}: {}", pool.model(), pool.idle_reason()?)));
        Err(reasons.reduce(|all, next| format!("{all}; {next}")).unwrap_or_else(|| "models is empty".to_owned()))
    });
}

/// The instances of one model. A model that cannot run is parked; the others go on.
fn workers_of(entry: &ModelEntry, spec: ModelSpec, pool: Pool, ground: &Ground) -> Vec<Node> {
    let mock = MockCost { fixed_ms: entry.mock_fixed_ms, item_ms: entry.mock_item_ms };
    let port = ground.ports_dir.join("watchtree-model-port");
    let worker = Worker { pool, port, spec, engine: entry.engine, mock };
    let instances = 0..entry.instances.get();
    let node = |instance| {
        let worker = worker.clone();
        let name = format!("{}-{instance}", worker.spec.name);
        service("worker", move |cx| worker.clone().run(cx)).named(name).parked()
    };
    instances.map(node).collect()
}
