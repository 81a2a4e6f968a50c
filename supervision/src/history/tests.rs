//! What is promised of the history, tried on files and on what is left of them.

use super::*;

fn fail(history: &History, path: &str, text: &str) {
    history.record(path, &Failure::error(text), Then::Restarted, Some(Duration::from_secs(3)));
}

fn texts(history: &History, prefix: Option<&str>) -> Vec<String> {
    history.of(prefix, usize::MAX).into_iter().map(|record| record.failure.text).collect()
}

fn failed(text: &str) -> Line {
    let (at, path) = (SystemTime::UNIX_EPOCH, "yard/door".to_owned());
    Line::Failed(Record { at, path, failure: Failure::error(text), then: Then::Restarted, lived: None }.into())
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
fn a_line_whose_end_is_missing_does_not_swallow_the_next() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("failures.jsonl");
    std::fs::write(&file, b"{\"failed\":{\"at").expect("writes");
    // It cannot be written anew.
    std::fs::create_dir(dir.path().join("failures.new")).expect("a directory");
    let history = History::open(dir.path()).expect("opens");
    history.record_exit("yard/door", &Failure::error("kept"), LastEnd::Hang);
    assert_eq!(texts(&History::open(dir.path()).expect("opens"), None), ["kept"]);
}

#[test]
fn a_disk_that_is_full_costs_what_does_not_fit() {
    const NAME: &str = "history::tests::a_disk_that_is_full_costs_what_does_not_fit";
    if std::env::var("ALONE").is_err() {
        // A limit on files stands for the disk; its signal would end the process.
        let mut alone = std::process::Command::new("sh");
        alone.args(["-c", r#"trap "" XFSZ; ulimit -f 8; exec "$0" "$@""#]);
        alone.arg(std::env::current_exe().expect("it has a path")).args(["--exact", NAME]);
        let ended = alone.env("ALONE", "1").output().expect("there is a shell");
        let said = String::from_utf8_lossy(&ended.stdout);
        return assert!(ended.status.success() && said.contains("1 passed"), "alone: {said}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (mut file, _) = File::open(dir.path(), 1 << 20).expect("opens");
    let mut write = |text: String| file.append(&failed(&text), || None);
    let fitted = (0..100).take_while(|n| write(format!("{n:01000}")).is_ok()).count();
    write("short".to_owned()).expect("fits");
    assert!((2..100).contains(&fitted), "{fitted}");
    assert_eq!(File::open(dir.path(), 1 << 20).expect("opens").1.len(), fitted + 1);
}

#[test]
fn a_file_whose_kept_lines_fill_it_is_not_written_again_for_each() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = || File::open(dir.path(), 10_000).expect("opens");
    let (mut file, _) = open();
    let (mut lines, mut rewritten) = (Vec::new(), 0);
    for n in 0..200 {
        lines.push(failed(&format!("{n:0500}")));
        let shorter = || {
            rewritten += 1;
            Some(lines.clone())
        };
        file.append(&lines[n], shorter).expect("is written");
    }
    assert!((5..40).contains(&rewritten), "{rewritten}");
    let mut kept = open().1;
    kept.retain(|line| *line != Line::Began);
    assert!(lines.ends_with(&kept) && kept.len() > 3, "the newest of {} are kept: {}", lines.len(), kept.len());
}

#[test]
fn the_newest_of_a_file_that_is_too_long_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut file, _) = File::open(dir.path(), 1 << 20).expect("opens");
    (0..100).for_each(|n| file.append(&failed(&format!("{n}")), || None).expect("is written"));
    let (_, read) = File::open(dir.path(), 1000).expect("opens");
    assert!(read.len() < 100 && read.last() == Some(&failed("99")), "{read:?}");
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
