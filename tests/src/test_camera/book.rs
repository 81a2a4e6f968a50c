//! The camera's book: when it could deliver, and what it sent. A checker holds a recording against it.
//!
//! Kept in a file too, a line for each change and each key frame: that outlives `kill -9`.

use super::Fact;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Changes of one run; what comes after is on file alone.
const INTERVALS_MAX: usize = 10_000;

#[derive(Default)]
pub struct Book(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    log: Option<File>,
    /// From when to when somebody who watched was sent pictures, in microseconds since 1970; `None`: still.
    delivers_us: Vec<(i64, Option<i64>)>,
    sent_from_us: Option<i64>,
    sent_to_us: Option<i64>,
    units: u64,
    keys: u64,
}

/// A line of the file.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    /// It was told so, and delivers from now on or does not.
    State { at_us: i64, state: &'a str, delivers: bool },
    /// A key frame was sent, after so many pictures in all; so many packets were dropped.
    Key { at_us: i64, units: u64, dropped: u64 },
}

impl Book {
    /// Appends to `log`: a camera that was killed and came back goes on in the same file.
    pub fn open(log: Option<&Path>) -> std::io::Result<Self> {
        let log = log.map(|log| OpenOptions::new().create(true).append(true).open(log)).transpose()?;
        Ok(Self(Mutex::new(Pages { log, ..Pages::default() })))
    }

    pub fn state(&self, state: &str, delivers: bool) {
        let (mut pages, at_us) = (self.lock(), now_us());
        let has_room = pages.delivers_us.len() < INTERVALS_MAX;
        match pages.delivers_us.last_mut() {
            Some((_, until @ None)) if !delivers => *until = Some(at_us),
            Some((_, None)) => {}
            _ if delivers && has_room => pages.delivers_us.push((at_us, None)),
            _ => {}
        }
        pages.write(&Line::State { at_us, state, delivers });
    }

    /// A picture of the main stream went out.
    pub fn sent(&self, key: bool, dropped: u64) {
        let (mut pages, at_us) = (self.lock(), now_us());
        pages.sent_from_us.get_or_insert(at_us);
        pages.sent_to_us = Some(at_us);
        if key {
            pages.keys += 1;
            let units = pages.units;
            pages.write(&Line::Key { at_us, units, dropped });
        }
        pages.units += 1;
    }

    pub fn report(&self, dropped: u64) -> Fact {
        let pages = self.lock();
        Fact::Report {
            report: true,
            delivers_us: pages.delivers_us.clone(),
            sent_from_us: pages.sent_from_us,
            sent_to_us: pages.sent_to_us,
            units: pages.units,
            keys: pages.keys,
            dropped,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn write(&mut self, line: &Line) {
        let Some(log) = &mut self.log else { return };
        let text = serde_json::to_string(line).unwrap_or_default();
        // A book that cannot be kept is found short by whoever reads it.
        if let Err(e) = log.write_all(format!("{text}\n").as_bytes()) {
            tracing::error!("the log cannot be written: {e}");
            self.log = None;
        }
    }
}

pub fn now_us() -> i64 {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_is_in_intervals_and_on_file() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let log = dir.path().join("log");
        let book = Book::open(Some(&log)).expect("it can be written");
        for (state, delivers) in [("ready", true), ("loss 1", true), ("stall", false), ("go", true)] {
            book.state(state, delivers);
        }
        for key in [true, false, true] {
            book.sent(key, 0);
        }
        let Fact::Report { delivers_us, units, keys, .. } = book.report(0) else { panic!("it reports") };
        assert_eq!((units, keys, delivers_us.len()), (3, 2, 2));
        assert!(delivers_us[0].1.is_some() && delivers_us[1].1.is_none());
        let lines: Vec<serde_json::Value> = std::fs::read_to_string(&log)
            .expect("it is there")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!((lines.len(), &lines[2]["state"], &lines[5]["units"]), (6, &"stall".into(), &2.into()));
    }
}
