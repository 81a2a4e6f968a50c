//! Long answers, over loopback.

use super::*;
use crate::events::testing::{edge, entry, run};
use crate::fabric::testing::Pair;
use protocol::link::Open;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_record_is_sent_page_by_page_and_whole() {
    let (dir, store) = (tempfile::tempdir().expect("a directory"), EventStore::new());
    let root = run(vec![store.child(dir.path().join("events.redb"))]).await;
    let all = (1..=1200).map(|seq| entry(7, seq)).collect();
    assert_eq!(store.append(edge("main/edge/yard"), all).await, Ok(1200));

    let pair = Pair::new();
    let (asking, asked) = pair.connect().await;
    let (_tx, mut replies) = asking.open_bi(&Open::Admin).await.expect("a stream");
    let (_, mut tx, _rx) = asked.accept_bi().await.expect("a stream").open().await.expect("says what it is");
    let answering = tokio::spawn(async move {
        let yard = "yard".parse().expect("a name");
        record(&store, yard, None, 10, 1100, Version::EDGE, &mut tx).await.expect("it is read");
        tx.finish().expect("it is read");
        tx
    });
    let mut seqs = Vec::new();
    loop {
        match timeout(Duration::from_secs(20), replies.recv()).await.expect("in time").expect("is readable") {
            Some(Reply::Entry(entry)) => seqs.push(entry.seq),
            Some(Reply::Done) => break,
            other => panic!("{other:?}"),
        }
    }
    let ends = (seqs.first(), seqs.last());
    assert!(seqs.iter().copied().eq(11..=1110), "{} entries, the first and the last are {ends:?}", seqs.len());
    drop(answering.await.expect("it ends"));
    root.stop().await;
}
