//! Clips given out: whole, from an offset, while their event goes on, and when their footage has gone.

use super::*;
use crate::recording::footage::{Footage, FootageSettings};
use crate::recording::recorder::testing::Bench;
use crate::recording::testing::event;
use config::recording::RecordMode;
use protocol::Timestamp;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

async fn read(library: &Library, event: u128, offset: u64) -> (u64, Vec<u8>) {
    let mut opened = library.open_clip(EventId(event), offset).await.expect("is there");
    let mut bytes = Vec::new();
    opened.reader.read_to_end(&mut bytes).await.expect("reads");
    (opened.bytes, bytes)
}

fn fragments(mp4: &[u8]) -> usize {
    mp4.windows(4).filter(|kind| kind == b"moof").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_is_one_file_over_several_takes_from_any_offset() {
    let dir = TempDir::new().expect("a directory");
    let mut bench = Bench::new(dir.path(), RecordMode::All, Bench::limits());
    bench.play(40.0);
    bench.footage.event(event(1, 12.0, 31.0, true));
    bench.play(60.0);
    let library = bench.end(60.0);
    let clip = library.clip(EventId(1)).await.expect("reads").expect("is there");
    assert!(clip.takes.len() >= 3);
    let (bytes, whole) = read(&library, 1, 0).await;
    assert!(whole.len() as u64 == bytes && whole[4..8] == *b"ftyp");
    // From the key frame at 6.0 to the end at 36.0.
    assert!((30..=32).contains(&fragments(&whole)), "{} fragments", fragments(&whole));
    for offset in [1, 700, 65_536, 1_234_567, bytes - 1, bytes] {
        let (again, rest) = read(&library, 1, offset).await;
        assert!(again == bytes && rest == whole[offset as usize..], "from {offset}");
    }
    // As the relay asks for it.
    let Clip { bytes: told, mut reader } = Source::open(&library, EventId(1), 1000).await.expect("is there");
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.expect("reads");
    assert!(told == bytes && rest == whole[1000..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_that_goes_on_is_what_is_there_so_far() {
    let dir = TempDir::new().expect("a directory");
    let mut bench = Bench::new(dir.path(), RecordMode::Events, Bench::limits());
    bench.play(21.0);
    bench.footage.event(event(1, 20.0, 20.5, false));
    bench.turn(21.0);
    let library = bench.library.clone();
    let (early, first) = read(&library, 1, 0).await;
    bench.footage.event(event(1, 20.0, 24.5, false));
    bench.play(25.0);
    let (later, second) = read(&library, 1, 0).await;
    assert!(later > early && fragments(&second) > fragments(&first) && fragments(&first) >= 6);
    let take = library.clip(EventId(1)).await.expect("reads").expect("goes on").takes[0];
    let mut opened = library.open_take_file(take, 0).await.expect("is there");
    let mut bytes = Vec::new();
    opened.reader.read_to_end(&mut bytes).await.expect("reads");
    assert_eq!(opened.bytes, bytes.len() as u64);
    assert!(opened.codecs.starts_with("avc1"), "{}", opened.codecs);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_what_is_not_there_is_told_so() {
    let dir = TempDir::new().expect("a directory");
    let bench = Bench::new(dir.path(), RecordMode::Events, Bench::limits());
    let library = bench.end(0.0);
    let refused = library.open_clip(EventId(9), 0).await.err().expect("is not there");
    assert!(matches!(&refused, ClipError::None(why) if why.contains("no clip of event")), "{refused}");
    let take = TakeId::new(Timestamp::now());
    assert!(matches!(library.open_take_file(take, 0).await.err(), Some(ClipError::None(_))));
}

#[test]
fn footage_that_is_not_recorded_has_no_clip() {
    let footage = Footage::default();
    footage.event(event(1, 0.0, 1.0, true));
    assert!(!footage.has_clip(EventId(1)));
    let settings = FootageSettings { mode: RecordMode::Events, ..FootageSettings::new(&Default::default(), None) };
    assert!(!Footage::new(&settings).has_clip(EventId(1)));
}
