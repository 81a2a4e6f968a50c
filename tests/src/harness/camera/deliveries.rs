//! When a camera delivered: its book, over all the lives of its process.

use serde::Deserialize;
use std::time::Duration;

/// Times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deliveries {
    /// From when to when; the last one may still go on.
    intervals: Vec<(i64, Option<i64>)>,
    /// Each change of state, and what it was.
    pub states: Vec<(i64, String)>,
    /// Pictures that were sent to somebody, up to the last key frame of each life.
    pub units: u64,
    /// RTP packets that never arrived, likewise.
    pub dropped: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    State { at_us: i64, state: String, delivers: bool },
    Key { units: u64, dropped: u64 },
}

impl Deliveries {
    /// A line that `kill -9` cut off tells nothing and is passed over.
    pub fn read(book: &str) -> Self {
        let mut all = Self::default();
        let (mut units, mut dropped) = (0, 0);
        for line in book.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            match line {
                Line::State { at_us, state, delivers } => {
                    if state == "ready" {
                        all.units += std::mem::take(&mut units);
                        all.dropped += std::mem::take(&mut dropped);
                    }
                    all.change(at_us, delivers);
                    all.states.push((at_us, state));
                }
                Line::Key { units: sent, dropped: lost } => (units, dropped) = (sent, lost),
            }
        }
        all.units += units;
        all.dropped += dropped;
        all
    }

    fn change(&mut self, at_us: i64, delivers: bool) {
        match self.intervals.last_mut() {
            Some((_, until @ None)) if !delivers => *until = Some(at_us),
            Some((_, None)) => {}
            _ if delivers => self.intervals.push((at_us, None)),
            _ => {}
        }
    }

    /// How long it delivered between two moments.
    pub fn time(&self, from_us: i64, until_us: i64) -> Duration {
        let within = |(begin, end): &(i64, Option<i64>)| {
            u64::try_from(end.unwrap_or(until_us).min(until_us) - (*begin).max(from_us)).unwrap_or(0)
        };
        Duration::from_micros(self.intervals.iter().map(within).sum())
    }

    /// How often it was told this, as `stall`.
    pub fn count(&self, state: &str) -> usize {
        self.states.iter().filter(|(_, told)| told.split(' ').next() == Some(state)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_outlives_the_process_and_faults_are_counted() {
        let state = |at, state, delivers| format!(r#"{{"at_us":{at},"state":"{state}","delivers":{delivers}}}"#);
        let key = |units, dropped| format!(r#"{{"at_us":1,"units":{units},"dropped":{dropped}}}"#);
        let book = [
            state(100, "ready", true),
            key(0, 0),
            state(200, "stall", false),
            state(300, "go", true),
            key(30, 2),
            "{\"at_us\":4".to_owned(),
            state(400, "killed", false),
            state(900, "ready", true),
            state(950, "loss 1", true),
            key(10, 1),
        ];
        let read = Deliveries::read(&book.join("\n"));
        assert_eq!((read.units, read.dropped), (40, 3));
        assert_eq!((read.count("stall"), read.count("killed"), read.count("loss"), read.count("size")), (1, 1, 1, 0));
        assert_eq!(read.time(0, 1000), Duration::from_micros(100 + 100 + 100));
        assert_eq!(read.time(150, 350), Duration::from_micros(50 + 50));
        assert_eq!(read.time(500, 800), Duration::ZERO);
    }
}
