//! Datagrams: what arrives, what is refused at the sender, and what a peer cannot break with one.

use crate::raw;
use crate::site::{edge_and_gpu, within};
use protocol::datagram::Datagram;
use protocol::limits::DATAGRAM_BYTES_MAX;
use protocol::link::Open;
use protocol::transport::SendError;
use protocol::{Epoch, codec};

fn gauge(name: &str, seq: u64) -> Datagram {
    Datagram::Gauge { boot: Epoch(7), name: name.to_owned(), seq, value: 0.5 }
}

#[tokio::test]
async fn a_datagram_arrives() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    edge.send_datagram(&gauge("outbox", 1)).expect("is sent");
    assert_eq!(within(at_gpu.recv_datagram()).await, Ok(Ok(gauge("outbox", 1))));
    at_gpu.send_datagram(&gauge("load", 2)).expect("is sent");
    assert_eq!(within(edge.recv_datagram()).await, Ok(Ok(gauge("load", 2))));
}

#[tokio::test]
async fn the_largest_fits_and_one_byte_more_is_refused_at_its_sender() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    let name_bytes = (0..=DATAGRAM_BYTES_MAX).rev().find(|bytes| gauge(&"x".repeat(*bytes), 1).encode().is_ok());
    let name = "x".repeat(name_bytes.expect("an empty name fits"));
    assert_eq!(gauge(&name, 1).encode().map(|bytes| bytes.len()), Ok(DATAGRAM_BYTES_MAX));
    let refused = edge.send_datagram(&gauge(&format!("{name}x"), 1)).expect_err("too large");
    assert!(matches!(&refused, SendError::Unfit(why) if why.contains("1201 B, the limit here is 1200 B")), "{refused}");
    edge.send_datagram(&gauge(&name, 2)).expect("the connection goes on");
    assert_eq!(within(at_gpu.recv_datagram()).await, Ok(Ok(gauge(&name, 2))));
}

#[tokio::test]
async fn one_that_cannot_be_read_is_told_and_the_connection_goes_on() {
    let (peer, at_gpu, _gpu) = raw::edge_on_gpu().await;
    let mut with_rest = codec::encode(&gauge("outbox", 1));
    with_rest.push(0);
    let unreadable: [(Vec<u8>, &str); 4] = [
        (vec![], "message is garbled: empty"),
        (vec![9, 0], "message has version 9"),
        (b"\x01\xff\xff\xff".to_vec(), "message is garbled"),
        (with_rest, "1 B left over"),
    ];
    for (bytes, expected) in unreadable {
        peer.connection.send_datagram(bytes.into()).expect("is sent");
        let why = within(at_gpu.recv_datagram()).await.expect("the connection is there").expect_err("unreadable");
        assert!(why.contains(expected), "{why}");
    }
    peer.connection.send_datagram(codec::encode(&gauge("outbox", 2)).into()).expect("is sent");
    assert_eq!(within(at_gpu.recv_datagram()).await, Ok(Ok(gauge("outbox", 2))));
}

#[tokio::test]
async fn of_those_that_nobody_reads_the_newest_are_kept_and_streams_go_on() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    let name = "x".repeat(1000);
    const SENT: u64 = 200;
    for seq in 1..=SENT {
        edge.send_datagram(&gauge(&name, seq)).expect("is sent, or drops an older one");
        tokio::task::yield_now().await;
    }
    // What comes behind them on a stream is read: nothing waits for whoever reads datagrams.
    let (mut tx, _rx) = edge.open_bi(&Open::Control).await.expect("a stream");
    tx.send(&"after").await.expect("is sent");
    let (_, _tx, mut rx) = within(at_gpu.accept_bi()).await.expect("a stream").open().await.expect("named");
    assert_eq!(within(rx.recv::<String>()).await, Ok(Some("after".to_owned())));
    let mut last = 0;
    while last < SENT {
        let Ok(Ok(Datagram::Gauge { seq, .. })) = within(at_gpu.recv_datagram()).await else { panic!("a gauge") };
        assert!(seq > last, "{seq} after {last}");
        last = seq;
    }
}
