//! A relay: the record of what happened, and the way to it.

use super::links::Links;
use super::terms::Terms;
use crate::launch::Ground;
use actors::api::http::Http;
use actors::api::{health, readiness};
use actors::events::store::EventStore;
use actors::fabric::core::Core;
use actors::fabric::gateway::{Gateway, Served};
use actors::fabric::peers::Peers;
use actors::fabric::site::Site;
use config::Relay;
use protocol::revoked::Revoked;
use protocol::transport::Endpoint;
use supervision::Tree;

pub fn tree(config: Relay, mut ground: Ground) -> anyhow::Result<Tree> {
    let endpoint = Endpoint::listen(config.listen.quic, &ground.credentials)?;
    let terms = Terms::new(&config.supervision);
    ground.facts.allow_faults = terms.allow_faults();
    for class in ["store", "peers", "gateway"] {
        ground.needs_actor(class);
    }
    let core = Core::new(ground.facts.node.clone(), ground.facts.boot, Revoked::default());
    ground.facts.core = Some(core.clone());
    ground.shows_actor("core");
    let links = Links::to_relays(&config.link.relays, &ground);
    let (store, peers, facts) = (EventStore::new(), Peers::default(), ground.facts);
    let (count, record, disk) = (peers.clone(), store.clone(), config.node.data_dir.clone());
    facts.health.needs("record", move || record.finding());
    facts.health.needs_apart("disk", move || Box::pin(health::disk::writable(disk.clone())));
    facts.health.shows_nodes(move || count.checks());
    let site = Site { facts: facts.clone(), peers };
    let gateway = Gateway::new(endpoint.clone(), Served { site: site.clone(), store: Some(store.clone()), desk: None });
    let http = Http::bind(config.node.http, site, ground.recorder, Some(store.clone()))?;
    let (file, notify, proxies) = (config.node.data_dir.join("events.redb"), ground.notify, gateway.clone());
    let (name, in_core) = (facts.node.name.clone(), links.children(core, None, &endpoint, &facts, &terms));
    let mut children = vec![
            // What is said to the manager of this process is said as long as anything runs.
            terms.service("health", move |cx| readiness::keep(facts.health.clone(), notify.clone(), cx)),
            terms.store(store.child(file)),
            terms.service("http", move |cx| http.clone().run(cx)),
            // Ahead of the gateway: it says goodbye to all peers at once, and then their proxies end.
            proxies.peers(terms.intensity()),
            terms.service("gateway", move |cx| gateway.clone().run(cx)),
        ];
    children.extend(in_core);
    Ok(terms.tree(name, children))
}
