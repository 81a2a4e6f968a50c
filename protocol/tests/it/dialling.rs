//! Whom a dial finds when there are several, when one is silent, and in which version they speak.

use crate::raw;
use crate::site::{DAY, Listener, Site, loopback, within};
use protocol::Role;
use protocol::transport::{DialError, Endpoint, VERSIONS, Version};
use std::net::UdpSocket;

#[tokio::test]
async fn of_several_places_the_one_that_answers_is_kept() {
    let site = Site::new("test");
    let relay = Listener::start(&site.credentials("main/relay/hub"));
    // Somebody who never answers, so that no refusal comes from the kernel either.
    let silent = UdpSocket::bind(loopback()).expect("a socket");
    let silent_port = silent.local_addr().expect("is bound").port();
    let yard = Endpoint::dialer(&site.credentials("main/edge/yard")).expect("a socket");
    let places = [("127.0.0.1", silent_port), ("no.such.host.invalid", 1), ("127.0.0.1", relay.port)];
    let (place, connection) = within(yard.dial_any(&places, Role::Relay)).await.expect("one of them is a relay");
    assert_eq!((place, connection.peer().to_string().as_str()), (2, "main/relay/hub"));
}

#[tokio::test]
async fn a_refusal_by_one_says_more_than_the_silence_of_another() {
    let (site, other) = (Site::new("test"), Site::new("other"));
    let stranger = Listener::start(&other.credentials("main/relay/hub"));
    let yard = Endpoint::dialer(&site.credentials("main/edge/yard")).expect("a socket");
    let places = [("no.such.host.invalid", 1), ("127.0.0.1", stranger.port)];
    let error = within(yard.dial_any(&places, Role::Relay)).await.expect_err("another CA");
    assert!(matches!(error, DialError::WrongCertificate { .. }), "{error}");
}

#[tokio::test]
async fn a_dial_that_began_in_silence_finds_the_one_that_comes_later() {
    let site = Site::new("test");
    let hub = site.credentials("main/relay/hub");
    let silent = UdpSocket::bind(loopback()).expect("a socket");
    let addr = silent.local_addr().expect("is bound");
    let yard = Endpoint::dialer(&site.credentials("main/edge/yard")).expect("a socket");
    let dialling = tokio::spawn(async move { yard.dial("127.0.0.1", addr.port(), Role::Relay).await });
    // Packets of two volleys at least: the first had no answer, and it was tried again.
    silent.set_nonblocking(true).expect("a socket");
    let silent = tokio::net::UdpSocket::from_std(silent).expect("a socket");
    let mut firsts = std::collections::BTreeSet::new();
    while firsts.len() < 2 {
        let mut packet = [0; 2048];
        let read = within(silent.recv(&mut packet)).await.expect("a packet");
        // A long header, and the destination id that the dialler drew for this try.
        if read > 14 && packet[0] & 0x80 != 0 {
            firsts.insert(packet[6..14].to_vec());
        }
    }
    drop(silent);
    let relay = Endpoint::listen(addr, &hub).expect("the port is free again");
    let accepting = async {
        loop {
            let incoming = relay.accept().await.expect("is open");
            tokio::spawn(async move {
                // Tries that were given up come to nothing; the one that is kept is held until the peer ends it.
                if let Ok(connection) = incoming.establish().await {
                    connection.closed().await;
                }
            });
        }
    };
    let dialled = tokio::select! {
        dialled = dialling => dialled.expect("no panic"),
        () = within(accepting) => unreachable!("it accepts for ever"),
    };
    assert_eq!(dialled.expect("it is there now").peer().to_string(), "main/relay/hub");
}

#[tokio::test]
async fn the_newest_version_that_both_speak_is_taken_and_the_two_before_are_understood() {
    let site = Site::new("test");
    let mut relay = Listener::start(&site.credentials("main/relay/hub"));
    let own = site.issue("main/edge/yard", DAY);
    assert_eq!(VERSIONS, [Version(4), Version(3), Version(2)]);
    for version in VERSIONS {
        let alpn = version.to_string();
        let peer = raw::connect(&own.ca, Some(&own), "relay.watchtree", relay.port, alpn.as_bytes()).await;
        let _peer = peer.expect("it is let in");
        assert_eq!(relay.arrival().await.expect("it is let in").version(), version);
    }
    let yard = Endpoint::dialer(&site.credentials("main/edge/barn")).expect("a socket");
    let newest = within(yard.dial("127.0.0.1", relay.port, Role::Relay)).await.expect("it is let in");
    assert_eq!(newest.version(), Version::EDGE);
}
