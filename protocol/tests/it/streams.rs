//! Messages on bidirectional streams: what arrives, what is refused, what survives a dropped wait.

use crate::raw;
use crate::site::{self, Site, edge_and_gpu, within};
use proptest::prelude::*;
use protocol::codec::{Blob, encode};
use protocol::limits::MESSAGE_BYTES_MAX;
use protocol::link::Open;
use protocol::transport::{CloseCode, Lost, OPEN_WITHIN, RecvError, SendError, StreamRefusal};
use protocol::{EventId, Role};
use std::time::{Duration, Instant};

/// A message with its length in front, as it lies on the wire.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(message.len()).expect("short").to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    bytes
}

#[tokio::test]
async fn a_call_and_its_answer_cross() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    let serving = tokio::spawn(async move {
        let (open, mut tx, mut rx) = at_gpu.accept_bi().await.expect("a stream").open().await.expect("named");
        assert_eq!(open, Open::Control);
        let asked: String = rx.recv().await.expect("a message").expect("not the end");
        tx.send(&format!("{asked} to you")).await.expect("sent");
        tx.finish().expect("finished");
        tx.delivered().await.expect("delivered");
        assert_eq!(rx.recv::<String>().await, Ok(None));
        at_gpu
    });
    let (mut tx, mut rx) = edge.open_bi(&Open::Control).await.expect("a stream");
    tx.send(&"good morning").await.expect("sent");
    assert_eq!(within(rx.recv::<String>()).await, Ok(Some("good morning to you".to_owned())));
    assert_eq!(within(rx.recv::<String>()).await, Ok(None));
    tx.finish().expect("finished");
    within(serving).await.expect("no panic");
}

#[tokio::test]
async fn a_sender_that_vanishes_is_no_clean_end() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    let (tx, _rx) = edge.open_bi(&Open::Control).await.expect("a stream");
    let (_, _tx, mut rx) = within(at_gpu.accept_bi()).await.expect("a stream").open().await.expect("named");
    drop(tx);
    let lost = Lost::Stream("the peer gave the stream up (given up)".to_owned());
    assert_eq!(within(rx.recv::<String>()).await, Err(RecvError::Lost(lost)));
}

#[tokio::test]
async fn an_oversize_message_is_not_sent_and_the_stream_goes_on() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    let (mut tx, _rx) = edge.open_bi(&Open::Control).await.expect("a stream");
    let refused = tx.send(&Blob(vec![0; MESSAGE_BYTES_MAX])).await.expect_err("too large");
    assert!(matches!(refused, SendError::TooLarge { limit: MESSAGE_BYTES_MAX, .. }));
    assert!(refused.to_string().ends_with("the limit is 262144 B; send it in parts"), "{refused}");
    tx.send(&"small").await.expect("sent");
    let (_, _tx, mut rx) = within(at_gpu.accept_bi()).await.expect("a stream").open().await.expect("named");
    assert_eq!(within(rx.recv::<String>()).await, Ok(Some("small".to_owned())));
}

#[tokio::test]
async fn an_oversize_length_is_refused_before_its_bytes_come() {
    let (peer, at_gpu, _gpu) = raw::edge_on_gpu().await;
    let (mut send, _recv) = peer.connection.open_bi().await.expect("a stream");
    send.write_all(&framed(&encode(&Open::Control))).await.expect("sent");
    send.write_all(&u32::MAX.to_be_bytes()).await.expect("sent");
    let (_, _tx, mut rx) = within(at_gpu.accept_bi()).await.expect("a stream").open().await.expect("named");
    let refused = within(rx.recv::<String>()).await.expect_err("oversize");
    assert_eq!(refused, RecvError::Garbled("message is 4294967295 B, the limit here is 262144 B".to_owned()));
    at_gpu.close(CloseCode::Protocol, &refused.to_string());
    let told = within(peer.connection.closed()).await.to_string();
    assert!(told.contains("message is 4294967295 B, the limit here is 262144 B"), "{told}");
}

