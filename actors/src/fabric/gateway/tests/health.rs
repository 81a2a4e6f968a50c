//! Beats and telemetry over a real link, and who is told of them.

use super::*;
use crate::fleet::samples::telemetry;
use protocol::admin::{HealthState, NodeHealth};
use protocol::datagram::Datagram;
use protocol::limits::FLEET_MAX;
use protocol::telemetry::Beat;
use std::convert::Infallible;

impl Fixture {
    /// The node of that name as the fixture's fleet has it, once it is so.
    async fn is_told(&self, what: &str, name: &str, is_so: impl Fn(&NodeHealth) -> bool) -> NodeHealth {
        let named = || self.facts.fleet.page(None, usize::MAX, |node| node.name.as_str() == name).pop();
        let told = async {
            loop {
                match named().filter(|health| is_so(health)) {
                    Some(health) => return health,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        timeout(WITHIN, told).await.unwrap_or_else(|_| panic!("{name} is not {what}: {:?}", named()))
    }
}

/// For ever: what is told of one that is welcomed and not yet on the list, nobody hears.
async fn beats(connection: &Connection, ready: bool) -> Infallible {
    let mut seq = 0;
    loop {
        seq += 1;
        connection.send_datagram(&Datagram::Beat(Beat { boot: Epoch(1), seq, ready })).expect("the link is up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_beat_and_a_message_arrive_and_a_goodbye_is_told_as_one() {
    let site = Fixture::of(Role::Relay).await;
    let (yard, mut tx, _rx) = site.link_as("main/edge/yard").await;
    let health = tokio::select! {
        never = beats(&yard, false) => match never {},
        health = site.is_told("not ready", "yard", |health| health.state == HealthState::Degraded) => health,
    };
    assert_eq!(health.reasons, ["it is not ready"]);
    tx.send(&Up::Telemetry(Box::new(telemetry(Timestamp::now())))).await.expect("is sent");
    let health = site.is_told("healthy", "yard", |health| health.state == HealthState::Healthy).await;
    assert_eq!(health.telemetry.expect("it was told").cameras.len(), 1);
    tx.send(&Up::Bye).await.expect("is sent");
    let health = site.is_told("down", "yard", |health| health.state == HealthState::Down).await;
    assert_eq!(health.reasons, ["it stopped in good order"]);
}

#[tokio::test]
async fn a_node_whose_link_is_lost_is_down_and_says_since_when_and_why() {
    let site = Fixture::of(Role::Relay).await;
    let (yard, _tx, _rx) = site.link_as("main/edge/yard").await;
    site.is_told("healthy", "yard", |health| health.state == HealthState::Healthy).await;
    yard.close(CloseCode::GivenUp, "pulled out");
    let health = site.is_told("down", "yard", |health| health.state == HealthState::Down).await;
    let why = &health.reasons[0];
    assert!(why.starts_with("nothing was heard of it for ") && why.contains("; its link ended: "), "{why}");
}

#[tokio::test]
async fn datagrams_that_nobody_may_send_cost_nothing_but_themselves() {
    let site = Fixture::of(Role::Relay).await;
    let (yard, _tx, _rx) = site.link_as("main/edge/yard").await;
    let gauge = Datagram::Gauge { boot: Epoch(1), name: "tilt".to_owned(), seq: 1, value: 0.5 };
    (0..50).for_each(|_| yard.send_datagram(&gauge).expect("is sent"));
    tokio::select! {
        never = beats(&yard, false) => match never {},
        _ = site.is_told("not ready", "yard", |health| health.state == HealthState::Degraded) => {}
    }
    assert_eq!(yard.close_code(), None, "the connection goes on");
}

#[tokio::test]
async fn each_tenant_sees_its_own_nodes_and_the_relay_in_as_many_messages_as_it_takes() {
    let site = Fixture::of(Role::Relay).await;
    let mut links = Vec::new();
    for nth in 0..2 * FLEET_MAX {
        links.push(site.link_as(&format!("main/edge/n{nth}")).await);
        site.is_told("there", &format!("n{nth}"), |_| true).await;
    }
    links.push(site.link_as("acme/edge/shed").await);
    site.is_told("there", "shed", |_| true).await;
    let mut replies = site.ask("main/viewer/bob", Request::Fleet).await;
    assert_eq!(replies.pop(), Some(Reply::Done));
    assert_eq!(replies.len(), 3, "{FLEET_MAX} in one");
    let told = replies.into_iter().flat_map(|reply| match reply {
        Reply::Fleet(some) => some.into_iter().map(|health| health.node.to_string()),
        other => panic!("{other:?}"),
    });
    let mut expected: Vec<String> = (0..2 * FLEET_MAX).map(|nth| format!("main/edge/n{nth}")).collect();
    expected.push("main/relay/hub".to_owned());
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let eve = site.ask("acme/viewer/eve", Request::Fleet).await;
    let [Reply::Fleet(nodes), Reply::Done] = &eve[..] else { panic!("{eve:?}") };
    let names: Vec<&str> = nodes.iter().map(|health| health.node.name.as_str()).collect();
    assert_eq!(names, ["shed", "hub"]);
}
