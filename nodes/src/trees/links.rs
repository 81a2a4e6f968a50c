//! Links to relays, one for each: what a core node dials, and its place in the core.

use super::terms::Terms;
use crate::launch::Ground;
use actors::fabric::core::{Core, Load};
use actors::fabric::enrolment::Enrolment;
use actors::fabric::facts::Facts;
use actors::fabric::link::Link;
use config::HostPort;
use futures_util::FutureExt;
use protocol::Role;
use protocol::transport::{Connection, Endpoint};
use std::sync::Arc;
use supervision::Node;
use tokio::sync::watch;

/// Links to other core nodes.
pub(super) struct Links(Vec<(String, Link)>);

/// Who is revoked elsewhere is kept by this node's enrolment.
pub(super) fn core(ground: &Ground, enrolment: &Enrolment) -> Core {
    let (node, boot, revoked) = (ground.facts.node.clone(), ground.facts.boot, enrolment.revoked().clone());
    let enrolment = enrolment.clone();
    let keep = move |news| {
        let enrolment = enrolment.clone();
        async move { enrolment.learn(news).await }.boxed()
    };
    Core::new(node, boot, revoked, Arc::new(keep))
}

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

    /// Where this node asks for its certificates.
    pub fn first(&self) -> Option<watch::Receiver<Option<Connection>>> {
        self.0.first().map(|(_, link)| link.connections())
    }

    /// Whom this node tells how it is.
    pub fn all(&self) -> Vec<Link> {
        self.0.iter().map(|(_, link)| link.clone()).collect()
    }

    /// The core that spans these links, and the links themselves.
    pub fn children(
        self,
        core: Core,
        load: Option<Load>,
        endpoint: &Endpoint,
        facts: &Facts,
        terms: &Terms,
    ) -> Vec<Node> {
        let links = self.all();
        // Without the core a relay still keeps the record, and a gpu node still judges.
        let service = terms.parked(terms.service("core", move |cx| core.clone().run(links.clone(), load.clone(), cx)));
        let link = |(name, link): (String, Link)| {
            let (endpoint, facts) = (endpoint.clone(), facts.clone());
            terms.service("relay-link", move |cx| link.clone().run(endpoint.clone(), facts.clone(), cx)).named(name)
        };
        std::iter::once(service).chain(self.0.into_iter().map(link)).collect()
    }
}
