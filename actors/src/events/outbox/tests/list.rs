//! The outbox against a list that follows the rule the slow way: whatever is pushed, acknowledged, reported and reopened.

use super::super::file::OutboxFile;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    /// Camera, id and phase; with an odd id a model said so.
    Push(Vec<(u8, u64, Phase)>),
    /// So many that the file saves by itself.
    PushMany(u64),
    /// Tells of what was dropped, with a push or without.
    Report(bool),
    Ack(u64),
    Trim,
    Reopen,
    /// Goes on with what a killed process leaves.
    Kill,
    /// As after the file was put back from an older copy.
    Renew,
}

fn step() -> impl Strategy<Value = Step> {
    let phase = prop_oneof![1 => Just(Phase::Start), 3 => Just(Phase::Update), 1 => Just(Phase::End)];
    let pushed = proptest::collection::vec((0u8..3, 0u64..6, phase), 1..9);
    prop_oneof![
        8 => pushed.prop_map(Step::Push),
        1 => (1000u64..3000).prop_map(Step::PushMany),
        2 => any::<bool>().prop_map(Step::Report),
        2 => (0u64..80).prop_map(Step::Ack),
        1 => (0u64..4000).prop_map(Step::Ack),
        1 => Just(Step::Trim),
        1 => Just(Step::Reopen),
        2 => Just(Step::Kill),
        1 => Just(Step::Renew),
    ]
}

type Untold = (u64, Timestamp, Timestamp);

/// The outbox, written the slow way.
struct List {
    entries_max: u64,
    now: Timestamp,
    accepted: u64,
    acked: u64,
    /// What was accepted and not dropped, acknowledged or not.
    kept: Vec<Entry>,
    untold: BTreeMap<Severity, Untold>,
    /// How many were dropped in all, and how many the reports say that the relay has.
    dropped: u64,
    told: u64,
    open: BTreeMap<(CameraId, EventId), Event>,
}

impl List {
    fn new(entries_max: u64) -> Self {
        let now = Timestamp::from_micros(1_000_000);
        let (kept, untold, open) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { entries_max, now, accepted: 0, acked: 0, kept, untold, dropped: 0, told: 0, open }
    }

    fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.kept.iter().filter(|entry| entry.seq > self.acked)
    }

    fn append(&mut self, file: &mut OutboxFile, events: Vec<Event>, report: bool) {
        self.now = self.now.plus(Duration::from_millis(1));
        let done = file.append(events.clone(), self.now, self.entries_max, report).expect("is written");
        let (pushed, reports) = done.entries.split_at(events.len());
        assert_eq!(pushed.iter().map(|entry| entry.event.clone()).collect::<Vec<_>>(), events);
        let told = reports.iter().map(|entry| (entry.event.severity(), read(&entry.event))).collect::<Vec<_>>();
        let due = if report { std::mem::take(&mut self.untold) } else { BTreeMap::new() };
        assert_eq!(told, due.into_iter().map(|told| (Severity::Critical, told)).collect::<Vec<_>>());
        for entry in &done.entries {
            self.accepted += 1;
            assert_eq!((entry.seq, entry.accepted), (self.accepted, self.now));
            self.kept.push(entry.clone());
            let key = (entry.event.camera.clone(), entry.event.id);
            match entry.event.phase {
                Phase::End => self.open.remove(&key),
                _ => self.open.insert(key, entry.event.clone()),
            };
        }
        assert_eq!(done.dropped, self.drop(), "what was dropped is told");
    }

    /// The rule: while there are too many, the oldest of the lowest severity, and a hundredth of the limit beside.
    fn drop(&mut self) -> [u64; 4] {
        let mut too_many = (self.waiting().count() as u64).saturating_sub(self.entries_max);
        let mut dropped = [0; 4];
        for severity in Severity::ALL {
            let most = if too_many == 0 { 0 } else { too_many + self.entries_max / 100 };
            let mut gone = 0;
            while let Some(oldest) =
                self.kept.iter().position(|e| gone < most && e.seq > self.acked && e.event.severity() == severity)
            {
                gone += 1;
                let entry = self.kept.remove(oldest);
                let (of, (entries, first, last)) = match entry.event.evidence {
                    Evidence::Dropped { .. } => read(&entry.event),
                    _ => (severity, (1, entry.accepted, entry.accepted)),
                };
                dropped[severity as usize] += u64::from(severity != Severity::Critical);
                let untold = self.untold.entry(of).or_insert((0, first, last));
                *untold = (untold.0 + entries, untold.1.min(first), untold.2.max(last));
            }
            too_many = too_many.saturating_sub(gone);
        }
        self.dropped += dropped.iter().sum::<u64>();
        dropped
    }

    fn ack(&mut self, file: &mut OutboxFile, through: u64) {
        let through = through.min(self.accepted);
        let acked = self.waiting().filter(|entry| entry.seq <= through).count() as u64;
        assert_eq!(file.ack(through).expect("reads"), acked);
        self.acked = self.acked.max(through);
        if self.waiting().count() == 0 {
            self.acked = self.accepted;
        }
        assert_eq!(file.mark().acked, self.acked);
    }

    /// What a relay would have by now counts as told; the rest has new numbers.
    fn renew(&mut self, file: &mut OutboxFile) {
        let epoch = file.mark().epoch;
        file.renew().expect("is written");
        let new = file.mark().epoch;
        assert!(new != epoch);
        self.told += self.kept.iter().filter(|entry| entry.seq <= self.acked).map(told).sum::<u64>();
        self.kept.retain(|entry| entry.seq > self.acked);
        for (seq, entry) in (1..).zip(&mut self.kept) {
            (entry.epoch, entry.seq) = (new, seq);
        }
        (self.accepted, self.acked) = (self.kept.len() as u64, 0);
    }

    /// How far the file knew that it was acknowledged.
    fn reopened(&mut self, file: &OutboxFile) {
        assert!(file.mark().acked <= self.acked);
        self.acked = file.mark().acked;
        self.check_all(file);
    }

    fn check(&self, file: &OutboxFile) {
        let mark = file.mark();
        assert_eq!((mark.accepted, mark.acked), (self.accepted, self.acked));
        assert_eq!(file.waiting(), self.waiting().count() as u64);
        assert!(file.waiting() <= self.entries_max);
        assert_eq!(file.oldest().expect("reads"), self.waiting().next().map(|entry| entry.accepted));
        assert_eq!(file.has_untold(), !self.untold.is_empty());
        for entry in self.waiting().step_by(97) {
            assert_eq!(file.next(entry.seq - 1).expect("reads").first(), Some(entry));
        }
        assert_eq!(file.next(self.accepted).expect("reads"), []);
        let open: Vec<_> = (0..3).flat_map(|camera| file.open_events(&camera_id(camera))).collect();
        assert_eq!(open, self.open.values().cloned().collect::<Vec<_>>());
        // Nothing is dropped that is not told, now or later.
        let told = self.told + self.kept.iter().map(told).sum::<u64>();
        assert_eq!(told + self.untold.values().map(|(entries, ..)| entries).sum::<u64>(), self.dropped);
    }

    /// Everything that waits is there, in order and once.
    fn check_all(&self, file: &OutboxFile) {
        self.check(file);
        let (mut after, mut waiting) = (self.acked, self.waiting());
        loop {
            let found = file.next(after).expect("reads");
            let Some(last) = found.last() else { break };
            after = last.seq;
            assert!(found.iter().all(|entry| Some(entry) == waiting.next()));
        }
        assert_eq!(waiting.next(), None);
    }
}

