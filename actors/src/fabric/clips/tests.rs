//! A clip between an edge and its relay, over loopback.

use super::fetch::{ClipBytes, ClipError, Coming};
use super::*;
use crate::fabric::testing::Pair;
use protocol::limits::MESSAGE_BYTES_MAX;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use supervision::{Intensity, Roll, Root, Strategy, Tree, service};
use tokio::io::ReadBuf;

const WITHIN: Duration = Duration::from_secs(30);
const CLIP: EventId = EventId(7);

/// Byte n of it is n; read up to `fails_at`, and counted.
#[derive(Clone)]
struct Made {
    bytes: u64,
    fails_at: u64,
    read: Arc<AtomicU64>,
}

struct Reading {
    made: Made,
    at: u64,
}

impl Made {
    fn of(bytes: u64) -> Self {
        Self { bytes, fails_at: u64::MAX, read: Arc::default() }
    }
}

impl Source for Made {
    fn open(&self, clip: EventId, offset: u64) -> Opening<'_> {
        let made = self.clone();
        Box::pin(async move {
            if clip != CLIP {
                return Err("this edge has no such clip".to_owned());
            }
            Ok(Clip { bytes: made.bytes, reader: Box::pin(Reading { made, at: offset }) })
        })
    }
}

impl AsyncRead for Reading {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.at >= self.made.fails_at {
            return Poll::Ready(Err(io::Error::other("a bad sector")));
        }
        let count = (buffer.remaining() as u64).min(self.made.bytes - self.at);
        let at = self.at;
        buffer.put_slice(&(at..at + count).map(|n| n as u8).collect::<Vec<_>>());
        self.at += count;
        self.made.read.fetch_add(count, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// An edge that serves clips, and its relay's end of the connection.
struct Fixture {
    edge: Connection,
    relay: Connection,
    coming: Coming,
    _root: Root,
    _pair: Pair,
}

impl Fixture {
    async fn of(clips: Clips) -> Self {
        let pair = Pair::new();
        let (edge, relay) = pair.connect().await;
        let served = edge.clone();
        let body = move |cx: ServiceCx| {
            let (clips, edge) = (clips.clone(), served.clone());
            async move {
                clips.serve(Role::Edge, &edge, &cx).await;
                Ok(())
            }
        };
        let intensity = Intensity { restarts: 5, within: Duration::from_secs(60) };
        let children = vec![service("clips", body).temporary()];
        let tree = Tree { name: "yard".to_owned(), strategy: Strategy::OneForOne, intensity, children };
        let _root = Root::start(tree, Roll::default()).await.expect("starts");
        Self { edge, relay, coming: Coming::default(), _root, _pair: pair }
    }

    async fn fetch(&self, clip: EventId, offset: u64) -> Result<ClipBytes, ClipError> {
        timeout(WITHIN, self.coming.fetch(&self.relay, clip, offset)).await.expect("in time")
    }
}

/// What is left of it, checked byte by byte; and how it ended.
async fn read_on(coming: &mut ClipBytes) -> Result<u64, ClipError> {
    let mut got = 0;
    loop {
        let at = coming.at();
        let Some(piece) = timeout(WITHIN, coming.next()).await.expect("in time")? else { return Ok(got) };
        let piece: &[u8] = piece.as_ref();
        assert!(piece.iter().zip(at..).all(|(byte, n)| *byte == n as u8), "wrong bytes behind {at}");
        got += piece.len() as u64;
    }
}

#[tokio::test]
async fn a_clip_comes_whole_or_from_where_it_is_asked_for() {
    let site = Fixture::of(Clips::of(Made::of(3_000_000))).await;
    for offset in [0, 1_234_567, 3_000_000] {
        let mut coming = site.fetch(CLIP, offset).await.expect("is there");
        assert_eq!(coming.bytes(), 3_000_000);
        assert_eq!(read_on(&mut coming).await, Ok(3_000_000 - offset));
    }
}

#[tokio::test]
async fn an_edge_says_why_it_gives_no_clip() {
    let site = Fixture::of(Clips::of(Made::of(10))).await;
    let refused = |why: &str| ClipError::Refused(why.to_owned());
    assert_eq!(site.fetch(CLIP, 11).await.expect_err("beyond"), refused("the clip has 10 B, 11 is beyond its end"));
    assert_eq!(site.fetch(EventId(8), 0).await.expect_err("unknown"), refused("this edge has no such clip"));
    let without = Fixture::of(Clips::default()).await;
    assert_eq!(without.fetch(CLIP, 0).await.expect_err("has none"), refused(NO_CLIPS));
}

#[tokio::test]
async fn a_clip_that_is_cut_says_how_far_it_got_and_goes_on_from_there() {
    let mut made = Made { fails_at: 500_000, ..Made::of(900_000) };
    let site = Fixture::of(Clips::of(made.clone())).await;
    // What was not read when the sender gave up is lost with the stream, the beginning included.
    let at = match site.fetch(CLIP, 0).await {
        Err(ClipError::Cut { at, .. }) => at,
        Err(other) => panic!("{other}"),
        Ok(mut coming) => {
            let Err(ClipError::Cut { at, .. }) = read_on(&mut coming).await else { panic!("a cut clip had an end") };
            assert_eq!(at, coming.at());
            at
        }
    };
    assert!(at <= 500_000 + CHUNK_BYTES as u64, "{at}");
    made.fails_at = u64::MAX;
    let repaired = Fixture::of(Clips::of(made)).await;
    let mut rest = repaired.fetch(CLIP, at).await.expect("begins");
    assert_eq!(read_on(&mut rest).await, Ok(900_000 - at));
}

#[tokio::test]
async fn only_so_many_come_at_once_and_a_place_is_free_again() {
    let site = Fixture::of(Clips::of(Made::of(50_000_000))).await;
    let mut coming = Vec::new();
    for _ in 0..CLIPS_AT_ONCE_MAX {
        coming.push(site.fetch(CLIP, 0).await.expect("there is room"));
    }
    assert_eq!(site.fetch(CLIP, 0).await.expect_err("one too many"), ClipError::Refused(TOO_MANY.to_owned()));
    // Its reader goes away.
    coming.pop();
    let again = async {
        while let Err(error) = site.fetch(CLIP, 0).await {
            assert_eq!(error, ClipError::Refused(TOO_MANY.to_owned()));
        }
    };
    timeout(WITHIN, again).await.expect("its place is given back");
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_sender_and_nobody_else() {
    let made = Made::of(1 << 40);
    let site = Fixture::of(Clips::of(made.clone())).await;
    let read = || made.read.load(Ordering::Relaxed);
    let mut coming = site.fetch(CLIP, 0).await.expect("begins");
    timeout(WITHIN, async {
        while read() < 512 * 1024 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it fills the window");

    // A conversation on the same connection, the other way round so that each answer passes the clip.
    let (mut tx, mut rx) = site.edge.open_bi(&Open::Control).await.expect("a stream");
    let pending = timeout(WITHIN, site.relay.accept_bi()).await.expect("in time").expect("a stream");
    let (_, mut relay_tx, mut relay_rx) = pending.open().await.expect("says what it is");
    for n in 0..300_u64 {
        tx.send(&n).await.expect("is sent");
        assert_eq!(timeout(WITHIN, relay_rx.recv::<u64>()).await.expect("in time"), Ok(Some(n)));
        relay_tx.send(&n).await.expect("is sent");
        assert_eq!(timeout(WITHIN, rx.recv::<u64>()).await.expect("in time"), Ok(Some(n)));
    }
    let held = read();
    assert!(held <= 2 * 1024 * 1024, "{held} B were read and nobody takes them");

    let mut taken = 0;
    while taken < 8 * 1024 * 1024 {
        let piece = timeout(WITHIN, coming.next()).await.expect("in time").expect("comes").expect("is not the end");
        taken += piece.as_ref().len();
    }
    assert!(read() > held && read() <= taken as u64 + 2 * 1024 * 1024, "{} B for {taken} B", read());
}

#[tokio::test]
async fn a_relay_may_fetch_clips_and_open_nothing_else() {
    for open in [Open::Control, Open::Events, Open::Admin, Open::Core] {
        let site = Fixture::of(Clips::of(Made::of(10))).await;
        let _stream = site.relay.open_bi(&open).await.expect("a stream");
        let told = timeout(WITHIN, site.relay.closed()).await.expect("in time");
        assert!(told.contains(&format!("may not open {}", open.name())), "{told}");
    }
}

#[tokio::test]
async fn what_a_relay_sends_behind_its_question_is_refused() {
    let site = Fixture::of(Clips::default()).await;
    let (mut tx, _rx) = site.relay.open_bi(&Open::Clip { clip: CLIP, offset: 0 }).await.expect("a stream");
    // Behind the question nothing is read: a relay that sends on fills its own window alone.
    let rest = vec![0; MESSAGE_BYTES_MAX];
    let stopped = async { while tx.send_bytes(&rest).await.is_ok() {} };
    timeout(WITHIN, stopped).await.expect("it is told to stop");
}
