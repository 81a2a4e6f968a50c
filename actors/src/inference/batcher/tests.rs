//! The batcher's rules, one scene each. A payload is the camera and its frame's number.

use super::*;
use Priority::{Critical, High, Low, Normal};

pub(super) type Payload = (&'static str, u32);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn settings(batch_max: usize, wait_ms: u64, queue_max: usize, per_camera_max: usize) -> BatcherSettings {
    let count = |count| NonZeroUsize::new(count).expect("the test asks for one at least");
    BatcherSettings {
        batch_max: count(batch_max),
        wait_max: ms(wait_ms),
        queue_frames_max: count(queue_max),
        per_camera_max,
    }
}

pub(super) fn request(priority: Priority, deadline_ms: u64, payload: Payload) -> Request<&'static str, Payload> {
    Request { camera: payload.0, priority, deadline: ms(deadline_ms), payload }
}

/// All of one edge.
impl OfEdge for &'static str {
    type Edge = ();
    fn edge(&self) -> &() {
        &()
    }
}

/// A camera's number at an edge.
impl OfEdge for (&'static str, usize) {
    type Edge = &'static str;
    fn edge(&self) -> &&'static str {
        &self.0
    }
}

struct Bench(Batcher<&'static str, Payload>);

const LATER_MS: u64 = 60_000;

impl Bench {
    fn new(batch_max: usize, wait_ms: u64, queue_max: usize, per_camera_max: usize) -> Self {
        Self(Batcher::new(settings(batch_max, wait_ms, queue_max, per_camera_max)))
    }

    /// At time zero, with a late deadline.
    fn offer(&mut self, priority: Priority, payload: Payload) -> Vec<Given<Payload>> {
        self.0.offer(ms(0), request(priority, LATER_MS, payload))
    }

    #[track_caller]
    fn fill(&mut self, priority: Priority, payloads: &[Payload]) {
        for payload in payloads {
            assert_eq!(self.offer(priority, *payload), []);
        }
    }

    fn batch(&mut self, now_ms: u64) -> Vec<Payload> {
        self.0.take(ms(now_ms)).batch
    }
}

#[test]
fn without_waiting_whatever_is_there_leaves() {
    let mut bench = Bench::new(4, 0, 16, 2);
    assert_eq!(bench.0.take(ms(0)), Taken { batch: vec![], expired: vec![], wake_at: None });
    bench.fill(Normal, &[("a", 1), ("b", 1)]);
    assert_eq!(bench.batch(0), [("a", 1), ("b", 1)]);
    assert!(bench.0.is_empty());
}

#[test]
fn a_full_batch_leaves_at_once_and_a_part_of_one_when_its_oldest_waited() {
    let mut bench = Bench::new(3, 50, 16, 4);
    bench.fill(Normal, &[("a", 1), ("b", 1)]);
    let taken = bench.0.take(ms(49));
    assert_eq!((taken.batch.len(), taken.wake_at), (0, Some(ms(50))));
    bench.fill(Normal, &[("a", 2), ("b", 2)]);
    let taken = bench.0.take(ms(49));
    assert_eq!((taken.batch.len(), taken.wake_at), (3, Some(ms(50))));
    assert_eq!(bench.batch(50), [("b", 2)]);
}

#[test]
fn a_frame_in_a_hurry_waits_for_half_of_its_time_only() {
    let mut bench = Bench::new(8, 100, 16, 2);
    assert_eq!(bench.0.offer(ms(0), request(Normal, 60, ("a", 1))), []);
    assert_eq!(bench.0.take(ms(29)).wake_at, Some(ms(30)));
    assert_eq!(bench.batch(30), [("a", 1)]);
}

#[test]
fn more_than_a_batch_asks_to_be_taken_again_at_once() {
    let mut bench = Bench::new(2, 50, 16, 8);
    bench.fill(Normal, &[("a", 1), ("a", 2), ("a", 3), ("a", 4)]);
    assert_eq!(bench.0.take(ms(5)).wake_at, Some(ms(5)));
}

#[test]
fn the_urgent_go_first_and_equals_take_turns_oldest_first() {
    let mut bench = Bench::new(1, 0, 16, 8);
    bench.fill(Normal, &[("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("c", 1)]);
    bench.fill(Critical, &[("d", 1)]);
    let order: Vec<Payload> = (0..7).flat_map(|_| bench.batch(0)).collect();
    assert_eq!(order, [("d", 1), ("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("a", 3)]);
}

#[test]
fn a_newer_frame_replaces_the_cameras_oldest_and_keeps_its_place_in_line() {
    let mut bench = Bench::new(1, 0, 16, 1);
    bench.fill(Normal, &[("a", 1), ("b", 1)]);
    assert_eq!(bench.offer(Normal, ("a", 2)), [(("a", 1), Why::Shed)]);
    assert_eq!((bench.batch(0), bench.batch(0)), (vec![("a", 2)], vec![("b", 1)]));
}

#[test]
fn a_full_queue_sheds_where_most_wait() {
    let mut bench = Bench::new(8, 0, 4, 8);
    bench.fill(Normal, &[("b", 1), ("a", 1), ("a", 2), ("a", 3)]);
    assert_eq!(bench.offer(Normal, ("c", 1)), [(("a", 1), Why::Shed)]);
    assert_eq!(bench.0.len(), 4);
}

#[test]
fn a_full_queue_never_sheds_a_higher_priority_for_a_lower_one() {
    let mut bench = Bench::new(8, 0, 3, 8);
    bench.fill(High, &[("a", 1), ("a", 2)]);
    bench.fill(Normal, &[("b", 1)]);
    assert_eq!(bench.offer(Low, ("c", 1)), [(("c", 1), Why::Shed)]);
    assert_eq!(bench.offer(High, ("c", 2)), [(("b", 1), Why::Shed)]);
    assert_eq!(bench.offer(Normal, ("c", 3)), [(("c", 3), Why::Shed)]);
}

#[test]
fn a_full_queue_first_lets_go_of_what_is_too_late() {
    let mut bench = Bench::new(8, 0, 2, 8);
    bench.fill(Normal, &[("a", 1)]);
    assert_eq!(bench.0.offer(ms(0), request(Critical, 10, ("b", 1))), []);
    assert_eq!(bench.0.offer(ms(10), request(Low, LATER_MS, ("c", 1))), [(("b", 1), Why::Expired)]);
}

#[test]
fn a_deadline_is_checked_when_offered_and_when_taken() {
    let mut bench = Bench::new(8, 0, 8, 8);
    assert_eq!(bench.0.offer(ms(10), request(Normal, 10, ("a", 1))), [(("a", 1), Why::Expired)]);
    assert_eq!(bench.0.offer(ms(10), request(Normal, 20, ("a", 2))), []);
    assert_eq!(bench.0.offer(ms(10), request(Normal, 30, ("a", 3))), []);
    let taken = bench.0.take(ms(20));
    assert_eq!((taken.expired, taken.batch), (vec![("a", 2)], vec![("a", 3)]));
}

#[test]
fn the_work_of_an_asker_that_is_gone_is_handed_back() {
    let mut bench = Bench::new(8, 0, 8, 8);
    bench.fill(Normal, &[("a", 1), ("b", 1), ("a", 2)]);
    assert_eq!(bench.0.cancel(|(camera, _)| *camera == "a"), [("a", 1), ("a", 2)]);
    assert_eq!(bench.batch(0), [("b", 1)]);
}

#[test]
fn with_more_cameras_than_room_each_gets_its_turn() {
    let mut bench = Bench::new(1, 0, 2, 1);
    let mut served = BTreeMap::new();
    for frame in 0..30 {
        for camera in ["a", "b", "c", "d"] {
            bench.offer(Normal, (camera, frame));
        }
        for (camera, _) in bench.batch(0) {
            *served.entry(camera).or_insert(0) += 1;
        }
    }
    assert!(served.len() == 4 && served.values().all(|times| *times >= 6), "{served:?}");
}

#[test]
fn cameras_that_are_gone_are_forgotten() {
    let mut batcher = Batcher::new(settings(8, 0, 8, 2));
    for camera in 0..3 * LANES_MAX {
        batcher.offer(ms(0), Request { camera: ("yard", camera), priority: Normal, deadline: ms(1), payload: () });
        batcher.take(ms(0));
    }
    assert!(batcher.lanes.len() <= LANES_MAX);
}

type Sites = Batcher<(&'static str, usize), (&'static str, usize)>;

fn offer(sites: &mut Sites, priority: Priority, camera: (&'static str, usize)) -> Vec<Given<(&'static str, usize)>> {
    sites.offer(ms(0), Request { camera, priority, deadline: ms(LATER_MS), payload: camera })
}

#[test]
fn an_edge_that_calls_everything_critical_keeps_no_other_edge_out() {
    let mut sites: Sites = Batcher::new(settings(1, 0, 4, 2));
    (0..10).for_each(|camera| drop(offer(&mut sites, Critical, ("loud", camera))));
    assert_eq!(offer(&mut sites, Low, ("calm", 0))[0].0.0, "loud");
    let mut calm = 0;
    for round in 10..30 {
        offer(&mut sites, Critical, ("loud", round));
        offer(&mut sites, Critical, ("loud", round + 100));
        assert!(offer(&mut sites, Low, ("calm", round % 2)).iter().all(|given| given.0.0 == "loud"));
        calm += sites.take(ms(0)).batch.iter().filter(|(edge, _)| *edge == "calm").count();
        calm += sites.take(ms(0)).batch.iter().filter(|(edge, _)| *edge == "calm").count();
    }
    assert!(calm >= 20, "{calm} of 21 frames were judged");
}

#[test]
fn edges_take_turns_and_each_says_which_of_its_own_goes_first() {
    let mut sites: Sites = Batcher::new(settings(1, 0, 16, 8));
    for (priority, camera) in
        [(Normal, ("a", 1)), (Critical, ("a", 2)), (Normal, ("a", 3)), (Low, ("b", 1)), (High, ("b", 2))]
    {
        assert_eq!(offer(&mut sites, priority, camera), []);
    }
    let order: Vec<_> = (0..5).flat_map(|_| sites.take(ms(0)).batch).collect();
    assert_eq!(order, [("a", 2), ("b", 2), ("a", 1), ("b", 1), ("a", 3)]);
}
