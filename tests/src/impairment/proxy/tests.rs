//! The proxy with real sockets: what gets through, to whom, and from where.

use super::super::conditions::Rate;
use super::*;
use crate::harness::wait_for;
use std::time::Instant;
use tokio::net::UdpSocket;
use tokio::time::timeout;

const MS: Duration = Duration::from_millis(1);
const WITHIN: Duration = Duration::from_secs(10);
/// For what does not come.
const A_WHILE: Duration = Duration::from_millis(200);

/// An upstream that answers every packet with the sender's port and address before it.
async fn echo() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let socket = client().await;
    let addr = socket.local_addr().expect("it is bound");
    let task = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (bytes, from) = socket.recv_from(&mut buffer).await.expect("loopback");
            let answer = [from.to_string().as_bytes(), b" ", &buffer[..bytes]].concat();
            socket.send_to(&answer, from).await.expect("loopback");
        }
    });
    (addr, task)
}

async fn client() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket")
}

/// What comes back: as whom the upstream saw us, and the words.
async fn answer(client: &UdpSocket) -> Option<(SocketAddr, String)> {
    let mut buffer = [0; 2048];
    let (bytes, _) = timeout(A_WHILE, client.recv_from(&mut buffer)).await.ok()?.expect("loopback");
    let text = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
    let (from, words) = text.split_once(' ').expect("the echo puts it there");
    Some((from.parse().expect("an address"), words.to_owned()))
}

/// Sends until it is answered, as a busy machine may take its time.
async fn ask(client: &UdpSocket, proxy: &Proxy, words: &str) -> (SocketAddr, String) {
    wait_for("the upstream answers", WITHIN, async || {
        client.send_to(words.as_bytes(), proxy.addr()).await.expect("loopback");
        answer(client).await.ok_or(format!("{:?}", proxy.stats()))
    })
    .await
}

#[tokio::test]
async fn each_client_gets_its_own_answers_and_is_known_by_its_own_port() {
    let (upstream, _echo) = echo().await;
    let proxy = Proxy::start(upstream, Impairment::default(), 1).expect("it starts");
    let clients = [client().await, client().await, client().await];
    let mut known = std::collections::BTreeSet::new();
    for (nth, client) in clients.iter().enumerate() {
        let (from, words) = ask(client, &proxy, &format!("client {nth}")).await;
        assert_eq!(words, format!("client {nth}"));
        known.insert(from);
    }
    assert_eq!((known.len(), proxy.stats().clients), (3, 3));
}

#[tokio::test]
async fn the_first_packet_of_a_client_gets_through_too() {
    let (upstream, _echo) = echo().await;
    let proxy = Proxy::start(upstream, Impairment::default(), 1).expect("it starts");
    for nth in 1..=20 {
        client().await.send_to(b"hello", proxy.addr()).await.expect("loopback");
        wait_for("it arrived", WITHIN, async || match proxy.stats().up {
            up if up.delivered == nth => Ok(()),
            up => Err(format!("{up:?}")),
        })
        .await;
    }
}

#[tokio::test]
async fn a_delay_is_never_less_than_it_says_and_the_rest_is_told() {
    let (upstream, _echo) = echo().await;
    let proxy = Proxy::start(upstream, Impairment::delay(20 * MS), 1).expect("it starts");
    let client = client().await;
    for _ in 0..20 {
        let sent = Instant::now();
        client.send_to(b"how late is it", proxy.addr()).await.expect("loopback");
        if answer(&client).await.is_some() {
            assert!(sent.elapsed() >= 40 * MS, "after {:?}", sent.elapsed());
        }
    }
    let stats = proxy.stats();
    println!("of 20 round trips the proxy was late by {} µs at worst", stats.late_us_max);
    assert!(stats.down.delivered > 0, "{stats:?}");
}

#[tokio::test]
async fn a_partition_cuts_the_way_that_it_names_until_it_is_healed() {
    let (upstream, _echo) = echo().await;
    let proxy = Proxy::start(upstream, Impairment::default(), 1).expect("it starts");
    let client = client().await;
    ask(&client, &proxy, "before").await;
    let before = proxy.stats();
    proxy.partition(Way::Down);
    client.send_to(b"heard and not answered", proxy.addr()).await.expect("loopback");
    assert_eq!(answer(&client).await, None);
    wait_for("the answer was cut", WITHIN, async || match proxy.stats() {
        stats if stats.down.cut == 1 && stats.up.cut == 0 && stats.up.delivered == before.up.delivered + 1 => Ok(()),
        stats => Err(format!("{stats:?}")),
    })
    .await;
    proxy.partition(Way::Both);
    client.send_to(b"not heard", proxy.addr()).await.expect("loopback");
    assert_eq!(answer(&client).await, None);
    proxy.heal();
    assert_eq!(ask(&client, &proxy, "after").await.1, "after");
}

