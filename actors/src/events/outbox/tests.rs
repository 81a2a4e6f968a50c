//! The outbox against a list, and through its handle.

use super::file::OutboxFile;
use super::*;
use crate::events::testing::{SmallDisk, becomes, camera_id, event, run, status};
use proptest::prelude::*;
use protocol::codec::encode;
use protocol::limits::MESSAGE_BYTES_MAX;
use protocol::link::EventsUp;
use protocol::{EventId, Evidence, Phase};
use std::collections::BTreeMap;
use tempfile::TempDir;

const MANY: u64 = 1_000_000;

#[derive(Debug, Clone)]
enum Step {
    Push(Vec<(u8, u64, Phase)>),
    /// So many that the file saves by itself.
    PushMany(u64),
    Ack(u64),
    Trim,
    Reopen,
    /// Goes on with what a killed process leaves.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let phase = prop_oneof![Just(Phase::Start), Just(Phase::Update), Just(Phase::End)];
    let pushed = proptest::collection::vec((0u8..3, 0u64..6, phase), 1..9);
    prop_oneof![
        6 => pushed.prop_map(Step::Push),
        1 => (1000u64..3000).prop_map(Step::PushMany),
        2 => (0u64..80).prop_map(Step::Ack),
        1 => (0u64..4000).prop_map(Step::Ack),
        1 => Just(Step::Trim),
        1 => Just(Step::Reopen),
        2 => Just(Step::Kill),
    ]
}

/// The outbox, written the slow way.
struct Model {
    entries_max: u64,
    accepted: Vec<Event>,
    acked: u64,
    open: BTreeMap<(CameraId, EventId), Event>,
}

impl Model {
    fn push(&mut self, file: &mut OutboxFile, events: Vec<Event>) {
        for event in &events {
            self.accepted.push(event.clone());
            match event.phase {
                Phase::End => self.open.remove(&(event.camera.clone(), event.id)),
                _ => self.open.insert((event.camera.clone(), event.id), event.clone()),
            };
        }
        let had = file.mark().removed.max(file.mark().acked);
        let done = file.append(events, Timestamp::now(), self.entries_max).expect("is written");
        assert_eq!(done.dropped, file.mark().removed.saturating_sub(had), "what was dropped is told");
    }

    /// Everything accepted is there, but for what may go: acknowledged, or more than the limit.
    fn check(&self, file: &OutboxFile) {
        let (mark, accepted) = (file.mark(), self.accepted.len() as u64);
        assert_eq!(mark.accepted, accepted);
        let too_many = accepted.saturating_sub(self.entries_max);
        assert!((too_many..=too_many.max(self.acked)).contains(&mark.removed), "{mark:?}, limit {}", self.entries_max);
        let mut after = 0;
        for (seq, event) in (1..).zip(&self.accepted).skip(mark.removed as usize).step_by(97) {
            let found = file.next(seq - 1).expect("reads");
            assert_eq!((found[0].seq, &found[0].event), (seq, event));
            after = found[found.len() - 1].seq;
            assert!(found.iter().zip(seq..).all(|(entry, seq)| entry.seq == seq), "a gap after {seq}");
        }
        assert!(after <= accepted);
        assert_eq!(file.next(accepted).expect("reads"), []);
        let open: Vec<_> = (0..3).flat_map(|camera| file.open_events(&camera_id(camera))).collect();
        assert_eq!(open, self.open.values().cloned().collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_pushed_acked_and_reopened_the_outbox_is_a_list(
        steps in proptest::collection::vec(step(), 1..24), entries_max in prop_oneof![3u64..60, Just(MANY)],
    ) {
        let dir = TempDir::new().expect("a directory");
        let mut path = dir.path().join("outbox-0.redb");
        let mut file = OutboxFile::open(&path).expect("opens");
        let epoch = file.mark().epoch;
        let mut model = Model { entries_max, accepted: Vec::new(), acked: 0, open: BTreeMap::new() };
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(events) => {
                    let events = events.into_iter().map(|(camera, id, phase)| event(camera, id, 0, phase));
                    model.push(&mut file, events.collect());
                }
                Step::PushMany(count) => {
                    let tracks = (0..count).map(|n| event((n % 3) as u8, n / 2, 0, [Phase::Start, Phase::End][n as usize % 2]));
                    model.push(&mut file, tracks.collect());
                }
                Step::Ack(through) => {
                    file.ack(through);
                    model.acked = model.acked.max(through.min(model.accepted.len() as u64));
                    prop_assert_eq!(file.mark().acked, model.acked);
                }
                Step::Trim => {
                    file.trim().expect("is written");
                    prop_assert!(file.mark().removed >= model.acked);
                }
                Step::Reopen => {
                    drop(file);
                    file = OutboxFile::open(&path).expect("opens again");
                    prop_assert!(file.mark().acked <= model.acked);
                    model.acked = file.mark().acked;
                }
                Step::Kill => {
                    let left = dir.path().join(format!("outbox-{}.redb", n + 1));
                    std::fs::copy(&path, &left).expect("is copied");
                    file = OutboxFile::open(&left).expect("opens after a kill");
                    path = left;
                    prop_assert!(file.mark().acked <= model.acked);
                    model.acked = file.mark().acked;
                }
            }
            model.check(&file);
        }
        prop_assert_eq!(file.mark().epoch, epoch);
    }
}