/// What a report says.
fn read(event: &Event) -> (Severity, Untold) {
    let Evidence::Dropped { entries, severity } = event.evidence else { panic!("{event:?} is no report") };
    assert_eq!((event.camera.as_str(), event.label.as_str(), event.phase), ("outbox", "events-dropped", Phase::End));
    (severity, (entries, event.begin, event.end))
}

fn told(entry: &Entry) -> u64 {
    if let Evidence::Dropped { entries, .. } = entry.event.evidence { entries } else { 0 }
}

fn pushed(camera: u8, id: u64, phase: Phase) -> Event {
    let mut event = event(camera, id, 0, phase);
    if !id.is_multiple_of(2) {
        event.evidence = Evidence::Model { model: "squares".to_owned(), node: "engine".to_owned() };
    }
    event
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_pushed_acked_dropped_and_reopened_the_outbox_is_a_list(
        steps in proptest::collection::vec(step(), 1..32),
        entries_max in prop_oneof![2 => 1u64..4, 2 => 4u64..60, 1 => 100u64..400, 1 => Just(MANY)],
    ) {
        let dir = TempDir::new().expect("a directory");
        let mut path = dir.path().join("outbox-0.redb");
        let mut file = OutboxFile::open(&path).expect("opens");
        let mut list = List::new(entries_max);
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(events) => {
                    let events = events.into_iter().map(|(camera, id, phase)| pushed(camera, id, phase)).collect();
                    list.append(&mut file, events, false);
                }
                Step::PushMany(count) => {
                    let phases = [Phase::Start, Phase::Update, Phase::End];
                    let tracks = (0..count).map(|n| pushed((n % 3) as u8, n / 3, phases[n as usize % 3]));
                    list.append(&mut file, tracks.collect(), false);
                }
                Step::Report(alone) => {
                    let beside = if alone { vec![] } else { vec![pushed(0, 1, Phase::Start)] };
                    list.append(&mut file, beside, true);
                }
                Step::Ack(through) => list.ack(&mut file, through),
                Step::Trim => {
                    file.trim().expect("is written");
                    prop_assert!(file.mark().removed >= list.acked);
                }
                Step::Reopen => {
                    drop(file);
                    file = OutboxFile::open(&path).expect("opens again");
                    list.reopened(&file);
                }
                Step::Kill => {
                    let left = dir.path().join(format!("outbox-{}.redb", n + 1));
                    std::fs::copy(&path, &left).expect("is copied");
                    file = OutboxFile::open(&left).expect("opens after a kill");
                    path = left;
                    list.reopened(&file);
                }
                Step::Renew => list.renew(&mut file),
            }
            list.check(&file);
        }
        list.check_all(&file);
    }
}
