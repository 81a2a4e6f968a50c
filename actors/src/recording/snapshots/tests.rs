//! Snapshots as files.

use super::jpeg::tests::decoded;
use super::picture::tests::frame;
use super::*;
use crate::events::testing::{camera_id, run};
use config::recording::Snapshots as Settings;
use std::collections::BTreeSet;
use supervision::service;
use zune_jpeg::zune_core::colorspace::ColorSpace;

/// 2026-11-20T18:30:00Z.
const EVENT: EventId = EventId(1_795_199_400_000 << 80 | 7);

/// A white square on grey, in 640x360, and where it is.
fn shot() -> Shot {
    let square = |x: u32, y: u32| if (320..480).contains(&x) && (90..270).contains(&y) { 235 } else { 100 };
    let frame = Arc::new(frame(640, 360, square, [128, 128]));
    Shot { camera: camera_id(1), event: EVENT, frame, area: [0.5, 0.25, 0.75, 0.75] }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("there is a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn an_event_has_three_pictures() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = Settings { thumbnail_width_px: 160, ..Settings::default() };
    write(dir.path(), &settings, &shot()).expect("it is written");
    let folder = dir.path().join("2026-11-20/camera-1");
    let expected = ["", "-crop", "-thumb"].map(|cut| format!("{EVENT}{cut}.jpg"));
    assert_eq!(names(&folder), BTreeSet::from(expected));
    let picture = |cut| {
        let file = std::fs::read(path(dir.path(), &camera_id(1), EVENT, cut)).expect("it is there");
        decoded(&file, ColorSpace::RGB)
    };
    let size = |cut| {
        let (width, height, _) = picture(cut);
        (width, height)
    };
    assert_eq!([Cut::Whole, Cut::Thumbnail].map(size), [(640, 360), (160, 90)]);
    // 160x180 pixels, and 27 on each side.
    let (width, height, pixels) = picture(Cut::Crop);
    // Sides are even, and so is where they begin.
    assert!(width == 216 && (234..=236).contains(&height), "{width}x{height}");
    let at = |x: usize, y: usize| pixels[(y * width + x) * 3];
    assert!(at(108, 117) > 245 && at(10, 10) < 120, "{}, {}", at(108, 117), at(10, 10));
}

#[test]
fn a_box_is_drawn_into_the_whole_picture_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), &Settings { draw_box: true, ..Settings::default() }, &shot()).expect("it is written");
    for (cut, drawn) in [(Cut::Whole, true), (Cut::Crop, false), (Cut::Thumbnail, false)] {
        let file = std::fs::read(path(dir.path(), &camera_id(1), EVENT, cut)).expect("it is there");
        let (_, _, pixels) = decoded(&file, ColorSpace::RGB);
        let red = pixels.chunks_exact(3).filter(|pixel| pixel[0] > 180 && pixel[1] < 100 && pixel[2] < 100).count();
        assert_eq!(red > 500, drawn, "{cut:?} has {red} red pixels");
    }
}

#[test]
fn a_disk_that_fails_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("2026-11-20"), b"in the way").expect("it is written");
    let error = write(dir.path(), &Settings::default(), &shot()).expect_err("a file is in the way").to_string();
    assert!(error.contains("2026-11-20/camera-1"), "{error}");
    let broken = Shot { frame: Arc::new(Frame { width: 642, ..frame(640, 360, |_, _| 0, [0, 0]) }), ..shot() };
    assert!(write(dir.path(), &Settings::default(), &broken).is_err());
    assert_eq!(names(dir.path()), BTreeSet::from(["2026-11-20".to_owned()]));
}

#[tokio::test]
async fn who_hands_a_frame_over_is_told_whether_it_is_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let snapshots = Snapshots::new(dir.path().to_owned(), Settings::default());
    let (first, again) = (snapshots.take(shot()), snapshots.take(shot()));
    let serving = snapshots.clone();
    let tree = run(vec![service("snapshots", move |cx| serving.clone().run(cx))]).await;
    assert_eq!((first.await, again.await), (Ok(true), Ok(true)));
    let whole = snapshots.path(&camera_id(1), EVENT, Cut::Whole).expect("they are on");
    assert!(whole.is_file());

    let elsewhere = Shot { camera: camera_id(2), ..shot() };
    std::fs::write(dir.path().join("2026-11-20/camera-2"), b"in the way").expect("it is written");
    assert_eq!(snapshots.take(elsewhere).await, Ok(false));
    assert_eq!(snapshots.take(shot()).await, Ok(true), "the next is written all the same");
    tree.stop().await;
}

#[tokio::test]
async fn what_waits_is_written_when_the_node_stops() {
    let dir = tempfile::tempdir().expect("a folder");
    let snapshots = Snapshots::new(dir.path().to_owned(), Settings::default());
    let serving = snapshots.clone();
    let tree = run(vec![service("snapshots", move |cx| serving.clone().run(cx))]).await;
    let waiting: Vec<_> = (0..3u8).map(|camera| snapshots.take(Shot { camera: camera_id(camera), ..shot() })).collect();
    tree.stop().await;
    for told in waiting {
        assert_eq!(told.await, Ok(true));
    }
}

#[tokio::test]
async fn with_too_many_waiting_a_frame_is_dropped_and_nobody_waits() {
    let dir = tempfile::tempdir().expect("a folder");
    let snapshots = Snapshots::new(dir.path().to_owned(), Settings::default());
    let waiting: Vec<_> = (0..SHOTS_WAITING_MAX).map(|_| snapshots.take(shot())).collect();
    assert!(snapshots.take(shot()).await.is_err(), "nobody writes, so there is no room");
    drop(waiting);
    let off = Snapshots::new(dir.path().to_owned(), Settings { enabled: false, ..Settings::default() });
    assert!(!off.enabled() && off.take(shot()).await.is_err());
}
