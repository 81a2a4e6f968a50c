//! Who speaks for a link, and who steers over it.

use super::*;
use crate::fabric::testing::Pair;

fn published(link: &Link) -> Option<usize> {
    link.connections().borrow().as_ref().map(Connection::id)
}

#[tokio::test]
async fn one_that_was_blocked_takes_nothing_from_its_successor_when_it_wakes() {
    let (pair, link) = (Pair::new(), Link::new(vec!["127.0.0.1:1".parse().expect("an address")], Role::Relay));
    let ((first, _first), (second, _second)) = (pair.connect().await, pair.connect().await);
    let blocked = Turn::begin(&link);
    let up = blocked.publish(&first, "linked first".to_owned());
    assert_eq!(published(&link), Some(first.id()));

    let successor = Turn::begin(&link);
    assert_eq!(published(&link), None, "nobody answers on it any more");
    assert!(first.closed().await.contains("was restarted"));
    let up_again = successor.publish(&second, "linked again".to_owned());
    drop(up);
    drop(blocked.publish(&first, "linked first".to_owned()));
    assert_eq!((published(&link), link.state()), (Some(second.id()), "linked again".to_owned()));
    drop(up_again);
    assert_eq!(published(&link), None, "its own it takes away");
}

#[test]
fn only_a_relay_steers_and_not_without_end() {
    assert_eq!(refused(Role::Relay, 0), None);
    assert!(refused(Role::Relay, ACTS_MAX).is_some());
    for other in Role::ALL.into_iter().filter(|role| *role != Role::Relay) {
        assert!(refused(other, 0).is_some(), "{other} steers");
    }
}
