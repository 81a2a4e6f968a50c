//! Who gets in, who does not, and what each side is told.

use crate::raw;
use crate::site::{DAY, Listener, PATIENCE, Site, dial, edge_and_gpu, loopback, within};
use protocol::Role;
use protocol::transport::{CloseCode, DialError, Endpoint, Lost, Refusal, SILENCE_MAX, TlsFiles};
use std::time::Instant;

#[tokio::test]
async fn each_side_knows_the_other_by_its_certificate() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    assert_eq!(edge.peer().to_string(), "main/gpu/brain");
    assert_eq!(at_gpu.peer().to_string(), "main/edge/yard");
    assert!(edge.rtt() < PATIENCE);
}

#[tokio::test]
async fn a_peer_without_a_certificate_is_told_so() {
    let site = Site::new("test");
    let mut relay = Listener::start(&site.credentials("main/relay/hub"));
    let ca = site.ca_dir().join("ca.pem");
    let peer = raw::connect(&ca, None, "relay.watchtree", relay.port, b"watchtree/2").await;
    let refusal = relay.refusal().await;
    assert!(refusal.contains("was refused: it presented no certificate; issue one from our CA"), "{refusal}");
    // Refused after the handshake: a box that joins comes without one.
    let told = match peer {
        Ok(peer) => within(peer.connection.closed()).await,
        Err(error) => error,
    };
    assert!(told.to_string().contains("it presented no certificate; issue one from our CA"), "{told}");
}

#[tokio::test]
async fn a_dialler_of_another_ca_hears_that_it_is_refused() {
    let (site, other) = (Site::new("test"), Site::new("other"));
    let mut relay = Listener::start(&site.credentials("main/relay/hub"));
    // Trusts our CA, so that it is the relay that refuses.
    let foreign = other.issue("main/edge/yard", DAY);
    let own_ca = site.ca_dir().join("ca.pem");
    let peer = raw::connect(&own_ca, Some(&foreign), "relay.watchtree", relay.port, b"watchtree/2").await;
    let refusal = relay.refusal().await;
    assert!(refusal.contains("its certificate is not signed by our CA; issue one from that CA"), "{refusal}");
    let told = match peer {
        Ok(peer) => within(peer.connection.closed()).await,
        Err(error) => error,
    };
    assert!(told.to_string().contains("UnknownIssuer"), "{told}");
}

#[tokio::test]
async fn two_cas_distrust_each_other_in_words() {
    let (site, other) = (Site::new("test"), Site::new("other"));
    let mut relay = Listener::start(&site.credentials("main/relay/hub"));
    let error = dial(&other.credentials("main/edge/yard"), relay.port, Role::Relay).await.expect_err("another CA");
    assert!(matches!(error, DialError::WrongCertificate { .. }));
    let text = error.to_string();
    assert!(text.starts_with(&format!("relay at 127.0.0.1:{}", relay.port)), "{text}");
    assert!(text.contains("not to be trusted: its certificate is not signed by our CA"), "{text}");
    let refusal = relay.arrival().await.expect_err("a refusal");
    assert!(matches!(refusal, Refusal::RefusedByPeer { .. }), "{refusal:?}");
    let text = refusal.to_string();
    assert!(text.contains("refused us: our certificate is not signed by the peer's CA"), "{text}");
}

#[tokio::test]
async fn an_edge_cannot_pass_for_a_relay() {
    let site = Site::new("test");
    let mut edge = Listener::start(&site.credentials("main/edge/yard"));
    let error = dial(&site.credentials("main/edge/gate"), edge.port, Role::Relay).await.expect_err("no relay");
    assert!(matches!(error, DialError::WrongCertificate { .. }));
    assert!(error.to_string().contains("its certificate is for the role edge; check the address"), "{error}");
    let refusal = edge.refusal().await;
    assert!(refusal.contains("refused us: our certificate is for the role edge"), "{refusal}");
}

#[tokio::test]
async fn an_expired_dialler_hears_of_it_from_dial() {
    let site = Site::new("test");
    let mut relay = Listener::start(&site.credentials("main/relay/hub"));
    let (_, yard) = site.expired("main/edge/yard");
    let error = dial(&yard, relay.port, Role::Relay).await.expect_err("expired");
    assert!(matches!(error, DialError::RefusedByPeer { .. }), "{error:?}");
    assert!(error.to_string().contains("refused us: our certificate has expired or is not yet valid"), "{error}");
    let refusal = relay.refusal().await;
    assert!(refusal.contains("was refused: its certificate has expired"), "{refusal}");
}

