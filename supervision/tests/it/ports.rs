//! Ports in good health: messages both ways, limits, stopping, and nothing left behind.

use crate::helpers::*;
use std::time::{Duration, Instant};
use supervision::{Failure, FailureKind, Place, Port, PortSpec};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_supervision-test-port");
pub const BYTES_MAX: usize = 2_000_000;

/// Silence is a fault in few of the tests, and these say so: on a busy machine a healthy port may be silent for long.
pub fn spec() -> PortSpec {
    let mut spec = PortSpec::new(PROGRAM, BYTES_MAX);
    spec.beat_within = PATIENCE;
    spec
}

pub async fn port() -> Port {
    start(&spec()).await.expect("the port starts")
}

pub async fn start(spec: &PortSpec) -> Result<Port, Failure> {
    Port::spawn(spec, &Place::detached("test")).await
}

pub async fn order(port: &mut Port, order: &str) {
    port.send(order.as_bytes()).await.expect("the port takes it");
}

pub async fn reply(port: &mut Port) -> Vec<u8> {
    let reply = tokio::time::timeout(PATIENCE, port.recv()).await.expect("the port answers");
    reply.expect("the port lives").expect("the port has not ended")
}

pub fn is_running(pid: u32) -> bool {
    // A zombie has ended; whoever has to reap it is another question.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !matches!(stat.rsplit(") ").next().and_then(|rest| rest.chars().next()), None | Some('Z' | 'X'))
}

pub fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_answers() {
    let mut port = port().await;
    order(&mut port, "echo hello").await;
    assert_eq!(reply(&mut port).await, b"hello");
    port.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_says_how_much_work_it_has_done() {
    let mut port = port().await;
    order(&mut port, "work 3").await;
    let until = Instant::now() + PATIENCE;
    while port.progress() < 3 {
        assert!(Instant::now() < until, "no beat carried the progress");
        let _ = tokio::time::timeout(Duration::from_millis(50), port.recv()).await;
    }
    assert_eq!(port.progress(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_at_the_limit_passes_both_ways() {
    let mut port = port().await;
    let message = format!("echo {}", "y".repeat(BYTES_MAX - 5));
    order(&mut port, &message).await;
    assert_eq!(reply(&mut port).await.len(), BYTES_MAX - 5);
    order(&mut port, &format!("bytes {BYTES_MAX}")).await;
    assert_eq!(reply(&mut port).await.len(), BYTES_MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_is_refused_by_its_sender_and_the_port_goes_on() {
    let mut port = port().await;
    let failure = port.send(&vec![0; BYTES_MAX + 1]).await.expect_err("the message is over the limit");
    assert_eq!(failure.kind, FailureKind::Protocol);
    assert_eq!(failure.text, "message for supervision-test-port is 2000001 B, the limit is 2000000 B");
    order(&mut port, &format!("send-error {}", BYTES_MAX + 1)).await;
    assert_eq!(reply(&mut port).await, b"message is 2000001 B, the limit is 2000000 B");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_may_be_dropped_half_way_and_loses_nothing() {
    const MESSAGES: u64 = 100;
    let mut port = port().await;
    order(&mut port, &format!("flood {MESSAGES}")).await;
    let (mut next, mut dropped) = (0, 0);
    let mut tick = tokio::time::interval(Duration::from_micros(200));
    while next < MESSAGES {
        tokio::select! {
            message = port.recv() => {
                let message = message.expect("the port lives").expect("the port has not ended");
                assert_eq!((message.len(), &message[..8]), (300_000, &next.to_be_bytes()[..]));
                next += 1;
            }
            _ = tick.tick() => dropped += 1,
        }
    }
    assert!(dropped > 5, "the receiver was dropped only {dropped} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_may_send_at_once_more_than_a_socket_holds() {
    let mut port = port().await;
    // The port writes 1.8 MB that nobody reads yet, and we write 1.5 MB that it does not read yet.
    order(&mut port, "flood 6").await;
    order(&mut port, &format!("echo {}", "y".repeat(1_500_000))).await;
    for _ in 0..6 {
        assert_eq!(reply(&mut port).await.len(), 300_000);
    }
    assert_eq!(reply(&mut port).await.len(), 1_500_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_told_to_stop_ends_at_once() {
    let mut port = port().await;
    order(&mut port, "flood 20").await;
    let pid = port.pid().expect("it runs");
    let began = Instant::now();
    port.stop(PATIENCE).await;
    assert!(began.elapsed() < PATIENCE / 2, "it was not asked but killed, after {:?}", began.elapsed());
    assert!(!exists(pid), "it is reaped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_does_not_listen_is_terminated_and_one_that_cannot_is_killed() {
    for order_first in ["ignore-stop", "deaf", "freeze"] {
        let mut port = port().await;
        order(&mut port, order_first).await;
        let pid = port.pid().expect("it runs");
        port.stop(Duration::from_millis(400)).await;
        assert!(!exists(pid), "{order_first}");
    }
}
