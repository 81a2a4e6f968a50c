//! What happens to cameras, from a seed: when, for how long, and what.

use std::time::Duration;
use tests::harness::CameraServer;
use tests::test_camera::squares::Rng;

/// A fault is over before the next begins, by so much: the camera has to be seen well in between.
const APART_S: (f64, f64) = (10.0, 20.0);
const LASTS_S: (f64, f64) = (3.0, 7.0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Connected, and nothing comes.
    Stall,
    /// `kill -9`; it is back after a while.
    Kill,
    /// What comes is rubbish.
    Garbage,
    /// Its pictures change their size in mid-stream, and change back at the end.
    Resize,
    /// Its wall clock jumps by an hour, and back.
    Clock,
    /// One packet in a hundred never arrives.
    Loss,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    pub fault: Fault,
    pub at: Duration,
    pub until: Duration,
}

/// One after the other, of these kinds in turn; all over before the end.
pub fn schedule(rng: &mut Rng, kinds: &[Fault], length: Duration) -> Vec<Event> {
    let mut within = |(least, most): (f64, f64)| Duration::from_secs_f64(least + (most - least) * rng.unit());
    let mut events = Vec::new();
    let mut at = within(APART_S);
    for fault in kinds.iter().copied().cycle() {
        let until = at + within(LASTS_S);
        if until + Duration::from_secs_f64(APART_S.0) > length {
            return events;
        }
        events.push(Event { fault, at, until });
        at = until + within(APART_S);
    }
    events
}

/// Does all of it to the camera, from now on. Returns the camera.
pub async fn suffer(mut camera: CameraServer, events: Vec<Event>) -> CameraServer {
    let began = tokio::time::Instant::now();
    for Event { fault, at, until } in events {
        tokio::time::sleep_until(began + at).await;
        match fault {
            Fault::Stall => camera.stall(),
            Fault::Kill => camera.kill(),
            Fault::Garbage => camera.order("garbage"),
            Fault::Resize => camera.order(&format!("size {}", super::nothing_lost::OTHER_SIZE)),
            Fault::Clock => camera.order("clock +3600"),
            Fault::Loss => camera.order("loss 1"),
        }
        tokio::time::sleep_until(began + until).await;
        match fault {
            Fault::Stall | Fault::Garbage => camera.go(),
            Fault::Kill => drop(camera.start_again().await),
            Fault::Resize => camera.order(&format!("size {}", super::nothing_lost::SIZE)),
            Fault::Clock => camera.order("clock 0"),
            Fault::Loss => camera.order("loss 0"),
        }
    }
    camera
}

#[test]
fn faults_come_one_after_the_other_and_all_kinds_in_turn() {
    let kinds = [Fault::Stall, Fault::Kill, Fault::Loss];
    let of = |seed| schedule(&mut Rng::new(seed, 1), &kinds, Duration::from_secs(180));
    let events = of(7);
    assert_eq!(events, of(7));
    assert!(events.len() >= 6 && events.is_sorted_by(|a, b| a.until < b.at), "{events:?}");
    assert!(events.iter().zip(kinds.iter().cycle()).all(|(event, kind)| event.fault == *kind));
    assert_ne!(events, of(8));
}
