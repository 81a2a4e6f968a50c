//! Links to relays, one for each: what a core node dials, and its place in the core.

use super::terms::Terms;
use crate::launch::Ground;
use actors::fabric::core::{Core, Load};
use actors::fabric::facts::Facts;
use actors::fabric::link::Link;
use config::HostPort;
use protocol::Role;
use protocol::transport::Endpoint;
use supervision::Node;

/// Links to other core nodes.
pub(super) struct Links(Vec<(String, Link)>);

impl Links {
    /// `relay-link`, `relay-link-2`, …
    pub fn to_relays(relays: &[HostPort], ground: &Ground) -> Self {
        let links = relays.iter().enumerate().map(|(index, relay)| {
            let name = if index == 0 { "relay-link".to_owned() } else { format!("relay-link-{}", index + 1) };
            let label = name.replacen("-link", "", 1);
            let link = Link::labelled(vec![relay.clone()], Role::Relay, &label);
            let probe = link.clone();
            ground.facts.health.shows(&name, move || probe.finding());
            (name, link)
        });
        Self(links.collect())
    }

    /// The core that spans these links, and the links themselves.
    pub fn children(self, core: Core, load: Option<Load>, endpoint: &Endpoint, facts: &Facts, terms: &Terms) -> Vec<Node> {
        let links: Vec<Link> = self.0.iter().map(|(_, link)| link.clone()).collect();
        // Without the core a relay still keeps the record, and a gpu node still judges.
        let service = terms.parked(terms.service("core", move |cx| core.clone().run(links.clone(), load.clone(), cx)));
        let link = |(name, link): (String, Link)| {
            let (endpoint, facts) = (endpoint.clone(), facts.clone());
            terms.service("relay-link", move |cx| link.clone().run(endpoint.clone(), facts.clone(), cx)).named(name)
        };
        std::iter::once(service).chain(self.0.into_iter().map(link)).collect()
    }
}
