//! A line under every condition, on a clock that is only counted.

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
/// Of each packet in these tests, its number included.
const PACKET_BYTES_MIN: usize = 8;

/// A packet that tells its number, and when it comes.
#[derive(Debug, Clone)]
struct Sent {
    at: Duration,
    packet: Vec<u8>,
}

fn packets() -> impl Strategy<Value = Vec<Sent>> {
    let one = (0u64..3_000, PACKET_BYTES_MIN..1_400);
    prop::collection::vec(one, 1..300).prop_map(|gaps| {
        let mut at = Duration::ZERO;
        let numbered = (0u64..).zip(gaps).map(|(nth, (gap_us, bytes))| {
            at += Duration::from_micros(gap_us);
            let mut packet = vec![0; bytes];
            packet[..8].copy_from_slice(&nth.to_be_bytes());
            Sent { at, packet }
        });
        numbered.collect()
    })
}

fn rate() -> impl Strategy<Value = Option<Rate>> {
    let rate = (20_000u64..10_000_000, 0u64..20_000, 1_500u64..100_000);
    prop::option::of(
        rate.prop_map(|(bits, burst_bytes, queue_bytes)| Rate { burst_bytes, ..Rate::bits(bits, queue_bytes) }),
    )
}

prop_compose! {
    fn impairment()(
        ms in (0u64..200, 0u64..50, 1u64..50),
        shares in (0.0..0.5f64, 0.0..0.3f64, 0.0..0.3f64, 0.0..0.3f64),
        rate in rate(),
    ) -> Impairment {
        let (delay, jitter, reorder_by) = ms;
        let (loss, reorder, duplicate, corrupt) = shares;
        Impairment {
            delay: MS * delay as u32,
            jitter: MS * jitter as u32,
            loss,
            reorder,
            reorder_by: MS * reorder_by as u32,
            duplicate,
            corrupt,
            rate,
            partitioned: false,
        }
    }
}

/// All deliveries in the order in which they arrive; of those that arrive together, in the order of their sending.
fn run(seed: u64, sent: &[Sent], link: &Impairment) -> (Vec<Delivery>, Tally) {
    let (mut line, mut tally) = (Line::new(seed, 0), Tally::default());
    let carry = |sent: &Sent| line.carry(sent.at, sent.packet.clone(), link, &mut tally);
    let mut deliveries: Vec<Delivery> = sent.iter().flat_map(carry).collect();
    deliveries.sort_by_key(|delivery| delivery.at);
    (deliveries, tally)
}

fn number(delivery: &Delivery) -> u64 {
    let head: [u8; 8] = delivery.packet[..8].try_into().expect("every packet has its number");
    u64::from_be_bytes(head)
}

