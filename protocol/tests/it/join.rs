//! A box without a certificate: whom it trusts, what it may say, and what it is answered.

use crate::raw;
use crate::site::{PATIENCE, Site, loopback, within};
use protocol::codec::encode;
use protocol::enrol::{JoinDown, JoinUp, Refusal, TOKEN_ID_BYTES, TOKEN_SECRET_BYTES, Token};
use protocol::limits::JOIN_BYTES_MAX;
use protocol::transport::{Arrival, DialError, Endpoint, Joining, join};
use protocol::{Timestamp, ca};

fn token(site: &Site) -> Token {
    let ca_sha256 = ca::Authority::load(&site.ca_dir()).expect("a CA").sha256();
    let who = "main/edge/yard".parse().expect("an identity");
    Token { who, id: [1; TOKEN_ID_BYTES], secret: [2; TOKEN_SECRET_BYTES], ca_sha256 }
}

fn up(token: &Token) -> JoinUp {
    JoinUp { token: token.to_string(), csr: vec![7; 100], now: Timestamp::now(), software: "test".to_owned() }
}

/// A listener of `who`, and its port.
fn listener(site: &Site, who: &str) -> (Endpoint, u16) {
    let endpoint = Endpoint::listen(loopback(), &site.credentials(who)).expect("a port");
    let port = endpoint.local_addr().expect("is bound").port();
    (endpoint, port)
}

async fn joining(endpoint: &Endpoint) -> Joining {
    match within(endpoint.accept()).await.expect("is open").arrive().await.expect("it is let in") {
        Arrival::Joining(joining) => joining,
        Arrival::Peer(peer) => panic!("{peer:?}"),
    }
}

#[tokio::test]
async fn a_box_is_answered_by_the_relay_whose_fingerprint_it_has() {
    let site = Site::new("test");
    let (relay, port) = listener(&site, "main/relay/hub");
    let (token, asked) = (token(&site), up(&token(&site)));
    let serving = async {
        let mut heard = None;
        let served = joining(&relay).await.serve(async |up| {
            heard = Some(up);
            JoinDown::Refused(Refusal::Busy)
        });
        within(served).await.expect("it is answered");
        heard
    };
    let (answer, heard) = tokio::join!(join(&token, "127.0.0.1", port, &asked), serving);
    assert_eq!(answer, Ok(JoinDown::Refused(Refusal::Busy)));
    assert_eq!(heard, Some(asked));
}

/// What a box with a token of `ours` hears at a listener `who` of `theirs`; nobody may hear its token.
async fn refused(ours: &Site, theirs: &Site, who: &str) -> String {
    let (relay, port) = listener(theirs, who);
    let token = token(ours);
    let accepting = async { within(relay.accept()).await.expect("is open").arrive().await.map(drop) };
    let asked = up(&token);
    let (answer, arrived) = tokio::join!(join(&token, "127.0.0.1", port, &asked), accepting);
    assert!(arrived.is_err(), "the handshake came to its end");
    let error = answer.expect_err("a refusal");
    assert!(matches!(error, DialError::WrongCertificate { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_relay_of_another_ca_is_not_trusted_even_if_the_cas_share_a_name() {
    let (ours, theirs) = (Site::new("test"), Site::new("test"));
    let why = refused(&ours, &theirs, "main/relay/hub").await;
    assert!(why.contains("no certificate of the CA that is in the token"), "{why}");
}

#[tokio::test]
async fn a_node_of_our_ca_that_is_no_relay_is_not_trusted() {
    let site = Site::new("test");
    let why = refused(&site, &site, "main/edge/gate").await;
    assert!(why.contains("its certificate is for the role edge"), "{why}");
}

#[tokio::test]
async fn a_box_that_joins_is_no_peer() {
    let site = Site::new("test");
    let (relay, port) = listener(&site, "main/relay/hub");
    let token = token(&site);
    let establishing = async { within(relay.accept()).await.expect("is open").establish().await.map(drop) };
    let asked = up(&token);
    let (answer, refusal) = tokio::join!(join(&token, "127.0.0.1", port, &asked), establishing);
    assert!(answer.is_err() && refusal.expect_err("no peer").to_string().contains("takes nobody in"));
}

#[tokio::test]
async fn who_has_a_certificate_gets_no_further_under_the_joins_name() {
    let site = Site::new("test");
    let (relay, port) = listener(&site, "main/relay/hub");
    let own = site.issue("main/edge/yard", crate::site::DAY);
    let connecting = raw::connect(&own.ca, Some(&own), "relay.watchtree", port, b"watchtree-join/1");
    let (peer, _joining) = tokio::join!(connecting, joining(&relay));
    peer.expect("TLS is content");
}

/// What the relay says of a stranger that sends `bytes` where a request belongs, and `more` beside it.
async fn hung_up_on(bytes: &[u8], more: &[u8]) -> String {
    let site = Site::new("test");
    let (relay, port) = listener(&site, "main/relay/hub");
    let ca = site.ca_dir().join("ca.pem");
    let connecting = raw::connect(&ca, None, "relay.watchtree", port, b"watchtree-join/1");
    let (peer, joining) = tokio::join!(connecting, joining(&relay));
    let peer = peer.expect("TLS is content");
    let (mut tx, _rx) = peer.connection.open_bi().await.expect("a stream");
    let mut beside = peer.connection.open_uni().await.expect("a stream");
    let sending = async {
        // Whoever hangs up does so in the middle.
        let _ = tx.write_all(bytes).await;
        let _ = beside.write_all(more).await;
        peer.connection.closed().await
    };
    let serving = joining.serve(async |up| panic!("{up:?} was taken for a request"));
    let (told, served) = tokio::join!(tokio::time::timeout(PATIENCE, sending), serving);
    told.expect("it is told");
    served.expect_err("it is hung up on")
}

fn framed(body: &[u8], length: usize) -> Vec<u8> {
    [&u32::try_from(length).expect("short").to_be_bytes(), body].concat()
}

#[tokio::test]
async fn what_is_no_request_is_hung_up_on() {
    let why = hung_up_on(&framed(b"\x01nothing of ours", 16), &[]).await;
    assert!(why.contains("garbled"), "{why}");
    let why = hung_up_on(&framed(&encode(&7u8), JOIN_BYTES_MAX + 1), &[]).await;
    assert!(why.contains("the limit here is"), "{why}");
}

#[tokio::test]
async fn a_flood_is_hung_up_on() {
    // Half a message, so that the relay waits, and more than it reads on another stream.
    let why = hung_up_on(&framed(&[1; 10], 1000), &vec![0; 1024 * 1024]).await;
    assert!(why.contains("it sent more than"), "{why}");
}

#[tokio::test]
async fn who_says_nothing_is_hung_up_on() {
    let why = hung_up_on(&[], &[]).await;
    assert!(why.contains("more than 5 s"), "{why}");
}

#[tokio::test]
async fn nobody_at_home_is_unreachable() {
    let site = Site::new("test");
    let silent = std::net::UdpSocket::bind(loopback()).expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let token = token(&site);
    let error = within(join(&token, "127.0.0.1", port, &up(&token))).await.expect_err("nobody");
    assert!(matches!(error, DialError::Unreachable { .. }), "{error:?}");
}
