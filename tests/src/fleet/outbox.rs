//! Outbox: which entries of an edge's script were accepted, sent and acknowledged.
//!
//!   script ──due──▶ accepted ──batch──▶ sent ──ack──▶ acknowledged
//!                                  ◀──────── resume, after another link
//!
//! As the edge's own, but for the disk: it lives as long as the process.

use super::script::Script;
use protocol::Entry;
use protocol::limits::EVENTS_UNACKED_MAX;
use std::time::{Duration, Instant};

/// Entries that wait. When full, no more are accepted until the relay has some of them.
const WAITING_MAX: u64 = 100_000;
/// Entries of one message: far below its limit in bytes.
const BATCH_ENTRIES_MAX: u64 = 512;

pub(super) struct Outbox {
    script: Script,
    /// When the script began, on this process's clock.
    began: Instant,
    accepted: u64,
    acked: u64,
    sent: u64,
    /// Accepts no more.
    rests: bool,
}

impl Outbox {
    pub fn new(script: Script, began: Instant) -> Self {
        Self { script, began, accepted: 0, acked: 0, sent: 0, rests: false }
    }

    pub fn script(&self) -> &Script {
        &self.script
    }

    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// When the next entry is due; `None` if there is none any more, or no room for it.
    pub fn next_due(&self) -> Option<Instant> {
        let has_room = self.accepted - self.acked < WAITING_MAX;
        (has_room && !self.rests).then(|| self.began + self.script.due(self.accepted + 1))
    }

    /// What has come due by `now` is accepted.
    pub fn accept(&mut self, now: Instant) {
        if self.rests {
            return;
        }
        let due = self.script.newest(now.saturating_duration_since(self.began));
        self.accepted = due.min(self.acked + WAITING_MAX).max(self.accepted);
    }

    /// What is accepted now is all there will be.
    pub fn rest(&mut self, now: Instant) {
        self.accept(now);
        self.rests = true;
    }

    /// Another stream begins: the relay has everything through this.
    pub fn resume(&mut self, through: u64) -> Result<(), String> {
        if through > self.accepted {
            return Err(format!("the relay has {through} entries of {} that were accepted", self.accepted));
        }
        let before = self.acked;
        (self.acked, self.sent) = (through, through);
        if through < before {
            return Err(format!("the relay acknowledged {before} entries and now has {through}"));
        }
        Ok(())
    }

    /// What may be sent next.
    pub fn batch(&mut self) -> Option<Vec<Entry>> {
        let window = (EVENTS_UNACKED_MAX as u64).saturating_sub(self.sent - self.acked);
        let through = self.accepted.min(self.sent + window.min(BATCH_ENTRIES_MAX));
        let entries: Vec<Entry> = (self.sent + 1..=through).map(|seq| self.script.entry(seq)).collect();
        self.sent = through;
        (!entries.is_empty()).then_some(entries)
    }

    /// Everything through this is on the record; how long each of those that are new had waited for that.
    pub fn ack(&mut self, through: u64, now: Instant) -> Result<Vec<Duration>, String> {
        if through < self.acked || through > self.accepted {
            return Err(format!("acknowledged is {through}, of {} to {} that wait", self.acked + 1, self.accepted));
        }
        let since = |seq| now.saturating_duration_since(self.began + self.script.due(seq));
        let waited = (self.acked + 1..=through).map(since).collect();
        self.acked = through;
        // It may be ahead of this stream: what an earlier one had under way was recorded after `resume`.
        self.sent = self.sent.max(through);
        Ok(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Epoch, Timestamp};

    const EVERY: Duration = Duration::from_secs(1);

    fn outbox(due: u64) -> (Outbox, Instant) {
        let began = Instant::now();
        let script = Script { epoch: Epoch(1), begins: Timestamp::now(), every: EVERY };
        let mut outbox = Outbox::new(script, began);
        outbox.accept(began + EVERY * u32::try_from(due).expect("few"));
        (outbox, began)
    }

    fn seqs(outbox: &mut Outbox) -> Vec<u64> {
        outbox.batch().unwrap_or_default().iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn what_was_sent_and_not_acknowledged_is_sent_again_on_the_next_stream() {
        let (mut outbox, now) = outbox(3);
        assert_eq!(seqs(&mut outbox), [1, 2, 3]);
        assert_eq!(seqs(&mut outbox), [0; 0]);
        assert_eq!(outbox.ack(1, now).map(|waited| waited.len()), Ok(1));
        assert_eq!(outbox.resume(1), Ok(()));
        assert_eq!(seqs(&mut outbox), [2, 3]);
    }

    #[test]
    fn a_relay_that_has_less_than_it_acknowledged_is_a_fault() {
        let (mut outbox, now) = outbox(3);
        seqs(&mut outbox);
        outbox.ack(2, now).expect("it is in order");
        assert!(outbox.resume(1).expect_err("one is lost").contains("acknowledged 2 entries and now has 1"));
        assert_eq!(seqs(&mut outbox), [2, 3], "it is brought again all the same");
    }

    #[test]
    fn a_relay_that_has_more_than_was_accepted_is_a_fault() {
        let (mut outbox, now) = outbox(3);
        assert!(outbox.resume(4).is_err());
        assert!(outbox.ack(4, now).is_err());
    }

    #[test]
    fn no_more_is_sent_than_the_window_and_no_more_accepted_than_there_is_room_for() {
        let (mut outbox, began) = outbox(2 * WAITING_MAX);
        assert_eq!((outbox.accepted(), outbox.next_due()), (WAITING_MAX, None));
        let sent: usize = std::iter::from_fn(|| outbox.batch()).map(|entries| entries.len()).sum();
        assert_eq!(sent, EVENTS_UNACKED_MAX);
        outbox.ack(10, began).expect("it is in order");
        assert_eq!(seqs(&mut outbox).len(), 10);
        assert!(outbox.next_due().is_some());
    }

    #[test]
    fn one_that_rests_accepts_no_more() {
        let (mut outbox, began) = outbox(3);
        outbox.rest(began + 5 * EVERY);
        outbox.accept(began + 9 * EVERY);
        assert_eq!((outbox.accepted(), outbox.next_due()), (5, None));
    }

    #[test]
    fn waiting_is_counted_from_when_an_entry_was_due() {
        let (mut outbox, began) = outbox(2);
        seqs(&mut outbox);
        let waited = outbox.ack(2, began + EVERY * 2 + Duration::from_millis(7)).expect("it is in order");
        assert_eq!(waited, [Duration::from_millis(1007), Duration::from_millis(7)]);
    }
}
