//! A port that beats and does nothing hangs, unless it has nothing to do.

use crate::helpers::*;
use crate::ports::{order, reply, spec, start};
use std::time::{Duration, Instant};
use supervision::{Failure, Port};

async fn port() -> Port {
    let mut spec = spec();
    spec.progress_within = Some(Duration::from_millis(500));
    start(&spec).await.expect("the port starts")
}

fn hang() -> Failure {
    Failure::hang("supervision-test-port answers and does nothing for 500ms")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_spins_hangs_though_it_beats() {
    let mut port = port().await;
    order(&mut port, "spin").await;
    let began = Instant::now();
    assert_eq!(port.recv().await, Err(hang()));
    assert!(began.elapsed() < Duration::from_secs(5), "only after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_whose_work_stands_still_is_killed() {
    let mut port = port().await;
    let pid = port.pid().expect("it runs");
    order(&mut port, "idle false").await;
    assert_eq!(port.recv().await, Err(hang()));
    eventually("it is killed", || !crate::ports::is_running(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_works_for_longer_than_the_limit_is_not_stuck() {
    let mut port = port().await;
    order(&mut port, "toil").await;
    assert_eq!(reply(&mut port).await, b"toiled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_with_nothing_to_do_is_not_stuck() {
    let mut port = port().await;
    // Its beats come and say so; three limits' worth of them.
    let listening = tokio::time::timeout(Duration::from_millis(1500), port.recv()).await;
    assert!(listening.is_err(), "{listening:?}");
    order(&mut port, "toil").await;
    assert_eq!(reply(&mut port).await, b"toiled");
    order(&mut port, "idle true").await;
    let listening = tokio::time::timeout(Duration::from_millis(1500), port.recv()).await;
    assert!(listening.is_err(), "{listening:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_nobody_watched_is_no_hang_afterwards() {
    let mut port = port().await;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let done = folder.path().join("done");
    order(&mut port, &format!("toil {}", done.display())).await;
    eventually("its work is done", || done.exists()).await;
    assert_eq!(reply(&mut port).await, b"toiled");
}
