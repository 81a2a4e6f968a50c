//! A port that beats and does nothing hangs, unless it has nothing to do.

use crate::helpers::*;
use crate::ports::{order, reply, spec, start};
use std::time::Duration;
use supervision::{Failure, Port};

/// Of one that is to be found.
const WITHIN: Duration = Duration::from_millis(500);
/// Of one that is well, and must not be blamed when the machine gives it no time: its steps are counted by its beats.
const WELL_WITHIN: Duration = Duration::from_secs(3);
/// Steps that take it longer than [`WELL_WITHIN`].
const LONG: &str = "toil 100";

async fn port(progress_within: Duration) -> Port {
    let mut spec = spec();
    spec.progress_within = Some(progress_within);
    start(&spec).await.expect("the port starts")
}

/// Nothing came of it.
async fn hang_of(port: &mut Port) -> Failure {
    tokio::time::timeout(PATIENCE, port.recv()).await.expect("it is found").expect_err("it hangs")
}

fn hang() -> Failure {
    Failure::hang("supervision-test-port answers and does nothing for 500ms")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_spins_hangs_though_it_beats() {
    let mut port = port(WITHIN).await;
    order(&mut port, "spin").await;
    assert_eq!(hang_of(&mut port).await, hang());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_whose_work_stands_still_is_killed() {
    let mut port = port(WITHIN).await;
    let pid = port.pid().expect("it runs");
    order(&mut port, "idle false").await;
    assert_eq!(hang_of(&mut port).await, hang());
    eventually("it is killed", || !crate::ports::is_running(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_works_for_longer_than_the_limit_is_not_stuck() {
    let mut port = port(WELL_WITHIN).await;
    order(&mut port, LONG).await;
    assert_eq!(reply(&mut port).await, b"toiled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_with_nothing_to_do_is_not_stuck() {
    let mut port = port(WELL_WITHIN).await;
    // Its beats come and say so, for longer than it may do nothing.
    let listening = tokio::time::timeout(WELL_WITHIN * 3 / 2, port.recv()).await;
    assert!(listening.is_err(), "{listening:?}");
    order(&mut port, "toil 3").await;
    assert_eq!(reply(&mut port).await, b"toiled");
    order(&mut port, "idle true").await;
    let listening = tokio::time::timeout(WELL_WITHIN * 3 / 2, port.recv()).await;
    assert!(listening.is_err(), "{listening:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_nobody_watched_is_no_hang_afterwards() {
    let mut port = port(WELL_WITHIN).await;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let done = folder.path().join("done");
    order(&mut port, &format!("{LONG} {}", done.display())).await;
    eventually("its work is done", || done.exists()).await;
    assert_eq!(reply(&mut port).await, b"toiled");
}
