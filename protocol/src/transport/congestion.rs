//! How much may be on the way: as much as the link carries, and a queue of a few milliseconds.
//!
//!   acknowledged ──round trips──▶ [window] ──▶ what quinn sends
//!        lost ─────share────────────▲
//!
//! Controllers that grow until something is lost fill the queue of the slowest hop, and whatever is urgent waits
//! behind a clip there. This one looks at the least round trip of each round: what exceeds the least of the last seconds
//! was spent in queues, and it aims at [`Window::aim`] of that. Losses without a queue are the weather of a radio link
//! and no reason to slow down, up to a limit. Where a queue stays though the window shrinks, somebody else fills it, and
//! for a while the window grows and shrinks by losses, as theirs does.

#[cfg(test)]
mod tests;

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What may be on the way before anything is known: RFC 9002's figure.
const FIRST_WINDOW_BYTES: u64 = 14_720;
/// Even on the worst link.
const PACKETS_MIN: u64 = 4;

/// The queue aimed at: an eighth of the round trip, within these.
const AIM_MIN: Duration = Duration::from_millis(4);
const AIM_MAX: Duration = Duration::from_millis(15);

/// The least round trip is that of the last one to two of these: routes change.
const LEAST_OVER: Duration = Duration::from_secs(10);
/// A steady sender never sees its link empty; so before each period ends it makes room, for so many rounds.
const PAUSE_ROUNDS: u32 = 2;

/// Samples in a row that tell of a queue and end the doubling. One alone is a busy host.
const SLOW_SAMPLES: u32 = 8;

/// More lost than one in so many is too much for any link, queue or none.
const LOST_ONE_IN: u64 = 8;
/// Packets over which losses are counted, at least; twice as many are remembered, the newer the more.
const COUNTED_PACKETS: u64 = 128;
/// While so many look too bad, the window does not grow.
const SUSPECT_PACKETS: u64 = 16;
/// After too many losses, and after each while others fill the queue.
const LOSS_FACTOR: f64 = 0.7;

/// A queue that stays above this share of what it was while the window was halved is somebody else's.
const OTHERS_SHARE: f64 = 0.75;
/// Then losses alone count for so long, before it is asked again whose the queue is.
const CONTEST_FOR: Duration = Duration::from_secs(10);

/// Makes a controller for each path.
pub(super) struct ShortQueue;

impl ControllerFactory for ShortQueue {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Window::new(now, u64::from(current_mtu)))
    }
}

/// One path's window, in bytes.
#[derive(Debug, Clone)]
struct Window {
    bytes: f64,
    mtu: u64,
    mode: Mode,
    least: Least,
    round: Round,
    losses: Losses,
    last_sent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// Doubles each round, until so many samples in a row tell of a queue.
    Doubling { slow: u32 },
    /// Follows the queue. `shrinks`: the window and the queue when this run of reductions began.
    Following { shrinks: Option<(f64, Duration)> },
    /// Makes room, to see the link empty; goes on with so many bytes.
    Pausing { rounds: u32, then: f64 },
    /// Others fill the queue.
    Contest { until: Instant },
}

const FOLLOWING: Mode = Mode::Following { shrinks: None };

impl Window {
    fn new(now: Instant, mtu: u64) -> Self {
        let mode = Mode::Doubling { slow: 0 };
        let (least, round, losses) = (Least::new(now), Round::default(), Losses::default());
        Self { bytes: FIRST_WINDOW_BYTES.max(2 * mtu) as f64, mtu, mode, least, round, losses, last_sent: 0 }
    }

    /// How much of a queue is wanted: enough to keep the link busy.
    fn aim(&self) -> Duration {
        (self.least.get() / 8).clamp(AIM_MIN, AIM_MAX)
    }

