//! Frames: each whole or not at all, behind control, and never larger than it may be.

use crate::raw::{self, RawPeer};
use crate::site::{self, edge_and_gpu, within};
use proptest::prelude::*;
use protocol::codec::encode;
use protocol::frame::i420_bytes;
use protocol::limits::FRAMES_IN_FLIGHT_MAX;
use protocol::link::Open;
use protocol::transport::{CloseCode, Connection, FrameRefusal, SendError};
use protocol::{Epoch, FrameHeader, Priority, Timestamp};
use std::time::{Duration, Instant};

fn header(seq: u64, width: u32, height: u32) -> FrameHeader {
    FrameHeader {
        asker: Epoch(7),
        seq,
        camera: "door".parse().expect("a name"),
        captured: Timestamp::from_micros(1_000_000),
        deadline_ms: 500,
        priority: Priority::Normal,
        model: None,
        width,
        height,
    }
}

fn pixels(width: u32, height: u32, seed: u64) -> Vec<u8> {
    let bytes = i420_bytes(width, height).expect("within the limits");
    (0..bytes).map(|n| (n as u64).wrapping_mul(seed | 1) as u8).collect()
}

async fn next_frame(at_gpu: &Connection) -> Result<(FrameHeader, Vec<u8>), FrameRefusal> {
    within(within(at_gpu.accept_frame()).await.expect("a stream").read()).await
}

/// What a peer may write on a unidirectional stream, and what the reader makes of it.
async fn refused(peer: &RawPeer, at_gpu: &Connection, messages: &[Vec<u8>], rest: &[u8]) -> String {
    let mut send = peer.connection.open_uni().await.expect("a stream");
    for message in messages {
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        send.write_all(&length).await.expect("sent");
        send.write_all(message).await.expect("sent");
    }
    // May be stopped half way: the reader has seen enough.
    let _ = send.write_all(rest).await;
    let _ = send.finish();
    let refused = next_frame(at_gpu).await.expect_err("must be refused");
    assert!(matches!(refused, FrameRefusal::Garbled(_)), "{refused:?}");
    refused.to_string()
}

#[tokio::test]
async fn a_forged_size_is_refused_before_a_byte_of_it_is_read() {
    let (peer, at_gpu, _gpu) = raw::edge_on_gpu().await;
    let huge = encode(&header(1, u32::MAX, u32::MAX));
    let why = refused(&peer, &at_gpu, &[encode(&Open::Frame), huge], &[0; 100]).await;
    assert!(why.contains("frame is 4294967295x4294967295; each side must be 1 to 4096 pixels"), "{why}");
    let square = encode(&header(1, 4096, 4096));
    let why = refused(&peer, &at_gpu, &[encode(&Open::Frame), square], &[0; 100]).await;
    assert!(why.contains("frame is 25165824 B, the limit is 13271040 B"), "{why}");
    at_gpu.close(CloseCode::Protocol, &why);
    let told = within(peer.connection.closed()).await.to_string();
    assert!(told.contains("the limit is 13271040 B"), "{told}");
}

#[tokio::test]
async fn a_frame_must_have_exactly_the_bytes_of_its_size() {
    let (peer, at_gpu, _gpu) = raw::edge_on_gpu().await;
    let head = [encode(&Open::Frame), encode(&header(1, 16, 16))];
    let why = refused(&peer, &at_gpu, &head, &[0; 383]).await;
    assert!(why.contains("it ends after 383 of 384 B"), "{why}");
    let why = refused(&peer, &at_gpu, &head, &[0; 385]).await;
    assert!(why.contains("it goes on after the 384 B of 16x16"), "{why}");
}

#[tokio::test]
async fn a_stream_that_is_no_frame_is_refused_in_words() {
    let (peer, at_gpu, _gpu) = raw::edge_on_gpu().await;
    let why = refused(&peer, &at_gpu, &[encode(&Open::Control)], &[]).await;
    assert!(why.contains("a frame's stream was opened as control"), "{why}");
    let why = refused(&peer, &at_gpu, &[encode(&Open::Frame)], &[]).await;
    assert!(why.contains("it has no header"), "{why}");
    let why = refused(&peer, &at_gpu, &[], &[]).await;
    assert!(why.contains("its stream is empty"), "{why}");
    let mut wordy = header(1, 16, 16);
    wordy.model = Some("m".repeat(2000));
    let why = refused(&peer, &at_gpu, &[encode(&Open::Frame), encode(&wordy)], &[0; 384]).await;
    assert!(why.contains("the limit here is 1024 B"), "{why}");
}

