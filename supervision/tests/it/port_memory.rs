//! A port that takes too much memory is ended as `oom`, however it comes to light.

use crate::helpers::*;
use crate::ports::{is_running, order, reply, spec, start};
use supervision::{Failure, FailureKind, Port};

const MIB: u64 = 1 << 20;

async fn small_port() -> Port {
    let mut spec = spec();
    spec.memory_bytes_max = 64 * MIB;
    start(&spec).await.expect("the port starts")
}

/// It is ordered to take memory, its node sees that, and then the second order ends it.
async fn end_of(mib: u64, ending: &str) -> Failure {
    let mut port = small_port().await;
    order(&mut port, &format!("hoard {mib}")).await;
    eventually("its memory is seen", || port.memory_bytes() >= mib * MIB).await;
    order(&mut port, ending).await;
    port.recv().await.expect_err("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaking_port_is_ended_as_oom_with_both_numbers() {
    let mut port = small_port().await;
    order(&mut port, "leak").await;
    let failure = port.recv().await.expect_err("it is killed");
    assert_eq!(failure.kind, FailureKind::Oom);
    let took = failure.text.strip_prefix("supervision-test-port took ");
    let took = took.and_then(|rest| rest.strip_suffix(" MiB of memory, the limit is 64 MiB"));
    let took: u64 = took.and_then(|took| took.parse().ok()).unwrap_or_else(|| panic!("{failure}"));
    assert!((64..1000).contains(&took), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leak_is_found_though_nobody_listens() {
    let mut port = small_port().await;
    let pid = port.pid().expect("it runs");
    order(&mut port, "leak").await;
    eventually("it is killed", || !is_running(pid)).await;
    assert_eq!(port.recv().await.expect_err("it was killed").kind, FailureKind::Oom);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_takes_too_much_at_once_gets_none_and_its_abort_is_oom() {
    let mut port = small_port().await;
    order(&mut port, "grab 4000").await;
    let failure = port.recv().await.expect_err("it aborts");
    assert_eq!(failure.kind, FailureKind::Oom, "{failure}");
    let text = "supervision-test-port was ended by SIGABRT as it got no more memory; it took ";
    assert!(failure.text.starts_with(text) && failure.text.ends_with(" the limit is 64 MiB"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_dies_near_its_limit_is_oom() {
    for (ending, signal) in [("abort", "SIGABRT"), ("segv", "SIGSEGV")] {
        let failure = end_of(58, ending).await;
        assert_eq!(failure.kind, FailureKind::Oom, "{failure}");
        assert!(failure.text.contains(signal) && failure.text.contains("the limit is 64 MiB"), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_dies_far_from_its_limit_is_a_signal() {
    assert_eq!(end_of(30, "abort").await, Failure::signal("supervision-test-port was ended by SIGABRT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_within_its_limit_lives() {
    let mut port = small_port().await;
    order(&mut port, "hoard 50").await;
    eventually("its memory is seen", || port.memory_bytes() >= 50 * MIB).await;
    order(&mut port, "echo well").await;
    assert_eq!(reply(&mut port).await, b"well");
}
