//! Whose path it is, and who may see what.

use super::*;

fn nodes() -> Vec<Identity> {
    let nodes = ["main/relay/hub", "main/edge/yard", "main/edge/barn", "main/gpu/barn"];
    nodes.map(|node| node.parse().expect("an identity")).to_vec()
}

#[track_caller]
fn check(path: &str, node: &str, local: &str) {
    let (found, at) = locate(path, &nodes()).expect(path);
    assert_eq!((found.to_string().as_str(), at.as_str()), (node, local));
}

#[test]
fn a_path_begins_with_its_node() {
    check("yard/cameras/door", "main/edge/yard", "yard/cameras/door");
    check("hub", "main/relay/hub", "hub");
    check("yard/", "main/edge/yard", "yard");
}

#[test]
fn a_name_that_two_nodes_have_is_told_apart_by_the_whole_identity() {
    let why = locate("barn/asker", &nodes()).expect_err("two barns");
    assert!(why.contains("main/edge/barn, main/gpu/barn") && why.contains("main/edge/barn/…"), "{why}");
    check("main/gpu/barn/workers", "main/gpu/barn", "barn/workers");
    check("main/edge/barn", "main/edge/barn", "barn");
}

#[test]
fn a_node_that_is_not_there_is_answered_with_those_that_are() {
    let why = locate("yrad/cameras", &nodes()).expect_err("a slip");
    assert_eq!(why, "no node is called yrad; there are: barn, hub, yard");
}

#[test]
fn connections_of_another_tenant_are_not_shown() {
    let hub: Identity = "main/relay/hub".parse().expect("an identity");
    let acme = Sees::Tenant("acme".parse().expect("a name"));
    for (path, seen) in [
        ("hub/store", true),
        ("hub/peers", true),
        ("hub/peers/acme.edge.yard", true),
        ("hub/peers/acme-2.edge.yard", false),
        ("hub/peers/main.edge.yard.2", false),
        ("hub-2/peers/x", true),
    ] {
        assert_eq!(acme.row(&hub, path), seen, "{path}");
        assert!(Sees::All.row(&hub, path));
    }
}

#[test]
fn what_another_tenant_asks_of_a_shared_gpu_node_is_not_shown() {
    let ledger = |edge: &str| Ledger {
        asker: protocol::Epoch(7),
        edge: edge.to_owned(),
        state: protocol::frame::LedgerState::Open,
        tally: protocol::frame::Tally::default(),
    };
    let acme = Sees::Tenant("acme".parse().expect("a name"));
    let seen = ["acme/edge/yard", "acme-2/edge/yard", "main/edge/yard"].map(|edge| acme.ledger(&ledger(edge)));
    assert_eq!(seen, [true, false, false]);
    assert!(Sees::All.ledger(&ledger("main/edge/yard")));
}
