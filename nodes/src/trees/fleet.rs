//! How a node is, told and judged: the same two services on every node.

use super::terms::Terms;
use actors::fabric::peers::Peers;
use actors::telemetry::sampler::Sampler;
use supervision::Node;

/// Neither is needed for the node's job: without them it goes on, and its relay says that it tells nothing.
pub(super) fn children(terms: &Terms, sampler: Sampler, peers: Peers) -> [Node; 2] {
    let fleet = sampler.facts.fleet.clone();
    [
        terms.service("fleet", move |cx| fleet.clone().run(peers.clone(), cx)),
        terms.service("telemetry", move |cx| sampler.clone().run(cx)),
    ]
}
