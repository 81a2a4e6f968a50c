//! The index: what is found of a time, what goes with what.

use super::*;
use crate::recording::rows::TakeFormat;
use crate::recording::testing::{camera, seconds};
use protocol::camera::VideoCodec;
use tempfile::TempDir;

fn row(n: i64, class: Class) -> TakeRow {
    let begin = seconds(n as f64 * 60.0);
    let format = TakeFormat { video: VideoCodec::H264, width: 640, height: 360, audio: None };
    let (id, end, sha256) = (TakeId::new(begin), begin.plus(Duration::from_secs(60)), Some("ab".repeat(32)));
    TakeRow { id, camera: camera(), begin, end, bytes: 100, class, sha256, format }
}

fn clip(event: u128, takes: &[&TakeRow]) -> ClipRow {
    let (from, to) = (takes[0].begin, takes[takes.len() - 1].end);
    ClipRow {
        event: EventId(event),
        camera: camera(),
        label: "person".to_owned(),
        begin: from,
        end: to,
        from,
        to,
        takes: takes.iter().map(|row| row.id).collect(),
        goes_on: false,
    }
}

fn index() -> (Index, TempDir) {
    let dir = TempDir::new().expect("a directory");
    (Index::open(&dir.path().join("index.redb")).expect("opens"), dir)
}

#[test]
fn what_overlaps_a_time_is_found_oldest_first() {
    let (index, _dir) = index();
    let rows: Vec<_> = (0..10).map(|n| row(n, Class::Continuous)).collect();
    rows.iter().rev().for_each(|row| index.put(row).expect("is written"));
    let mut other = row(3, Class::Continuous);
    other.camera = "elsewhere".parse().expect("a name");
    index.put(&other).expect("is written");
    let of = |from, to| index.takes_of(&camera(), seconds(from), seconds(to)).expect("reads");
    assert_eq!(of(190.0, 250.0), [rows[3].id, rows[4].id]);
    assert_eq!(of(180.0, 180.0), [rows[3].id]);
    assert_eq!(of(-50.0, 0.0), [rows[0].id]);
    assert_eq!(of(700.0, 900.0), []);
    assert_eq!(index.take(rows[5].id).expect("reads"), Some(rows[5].clone()));
}

#[test]
fn takes_of_an_event_are_kept_as_such_and_what_is_used_is_known() {
    let (index, dir) = index();
    let rows = [row(0, Class::Continuous), row(1, Class::Motion), row(2, Class::Continuous)];
    rows.iter().for_each(|row| index.put(row).expect("is written"));
    index.put_clip(&clip(7, &[&rows[0], &rows[1]])).expect("is written");
    let of_class = |index: &Index| Class::ALL.map(|class| index.usage().of_class(class));
    assert_eq!(of_class(&index), [100, 0, 200]);
    let mut order = Vec::new();
    let see = |row: &TakeRow| {
        order.push(row.id);
        false
    };
    index.oldest(Class::Events, see).expect("reads");
    assert_eq!(order, [rows[0].id, rows[1].id]);
    assert_eq!(index.usage().of_camera(&camera()), 300);
    drop(index);
    let again = Index::open(&dir.path().join("index.redb")).expect("opens");
    assert_eq!(of_class(&again), [100, 0, 200]);
}

#[test]
fn a_clip_goes_with_the_last_of_its_takes() {
    let (index, _dir) = index();
    let rows = [row(0, Class::Events), row(1, Class::Events), row(2, Class::Events)];
    rows.iter().for_each(|row| index.put(row).expect("is written"));
    index.put_clip(&clip(1, &[&rows[0]])).expect("is written");
    index.put_clip(&clip(2, &[&rows[0], &rows[1]])).expect("is written");
    let events = |gone: Vec<ClipRow>| gone.into_iter().map(|clip| clip.event.0).collect::<Vec<_>>();
    assert_eq!(events(index.remove(&[rows[0].id]).expect("is written")), [1]);
    assert!(index.clip(EventId(2)).expect("reads").is_some() && index.clip(EventId(1)).expect("reads").is_none());
    assert_eq!(events(index.remove(&[rows[1].id, rows[2].id]).expect("is written")), [2]);
    assert_eq!(index.usage().total(), 0);
}