    fn acked(&mut self, rtt: Duration, bytes: u64, is_idle: bool) {
        self.least.see(rtt);
        self.round.see(rtt, bytes, is_idle);
        self.losses.acked += bytes;
        let Mode::Doubling { slow } = &mut self.mode else { return };
        if is_idle {
            return;
        }
        self.bytes += bytes as f64;
        let is_slow = rtt.saturating_sub(self.least.get()) > (self.least.get() / 8).clamp(AIM_MIN, AIM_MAX) / 2;
        *slow = if is_slow { *slow + 1 } else { 0 };
        if *slow >= SLOW_SAMPLES {
            // These were sent when the window was half of what it is now.
            let fits = (self.least.get() + self.aim() / 2).as_secs_f64() / rtt.as_secs_f64();
            self.bytes /= 2.0;
            self.scale(fits);
            self.mode = FOLLOWING;
            self.round.begin(self.last_sent);
        }
    }

    fn lost(&mut self, bytes: u64, is_all: bool) {
        self.round.lost += bytes;
        self.losses.lost += bytes;
        if is_all {
            self.bytes = 0.0;
            self.scale(1.0);
            self.mode = Mode::Doubling { slow: 0 };
            self.losses = Losses::default();
        }
    }

    /// All that was under way when the round began has arrived or is lost.
    fn turn(&mut self, now: Instant) {
        let round = self.round;
        self.round.begin(self.last_sent);
        let Some(rtt) = round.least else { return };
        let queue = rtt.saturating_sub(self.least.get());
        if self.losses.are_too_many(self.mtu) {
            self.losses = Losses::default();
            self.scale(LOSS_FACTOR);
            if !matches!(self.mode, Mode::Contest { .. }) {
                self.mode = FOLLOWING;
            }
        } else {
            // An application that sends less than it may says nothing about the link.
            if !round.is_idle() {
                self.follow(now, rtt, queue, round.lost > 0);
            }
            self.losses.fade(self.mtu);
        }
        if self.least.is_over(now) {
            // Longer than it need be, maybe, by our own queue.
            if !round.is_idle()
                && self.least.newer_queue() > self.aim() / 4
                && matches!(self.mode, Mode::Following { .. })
            {
                self.mode = Mode::Pausing { rounds: PAUSE_ROUNDS, then: self.bytes };
                self.scale(0.75 * self.least.get().as_secs_f64() / rtt.as_secs_f64());
            }
            self.least.begin(now);
        }
    }

    fn follow(&mut self, now: Instant, rtt: Duration, queue: Duration, has_lost: bool) {
        let (aim, least) = (self.aim(), self.least.get());
        match self.mode {
            Mode::Doubling { .. } => {}
            Mode::Pausing { rounds: 1, then } => (self.bytes, self.mode) = (then, FOLLOWING),
            Mode::Pausing { rounds, then } => self.mode = Mode::Pausing { rounds: rounds - 1, then },
            Mode::Contest { until } => {
                if queue < aim / 2 || now >= until {
                    self.mode = FOLLOWING;
                } else if has_lost {
                    self.scale(LOSS_FACTOR);
                } else {
                    self.bytes += self.mtu as f64;
                }
            }
            Mode::Following { shrinks } => {
                // Lost while there is some queue, however short: it holds no more.
                if has_lost && queue > aim.min(least) / 4 {
                    self.scale((1.0 + LOSS_FACTOR) / 2.0);
                    return;
                }
                let wanted = (least + aim).as_secs_f64() / rtt.as_secs_f64();
                if wanted > 1.0 && self.losses.exceed(SUSPECT_PACKETS * self.mtu) {
                    return;
                }
                // Half way there: what is done now is seen a round later.
                self.scale(f64::midpoint(1.0, wanted.clamp(0.5, 2.0)));
                self.bytes += self.mtu as f64 / 2.0;
                self.mode = if queue <= aim { FOLLOWING } else { self.shrinking(now, shrinks, queue) };
            }
        }
    }

