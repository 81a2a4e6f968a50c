//! Full mailboxes, and messages across restarts.

use crate::helpers::*;
use proptest::prelude::*;
use std::time::Duration;
use supervision::{Actor, AskError, Context, Failure, Gone, Intensity, Mailbox, Overflow, Strategy, TellError, child};
use tokio::sync::oneshot;

#[tokio::test]
async fn a_full_mailbox_that_refuses_says_so_to_everyone() {
    let mailbox = Mailbox::new("full", 2, Overflow::Refuse);
    assert_eq!([mailbox.tell(1), mailbox.tell(2), mailbox.tell(3)], [Ok(()), Ok(()), Err(TellError::Full("full"))]);
    assert_eq!(mailbox.send(4).await, Err(TellError::Full("full")));
    assert_eq!(mailbox.depth(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_that_drops_the_oldest_keeps_the_newest() {
    let (mailbox, journal) = (Mailbox::new("puppet", 3, Overflow::DropOldest), Journal::default());
    (0..10).for_each(|n| tell(&mailbox, Msg::Write(n.to_string())));
    assert_eq!(mailbox.depth(), 3);
    let (root, _) = start(tree("top", Strategy::OneForOne, 3, vec![puppet("one", &mailbox, &journal)])).await;
    eventually("all is handled", || journal.read().len() == 5).await;
    assert_eq!(journal.read()[2..], ["7", "8", "9"]);
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_whose_message_was_dropped_for_newer_ones_is_answered_gone() {
    let mailbox: Mailbox<Msg> = Mailbox::new("puppet", 1, Overflow::DropOldest);
    let asked = mailbox.clone();
    let waits = tokio::spawn(async move { count(&asked).await });
    eventually("the question waits", || mailbox.depth() == 1).await;
    tell(&mailbox, Msg::Hang);
    assert_eq!(waits.await.expect("the task ends"), Err(Gone("puppet")));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_senders_wait_for_space_and_none_is_forgotten() {
    const SENDERS: usize = 200;
    let (mailbox, journal) = (Mailbox::new("puppet", 2, Overflow::Wait), Journal::default());
    let (root, _) = start(tree("top", Strategy::OneForOne, 3, vec![puppet("one", &mailbox, &journal)])).await;
    let (release, until) = oneshot::channel();
    tell(&mailbox, Msg::Hold(until));
    let send = |n: usize| {
        let mailbox = mailbox.clone();
        tokio::spawn(async move { mailbox.send(Msg::Write(n.to_string())).await })
    };
    let senders: Vec<_> = (0..SENDERS).map(send).collect();
    eventually("the mailbox is full", || mailbox.depth() == 2).await;
    assert_eq!(mailbox.tell(Msg::Hang), Err(TellError::Full("puppet")), "tell never waits");
    release.send(()).expect("the puppet holds");
    for sender in senders {
        let sent = tokio::time::timeout(PATIENCE, sender).await.expect("no sender is forgotten");
        assert_eq!(sent.expect("the task ends"), Ok(()));
    }
    eventually("all are handled", || journal.read().len() == SENDERS + 2).await;
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_waits_for_space_is_told_when_the_node_stops() {
    let (mailbox, journal) = (Mailbox::new("puppet", 1, Overflow::Wait), Journal::default());
    let hanging = puppet("one", &mailbox, &journal).stop_within(Duration::from_millis(20));
    let (root, _) = start(tree("top", Strategy::OneForOne, 3, vec![hanging])).await;
    tell(&mailbox, Msg::Hang);
    eventually("it hangs", || mailbox.depth() == 0).await;
    tell(&mailbox, Msg::Hang);
    let full = mailbox.clone();
    let waits = tokio::spawn(async move { full.send(Msg::Hang).await });
    root.stop().await;
    assert_eq!(waits.await.expect("the task ends"), Err(TellError::Gone("puppet")));
}

#[tokio::test]
async fn a_question_with_a_deadline_gives_up_alone() {
    let mailbox: Mailbox<Msg> = Mailbox::new("puppet", 1, Overflow::Refuse);
    let within = Duration::from_millis(5);
    assert_eq!(mailbox.ask_within(within, Msg::Count).await, Err(AskError::Late("puppet", within)));
    assert_eq!(mailbox.depth(), 1, "nobody has come, and somebody may");
}

/// Writes down what it handles and dies where it is told.
struct Scribe(Journal);

enum Line {
    Write(u32),
    Panic,
    Fail,
    FailInTask,
}

impl Actor for Scribe {
    type Msg = Line;

    async fn handle(&mut self, line: Line, cx: &mut Context<Line>) -> Result<(), Failure> {
        match line {
            Line::Write(n) => self.0.write(n.to_string()),
            Line::Panic => panic!("told to"),
            Line::Fail => return Err(Failure::error("told to")),
            Line::FailInTask => cx.spawn(async { Err(Failure::error("told to")) }),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However often the actor dies: each message is handled once, in the order in which it was told.
    #[test]
    fn no_message_is_lost_or_doubled_or_overtaken_by_restarts(
        deaths in proptest::collection::vec((0u32..200, 0u8..3), 0..20), batch in 1usize..20,
    ) {
        const LINES: u32 = 200;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let written = runtime.expect("a runtime can be built").block_on(async move {
            let (mailbox, journal) = (Mailbox::new("scribe", batch, Overflow::Wait), Journal::default());
            let writes = journal.clone();
            let scribe = child("scribe", &mailbox, move || Ok(Scribe(writes.clone())));
            let scribe = scribe.backoff(BRISK).answers_within(NEVER_HANGS);
            let mut tree = tree("top", Strategy::OneForOne, 0, vec![scribe]);
            tree.intensity = Intensity { restarts: 1000, within: Duration::from_secs(60) };
            let (root, _) = start(tree).await;
            for n in 0..LINES {
                for (_, how) in deaths.iter().filter(|(at, _)| *at == n) {
                    let death = [Line::Panic, Line::Fail, Line::FailInTask].into_iter().nth(usize::from(*how));
                    mailbox.send(death.expect("there are three")).await.expect("the scribe comes back");
                }
                mailbox.send(Line::Write(n)).await.expect("the scribe comes back");
            }
            eventually("all lines are written", || journal.read().len() == LINES as usize).await;
            root.stop().await;
            journal.read()
        });
        prop_assert_eq!(written, (0..LINES).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
