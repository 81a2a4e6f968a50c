//! Classes: what the rows of the tree add up to, class by class, when the metrics are read.
//!
//!   roll ──rows──▶ [classes] ──▶ parked, waiting, handled, a port's memory and CPU time
//!                     ▲ ▲
//!   running ports: /proc┘ └those that have ended: supervision
//!
//! A class that has vanished shows 0 and not its last value; what the ended ones had done stays counted.

use super::process::Usage;
use std::collections::BTreeMap;
use std::time::Duration;
use supervision::{State, Status};

type Class = &'static str;

/// What has been seen of every class since the process began. There are as many as the code has actors.
#[derive(Default)]
pub(super) struct Classes {
    sums: BTreeMap<Class, Sums>,
    handled: Odometer,
    cpu: BTreeMap<Class, Duration>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sums {
    parked: u64,
    /// Of the fullest mailbox; `None` for a class without.
    waiting_max: Option<u64>,
    /// `None` for what is no port.
    memory_bytes: Option<u64>,
}

impl Classes {
    /// `ended` is CPU time of ports, read before the rows: a port that ends meanwhile may be in neither, never in both.
    pub fn add_up(
        &mut self,
        ended: BTreeMap<Class, Duration>,
        rows: &[(String, Status)],
        usage: impl Fn(u32) -> Option<Usage>,
    ) {
        for sums in self.sums.values_mut() {
            let Sums { waiting_max, memory_bytes, .. } = *sums;
            *sums = Sums { parked: 0, waiting_max: waiting_max.map(|_| 0), memory_bytes: memory_bytes.map(|_| 0) };
        }
        let (mut handled, mut cpu) = (Vec::new(), ended);
        for (path, status) in rows {
            let sums = self.sums.entry(status.class).or_default();
            sums.parked += u64::from(status.state == State::Parked);
            if let Some(load) = status.load {
                sums.waiting_max = sums.waiting_max.max(Some(load.depth as u64));
                handled.push((path.clone(), status.class, load.handled));
            }
            if let Some(usage) = status.pid.and_then(&usage) {
                sums.memory_bytes = Some(sums.memory_bytes.unwrap_or(0) + usage.memory_bytes);
                *cpu.entry(status.class).or_default() += usage.cpu;
            }
        }
        self.handled.read(handled);
        for (class, now) in cpu {
            let shown = self.cpu.entry(class).or_default();
            // A counter never falls: what is missing now is there at the next reading.
            *shown = now.max(*shown);
        }
    }

    pub fn show(&self) {
        for (class, sums) in &self.sums {
            metrics::gauge!("watchtree_actors_parked", "class" => *class).set(sums.parked as f64);
            if let Some(waiting) = sums.waiting_max {
                metrics::gauge!("watchtree_mailbox_depth", "class" => *class).set(waiting as f64);
            }
            if let Some(bytes) = sums.memory_bytes {
                metrics::gauge!("watchtree_port_memory_bytes", "class" => *class).set(bytes as f64);
            }
        }
        for (class, handled) in self.handled.totals() {
            metrics::counter!("watchtree_mailbox_handled_total", "class" => class).absolute(handled);
        }
    }

    /// CPU time of all ports of a class, those that have ended included.
    pub fn cpu(&self) -> &BTreeMap<Class, Duration> {
        &self.cpu
    }
}

/// A total that only grows, of parts that come, go and begin again at 0.
#[derive(Debug, Default)]
struct Odometer {
    parts: BTreeMap<String, (Class, u64)>,
    ended: BTreeMap<Class, u64>,
}

impl Odometer {
    /// All parts that there are now.
    fn read(&mut self, now: impl IntoIterator<Item = (String, Class, u64)>) {
        let mut before = std::mem::take(&mut self.parts);
        for (key, class, value) in now {
            // Whoever shows less than before is another one in the same place.
            let same = before.get(&key).is_some_and(|(was_class, was)| *was_class == class && *was <= value);
            if same {
                before.remove(&key);
            }
            self.parts.insert(key, (class, value));
        }
        for (class, last) in before.into_values() {
            *self.ended.entry(class).or_default() += last;
        }
    }

