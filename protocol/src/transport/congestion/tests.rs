//! The window on links that are made up: a rate, a round trip, a queue, and losses.

use super::*;
use std::collections::VecDeque;

const MTU: u64 = 1200;

#[derive(Clone, Copy)]
struct Link {
    bytes_per_s: f64,
    rtt_s: f64,
    queue_bytes: f64,
    /// Lost at random, of each packet.
    loses: f64,
    /// From this second on, everything takes so much longer.
    later: Option<(f64, f64)>,
}

/// 100 Mbit/s, 10 ms, 256 KiB of queue: 21 ms of it.
const WAN: Link = Link { bytes_per_s: 12.5e6, rtt_s: 0.010, queue_bytes: 256.0 * 1024.0, loses: 0.0, later: None };

/// xorshift: repeats itself, and needs no crate.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

struct Seen {
    /// Of the link's rate, over the seconds looked at.
    share: f64,
    queue_p50_ms: f64,
    queue_p99_ms: f64,
    least_window: u64,
}

/// What is on the way: number, when it was sent, and when it is acknowledged, if ever.
type UnderWay = VecDeque<(u64, f64, Option<f64>)>;

/// A sender with no end of bytes; looked at from `from_s` to `to_s`.
fn run(link: Link, from_s: f64, to_s: f64) -> Seen {
    let begun = Instant::now();
    let at = |second: f64| begun + Duration::from_secs_f64(second);
    let mut window = Window::new(begun, MTU);
    let (mut now, mut free_at, mut number) = (0.0_f64, 0.0_f64, 0_u64);
    let (mut under_way, mut dice): (UnderWay, _) = (VecDeque::new(), Dice(0x9e37_79b9_7f4a_7c15));
    let (mut arrived, mut queues, mut least_window) = (0_u64, Vec::new(), u64::MAX);
    while now < to_s {
        while (under_way.len() as u64 + 1) * MTU <= window.window() {
            let extra = link.later.map_or(0.0, |(from, extra)| if now >= from { extra } else { 0.0 });
            let queue_s = (free_at - now).max(0.0);
            let is_full = queue_s * link.bytes_per_s + MTU as f64 > link.queue_bytes;
            if !is_full {
                free_at = free_at.max(now) + MTU as f64 / link.bytes_per_s;
            }
            let is_lost = is_full || dice.roll() < link.loses;
            number += 1;
            under_way.push_back((number, now, (!is_lost).then_some(free_at + link.rtt_s + extra)));
            window.on_sent(at(now), MTU, number);
            if now >= from_s {
                queues.push(queue_s * 1e3);
            }
        }
        let lost = under_way.iter().take_while(|(.., acked_at)| acked_at.is_none()).count();
        under_way.drain(..lost);
        if lost > 0 {
            window.on_congestion_event(at(now), at(now), under_way.is_empty(), lost as u64 * MTU);
        }
        let Some((number, sent, Some(acked_at))) = under_way.pop_front() else {
            now += 3.0 * link.rtt_s;
            continue;
        };
        now = now.max(acked_at);
        window.acked(Duration::from_secs_f64(now - sent), MTU, false);
        window.on_end_acks(at(now), 0, false, Some(number));
        if now >= from_s {
            arrived += MTU;
            least_window = least_window.min(window.window());
        }
    }
    queues.sort_by(f64::total_cmp);
    let of = |percent: usize| queues[queues.len() * percent / 100];
    let share = arrived as f64 / (link.bytes_per_s * (to_s - from_s));
    Seen { share, queue_p50_ms: of(50), queue_p99_ms: of(99), least_window }
}

#[track_caller]
fn check(link: Link, from_s: f64, to_s: f64, share_min: f64, queue_p99_ms_max: f64) {
    let Seen { share, queue_p50_ms, queue_p99_ms, least_window } = run(link, from_s, to_s);
    println!("{share:.3} of the rate, queue {queue_p50_ms:.1} ms, p99 {queue_p99_ms:.1}, least window {least_window}");
    assert!(share >= share_min, "{share:.3} of the link's rate, {share_min} are due");
    assert!(queue_p99_ms <= queue_p99_ms_max, "{queue_p99_ms:.1} ms of queue, at most {queue_p99_ms_max} are due");
}

#[test]
fn a_link_is_kept_busy_by_a_short_queue() {
    check(WAN, 1.0, 9.0, 0.97, 8.0);
}

#[test]
fn the_first_second_fills_the_link_without_filling_its_queue() {
    check(WAN, 0.15, 1.0, 0.9, 13.0);
}

#[test]
fn a_minute_on_the_queue_is_as_short_as_at_the_begin() {
    check(WAN, 50.0, 60.0, 0.94, 9.0);
}

#[test]
fn random_losses_are_no_reason_to_slow_down() {
    check(Link { loses: 0.05, ..WAN }, 2.0, 12.0, 0.8, 10.0);
}

#[test]
fn a_long_way_is_filled_too() {
    check(Link { rtt_s: 0.1, ..WAN }, 3.0, 12.0, 0.85, 21.0);
}

#[test]
fn a_long_way_that_loses_is_used_all_the_same() {
    check(Link { rtt_s: 0.1, loses: 0.05, bytes_per_s: 2.5e6, ..WAN }, 5.0, 20.0, 0.7, 30.0);
}

#[test]
fn a_slow_uplink_is_kept_busy() {
    check(Link { bytes_per_s: 250e3, rtt_s: 0.04, queue_bytes: 64.0 * 1024.0, ..WAN }, 2.0, 12.0, 0.9, 40.0);
}

#[test]
fn a_queue_too_short_to_be_felt_is_found_by_its_losses() {
    // 1 ms of queue.
    check(Link { queue_bytes: 12.5e3, ..WAN }, 2.0, 9.0, 0.8, 1.1);
}

#[test]
fn a_link_that_loses_most_of_what_is_sent_is_not_flooded() {
    let seen = run(Link { loses: 0.4, ..WAN }, 2.0, 6.0);
    assert!(seen.share < 0.2, "{:.3} of the link's rate", seen.share);
}

#[test]
fn a_queue_that_others_fill_starves_nobody_and_a_longer_way_is_learnt() {
    let longer = Link { later: Some((3.0, 0.04)), ..WAN };
    let seen = run(longer, 3.0, 13.0);
    assert!(seen.least_window > 30_000, "down to {} B", seen.least_window);
    check(longer, 30.0, 40.0, 0.9, 15.0);
}

#[test]
fn an_application_that_says_little_leaves_the_window_as_it_is() {
    let now = Instant::now();
    let mut window = Window::new(now, MTU);
    let before = window.window();
    for number in 1..1000 {
        window.on_sent(now, MTU, number);
        window.acked(Duration::from_millis(10 + number % 7), 100, true);
        window.on_end_acks(now, 0, true, Some(number));
    }
    assert_eq!(window.window(), before);
}
