//! What holds for every order of offers, takes and cancellations, on a simulated clock.

use super::tests::{Payload, ms, request, settings};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const CAMERAS: [&str; 5] = ["a", "b", "c", "d", "e"];
const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

#[derive(Debug, Clone)]
enum Step {
    Offer { camera: usize, priority: usize, life_ms: u64 },
    Take,
    Expire,
    Cancel { camera: usize },
}

fn any_step() -> impl Strategy<Value = (u64, Step)> {
    // Camera 0 floods.
    let camera = prop_oneof![3 => Just(0usize), 4 => 0..CAMERAS.len()];
    let priority = prop_oneof![4 => Just(1usize), 1 => 0..PRIORITIES.len()];
    let offer = (camera, priority, prop_oneof![1 => 0..30u64, 3 => 30..500u64])
        .prop_map(|(camera, priority, life_ms)| Step::Offer { camera, priority, life_ms });
    let step = prop_oneof![
        20 => offer,
        6 => Just(Step::Take),
        1 => Just(Step::Expire),
        1 => (0..CAMERAS.len()).prop_map(|camera| Step::Cancel { camera }),
    ];
    (prop_oneof![2 => Just(0u64), 3 => 0..20u64], step)
}

fn any_settings() -> impl Strategy<Value = BatcherSettings> {
    (1..6usize, prop_oneof![Just(0u64), 1..60u64], 1..12usize, 0..5usize)
        .prop_map(|(batch_max, wait_ms, queue_max, per_camera)| settings(batch_max, wait_ms, queue_max, per_camera))
}

#[derive(Clone, Copy)]
struct Known {
    priority: Priority,
    offered: Duration,
    deadline: Duration,
}

/// What must be waiting, as counted from outside.
struct Model {
    settings: BatcherSettings,
    waiting: BTreeMap<Payload, Known>,
    /// For each waiting (priority, camera): who was served since it began to wait for its turn.
    overtaken: BTreeMap<(Priority, &'static str), BTreeSet<&'static str>>,
}

impl Model {
    fn leave(&mut self, payload: Payload) -> Known {
        let known = self.waiting.remove(&payload).expect("what comes out was waiting, and comes out once");
        let key = (known.priority, payload.0);
        if !self.waiting.iter().any(|((camera, _), other)| (other.priority, *camera) == key) {
            self.overtaken.remove(&key);
        }
        known
    }

    fn waits_from(&self, camera: &str) -> usize {
        self.waiting.keys().filter(|(other, _)| *other == camera).count()
    }

    fn offered(&mut self, now: Duration, payload: Payload, known: Known, given: &[Given<Payload>]) {
        let others = self.waiting.values().map(|known| known.priority).min();
        let own_full = self.waits_from(payload.0) >= self.settings.per_camera_max.max(1);
        self.waiting.insert(payload, known);
        for (gone, why) in given {
            let gone_known = self.leave(*gone);
            assert_eq!(*why == Why::Expired, gone_known.deadline <= now, "{gone:?}");
            if *why == Why::Shed && !own_full {
                let lowest = others.map_or(known.priority, |others| others.min(known.priority));
                // What expired first may have been the lowest.
                assert!(gone_known.priority <= known.priority && gone_known.priority >= lowest, "{gone:?}");
                assert!(self.waiting.values().all(|kept| kept.priority >= gone_known.priority), "{gone:?}");
            }
            if *why == Why::Shed && own_full {
                assert_eq!(gone.0, payload.0);
                assert!(self.waiting.keys().all(|kept| kept.0 != gone.0 || kept.1 > gone.1), "not its oldest");
            }
        }
    }

    fn took(&mut self, now: Duration, taken: &Taken<Payload>) {
        for payload in &taken.expired {
            assert!(self.leave(*payload).deadline <= now);
        }
        self.check_timing(now, taken);
        for payload in &taken.batch {
            let known = self.waiting[payload];
            assert!(known.deadline > now, "expired in a batch");
            assert!(self.waiting.values().all(|other| other.priority <= known.priority), "not the most urgent");
            let equals = self.waiting.iter().filter(|(_, other)| other.priority == known.priority);
            let equals: BTreeSet<Payload> = equals.map(|(payload, _)| *payload).collect();
            assert!(!equals.iter().any(|other| other.0 == payload.0 && other.1 < payload.1), "not the oldest");
            let cameras: BTreeSet<&str> = equals.iter().map(|equal| equal.0).collect();
            for camera in cameras.into_iter().filter(|camera| *camera != payload.0) {
                let first_time = self.overtaken.entry((known.priority, camera)).or_default().insert(payload.0);
                assert!(first_time, "{camera} waited while {} was served twice", payload.0);
            }
            self.overtaken.remove(&(known.priority, payload.0));
            self.leave(*payload);
        }
    }

    fn check_timing(&self, now: Duration, taken: &Taken<Payload>) {
        let batch_max = self.settings.batch_max.get();
        let due = |known: &Known| known.offered + self.settings.wait_max.min((known.deadline - known.offered) / 2);
        let is_due = self.waiting.values().any(|known| due(known) <= now);
        let leaves = is_due || self.waiting.len() >= batch_max;
        assert_eq!(taken.batch.len(), if leaves { self.waiting.len().min(batch_max) } else { 0 });
        assert_eq!(taken.wake_at.is_none(), self.waiting.len() == taken.batch.len());
        assert!(leaves || taken.wake_at.is_none_or(|wake_at| wake_at > now), "it would spin");
    }
}

proptest! {
    #[test]
    fn each_frame_comes_out_once_in_time_in_turn_and_within_the_limits(
        settings in any_settings(),
        steps in prop::collection::vec(any_step(), 1..150),
    ) {
        let mut batcher = Batcher::new(settings.clone());
        let mut model = Model { settings, waiting: BTreeMap::new(), overtaken: BTreeMap::new() };
        let mut now = ms(0);
        for (number, (after_ms, step)) in steps.into_iter().enumerate() {
            now += ms(after_ms);
            match step {
                Step::Offer { camera, priority, life_ms } => {
                    let payload = (CAMERAS[camera], number as u32);
                    let known = Known { priority: PRIORITIES[priority], offered: now, deadline: now + ms(life_ms) };
                    let deadline_ms = known.deadline.as_millis() as u64;
                    let given = batcher.offer(now, request(known.priority, deadline_ms, payload));
                    model.offered(now, payload, known, &given);
                }
                Step::Take => model.took(now, &batcher.take(now)),
                Step::Expire => {
                    for payload in batcher.expire(now) {
                        prop_assert!(model.leave(payload).deadline <= now);
                    }
                }
                Step::Cancel { camera } => {
                    for payload in batcher.cancel(|payload| payload.0 == CAMERAS[camera]) {
                        model.leave(payload);
                    }
                    prop_assert_eq!(model.waits_from(CAMERAS[camera]), 0);
                }
            }
            prop_assert_eq!(batcher.len(), model.waiting.len());
            prop_assert!(batcher.len() <= model.settings.queue_frames_max.get());
            let per_camera_max = model.settings.per_camera_max.max(1);
            prop_assert!(CAMERAS.iter().all(|camera| model.waits_from(camera) <= per_camera_max));
        }
    }
}