#[tokio::test]
async fn an_expired_listener_is_not_trusted() {
    let site = Site::new("test");
    let (_, hub) = site.expired("main/relay/hub");
    let relay = Listener::start(&hub);
    let error = dial(&site.credentials("main/edge/yard"), relay.port, Role::Relay).await.expect_err("expired");
    assert!(matches!(error, DialError::WrongCertificate { .. }), "{error:?}");
    assert!(error.to_string().contains("its certificate has expired"), "{error}");
}

#[tokio::test]
async fn another_protocol_version_is_named() {
    let site = Site::new("test");
    let mut relay = Listener::start(&site.credentials("main/relay/hub"));
    let own = site.issue("main/edge/yard", DAY);
    let peer = raw::connect(&own.ca, Some(&own), "relay.watchtree", relay.port, b"watchtree/9").await;
    assert!(peer.is_err());
    let refusal = relay.refusal().await;
    assert!(
        refusal.contains(
            "no version of the protocol that this program speaks (watchtree/4, watchtree/3 and watchtree/2); upgrade the older"
        ),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_certificate_of_our_ca_without_an_identity_is_refused_on_both_sides() {
    let site = Site::new("test");
    let mut relay = Listener::start(&site.credentials("main/relay/hub"));
    let own = certificate_without_identity(&site);
    let peer =
        raw::connect(&own.ca, Some(&own), "relay.watchtree", relay.port, b"watchtree/2").await.expect("TLS is content");
    let refusal = relay.refusal().await;
    assert!(refusal.contains("was refused: certificate carries 0 watchtree identities"), "{refusal}");
    let told = within(peer.connection.closed()).await.to_string();
    assert!(told.contains("certificate carries 0 watchtree identities, it must carry one"), "{told}");
}

fn certificate_without_identity(site: &Site) -> TlsFiles {
    let read = |file: &str| std::fs::read_to_string(site.ca_dir().join(file)).expect("a CA");
    let ca_key = rcgen::KeyPair::from_pem(&read("ca.key")).expect("a key");
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).expect("a CA");
    let mut params = rcgen::CertificateParams::new(vec!["edge.watchtree".to_owned()]).expect("parameters");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate().expect("a key");
    let cert = params.signed_by(&key, &issuer).expect("a certificate");
    let path = |file: &str| site.dir.path().join(file);
    std::fs::write(path("anon.pem"), cert.pem()).expect("written");
    std::fs::write(path("anon.key"), key.serialize_pem()).expect("written");
    TlsFiles { ca: site.ca_dir().join("ca.pem"), cert: path("anon.pem"), key: path("anon.key") }
}

#[tokio::test]
async fn nobody_at_home_is_unreachable_and_says_so_in_time() {
    let site = Site::new("test");
    let silent = std::net::UdpSocket::bind(loopback()).expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let error = within(dial(&site.credentials("main/edge/yard"), port, Role::Relay)).await.expect_err("nobody");
    assert!(matches!(error, DialError::Unreachable { .. }));
    // Which of the two limits is seen first on a busy machine is a matter of luck.
    let text = error.to_string();
    let told = text.contains("no sign of life from the peer for 4 s") || text.contains("no answer within 5 s");
    assert!(told && text.contains("; is it running"), "{text}");
}

#[tokio::test]
async fn a_name_without_an_address_is_unreachable() {
    let site = Site::new("test");
    let dialer = Endpoint::dialer(&site.credentials("main/edge/yard")).expect("a socket");
    let error = within(dialer.dial("", 4433, Role::Relay)).await.expect_err("no such name");
    assert!(matches!(error, DialError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_second_address_is_tried_when_the_first_is_silent() {
    let site = Site::new("test");
    let relay = Listener::start(&site.credentials("main/relay/hub"));
    // On most hosts `localhost` is ::1 as well, where nobody listens; 127.0.0.1 must be found without its timeout.
    let dialer = Endpoint::dialer(&site.credentials("main/edge/yard")).expect("a socket");
    let mut took = Vec::new();
    // One that waited for the first address would take its timeout each time; a machine that stands still, once.
    for _ in 0..3 {
        let begun = Instant::now();
        if let Ok(connection) = within(dialer.dial("localhost", relay.port, Role::Relay)).await {
            assert_eq!(connection.peer().to_string(), "main/relay/hub");
            took.push(begun.elapsed());
        }
    }
    assert!(took.iter().any(|took| *took < SILENCE_MAX), "took {took:?}");
}

#[tokio::test]
async fn a_dial_begun_before_the_listener_succeeds_soon_after_it() {
    let site = Site::new("test");
    let (hub, yard) = (site.credentials("main/relay/hub"), site.credentials("main/edge/yard"));
    let reserved = std::net::UdpSocket::bind(loopback()).expect("a port");
    let addr = reserved.local_addr().expect("bound");
    let dialling = tokio::spawn(async move { dial(&yard, addr.port(), Role::Relay).await });
    // The first packet is lost: it lands in a socket that nobody reads.
    let mut first = [0; 2048];
    let reserved = tokio::net::UdpSocket::from_std(nonblocking(reserved)).expect("a socket");
    within(reserved.recv(&mut first)).await.expect("a packet");
    drop(reserved);
    let begun = Instant::now();
    let relay = Endpoint::listen(addr, &hub).expect("the port is free again");
    let arrived = within(relay.accept()).await.expect("open").establish().await.expect("a connection");
    within(dialling).await.expect("no panic").expect("a connection");
    assert_eq!(arrived.peer().to_string(), "main/edge/yard");
    println!("connected {:?} after the listener was there", begun.elapsed());
}

fn nonblocking(socket: std::net::UdpSocket) -> std::net::UdpSocket {
    socket.set_nonblocking(true).expect("a socket");
    socket
}

#[tokio::test]
async fn a_slow_handshake_holds_nobody_up_and_is_dropped() {
    let site = Site::new("test");
    let endpoint = Endpoint::listen(loopback(), &site.credentials("main/relay/hub")).expect("a port");
    let port = endpoint.local_addr().expect("bound").port();
    // A dialler that sends its first packet and then freezes.
    let own = site.issue("main/edge/slow", DAY);
    let slow = tokio::spawn(async move {
        raw::connect(&own.ca, Some(&own), "relay.watchtree", port, b"watchtree/2").await.map(|_| ())
    });
    let slow_incoming = within(endpoint.accept()).await.expect("open");
    slow.abort();
    let _ = slow.await;
    let dropped = tokio::spawn(slow_incoming.establish());
    let (accepted, dialled) =
        tokio::join!(async { within(endpoint.accept()).await.expect("open").establish().await }, async {
            dial(&site.credentials("main/edge/yard"), port, Role::Relay).await
        },);
    assert_eq!(accepted.expect("a connection").peer().to_string(), "main/edge/yard");
    dialled.expect("a connection");
    let refusal = within(dropped).await.expect("no panic").expect_err("never finished");
    assert!(matches!(refusal, Refusal::Unfinished { .. }), "{refusal:?}");
}

#[tokio::test]
async fn a_close_reaches_the_other_side_with_its_reason_and_code() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    at_gpu.close(CloseCode::Refused, "an edge may not open admin on a gpu node");
    assert_eq!(within(edge.closed()).await, "the peer refused us: an edge may not open admin on a gpu node");
    assert_eq!(edge.close_code(), Some(CloseCode::Refused));
    assert_eq!(
        within(at_gpu.closed()).await,
        "closed by this side (refused): an edge may not open admin on a gpu node"
    );
    let lost = edge.open_bi(&protocol::link::Open::Control).await.err().expect("closed");
    assert_eq!(lost, Lost::Connection("the peer refused us: an edge may not open admin on a gpu node".to_owned()));
}

#[tokio::test]
async fn a_node_that_goes_down_says_so_to_all() {
    let (edge, _at_gpu, gpu) = edge_and_gpu().await;
    gpu.endpoint.close("restart for an upgrade");
    assert_eq!(within(edge.closed()).await, "closed by the peer (shutting down): restart for an upgrade");
    assert_eq!(edge.close_code(), Some(CloseCode::ShuttingDown));
    within(gpu.endpoint.drained()).await;
}

#[tokio::test]
async fn an_address_in_use_is_refused_with_the_way_out() {
    let site = Site::new("test");
    let hub = site.credentials("main/relay/hub");
    let first = Endpoint::listen(loopback(), &hub).expect("a port");
    let addr = first.local_addr().expect("bound");
    let error = Endpoint::listen(addr, &hub).err().expect("taken").to_string();
    assert!(error.contains(&addr.to_string()) && error.contains("is another node running here?"), "{error}");
}
