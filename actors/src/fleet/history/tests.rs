//! What is kept, for how long, and what is left of it on a disk that lies.

use super::*;
use crate::fleet::samples::{id, telemetry};
use protocol::admin::HealthState;
use std::time::Duration;
use tempfile::TempDir;

/// 2026-11-20T18:30:00Z, a whole hour and thirty minutes.
const MINUTE: u64 = 1_795_199_400 / 60;

fn history() -> (TempDir, History) {
    let dir = TempDir::new().expect("a directory");
    let history = History::new(dir.path().join("telemetry"));
    (dir, history)
}

fn point(healthy_s: u64) -> Point {
    let mut point = Point::default();
    point.lived(HealthState::Healthy, Duration::from_secs(healthy_s));
    point.told(None, &telemetry(Timestamp::from_micros(0)), None, None);
    point
}

fn minutes(history: &History, node: &str) -> Vec<(u64, f64)> {
    rows(history, node, Step::Minute)
}

fn rows(history: &History, node: &str, step: Step) -> Vec<(u64, f64)> {
    let all = (Timestamp::from_micros(0), Timestamp::from_micros(i64::MAX));
    let rows = history.read(&id(node), step, all.0, all.1).expect("it is readable");
    rows.into_iter().map(|(index, point)| (index, point.row().healthy_s)).collect()
}

#[test]
fn minutes_add_up_to_their_hour_and_each_node_has_its_own() {
    let (_dir, history) = history();
    let yards = |seconds| vec![(id("main/edge/yard"), point(seconds)), (id("main/edge/yard-2"), point(1))];
    history.write(MINUTE, &yards(60)).expect("is written");
    history.write(MINUTE + 1, &yards(50)).expect("is written");
    // A process that was restarted within a minute adds to it.
    history.write(MINUTE + 1, &yards(7)).expect("is written");
    assert_eq!(minutes(&history, "main/edge/yard"), [(MINUTE, 60.0), (MINUTE + 1, 57.0)]);
    assert_eq!(rows(&history, "main/edge/yard", Step::Hour), [(MINUTE / 60, 117.0)]);
    assert_eq!(minutes(&history, "main/edge/yard-2").len(), 2);
    assert_eq!(minutes(&history, "acme/edge/yard"), []);
}

#[test]
fn a_row_counts_by_its_begin_and_the_end_is_left_out() {
    let (_dir, history) = history();
    (0..5).for_each(|nth| history.write(MINUTE + nth, &[(id("main/edge/yard"), point(nth))]).expect("is written"));
    let begin = |nth: u64| Step::Minute.begin(MINUTE + nth);
    let read = |from, to| -> Vec<u64> {
        let rows = history.read(&id("main/edge/yard"), Step::Minute, from, to).expect("it is readable");
        rows.into_iter().map(|(index, _)| index - MINUTE).collect()
    };
    assert_eq!(read(begin(1), begin(3)), [1, 2]);
    assert_eq!(read(begin(1).plus(Duration::from_secs(1)), begin(3).plus(Duration::from_secs(1))), [2, 3]);
    assert_eq!(read(begin(3), begin(1)), [0; 0]);
}

#[test]
fn what_is_too_old_goes_that_of_nodes_that_are_gone_too() {
    let (_dir, history) = history();
    history.write(MINUTE, &[(id("main/edge/gone"), point(1)), (id("main/edge/yard"), point(2))]).expect("is written");
    history.write(MINUTE + MINUTES_MAX - 1, &[(id("main/edge/yard"), point(3))]).expect("is written");
    assert_eq!((minutes(&history, "main/edge/gone").len(), minutes(&history, "main/edge/yard").len()), (1, 2));
    history.write(MINUTE + MINUTES_MAX, &[(id("main/edge/yard"), point(4))]).expect("is written");
    assert_eq!((minutes(&history, "main/edge/gone").len(), minutes(&history, "main/edge/yard").len()), (0, 2));
    assert_eq!(rows(&history, "main/edge/gone", Step::Hour).len(), 1, "hours are kept for longer");
    history.write(MINUTE + HOURS_MAX * 60, &[(id("main/edge/yard"), point(5))]).expect("is written");
    assert_eq!(rows(&history, "main/edge/gone", Step::Hour), []);
}

#[test]
fn it_is_there_for_the_next_process() {
    let (_dir, history) = history();
    history.write(MINUTE, &[(id("main/edge/yard"), point(60))]).expect("is written");
    let dir = history.lock().dir.clone();
    drop(history);
    assert_eq!(minutes(&History::new(dir), "main/edge/yard"), [(MINUTE, 60.0)]);
}

/// Whatever lies in the directory: it is begun afresh, and takes what comes then.
#[track_caller]
fn begins_afresh(spoil: impl FnOnce(&Path)) {
    let (_dir, history) = history();
    history.write(MINUTE, &[(id("main/edge/yard"), point(60))]).expect("is written");
    let dir = history.lock().dir.clone();
    history.lock().close();
    spoil(&dir);
    history.write(MINUTE + 1, &[(id("main/edge/yard"), point(30))]).expect("it is begun afresh");
    assert_eq!(minutes(&history, "main/edge/yard"), [(MINUTE + 1, 30.0)]);
}

#[test]
fn files_that_are_garbage_are_begun_afresh() {
    begins_afresh(|dir| {
        let files = std::fs::read_dir(dir).expect("it is there").flatten().map(|entry| entry.path());
        files.filter(|file| file.is_file()).for_each(|file| std::fs::write(file, [0xa5; 4096]).expect("is written"));
    });
}

#[test]
fn a_file_where_the_directory_should_be_is_no_history_and_no_end() {
    let (dir, _) = history();
    let history = History::new(dir.path().join("file/telemetry"));
    std::fs::write(dir.path().join("file"), b"not a directory").expect("is written");
    let why = history.write(MINUTE, &[]).expect_err("nothing can be made there");
    assert!(!why.is_empty());
    std::fs::remove_file(dir.path().join("file")).expect("is removed");
    history.write(MINUTE, &[(id("main/edge/yard"), point(1))]).expect("the next minute finds it well");
}

#[test]
fn a_row_of_another_shape_is_begun_afresh() {
    let (_dir, history) = history();
    history.write(MINUTE, &[(id("main/edge/barn"), point(60))]).expect("is written");
    let other = |db: &sled::Db| {
        db.insert(key(&id("main/edge/yard"), Step::Minute, MINUTE), &b"\x01\xff\xff"[..])?;
        Ok(())
    };
    history.lock().attempt(other).expect("is written");
    assert_eq!(minutes(&history, "main/edge/yard"), [], "and the answer is that nothing is known");
    assert_eq!(minutes(&history, "main/edge/barn"), []);
}
