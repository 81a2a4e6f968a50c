//! The outbox through its handle; against a list, and when it is full, in files of their own.

mod full;
mod list;
mod old;

use super::file::OutboxFile;
use super::*;
use crate::events::testing::{SmallDisk, becomes, camera_id, event, run, status};
use protocol::codec::encode;
use protocol::limits::MESSAGE_BYTES_MAX;
use protocol::link::EventsUp;
use protocol::{EventId, Evidence, Phase};
use tempfile::TempDir;

const MANY: u64 = 1_000_000;

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
async fn the_longest_entries_still_fit_a_message() {
    let dir = TempDir::new().expect("a directory");
    let outbox = Outbox::new();
    let root = run(vec![outbox.child(dir.path().join("outbox.redb"), entries_max(MANY))]).await;
    let endless = "\u{10348}".repeat(100_000);
    let mut longest = event(0, 1, 0, Phase::Start);
    longest.label = endless.clone();
    longest.zones = vec![endless.clone(); 100];
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
    file.append(started.clone(), Timestamp::now(), MANY, false).expect("is written");
    // In the middle of a chunk, and of what was saved.
    assert_eq!(file.ack(7).expect("reads"), 7);
    file.renew().expect("is written");
    let mark = file.mark();
    assert!(mark.epoch != epoch);
    assert_eq!((mark.accepted, mark.acked, mark.removed), (293, 0, 0));
    let ended = event(0, 9, 1, Phase::End);
    file.append(vec![ended.clone()], Timestamp::now(), MANY, false).expect("is written");
    file.ack(2).expect("reads");
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
