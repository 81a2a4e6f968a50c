//! What is promised of the history, tried on files and on what is left of them.

use super::*;

fn fail(history: &History, path: &str, text: &str) {
    history.record(path, &Failure::error(text), Then::Restarted, Some(Duration::from_secs(3)));
}

fn texts(history: &History, prefix: Option<&str>) -> Vec<String> {
    history.of(prefix, usize::MAX).into_iter().map(|record| record.failure.text).collect()
}

/// The writer is a thread of its own.
fn until_read(dir: &Path, holds: impl Fn(&History) -> bool) -> History {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let copy = tempfile::tempdir().expect("a directory");
        std::fs::copy(dir.join("failures.jsonl"), copy.path().join("failures.jsonl")).expect("the file is there");
        let history = History::open(copy.path()).expect("opens");
        if holds(&history) {
            return history;
        }
        assert!(std::time::Instant::now() < until, "never written: {:?}", texts(&history, None));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_last_failures_of_each_child_are_kept_and_those_of_others_do_not_push_them_out() {
    let history = History::default();
    fail(&history, "yard/door", "long ago");
    for n in 0..PER_PATH_MAX + 4 {
        fail(&history, "yard/gate", &format!("{n}"));
    }
    assert_eq!(texts(&history, Some("yard/door")), ["long ago"]);
    let gate = texts(&history, Some("yard/gate"));
    assert_eq!((gate.len(), gate[0].as_str()), (PER_PATH_MAX, "4"));
}

#[test]
fn a_prefix_means_whole_names() {
    let history = History::default();
    fail(&history, "yard/cameras/front", "a");
    fail(&history, "yard/cameras/front-door", "b");
    fail(&history, "yard/cameras/front/session", "c");
    assert_eq!(texts(&history, Some("yard/cameras/front")), ["a", "c"]);
    assert_eq!(history.of(None, 2).len(), 2);
}

#[test]
fn failures_outlive_the_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let history = History::open(dir.path()).expect("opens");
    fail(&history, "yard/door", "first");
    fail(&history, "yard/door", "second");
    let again = until_read(dir.path(), |again| texts(again, None) == ["first", "second"]);
    let [record, _] = &again.of(None, 9)[..] else { panic!("two records") };
    assert_eq!((record.then, record.lived), (Then::Restarted, Some(Duration::from_secs(3))));
}

#[test]
fn how_the_process_before_ended_is_known() {
    let dir = tempfile::tempdir().expect("a directory");
    let reopen = || History::open(dir.path()).expect("opens");
    let first = reopen();
    assert_eq!(first.last_end(), LastEnd::Unknown);
    first.end(LastEnd::Stopped);
    let second = reopen();
    assert_eq!(second.last_end(), LastEnd::Stopped);
    drop(second);
    let third = reopen();
    assert_eq!(third.last_end(), LastEnd::Killed);
    third.record_exit("yard/outbox", &Failure::hang("blocks a thread"), LastEnd::Hang);
    let fourth = reopen();
    assert_eq!(fourth.last_end(), LastEnd::Hang);
    assert_eq!(texts(&fourth, Some("yard/outbox")), ["blocks a thread"]);
}

#[test]
fn a_damaged_file_costs_the_damaged_lines() {
    let dir = tempfile::tempdir().expect("a directory");
    let history = History::open(dir.path()).expect("opens");
    history.record_exit("yard/door", &Failure::error("kept"), LastEnd::Hang);
    drop(history);
    let file = dir.path().join("failures.jsonl");
    let text = std::fs::read(&file).expect("is there");
    std::fs::write(&file, [&b"{\"failed\":\xff\n{}\nrubbish\n"[..], &text, b"{\"failed\":{\"at"].concat())
        .expect("writes");
    assert_eq!(texts(&History::open(dir.path()).expect("opens"), None), ["kept"]);
}

#[test]
fn the_file_does_not_grow_without_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let history = History::open(dir.path()).expect("opens");
    let long = "x".repeat(TEXT_CHARS_MAX);
    for n in 0..4000 {
        history.record(&format!("yard/{}", n % 8), &Failure::error(&long), Then::Restarted, None);
        // Not faster than the writer: what does not fit its channel is kept in memory alone.
        while n % 256 == 0 && history.0.disk.get().is_some_and(|disk| disk.file.try_lock().is_err()) {
            std::thread::yield_now();
        }
    }
    history.record_exit("yard/last", &Failure::error("end"), LastEnd::Hang);
    let bytes = std::fs::metadata(dir.path().join("failures.jsonl")).expect("is there").len();
    assert!(bytes <= FILE_BYTES_MAX + 4096, "{bytes} B");
}

#[test]
fn children_that_failed_long_ago_are_forgotten_first() {
    let history = History::default();
    for n in 0..PATHS_MAX + 10 {
        fail(&history, &format!("hub/peers/{n}"), "gone");
    }
    assert_eq!(history.lock().0.len(), PATHS_MAX);
    assert!(texts(&history, Some("hub/peers/0")).is_empty());
}
