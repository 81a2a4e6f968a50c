//! What is told of a port that failed: why, for how long it worked, and that nobody is blamed for a standstill of all.

use crate::counted::Counted;
use crate::helpers::*;
use crate::ports::{order, port, reply, spec, start};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use supervision::{Failure, FailureKind, Port, PortSpec};

fn signal(port: &Port, signal: Signal) {
    let pid = port.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it runs");
    kill_process(pid, signal).expect("it is ours");
}

/// The port panics at an order that it does not know, and repeats it.
async fn check_last_words(unknown: &str, told: &str) {
    let mut port = port().await;
    order(&mut port, unknown).await;
    let text = format!("supervision-test-port exited with code 101: unknown order {told}");
    assert_eq!(port.recv().await, Err(Failure::error(text)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_gives_up_is_told_with_its_last_words() {
    check_last_words("dance", "dance").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn last_words_are_short_and_without_a_login() {
    check_last_words(&"y".repeat(1000), &format!("{}…", "y".repeat(200 - "unknown order ".len()))).await;
    check_last_words("rtsp://bob:s3cret@cam.lan/main", "rtsp://cam.lan/main").await;
    check_last_words("\u{1b}[2J", " [2J").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_its_library_is_told_with_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let program = folder.path().join("broken-port");
    std::fs::write(&program, "#!/bin/sh\necho 'cannot open libgstreamer-1.0.so.0' >&2\nexit 127\n")
        .expect("it is ours");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let failure = start(&PortSpec::new(program, 10)).await.err().expect("it does not start");
    assert_eq!(failure, Failure::start("broken-port exited with code 127: cannot open libgstreamer-1.0.so.0"));
}

#[tokio::test]
async fn a_port_that_stood_still_together_with_its_node_is_not_blamed() {
    let mut spec = spec();
    spec.beat_within = Duration::from_millis(800);
    let mut port = start(&spec).await.expect("the port starts");
    signal(&port, Signal::STOP);
    let pid = port.pid();
    // The only thread of the runtime, once it listens; as if the machine were paused.
    let standstill = async {
        std::thread::sleep(spec.beat_within * 2);
        let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it runs");
        kill_process(pid, Signal::CONT).expect("it is ours");
        std::future::pending::<()>().await;
    };
    // Two beats' time, to be blamed in.
    let listening = async { tokio::time::timeout(Duration::from_millis(500), port.recv()).await };
    let heard = tokio::select! {
        biased;
        heard = listening => heard,
        () = standstill => unreachable!("it is pending for ever"),
    };
    assert!(heard.is_err(), "{heard:?}");
    order(&mut port, "echo well").await;
    assert_eq!(reply(&mut port).await, b"well");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_memory_is_out_a_port_goes_before_its_node() {
    let score = |pid| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it runs");
        text.trim().parse::<i32>().expect("a number")
    };
    let port = port().await;
    let (node, port) = (score(std::process::id()), score(port.pid().expect("it runs")));
    assert_eq!(port, node.max(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_port_took_of_the_processor_is_known_after_its_end() {
    let spent = || supervision::port::cpu_of_ended().get("supervision-test-port").copied().unwrap_or_default();
    for ends in ["reaped by who waits", "reaped by who starts"] {
        let (before, mut port) = (spent(), port().await);
        order(&mut port, "spin").await;
        let pid = port.pid().expect("it runs");
        eventually("it has worked for a while", || ticks(pid) >= 10).await;
        let took = ticks(pid);
        if ends == "reaped by who waits" {
            signal(&port, Signal::KILL);
            port.recv().await.expect_err("it is killed");
        } else {
            drop(port);
        }
        eventually(ends, || (spent() - before).as_millis() >= u128::from(took) * 10).await;
    }
}

/// Of a hundredth of a second, as every Linux counts them today.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<i64> = stat.split(' ').filter_map(|field| field.parse().ok()).collect();
    // Behind the name and the state, which are no numbers.
    u64::try_from(fields[11] + fields[12]).expect("time does not run backwards")
}

#[test]
fn a_port_that_hangs_is_counted_once_and_one_that_fails_otherwise_is_not() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let counted = Counted::default();
    let failed = |how: &'static str| async move {
        let mut spec = spec();
        spec.beat_within = Duration::from_millis(600);
        let mut port = start(&spec).await.expect("the port starts");
        order(&mut port, how).await;
        port.recv().await.expect_err("it fails").kind
    };
    metrics::with_local_recorder(&counted, || {
        assert_eq!(runtime.block_on(failed("freeze")), FailureKind::Hang);
        assert_eq!(runtime.block_on(failed("abort")), FailureKind::Signal);
    });
    counted.so_named(
        "watchtree_actor_hangs_total",
        &[("watchtree_actor_hangs_total class=supervision-test-port what=port", 1)],
    );
}
