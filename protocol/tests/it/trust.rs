//! Clocks that are off, certificates that are revoked, and connections that outlive their peer's.

use crate::site::{Listener, PATIENCE, Site, dial, within};
use protocol::core::Revocation;
use protocol::transport::{CLOCK_SKEW_TOLERATED, Credentials, DialError};
use protocol::{Role, Timestamp};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn revocation(of: &Credentials) -> Revocation {
    let by = "main/operator/ada".parse().expect("an identity");
    Revocation { who: of.identity().clone(), at: Timestamp::now(), by }
}

#[tokio::test]
async fn a_dialler_whose_clock_is_off_by_less_than_ten_minutes_is_let_in() {
    let site = Site::new("test");
    let (near, far) = (CLOCK_SKEW_TOLERATED - MINUTE, CLOCK_SKEW_TOLERATED + MINUTE);
    let mut relay = Listener::start(&site.credentials("main/relay/hub"));
    for (yard, is_let_in) in [
        (site.ended("main/edge/yard", near).1, true),
        (site.ended("main/edge/yard", far).1, false),
        (site.begins("main/edge/yard", near), true),
        (site.begins("main/edge/yard", far), false),
    ] {
        let dialled = dial(&yard, relay.port, Role::Relay).await;
        let arrived = relay.arrival().await;
        let certificate = yard.certificate();
        assert_eq!((dialled.is_ok(), arrived.is_ok()), (is_let_in, is_let_in), "{certificate:?}: {dialled:?}");
    }
}

#[tokio::test]
async fn a_listener_whose_certificate_ended_minutes_ago_is_trusted() {
    let site = Site::new("test");
    let (_, hub) = site.ended("main/relay/hub", CLOCK_SKEW_TOLERATED - MINUTE);
    let relay = Listener::start(&hub);
    dial(&site.credentials("main/edge/yard"), relay.port, Role::Relay).await.expect("it is trusted");
}

#[tokio::test]
async fn a_revoked_dialler_is_refused_and_both_sides_say_so() {
    let site = Site::new("test");
    let (hub, yard) = (site.credentials("main/relay/hub"), site.credentials("main/edge/yard"));
    let mut relay = Listener::start(&hub);
    hub.revoked().add([revocation(&yard)]);
    let error = dial(&yard, relay.port, Role::Relay).await.expect_err("revoked");
    assert!(matches!(error, DialError::RefusedByPeer { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("our certificate is revoked; enrol this node again with a new token"), "{text}");
    let refusal = relay.refusal().await;
    assert!(refusal.contains("its certificate is revoked; enrol it again with a new token"), "{refusal}");
}

#[tokio::test]
async fn a_revoked_listener_is_not_trusted() {
    let site = Site::new("test");
    let (hub, yard) = (site.credentials("main/relay/hub"), site.credentials("main/edge/yard"));
    let relay = Listener::start(&hub);
    yard.revoked().add([revocation(&hub)]);
    let error = dial(&yard, relay.port, Role::Relay).await.expect_err("revoked");
    assert!(matches!(error, DialError::WrongCertificate { .. }), "{error:?}");
    assert!(error.to_string().contains("its certificate is revoked"), "{error}");
}

#[tokio::test]
async fn one_of_the_same_name_that_was_issued_later_is_let_in() {
    let site = Site::new("test");
    let (hub, yard) = (site.credentials("main/relay/hub"), site.credentials("main/edge/yard"));
    // Certificates count in seconds: of a revocation within the same one nobody could tell.
    let at = yard.certificate().issued.minus(Duration::from_micros(1));
    hub.revoked().add([Revocation { at, ..revocation(&yard) }]);
    let relay = Listener::start(&hub);
    dial(&yard, relay.port, Role::Relay).await.expect("it was enrolled again");
}

#[tokio::test]
async fn a_live_connection_is_told_of_when_its_peer_is_revoked() {
    let site = Site::new("test");
    let (hub, yard) = (site.credentials("main/relay/hub"), site.credentials("main/edge/yard"));
    let gate = site.credentials("main/edge/gate");
    let mut relay = Listener::start(&hub);
    let _yard = dial(&yard, relay.port, Role::Relay).await.expect("a connection");
    let at_hub = relay.arrival().await.expect("a connection");
    let _gate = dial(&gate, relay.port, Role::Relay).await.expect("a connection");
    let other = relay.arrival().await.expect("a connection");
    let revoking = async {
        tokio::task::yield_now().await;
        hub.revoked().add([revocation(&yard)]);
    };
    let (why, ()) = tokio::join!(within(at_hub.distrusted()), revoking);
    assert_eq!(why, "the certificate of main/edge/yard is revoked; enrol it again with a new token");
    // Who asks later is told the same; the neighbour is not meant.
    within(at_hub.distrusted()).await;
    let neighbour = tokio::time::timeout(Duration::from_millis(50), other.distrusted()).await;
    assert!(neighbour.is_err(), "{neighbour:?}");
}

#[tokio::test]
async fn a_connection_may_outlive_its_peers_certificate_by_ten_minutes() {
    let site = Site::new("test");
    let mut relay = Listener::start(&site.credentials("main/relay/hub"));
    // Ends to be trusted in a second or two.
    let (_, yard) = site.ended("main/edge/yard", CLOCK_SKEW_TOLERATED - Duration::from_secs(2));
    match dial(&yard, relay.port, Role::Relay).await {
        Ok(_yard) => {
            let at_hub = relay.arrival().await.expect("a connection");
            let why = tokio::time::timeout(PATIENCE, at_hub.distrusted()).await.expect("in time");
            assert!(why.contains("was not renewed; enrol it again"), "{why}");
        }
        // A machine that stood still for two seconds.
        Err(late) => assert!(late.to_string().contains("has expired"), "{late}"),
    }
}