#[tokio::test]
async fn a_garbled_first_message_is_refused_in_words() {
    let (peer, at_gpu, _gpu) = raw::edge_on_gpu().await;
    let unnamed: [(Vec<u8>, &str); 4] = [
        (framed(b"\x01\xff\xff\xff"), "the first message on a stream is unreadable: message is garbled"),
        (framed(b"\x09\x00"), "message has version 9, this program speaks 1: upgrade the older side"),
        (vec![0, 0], "the stream ended inside a message"),
        (vec![], "opened a stream and ended it unnamed"),
    ];
    for (bytes, expected) in unnamed {
        let (mut send, mut recv) = peer.connection.open_bi().await.expect("a stream");
        send.write_all(&bytes).await.expect("sent");
        send.finish().expect("finished");
        let refused = within(within(at_gpu.accept_bi()).await.expect("a stream").open()).await.err().expect("garbled");
        assert!(matches!(refused, StreamRefusal::Garbled(_)), "{refused:?}");
        assert!(refused.to_string().contains(expected), "{refused}");
        let told = recv.read_to_end(16).await.expect_err("reset").to_string();
        assert!(told.contains("reset by peer: error 2"), "{told}");
    }
}

#[tokio::test]
async fn a_peer_that_opens_a_stream_and_says_nothing_blocks_nobody() {
    let (peer, at_gpu, _gpu) = raw::edge_on_gpu().await;
    let (mut silent, _recv) = peer.connection.open_bi().await.expect("a stream");
    // One byte of a length: the stream exists, its name does not come.
    silent.write_all(&[0]).await.expect("sent");
    let pending = within(at_gpu.accept_bi()).await.expect("a stream");
    let begun = Instant::now();
    let waiting = tokio::spawn(pending.open());

    let (mut send, _recv) = peer.connection.open_bi().await.expect("a stream");
    send.write_all(&framed(&encode(&Open::Control))).await.expect("sent");
    let (open, _tx, _rx) = within(at_gpu.accept_bi()).await.expect("a stream").open().await.expect("named");
    assert_eq!(open, Open::Control);
    assert!(begun.elapsed() < OPEN_WITHIN, "waited for the silent one: {:?}", begun.elapsed());

    let refused = within(waiting).await.expect("no panic").err().expect("silent");
    assert_eq!(refused.to_string(), "the peer opened a stream and did not say within 5 s what it is");
}

#[tokio::test]
async fn a_wait_that_is_dropped_loses_no_byte() {
    let (peer, at_gpu, _gpu) = raw::edge_on_gpu().await;
    let (mut send, _recv) = peer.connection.open_bi().await.expect("a stream");
    send.write_all(&framed(&encode(&Open::Control))).await.expect("sent");
    let (_, _tx, mut rx) = within(at_gpu.accept_bi()).await.expect("a stream").open().await.expect("named");
    let words = ["one", "two", "three"];
    let bytes: Vec<u8> = words.iter().flat_map(|word| framed(&encode(word))).collect();
    let writing = tokio::spawn(async move {
        for byte in bytes {
            send.write_all(&[byte]).await.expect("sent");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        send
    });
    let (mut got, mut dropped) = (Vec::new(), 0);
    while got.len() < words.len() {
        tokio::select! {
            word = rx.recv::<String>() => got.push(word.expect("readable").expect("not the end")),
            () = tokio::time::sleep(Duration::from_millis(2)) => dropped += 1,
        }
    }
    assert_eq!(got, words);
    assert!(dropped > 3, "the wait was hardly ever dropped");
    within(writing).await.expect("no panic");
}

#[tokio::test]
async fn a_send_that_is_dropped_half_way_cuts_the_stream() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    let (mut tx, _rx) = edge.open_bi(&Open::Control).await.expect("a stream");
    let (_, _tx, mut rx) = within(at_gpu.accept_bi()).await.expect("a stream").open().await.expect("named");
    // Nobody reads, so that some send must wait; it is dropped then.
    let big = Blob(vec![7; MESSAGE_BYTES_MAX - 64]);
    while tokio::time::timeout(Duration::from_millis(500), tx.send(&big)).await.is_ok() {}
    let refused = tx.send(&"after").await.expect_err("cut").to_string();
    assert!(refused.contains("cut off half way; open another stream"), "{refused}");
    assert!(tx.finish().is_err());
    drop(tx);
    let end = within(async {
        loop {
            match rx.recv::<Blob>().await {
                Ok(Some(got)) => assert_eq!(got, big),
                Ok(None) => panic!("a cut stream had a clean end"),
                Err(end) => return end,
            }
        }
    });
    assert!(matches!(end.await, RecvError::Lost(Lost::Stream(_))));
}

