//! A relay: the record of what happened, and the way to it.

use super::fleet;
use super::links::{Links, core};
use super::terms::Terms;
use crate::launch::Ground;
use actors::api::http::Http;
use actors::api::https::Https;
use actors::api::{health, readiness};
use actors::events::store::EventStore;
use actors::fabric::enrolment::{Enrolment, Issuer};
use actors::fabric::gateway::{Gateway, Served};
use actors::fabric::peers::Peers;
use actors::fabric::renewal::{Issues, Renewal};
use actors::fabric::site::Site;
use actors::telemetry::sampler::Sampler;
use config::Relay;
use protocol::transport::Endpoint;
use supervision::Tree;

pub fn tree(config: Relay, mut ground: Ground) -> anyhow::Result<Tree> {
    let endpoint = Endpoint::listen(config.listen.quic, &ground.credentials)?;
    let terms = Terms::new(&config.supervision);
    ground.facts.allow_faults = terms.allow_faults();
    for class in ["store", "peers", "gateway"] {
        ground.needs_actor(class);
    }
    ground.shows_actor("enrolment");
    let enrolment = enrolment(&config, &ground)?;
    let core = core(&ground, &enrolment);
    ground.facts.core = Some(core.clone());
    ground.shows_actor("core");
    let links = Links::to_relays(&config.link.relays, &ground);
    let asked = links.first().map_or(Issues::Nobody, Issues::Relay);
    let issues = if enrolment.issues() { Issues::Here(enrolment.clone()) } else { asked };
    let renewal = Renewal::new(ground.credentials.clone(), issues);
    let (store, peers, facts) = (EventStore::new(), Peers::default(), ground.facts);
    let (count, record, disk) = (peers.clone(), store.clone(), config.node.data_dir.clone());
    facts.health.needs("record", move || record.finding());
    facts.health.needs_apart("disk", move || Box::pin(health::disk::writable(disk.clone())));
    let certificate = renewal.clone();
    facts.health.shows("certificate", move || certificate.finding());
    facts.health.shows_nodes(move || count.checks());
    facts.fleet.keeps_history(config.node.data_dir.join("telemetry"));
    let mut sampler = Sampler::new(facts.clone(), config.node.data_dir.clone(), &ground.credentials);
    sampler.links = links.all();
    let [fleet, telemetry] = fleet::children(&terms, sampler, peers.clone());
    let site = Site { facts: facts.clone(), peers };
    let (fabric, let_in) = (config.node.data_dir.join("fabric.redb"), Some(enrolment.clone()));
    let served = Served { site: site.clone(), store: Some(store.clone()), desk: None, enrolment: let_in };
    let gateway = Gateway::new(endpoint.clone(), served);
    let http = Http::bind(config.node.http, site, ground.recorder, Some(store.clone()))?;
    let https = config.listen.https.map(|addr| Https::bind(addr, &ground.credentials, http.clone())).transpose()?;
    let (file, notify, proxies) = (config.node.data_dir.join("events.redb"), ground.notify, gateway.clone());
    let (node, health) = (facts.node.name.clone(), facts.health.clone());
    let mut children = vec![
        // What is said to the manager of this process is said as long as anything runs.
        terms.service("health", move |cx| readiness::keep(health.clone(), notify.clone(), cx)),
        terms.store(store.child(file)),
        // Ahead of the gateway: who is revoked is known before anybody comes in.
        terms.store(enrolment.child(fabric)),
        terms.service("renewal", move |cx| renewal.clone().run(cx)),
        terms.service("http", move |cx| http.clone().run(cx)),
        fleet,
        telemetry,
        // Ahead of the gateway: it says goodbye to all peers at once, and then their proxies end.
        proxies.peers(terms.intensity()),
        proxies.echo(),
        terms.service("gateway", move |cx| gateway.clone().run(cx)),
    ];
    if let Some(https) = https {
        children.push(terms.service("https", move |cx| https.clone().run(cx)));
    }
    children.extend(links.children(core, None, &endpoint, &facts, &terms));
    Ok(terms.tree(&node, children))
}

fn enrolment(config: &Relay, ground: &Ground) -> anyhow::Result<Enrolment> {
    let valid = config.enrol.certificate;
    let issuer = config.enrol.ca_dir.as_ref().map(|dir| Issuer::load(dir, valid, &ground.credentials));
    Ok(Enrolment::new(&ground.credentials, issuer.transpose()?))
}