fn entries_max(entries: u64) -> NonZeroU64 {
    NonZeroU64::new(entries).expect("is not zero")
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_count_from_one_and_go_on_after_a_restart() {
    let dir = TempDir::new().expect("a directory");
    let mut epochs = Vec::new();
    for round in 0..3 {
        let outbox = Outbox::new();
        let root = run(vec![outbox.child(dir.path().join("outbox.redb"), entries_max(MANY))]).await;
        assert_eq!(*outbox.newest().borrow(), round * 2);
        for n in 1..=2 {
            assert_eq!(outbox.push(event(0, n, 0, Phase::Start)).await, Ok(round * 2 + n));
        }
        epochs.push(status(&outbox).await.epoch);
        root.stop().await;
        assert!(outbox.push(event(0, 9, 0, Phase::Start)).await.is_err(), "a stopped outbox accepts nothing");
    }
    assert_eq!(epochs, [epochs[0]; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_producers_are_answered_in_the_order_on_disk() {
    let dir = TempDir::new().expect("a directory");
    let outbox = Outbox::new();
    let root = run(vec![outbox.child(dir.path().join("outbox.redb"), entries_max(MANY))]).await;
    let producers = (0..16u64).map(|producer| {
        let outbox = outbox.clone();
        tokio::spawn(async move {
            let mut told = Vec::new();
            for n in 0..20u64 {
                let id = producer * 100 + n;
                told.push((outbox.push(event(0, id, 0, Phase::Start)).await.expect("accepted"), id));
            }
            told
        })
    });
    let mut told: Vec<(u64, u64)> = Vec::new();
    for producer in producers.collect::<Vec<_>>() {
        told.extend(producer.await.expect("did not panic"));
    }
    told.sort_unstable();
    let found = outbox.next(0).await.expect("answers").into_iter().map(|e| (e.seq, (e.event.id.0 >> 80) as u64));
    assert_eq!(found.collect::<Vec<_>>(), told);
    assert_eq!(*outbox.newest().borrow(), 320);
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_is_kept_when_nothing_more_is_pushed() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("outbox.redb");
    let outbox = Outbox::new();
    let root = run(vec![outbox.child(path.clone(), entries_max(MANY))]).await;
    for n in 1..=5 {
        outbox.push(event(0, n, 0, Phase::Start)).await.expect("accepted");
    }
    outbox.ack(3).await.expect("is taken");
    outbox.ack(99).await.expect("is taken");
    assert_eq!(status(&outbox).await.acked, 5, "an ack of what was never accepted counts to the end");
    while !outbox.next(0).await.expect("answers").is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    root.stop().await;
    let mark = OutboxFile::open(&path).expect("opens").mark();
    assert_eq!((mark.accepted, mark.acked, mark.removed), (5, 5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_outbox_drops_its_oldest_and_counts_on() {
    let dir = TempDir::new().expect("a directory");
    let outbox = Outbox::new();
    let root = run(vec![outbox.child(dir.path().join("outbox.redb"), entries_max(4))]).await;
    for n in 1..=10 {
        assert_eq!(outbox.push(event(0, n, 0, Phase::Start)).await, Ok(n));
    }
    let kept: Vec<u64> = outbox.next(0).await.expect("answers").iter().map(|entry| entry.seq).collect();
    assert_eq!(kept, [7, 8, 9, 10]);
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_entries_still_fit_a_message() {
    let dir = TempDir::new().expect("a directory");
    let outbox = Outbox::new();
    let root = run(vec![outbox.child(dir.path().join("outbox.redb"), entries_max(MANY))]).await;
    let endless = "\u{10348}".repeat(100_000);
    let mut longest = event(0, 1, 0, Phase::Start);
    longest.label = endless.clone();
    longest.evidence = Evidence::Model { model: endless.clone(), node: endless };
    let mut pushes = Vec::new();
    for _ in 0..200 {
        let (outbox, event) = (outbox.clone(), longest.clone());
        pushes.push(tokio::spawn(async move { outbox.push(event).await.expect("accepted") }));
    }
    for push in pushes {
        push.await.expect("did not panic");
    }
    let (mut after, mut messages) = (0, 0);
    while after < 200 {
        let entries = outbox.next(after).await.expect("answers");
        assert_eq!(entries[0].seq, after + 1);
        after = entries.last().expect("there are more").seq;
        assert!(encode(&EventsUp::Entries(entries)).len() <= MESSAGE_BYTES_MAX);
        messages += 1;
    }
    assert!(messages > 1, "the bound was never reached");
    root.stop().await;
}

#[test]
fn a_renewed_outbox_counts_what_is_not_acknowledged_from_one_and_keeps_what_is_open() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("outbox.redb");
    let mut file = OutboxFile::open(&path).expect("opens");
    let epoch = file.mark().epoch;
    let started: Vec<Event> = (1..=300).map(|n| event(0, n, 0, Phase::Start)).collect();
    file.append(started.clone(), Timestamp::now(), MANY).expect("is written");
    // In the middle of a chunk, and of what was saved.
    file.ack(7);
    file.renew().expect("is written");
    let mark = file.mark();
    assert!(mark.epoch != epoch);
    assert_eq!((mark.accepted, mark.acked, mark.removed), (293, 0, 0));
    let ended = event(0, 9, 1, Phase::End);
    file.append(vec![ended.clone()], Timestamp::now(), MANY).expect("is written");
    file.ack(2);
    file.trim().expect("is written");
    for _ in 0..2 {
        let entries = file.next(2).expect("reads");
        let events: Vec<_> = started[9..].iter().chain([&ended]).cloned().collect();
        assert_eq!(entries.iter().map(|entry| entry.event.clone()).collect::<Vec<_>>(), events);
        assert!(entries.iter().zip(3..).all(|(entry, seq)| entry.seq == seq && entry.epoch == mark.epoch));
        let open: Vec<_> = started.iter().filter(|event| event.id != ended.id).cloned().collect();
        assert_eq!(file.open_events(&camera_id(0)), open);
        drop(file);
        file = OutboxFile::open(&path).expect("opens again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_that_does_not_answer_is_given_up_after_a_second() {
    let waits_for_ever = Outbox::new();
    let status = tokio::time::timeout(3 * STATUS_WITHIN, waits_for_ever.status()).await;
    assert!(status.expect("gives up").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_entries_leave_the_file_though_the_mailbox_was_full_when_they_were_due() {
    /// To read them takes the outbox far longer than to ask again.
    const ENTRIES: u64 = 3000;
    let dir = TempDir::new().expect("a directory");
    let outbox = Outbox::new();
    let root = run(vec![outbox.child(dir.path().join("outbox.redb"), entries_max(MANY))]).await;
    let many = (1..=ENTRIES).map(|n| outbox.push(event(0, n, 0, Phase::Start)));
    futures_util::future::try_join_all(many).await.expect("accepted");
    outbox.ack(ENTRIES).await.expect("is taken");
    let due = Instant::now() + TRIM_AFTER;
    // Several, so that one of them has its turn whenever the outbox takes a message.
    let fillers = (0..4).map(|_| {
        let mailbox = outbox.mailbox.clone();
        tokio::task::spawn_blocking(move || fill(&mailbox, due))
    });
    let refused: u32 = futures_util::future::try_join_all(fillers).await.expect("none panics").into_iter().sum();
    assert!(refused > 0, "the mailbox had room all the time");
    let trimmed = async {
        while !outbox.next(0).await.expect("answers").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), trimmed).await.expect("is never trimmed");
    root.stop().await;
}

/// Asks without end until a second after `due`; how often it was refused after that.
fn fill(mailbox: &Mailbox<Msg>, due: Instant) -> u32 {
    let mut refused = 0;
    while Instant::now() < due + Duration::from_secs(1) {
        let (reply, _nobody) = oneshot::channel();
        if mailbox.tell(Msg::Next { after: 0, reply }).is_err() {
            refused += u32::from(Instant::now() > due);
            std::thread::yield_now();
        }
    }
    refused
}

#[test]
fn numbers_that_are_none_become_zero_so_that_the_relay_takes_the_rest() {
    let mut odd = event(0, 1, 0, Phase::Start);
    (odd.score, odd.area[2]) = (f32::NAN, f32::NEG_INFINITY);
    let fits = file::fitting(odd);
    assert_eq!((fits.score, fits.area), (0.0, [0.1, 0.2, 0.0, 0.4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_file_keeps_the_outbox_from_starting_and_says_why() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("outbox.redb");
    std::fs::write(&path, b"something else that somebody wants to keep").expect("is written");
    let intensity = supervision::Intensity { restarts: 3, within: Duration::from_secs(1) };
    let children = vec![Outbox::new().child(path.clone(), entries_max(MANY))];
    let tree =
        supervision::Tree { name: "yard".to_owned(), strategy: supervision::Strategy::OneForOne, intensity, children };
    let refusal = supervision::Root::start(tree, supervision::Roll::default()).await.map(drop).expect_err("is refused");
    assert!(refusal.text.contains("outbox.redb cannot be read"), "{refusal}");
    assert!(refusal.text.contains("move the file away"), "{refusal}");
    assert!(path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_outbox_is_well_again_once_its_disk_has_space() {
    let dir = TempDir::new().expect("a directory");
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let outbox = Outbox::new();
    let root = run(vec![outbox.child(dir.path().join("outbox.redb"), entries_max(MANY))]).await;
    disk.fill();
    let mut pushed = 0;
    while outbox.push(event(0, pushed, 0, Phase::Start)).await.is_ok() {
        pushed += 1;
    }
    becomes(false, || outbox.finding()).await;
    // It tries again and again meanwhile, and finds nothing else.
    let full = Instant::now();
    while full.elapsed() < 3 * FULL_PAUSE {
        assert!(
            outbox.push(event(0, pushed, 0, Phase::Start)).await.is_err() && outbox.finding().is_err(),
            "{:?}",
            outbox.finding()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Its file was opened once more and holds what was accepted; nobody pushes from here on.
    assert_eq!(outbox.status().await.expect("answers").accepted, pushed);
    disk.free();
    becomes(true, || outbox.finding()).await;
    assert_eq!(outbox.push(event(0, pushed, 0, Phase::Start)).await, Ok(pushed + 1));
    root.stop().await;
}
