//! What the proxy did: counted, so that a test can tell that its network was as bad as it was meant to be.

use serde::Serialize;

/// One way, of all clients together. At any time:
/// `entered + duplicated = delivered + lost + cut + overflowed + oversize + undelivered + in flight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    pub entered: u64,
    pub entered_bytes: u64,
    /// By the share that is to be lost.
    pub lost: u64,
    /// By a partition.
    pub cut: u64,
    /// By the tail of a full queue.
    pub overflowed: u64,
    /// Longer than [`super::PACKET_BYTES_MAX`].
    pub oversize: u64,
    pub corrupted: u64,
    /// Held back while others went on.
    pub reordered: u64,
    /// Copies made.
    pub duplicated: u64,
    pub delivered: u64,
    pub delivered_bytes: u64,
    /// The proxy's own doing: too much was on its way, its client was forgotten, or the kernel did not take it.
    pub undelivered: u64,
}

impl Tally {
    /// What did not come to its end, and is not on its way either.
    pub fn dropped(&self) -> u64 {
        self.lost + self.cut + self.overflowed + self.oversize + self.undelivered
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Stats {
    pub up: Tally,
    pub down: Tally,
    /// Packets on their way.
    pub in_flight: u64,
    /// Clients at present.
    pub clients: u64,
    /// Packets of clients for whom there was no room.
    pub turned_away: u64,
    /// Clients that were forgotten because they were silent.
    pub forgotten: u64,
    /// Addresses that clients were given in place of others.
    pub moved: u64,
    /// How late the proxy itself was at worst, in microseconds: a busy machine's doing.
    pub late_us_max: u64,
    /// Packets that it delivered more than a millisecond late.
    pub late: u64,
}
