//! Pings of an edge: answered by an actor of this node, and by nobody where there is none.

use super::*;
use protocol::codec::Blob;
use protocol::limits::PING_BYTES_MAX;

async fn pong(rx: &mut Rx) -> (u64, Result<Blob, String>) {
    match timeout(WITHIN, rx.recv::<Down>()).await.expect("in time").expect("is readable") {
        Some(Down::Pong { call, answer }) => (call, answer),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_ping_comes_back_as_it_was_and_one_that_is_too_long_is_refused() {
    let site = Fixture::of(Role::Relay).await;
    let (_yard, mut tx, mut rx) = site.link_as("main/edge/yard").await;
    for call in 1..=100 {
        let payload = Blob(vec![call as u8; 64]);
        tx.send(&Up::Ping { call, payload: payload.clone() }).await.expect("is sent");
        assert_eq!(pong(&mut rx).await, (call, Ok(payload)));
    }
    tx.send(&Up::Ping { call: 101, payload: Blob(vec![0; PING_BYTES_MAX + 1]) }).await.expect("is sent");
    let (call, refused) = pong(&mut rx).await;
    assert!(call == 101 && refused.expect_err("too long").contains("the limit is 1024 B"));
}

#[tokio::test]
async fn a_node_whose_echo_is_parked_says_so_while_its_link_goes_on() {
    let site = Fixture::of(Role::Relay).await;
    let (yard, mut tx, mut rx) = site.link_as("main/edge/yard").await;
    site.facts.steer("hub/echo".to_owned(), Act::Park, "main/operator/ada".parse().expect("an identity")).await;
    tx.send(&Up::Ping { call: 1, payload: Blob(vec![1]) }).await.expect("is sent");
    let (call, refused) = pong(&mut rx).await;
    assert!(call == 1 && refused.expect_err("nobody answers").contains("do not answer now"));
    assert_eq!(yard.close_code(), None);
}