/// Two at a time: whoever has begun must not go on for ever.
#[tokio::test]
async fn a_message_overtakes_a_clip_that_never_ends() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    let (mut clip, _rx) = edge.open_bi(&Open::Clip { clip: EventId(1), offset: 0 }).await.expect("a stream");
    let filling = tokio::spawn(async move { while clip.send_bytes(&[0; 256 * 1024]).await.is_ok() {} });
    let (_, _clip_tx, mut clip_rx) = within(at_gpu.accept_bi()).await.expect("a stream").open().await.expect("named");
    let reading = tokio::spawn(async move { while let Ok(Some(_)) = clip_rx.recv_bytes(64 * 1024).await {} });
    let (mut tx, mut rx) = edge.open_bi(&Open::Control).await.expect("a stream");
    let (_, mut gpu_tx, mut gpu_rx) = within(at_gpu.accept_bi()).await.expect("a stream").open().await.expect("named");
    for n in 0..200_u64 {
        tx.send(&n).await.expect("sent");
        assert_eq!(within(gpu_rx.recv::<u64>()).await, Ok(Some(n)));
        gpu_tx.send(&n).await.expect("sent");
        assert_eq!(within(rx.recv::<u64>()).await, Ok(Some(n)));
    }
    assert!(!filling.is_finished() && !reading.is_finished(), "the clip goes on meanwhile");
    edge.close(CloseCode::Done, "enough");
    within(filling).await.expect("no panic");
    within(reading).await.expect("no panic");
}

#[tokio::test]
async fn everything_can_be_used_from_tasks() {
    fn is_send<T: Send + 'static>(_: &T) {}
    let (edge, at_gpu, gpu) = edge_and_gpu().await;
    let opened = edge.open_bi(&Open::Control).await.expect("a stream");
    let pending = within(at_gpu.accept_bi()).await.expect("a stream");
    is_send(&(edge.clone(), gpu.endpoint.clone()));
    is_send(&opened);
    is_send(&pending.open());
    let site = Site::new("test");
    let (credentials, dialer) = (site.credentials("main/edge/yard"), gpu.endpoint.clone());
    is_send(&credentials);
    is_send(&async move { dialer.dial("localhost", 1, Role::Gpu).await.map(|_| ()) });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn messages_of_every_size_cross_in_order(sizes in proptest::collection::vec(0..MESSAGE_BYTES_MAX - 16, 1..12)) {
        site::runtime().block_on(async {
            let (edge, at_gpu, _gpu) = edge_and_gpu().await;
            let (mut tx, _rx) = edge.open_bi(&Open::Events).await.expect("a stream");
            let sent = sizes.clone();
            let sending = tokio::spawn(async move {
                for (nth, size) in sent.into_iter().enumerate() {
                    tx.send(&(nth, Blob(vec![nth as u8; size]))).await.expect("sent");
                }
                tx.finish().expect("finished");
            });
            let (_, _tx, mut rx) = within(at_gpu.accept_bi()).await.expect("a stream").open().await.expect("named");
            for (nth, size) in sizes.into_iter().enumerate() {
                let got: (usize, Blob) = within(rx.recv()).await.expect("readable").expect("not the end");
                assert_eq!(got, (nth, Blob(vec![nth as u8; size])));
            }
            assert_eq!(within(rx.recv::<(usize, Blob)>()).await, Ok(None));
            within(sending).await.expect("no panic");
        });
    }
}