#[tokio::test]
async fn the_upstream_sees_a_moved_client_come_from_elsewhere_and_its_answers_arrive() {
    let (upstream, _echo) = echo().await;
    let proxy = Proxy::start(upstream, Impairment::default(), 1).expect("it starts");
    let client = client().await;
    let (home, _) = ask(&client, &proxy, "home").await;
    assert_eq!(proxy.move_clients(None).expect("a socket"), 1);
    let (port, _) = ask(&client, &proxy, "another port").await;
    let elsewhere = IpAddr::from([127, 0, 0, 7]);
    proxy.move_clients(Some(elsewhere)).expect("a socket");
    let (address, _) = ask(&client, &proxy, "another address").await;
    assert_eq!((home.ip(), port.ip(), address.ip()), (upstream.ip(), upstream.ip(), elsewhere));
    assert_ne!(home.port(), port.port());
    assert_eq!((proxy.stats().moved, proxy.stats().clients), (2, 1));
}

#[tokio::test]
async fn a_silent_client_is_forgotten_and_comes_again_as_a_new_one() {
    let (upstream, _echo) = echo().await;
    let limits = Limits { clients_max: 1, idle_max: 300 * MS };
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let proxy = Proxy::listen(any, upstream, Impairment::default(), 1, limits).expect("it starts");
    let (first, second) = (client().await, client().await);
    ask(&first, &proxy, "first").await;
    second.send_to(b"there is no room", proxy.addr()).await.expect("loopback");
    assert_eq!(answer(&second).await, None);
    assert_eq!(proxy.stats().turned_away, 1);
    wait_for("the first is forgotten", WITHIN, async || match proxy.stats() {
        stats if stats.forgotten == 1 && stats.clients == 0 => Ok(()),
        stats => Err(format!("{stats:?}")),
    })
    .await;
    ask(&second, &proxy, "second").await;
    assert_eq!(proxy.stats().clients, 1);
}

#[tokio::test]
async fn what_the_proxy_does_adds_up_in_the_end() {
    let (upstream, _echo) = echo().await;
    let bad = Impairment {
        delay: 2 * MS,
        jitter: 3 * MS,
        loss: 0.1,
        reorder: 0.1,
        duplicate: 0.1,
        corrupt: 0.1,
        rate: Some(Rate::mbit(8, 10_000)),
        ..Impairment::default()
    };
    let proxy = Proxy::start(upstream, bad, 1).expect("it starts");
    let client = client().await;
    for nth in 0..300u32 {
        client.send_to(&[nth as u8; 300], proxy.addr()).await.expect("loopback");
    }
    client.send_to(&[0; 1_500], proxy.addr()).await.expect("loopback");
    wait_for("everything has arrived or was dropped", WITHIN, async || match proxy.stats() {
        stats if stats.in_flight == 0 && stats.up.oversize == 1 => Ok(()),
        stats => Err(format!("{stats:?}")),
    })
    .await;
    let stats = proxy.stats();
    for tally in [stats.up, stats.down] {
        assert_eq!(tally.entered + tally.duplicated, tally.delivered + tally.dropped(), "{tally:?}");
    }
    let up = stats.up;
    let seen = [up.lost, up.overflowed, up.reordered, up.duplicated, up.corrupted, up.delivered];
    assert!(seen.iter().all(|count| *count > 0), "{up:?}");
}

#[tokio::test]
async fn what_is_changed_counts_from_now_on() {
    let (upstream, _echo) = echo().await;
    let proxy = Proxy::start(upstream, Impairment::default(), 1).expect("it starts");
    proxy.change(Way::Up, |up| up.delay = 50 * MS);
    let conditions = proxy.conditions();
    assert_eq!((conditions.up.delay, conditions.down.delay), (50 * MS, Duration::ZERO));
    let client = client().await;
    let sent = Instant::now();
    ask(&client, &proxy, "slow").await;
    assert!(sent.elapsed() >= 50 * MS);
    proxy.set(Impairment { loss: 1.0, ..Impairment::default() });
    client.send_to(b"lost", proxy.addr()).await.expect("loopback");
    assert_eq!(answer(&client).await, None);
}

#[test]
fn a_dropped_proxy_gives_its_port_back() {
    let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let at = Proxy::start(upstream, Impairment::default(), 1).expect("it starts").addr();
    let again = Proxy::listen(at, upstream, Impairment::default(), 1, Limits::default());
    assert_eq!(again.expect("the port is free").addr(), at);
}