    fn totals(&self) -> BTreeMap<Class, u64> {
        let mut totals = self.ended.clone();
        for (class, value) in self.parts.values() {
            *totals.entry(class).or_default() += value;
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;
    use supervision::Load;

    const MIB: u64 = 1 << 20;

    fn row(path: &str, class: Class) -> (String, Status) {
        let (state, since) = (State::Running, SystemTime::UNIX_EPOCH);
        let (last, note, pid, load, resumes) = (None, None, None, None, None);
        (path.to_owned(), Status { class, state, restarts: 0, since, last, note, pid, load, resumes })
    }

    fn actor(path: &str, depth: usize, handled: u64) -> (String, Status) {
        let (path, status) = row(path, "tracking");
        (path, Status { load: Some(Load { depth, limit: 64, handled }), ..status })
    }

    fn port(path: &str, pid: u32) -> (String, Status) {
        let (path, status) = row(path, "camera-port");
        (path, Status { pid: Some(pid), ..status })
    }

    fn usage(cpu_ms: u64) -> Usage {
        Usage { cpu: Duration::from_millis(cpu_ms), memory_bytes: MIB }
    }

    #[test]
    fn depth_is_of_the_fullest_and_handled_is_of_all() {
        let mut classes = Classes::default();
        classes.add_up(BTreeMap::new(), &[actor("a", 3, 10), actor("b", 5, 20)], |_| None);
        assert_eq!(classes.sums["tracking"].waiting_max, Some(5));
        assert_eq!(classes.handled.totals()["tracking"], 30);
    }

    #[test]
    fn whoever_leaves_or_begins_again_takes_nothing_from_the_total() {
        let mut classes = Classes::default();
        classes.add_up(BTreeMap::new(), &[actor("a", 0, 10), actor("b", 0, 20)], |_| None);
        classes.add_up(BTreeMap::new(), &[actor("b", 0, 4)], |_| None);
        assert_eq!(classes.handled.totals()["tracking"], 34);
        classes.add_up(BTreeMap::new(), &[], |_| None);
        assert_eq!(classes.handled.totals()["tracking"], 34);
    }

    #[test]
    fn a_class_that_vanished_shows_zero() {
        let mut classes = Classes::default();
        let (path, status) = actor("a", 9, 1);
        let parked = Status { state: State::Parked, ..status };
        classes.add_up(BTreeMap::new(), &[(path, parked), port("a/port", 1)], |_| Some(usage(100)));
        let sums = |classes: &Classes, class| classes.sums[class];
        assert_eq!(sums(&classes, "tracking"), Sums { parked: 1, waiting_max: Some(9), memory_bytes: None });
        assert_eq!(sums(&classes, "camera-port").memory_bytes, Some(MIB));
        classes.add_up(BTreeMap::new(), &[], |_| None);
        assert_eq!(sums(&classes, "tracking"), Sums { parked: 0, waiting_max: Some(0), memory_bytes: None });
        assert_eq!(sums(&classes, "camera-port").memory_bytes, Some(0));
    }

    /// CPU time of ports that have ended, and of those that run, in ms; what is shown.
    fn check_cpu(classes: &mut Classes, ended_ms: u64, running_ms: &[Option<u64>], shown_ms: u128) {
        let ended = BTreeMap::from([("camera-port", Duration::from_millis(ended_ms))]);
        let rows: Vec<_> = (0..).zip(running_ms).map(|(pid, _)| port(&format!("{pid}/port"), pid)).collect();
        classes.add_up(ended, &rows, |pid| Some(usage(running_ms[pid as usize]?)));
        assert_eq!(classes.cpu()["camera-port"].as_millis(), shown_ms);
    }

    #[test]
    fn the_time_of_ports_that_nobody_saw_alive_counts() {
        let mut classes = Classes::default();
        check_cpu(&mut classes, 900, &[], 900);
        check_cpu(&mut classes, 1800, &[Some(300)], 2100);
    }

    #[test]
    fn a_port_that_cannot_be_read_or_ends_just_now_is_neither_forgotten_nor_counted_twice() {
        let mut classes = Classes::default();
        check_cpu(&mut classes, 0, &[Some(500), Some(500)], 1000);
        check_cpu(&mut classes, 0, &[Some(600), None], 1000);
        check_cpu(&mut classes, 0, &[Some(600), Some(600)], 1200);
        check_cpu(&mut classes, 600, &[Some(700)], 1300);
    }
}