#[tokio::test]
async fn a_sender_refuses_what_its_receiver_would() {
    let (edge, _at_gpu, _gpu) = edge_and_gpu().await;
    let short = edge.open_frame(&header(1, 16, 16), &[0; 383]).await.expect_err("one byte short");
    assert_eq!(short.to_string(), "a frame of 16x16 has 384 B of pixels, not 383 B");
    let huge = edge.open_frame(&header(1, 5000, 16), &[]).await.expect_err("too wide");
    assert!(huge.to_string().contains("each side must be 1 to 4096 pixels"), "{huge}");
    let mut wordy = header(1, 16, 16);
    wordy.model = Some("m".repeat(2000));
    let wordy = edge.open_frame(&wordy, &[0; 384]).await.expect_err("a header too large");
    assert!(matches!(wordy, SendError::TooLarge { limit: 1024, .. }), "{wordy:?}");
}

#[tokio::test]
async fn a_frame_that_is_dropped_half_way_is_withdrawn() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    let (width, height) = (4096, 2160);
    let large = pixels(width, height, 3);
    // Nobody reads, so that in the end one must wait for room; it is dropped then.
    let mut sent = 0;
    loop {
        let header = header(sent + 1, width, height);
        let sending = edge.open_frame(&header, &large);
        match tokio::time::timeout(Duration::from_millis(500), sending).await {
            Ok(result) => result.expect("sent"),
            Err(_) => break,
        }
        sent += 1;
        assert!(sent < u64::from(FRAMES_IN_FLIGHT_MAX), "the window never filled");
    }
    for seq in 1..=sent {
        let (got, bytes) = next_frame(&at_gpu).await.expect("whole");
        assert_eq!((got.seq, bytes.len()), (seq, large.len()));
    }
    assert_eq!(next_frame(&at_gpu).await, Err(FrameRefusal::Withdrawn));
}

#[tokio::test]
async fn no_more_frames_are_under_way_than_the_limit() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    for seq in 1..=u64::from(FRAMES_IN_FLIGHT_MAX) {
        within(edge.open_frame(&header(seq, 16, 16), &[0; 384])).await.expect("sent");
    }
    let (next, bytes) = (header(33, 16, 16), [0; 384]);
    let one_more = edge.open_frame(&next, &bytes);
    let waited = tokio::time::timeout(Duration::from_millis(300), one_more).await;
    assert!(waited.is_err(), "frame 33 was taken");
    // Credit comes back in batches, not frame by frame.
    for _ in 0..FRAMES_IN_FLIGHT_MAX / 2 {
        next_frame(&at_gpu).await.expect("whole");
    }
    within(edge.open_frame(&next, &bytes)).await.expect("sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_is_not_held_up_by_frames_that_nobody_reads() {
    let (edge, at_gpu, _gpu) = edge_and_gpu().await;
    let serving = at_gpu.clone();
    tokio::spawn(async move {
        let (_, mut tx, mut rx) = serving.accept_bi().await.expect("a stream").open().await.expect("named");
        while let Ok(Some(asked)) = rx.recv::<u64>().await {
            tx.send(&asked).await.expect("sent");
        }
    });
    let flooding = edge.clone();
    let flood = tokio::spawn(async move {
        let frame = pixels(1280, 720, 5);
        for seq in 1.. {
            if flooding.open_frame(&header(seq, 1280, 720), &frame).await.is_err() {
                break;
            }
        }
    });
    let (mut tx, mut rx) = edge.open_bi(&Open::Control).await.expect("a stream");
    let mut took = Vec::new();
    for call in 0..100u64 {
        let begun = Instant::now();
        within(tx.send(&call)).await.expect("sent");
        assert_eq!(within(rx.recv::<u64>()).await, Ok(Some(call)));
        took.push(begun.elapsed());
    }
    took.sort();
    let (usual, slowest) = (took[94], took[99]);
    println!(
        "of 100 calls beside {FRAMES_IN_FLIGHT_MAX} unread 720p frames 95 took {usual:?}, the slowest {slowest:?}"
    );
    // What is held up is held up always; a machine that stands still holds up one.
    assert!(usual < Duration::from_secs(2), "95 of 100 calls took {usual:?}");
    flood.abort();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn frames_of_every_size_cross_unchanged(
        sizes in proptest::collection::vec((1u32..700, 1u32..500), 1..20),
        seed in any::<u64>(),
    ) {
        site::runtime().block_on(async {
            let (edge, at_gpu, _gpu) = edge_and_gpu().await;
            let sent = sizes.clone();
            let sending = tokio::spawn(async move {
                for (seq, (width, height)) in (1..).zip(sent) {
                    edge.open_frame(&header(seq, width, height), &pixels(width, height, seed)).await.expect("sent");
                }
                edge
            });
            for _ in 0..sizes.len() {
                let (got, bytes) = next_frame(&at_gpu).await.expect("whole");
                let (width, height) = sizes[usize::try_from(got.seq - 1).expect("small")];
                assert_eq!(got, header(got.seq, width, height));
                assert!(bytes == pixels(width, height, seed), "frame {} differs", got.seq);
            }
            within(sending).await.expect("no panic");
        });
    }
}