proptest! {
    #[test]
    fn every_packet_is_accounted_for(seed: u64, sent in packets(), link in impairment()) {
        let (deliveries, tally) = run(seed, &sent, &link);
        prop_assert_eq!(tally.entered, sent.len() as u64);
        prop_assert_eq!(tally.entered + tally.duplicated, deliveries.len() as u64 + tally.dropped());
    }

    #[test]
    fn a_seed_repeats_its_run(seed: u64, sent in packets(), link in impairment()) {
        prop_assert_eq!(run(seed, &sent, &link), run(seed, &sent, &link));
    }

    #[test]
    fn nothing_arrives_before_its_delay_or_long_after_it(seed: u64, sent in packets(), link in impairment()) {
        let link = Impairment { corrupt: 0.0, ..link };
        let (deliveries, _) = run(seed, &sent, &link);
        let waits = link.rate.map_or(Duration::ZERO, |rate| rate.time(rate.queue_bytes + 1_400));
        for delivery in deliveries {
            let sent = &sent[number(&delivery) as usize];
            prop_assert!(delivery.at >= sent.at + link.delay);
            prop_assert!(delivery.at <= sent.at + link.delay + link.jitter + link.reorder_by + waits);
        }
    }

    #[test]
    fn jitter_alone_reorders_nothing(seed: u64, sent in packets(), link in impairment()) {
        let link = Impairment { reorder: 0.0, corrupt: 0.0, ..link };
        let (deliveries, _) = run(seed, &sent, &link);
        let numbers: Vec<u64> = deliveries.iter().map(number).collect();
        prop_assert!(numbers.is_sorted(), "{:?}", numbers);
    }

    #[test]
    fn what_leaves_is_never_more_than_the_rate(seed: u64, sent in packets(), bits in 20_000u64..10_000_000, burst_bytes in 0u64..5_000) {
        let rate = Rate { burst_bytes, ..Rate::bits(bits, 50_000) };
        let link = Impairment { rate: Some(rate), ..Impairment::default() };
        let (deliveries, _) = run(seed, &sent, &link);
        for first in 0..deliveries.len() {
            let mut bytes = 0;
            // The first one may have been under way before.
            for later in &deliveries[first + 1..] {
                bytes += later.packet.len() as u64;
                let passed = later.at - deliveries[first].at + Duration::from_micros(1);
                let may = rate.bytes_per_s.get() as f64 * passed.as_secs_f64() + burst_bytes as f64 + 1.0;
                prop_assert!(bytes as f64 <= may, "{bytes} bytes in {passed:?}, {may} may");
            }
        }
    }

    #[test]
    fn the_queue_never_holds_more_than_its_bytes(sent in packets(), queue_bytes in 1_500u64..20_000) {
        let rate = Rate::bits(100_000, queue_bytes);
        let link = Impairment { rate: Some(rate), ..Impairment::default() };
        let (mut line, mut tally, mut leaves) = (Line::new(1, 0), Tally::default(), Vec::new());
        for sent in &sent {
            let carried = line.carry(sent.at, sent.packet.clone(), &link, &mut tally);
            leaves.extend(carried.into_iter().map(|delivery| (delivery.at, delivery.packet.len() as u64)));
            let waits: u64 = leaves.iter().filter(|(at, _)| *at > sent.at).map(|(_, bytes)| bytes).sum();
            prop_assert!(waits <= queue_bytes, "{waits} bytes wait");
        }
    }

    #[test]
    fn a_corrupted_packet_differs_by_one_bit(seed: u64, sent in packets()) {
        let link = Impairment { corrupt: 1.0, ..Impairment::default() };
        let (deliveries, tally) = run(seed, &sent, &link);
        prop_assert_eq!(tally.corrupted, sent.len() as u64);
        for (sent, delivery) in sent.iter().zip(&deliveries) {
            let differ = sent.packet.iter().zip(&delivery.packet).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
            prop_assert_eq!((sent.packet.len(), differ), (delivery.packet.len(), 1));
        }
    }

    #[test]
    fn a_partition_lets_nothing_through(seed: u64, sent in packets(), link in impairment()) {
        let link = Impairment { partitioned: true, ..link };
        let (deliveries, tally) = run(seed, &sent, &link);
        prop_assert_eq!((deliveries.len(), tally.cut), (0, sent.len() as u64));
    }

    #[test]
    fn what_is_on_its_way_is_not_overtaken_when_the_link_gets_better(seed: u64, sent in packets(), link in impairment()) {
        let link = Impairment { reorder: 0.0, corrupt: 0.0, ..link };
        let (mut line, mut tally, mut last) = (Line::new(seed, 0), Tally::default(), Duration::ZERO);
        for (nth, sent) in sent.iter().enumerate() {
            let now = if nth < 10 { link.clone() } else { Impairment::default() };
            for delivery in line.carry(sent.at, sent.packet.clone(), &now, &mut tally) {
                prop_assert!(delivery.at >= last);
                last = delivery.at;
            }
        }
    }
}

/// 20,000 packets, a millisecond apart, of which a share of 5 % has a fate.
#[track_caller]
fn check_share(link: Impairment, count: impl Fn(Tally) -> u64) {
    let sent = |nth: u32| Sent { at: MS * nth, packet: vec![0; PACKET_BYTES_MIN] };
    let sent: Vec<Sent> = (0..20_000).map(sent).collect();
    let (_, tally) = run(7, &sent, &link);
    // Six standard deviations of 31.
    assert!(count(tally).abs_diff(1_000) < 190, "{tally:?}");
}

#[test]
fn shares_are_what_they_say() {
    check_share(Impairment { loss: 0.05, ..Impairment::default() }, |tally| tally.lost);
    check_share(Impairment { reorder: 0.05, ..Impairment::default() }, |tally| tally.reordered);
    check_share(Impairment { duplicate: 0.05, ..Impairment::default() }, |tally| tally.duplicated);
    check_share(Impairment { corrupt: 0.05, ..Impairment::default() }, |tally| tally.corrupted);
}

#[test]
fn a_packet_that_is_held_back_is_overtaken() {
    let sent = |nth: u32| Sent { at: MS * nth, packet: u64::from(nth).to_be_bytes().to_vec() };
    let sent: Vec<Sent> = (0..1_000).map(sent).collect();
    let (deliveries, tally) = run(7, &sent, &Impairment { reorder: 0.1, ..Impairment::default() });
    let behind = deliveries.windows(2).filter(|two| number(&two[0]) > number(&two[1])).count() as u64;
    assert!(behind > 0 && behind <= tally.reordered, "{behind} of {tally:?}");
}

#[test]
fn a_full_link_of_100_mbit_is_busy_to_the_last_bit() {
    let link = Impairment { rate: Some(Rate::mbit(100, 256 * 1024)), ..Impairment::delay(5 * MS) };
    // 1,250 bytes take 100 µs; they come twice as fast.
    let sent = |nth: u32| Sent { at: Duration::from_micros(50) * nth, packet: vec![0; 1_250] };
    let sent: Vec<Sent> = (0..20_000).map(sent).collect();
    let (deliveries, tally) = run(7, &sent, &link);
    let all = |at| deliveries.iter().filter(|delivery| delivery.at <= at).count();
    assert_eq!(all(1005 * MS), 10_000, "of one second");
    assert!(tally.overflowed > 9_000, "{tally:?}");
}
