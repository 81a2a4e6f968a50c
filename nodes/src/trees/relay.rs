//! A relay: the record of what happened, and the way to it.

use crate::launch::Ground;
use actors::api::admin::Admin;
use actors::api::http::Http;
use actors::events::store::EventStore;
use actors::fabric::gateway::Gateway;
use actors::fabric::peers::Peers;
use config::Relay;
use protocol::transport::Endpoint;
use std::time::Duration;
use supervision::{Intensity, Strategy, Tree, service};

pub fn tree(config: Relay, ground: Ground) -> anyhow::Result<Tree> {
    let endpoint = Endpoint::listen(config.listen.quic, &ground.credentials)?;
    ground.needs_actor("store");
    let (store, peers, facts) = (EventStore::new(), Peers::default(), ground.facts);
    let count = peers.clone();
    let record = store.clone();
    facts.health.needs("record", move || record.finding());
    facts.health.shows("peers", move || Ok(format!("{} linked", count.count_linked())));
    let admin = Admin { facts: facts.clone(), peers: peers.clone(), store: Some(store.clone()) };
    let gateway = Gateway { endpoint, facts: facts.clone(), peers, admin, store: Some(store.clone()), desk: None };
    let http = Http { addr: config.node.http, facts, recorder: ground.recorder, store: Some(store.clone()) };
    let file = config.node.data_dir.join("events.redb");
    Ok(Tree {
        name: ground.credentials.identity().name.to_string(),
        // The gateway's proxies hold a handle to the store, which survives the store's restart.
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 5, within: Duration::from_secs(60) },
        children: vec![
            store.child(file),
            service("http", move |cx| http.clone().run(cx)),
            service("gateway", move |cx| gateway.clone().run(cx)),
        ],
    })
}
