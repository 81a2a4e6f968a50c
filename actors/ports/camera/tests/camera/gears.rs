//! Gears: what is decoded, and that waking up misses nothing.

use crate::support::{Watched, file, footage, source};
use protocol::camera::{Gear, Report, Source, Unit};
use std::path::Path;

const IDLE: Gear = Gear::Idle { every_ms: 0 };

/// In real time and without an end.
fn looped(path: &Path, gear: Gear) -> Source {
    Source { repeat: true, units: true, gear, ..source(file(path)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn passthrough_hands_over_all_units_and_decodes_nothing() {
    let path = footage("passthrough", "p.mp4", 60, (320, 180), "bframes=0 key-int-max=30", "mp4mux");
    let mut watched = Watched::open(looped(&path, Gear::Passthrough)).await;
    let format = watched.until(|report| if let Report::Format(format) = report { Some(format.clone()) } else { None });
    assert_eq!((format.await.video.width), 320);
    let first = watched.unit().await;
    assert!(first.key && !first.data.0.is_empty());
    watched.until(|report| matches!(report, Report::Opened { .. }).then_some(())).await;
    for _ in 0..3 {
        let figures = watched.figures().await;
        assert_eq!((figures.decoding, figures.decoded, figures.handed), (0, 0, 0), "{figures:?}");
    }
    assert!(watched.figures().await.units >= 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_hands_over_a_key_frame_each_so_often_and_before_the_next_one_comes() {
    for (name, encoder) in [("p", "bframes=0 key-int-max=15"), ("b", "bframes=3 b-adapt=false key-int-max=15")] {
        let path = footage(&format!("idle-{name}"), "v.mp4", 90, (320, 180), encoder, "mp4mux");
        let gear = Gear::Idle { every_ms: 2000 };
        let mut watched = Watched::open(looped(&path, gear)).await;
        let (mut frames, mut keys) = (Vec::new(), Vec::<Unit>::new());
        while frames.len() < 3 {
            match watched.report().await.expect("it goes on") {
                Report::Unit(unit) if unit.key => keys.push(unit),
                Report::Frame(frame) => {
                    let newest = keys.last().expect("its unit came before");
                    assert_eq!(frame.captured_us, newest.captured_us, "{name}: it is the newest key frame");
                    assert!(!frame.replayed);
                    frames.push(frame.pts_us);
                }
                _ => {}
            }
        }
        let apart: Vec<_> = frames.windows(2).map(|pair| pair[1].abs_diff(pair[0] + 2_000_000)).collect();
        assert!(apart.iter().all(|us| *us < 40_000), "{name}: {frames:?}");
    }
}

/// Wakes up in the middle of a group: every frame of the grid since its key frame comes once, in order.
async fn check_wake(name: &str, encoder: &str, from: Gear) {
    let path = footage(&format!("wake-{name}"), "v.mp4", 120, (320, 180), encoder, "mp4mux");
    let mut watched = Watched::open(looped(&path, from)).await;
    let mut keys = 0;
    let mut since_key = 0;
    let mut key_captured_us = 0;
    let mut frames = Vec::new();
    while keys < 2 || since_key < 20 {
        match watched.report().await.expect("it goes on") {
            Report::Unit(unit) if unit.key => (keys, since_key, key_captured_us) = (keys + 1, 0, unit.captured_us),
            Report::Unit(_) => since_key += 1,
            Report::Frame(frame) => frames.push(frame),
            _ => {}
        }
    }
    watched.shift(Gear::Awake).await;
    while frames.last().is_none_or(|frame| frame.captured_us < key_captured_us + 3_000_000) {
        frames.push(watched.frame().await);
    }
    frames.retain(|frame| frame.captured_us >= key_captured_us);
    let times: Vec<_> = frames.iter().map(|frame| (frame.captured_us - key_captured_us + 500) / 1000).collect();
    let grid: Vec<_> = (0..times.len() as i64).map(|n| n * 200).collect();
    let off = times.iter().zip(&grid).map(|(time, grid)| time.abs_diff(*grid)).max();
    assert!(off.is_some_and(|ms| ms <= 70), "{name}: {times:?}");
    let replayed: Vec<_> = frames.iter().map(|frame| frame.replayed).collect();
    let first = usize::from(from == IDLE);
    assert_eq!(replayed[0], from != IDLE, "{name}: the key frame was seen in idle, and is not handed over twice");
    let count = replayed[first..].iter().take_while(|replayed| **replayed).count();
    assert!(count >= 5 && !replayed[first + count..].contains(&true), "{name}: {replayed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn waking_from_idle_or_passthrough_loses_no_frame_since_the_key_frame() {
    check_wake("idle", "bframes=0 key-int-max=30", IDLE).await;
    check_wake("passthrough", "bframes=0 key-int-max=30", Gear::Passthrough).await;
    check_wake("reordered", "bframes=2 b-adapt=false key-int-max=30", IDLE).await;
}
