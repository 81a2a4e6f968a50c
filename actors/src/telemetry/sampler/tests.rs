//! What a node tells of itself, and over which link.

use super::*;
use crate::api::health::Health;
use crate::fabric::testing::Pair;
use supervision::Roll;

fn sampler(pair: &Pair) -> Sampler {
    let mut facts = Facts::new("main/edge/yard".parse().expect("an identity"), Roll::default(), Health::default());
    facts.coverage = Coverages::new(["door", "gate"].map(|id| (id.parse().expect("a name"), 5.0)));
    Sampler::new(facts, std::env::temp_dir(), &pair.credentials("main/edge/barn"))
}

#[tokio::test]
async fn cameras_are_told_with_what_they_saw_since_the_last_message() {
    let pair = Pair::new();
    let sampler = sampler(&pair);
    let (door, mut told) = (sampler.facts.coverage.iter().next().expect("the door").1, Told::new());
    (0..10).for_each(|_| door.judged());
    let at = told.at + Duration::from_secs(2);
    let cameras = told.cameras(&sampler.facts.coverage, at);
    assert_eq!((cameras[0].on_line, cameras[0].frames_per_s, &cameras[0].why), (true, 5.0, &None));
    let why = cameras[1].why.as_deref().expect("nobody looked at the gate");
    assert!(!cameras[1].on_line && why.starts_with("no frame was judged yet"), "{why}");
    let later = told.cameras(&sampler.facts.coverage, at + Duration::from_secs(2));
    assert_eq!(later[0].frames_per_s, 0.0);
}

#[tokio::test]
async fn what_is_not_well_is_told_once_and_what_is_needed_first() {
    let pair = Pair::new();
    let sampler = sampler(&pair);
    let health = &sampler.facts.health;
    health.shows("gpu-link", || Err("no link".to_owned()));
    health.shows("camera door", || Err("blind".to_owned()));
    health.shows_nodes(|| vec![("peer barn".to_owned(), Err("is gone".to_owned()))]);
    health.needs("disk", || Err("full".to_owned()));
    let telemetry = sampler.compose(&mut Told::new()).await;
    assert!(!telemetry.ready && telemetry.certificate_until > Some(Timestamp::now()), "{telemetry:?}");
    assert_eq!(telemetry.notes, ["disk: full", "gpu-link: no link"]);
}

#[tokio::test]
async fn its_own_fleet_hears_of_it_and_so_does_its_link() {
    let pair = Pair::new();
    let mut sampler = sampler(&pair);
    let link = Link::new(vec!["127.0.0.1:1".parse().expect("an address")], protocol::Role::Relay);
    sampler.links = vec![link.clone()];
    let mut news = link.news();
    let telemetry = sampler.compose(&mut Told::new()).await;
    sampler.tell(telemetry.clone());
    assert_eq!(news.borrow_and_update().as_deref(), Some(&telemetry));
    let own = sampler.facts.fleet.page(None, 2, |_| true).remove(0);
    assert_eq!(own.telemetry.as_deref(), Some(&telemetry));
}

#[tokio::test]
async fn beats_count_up_over_restarts_and_go_where_the_link_goes() {
    let pair = Pair::new();
    let mut sampler = sampler(&pair);
    let (edge, relay) = pair.connect().await;
    let link = Link::new(vec!["127.0.0.1:1".parse().expect("an address")], protocol::Role::Relay);
    sampler.links = vec![link.clone()];
    // There is no link, and nobody misses it.
    sampler.beat(true);
    link.shows_for_tests(edge);
    let successor = sampler.clone();
    sampler.beat(true);
    successor.beat(false);
    let mut beats = Vec::new();
    while beats.len() < 2 {
        let datagram = tokio::time::timeout(Duration::from_secs(20), relay.recv_datagram()).await.expect("in time");
        let Datagram::Beat(beat) = datagram.expect("the link is up").expect("is readable") else { continue };
        beats.push((beat.seq, beat.ready));
    }
    assert_eq!(beats, [(2, true), (3, false)]);
}