    fn shrinking(&mut self, now: Instant, since: Option<(f64, Duration)>, queue: Duration) -> Mode {
        let (bytes, was) = since.unwrap_or((self.bytes, queue));
        if self.bytes > bytes / 2.0 && self.bytes > self.floor() {
            Mode::Following { shrinks: Some((bytes, was)) }
        } else if queue >= was.mul_f64(OTHERS_SHARE) {
            self.bytes = self.bytes.max(bytes / 2.0);
            Mode::Contest { until: now + CONTEST_FOR }
        } else {
            FOLLOWING
        }
    }

    fn floor(&self) -> f64 {
        (PACKETS_MIN * self.mtu) as f64
    }

    fn scale(&mut self, factor: f64) {
        self.bytes = (self.bytes * factor).max(self.floor());
    }
}

/// The least round trip of the last seconds.
#[derive(Debug, Clone, Copy)]
struct Least {
    older: Option<Duration>,
    newer: Option<Duration>,
    since: Instant,
}

impl Least {
    fn new(now: Instant) -> Self {
        Self { older: None, newer: None, since: now }
    }

    fn see(&mut self, rtt: Duration) {
        self.newer = Some(self.newer.map_or(rtt, |least| least.min(rtt)));
    }

    fn get(&self) -> Duration {
        [self.older, self.newer].into_iter().flatten().min().unwrap_or_default()
    }

    /// By how much this period has missed the one before it.
    fn newer_queue(&self) -> Duration {
        self.newer.unwrap_or_default().saturating_sub(self.get())
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= LEAST_OVER
    }

    fn begin(&mut self, now: Instant) {
        *self = Self { older: self.newer, newer: None, since: now };
    }
}

/// One round trip's worth of packets.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    /// It ends when this packet is acknowledged.
    ends_with: u64,
    least: Option<Duration>,
    lost: u64,
    /// Bytes acknowledged while the application had more to send, and while it had not.
    busy: u64,
    idle: u64,
}

impl Round {
    fn begin(&mut self, last_sent: u64) {
        *self = Self { ends_with: last_sent, ..Self::default() };
    }

    fn see(&mut self, rtt: Duration, bytes: u64, is_idle: bool) {
        self.least = Some(self.least.map_or(rtt, |least| least.min(rtt)));
        *(if is_idle { &mut self.idle } else { &mut self.busy }) += bytes;
    }

    fn is_idle(&self) -> bool {
        self.idle > self.busy
    }
}

/// Bytes, the newer the more.
#[derive(Debug, Clone, Copy, Default)]
struct Losses {
    acked: u64,
    lost: u64,
}

impl Losses {
    fn are_too_many(&self, mtu: u64) -> bool {
        self.exceed(COUNTED_PACKETS * mtu)
    }

    fn exceed(&self, bytes_min: u64) -> bool {
        let all = self.acked + self.lost;
        all >= bytes_min && self.lost * LOST_ONE_IN > all
    }

    fn fade(&mut self, mtu: u64) {
        if self.acked + self.lost > 2 * COUNTED_PACKETS * mtu {
            (self.acked, self.lost) = (self.acked / 2, self.lost / 2);
        }
    }
}

impl Controller for Window {
    fn on_sent(&mut self, _now: Instant, _bytes: u64, last_packet_number: u64) {
        self.last_sent = last_packet_number;
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, _rtt: &RttEstimator) {
        self.acked(now.saturating_duration_since(sent), bytes, app_limited);
    }

    fn on_end_acks(&mut self, now: Instant, _in_flight: u64, _app_limited: bool, largest_acked: Option<u64>) {
        if largest_acked.is_some_and(|largest| largest >= self.round.ends_with) {
            self.turn(now);
        }
    }

    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, is_all: bool, lost_bytes: u64) {
        // A router that marks what it would else drop says 0; as one packet it counts all the same.
        self.lost(if lost_bytes == 0 { self.mtu } else { lost_bytes }, is_all);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = u64::from(new_mtu);
        self.scale(1.0);
    }

    fn window(&self) -> u64 {
        self.bytes as u64
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        FIRST_WINDOW_BYTES
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
