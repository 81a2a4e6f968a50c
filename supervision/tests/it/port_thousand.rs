//! A thousand ports that end in every way leave nothing behind.

use crate::helpers::*;
use crate::port_orphans::children_of;
use crate::ports::{order, spec, start};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use supervision::FailureKind;
use tokio::task::JoinSet;

const NAME: &str = "port_thousand::a_thousand_restarts_leave_no_descriptor_thread_process_or_memory";
const RESTARTS: u32 = 1000;
/// Ports that run at a time.
const AT_A_TIME: usize = 8;
/// The first fill caches: of the allocator, of the runtime, of who logs.
const WARM_UP: u32 = 200;
const GROWTH_KIB_MAX: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    fds: usize,
    threads: usize,
    children: usize,
    memory_kib: u64,
}

fn figures() -> Figures {
    let entries = |folder: &str| std::fs::read_dir(format!("/proc/self/{folder}")).map_or(0, Iterator::count);
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    Figures {
        fds: entries("fd"),
        threads: entries("task"),
        children: children_of(std::process::id()).len(),
        memory_kib: memory.trim().trim_end_matches(" kB").parse().expect("a number"),
    }
}

/// One port from its start to its end; how it ends depends on its number.
async fn one(n: u32) {
    let mut spec = spec();
    if n % 100 == 99 {
        // A few only: each takes its limit.
        spec.beat_within = Duration::from_millis(500);
        return ended_by(&spec, "freeze", FailureKind::Hang).await;
    }
    match n % 10 {
        0 => ended_by(&spec, "exit 3", FailureKind::Error).await,
        1 => ended_by(&spec, "segv", FailureKind::Signal).await,
        2 => ended_by(&spec, "abort", FailureKind::Signal).await,
        3 => ended_by(&spec, "unknown-kind", FailureKind::Protocol).await,
        4 => ended_by(&spec, "cut", FailureKind::Protocol).await,
        5 => {
            let mut port = start(&spec).await.expect("the port starts");
            let pid = port.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it runs");
            kill_process(pid, Signal::KILL).expect("it runs");
            assert_eq!(port.recv().await.expect_err("it was killed").kind, FailureKind::Signal);
        }
        6 => start(&spec).await.expect("the port starts").stop(PATIENCE).await,
        7 => {
            let mut port = start(&spec).await.expect("the port starts");
            order(&mut port, "exit 0").await;
            assert_eq!(port.recv().await, Ok(None));
        }
        8 => {
            spec.args = vec!["mute".to_owned()];
            let given_up = tokio::time::timeout(Duration::from_millis(u64::from(n / 10 % 10)), start(&spec)).await;
            assert!(given_up.is_err(), "it never starts");
        }
        _ => drop(start(&spec).await.expect("the port starts")),
    }
}

async fn ended_by(spec: &supervision::PortSpec, ending: &str, kind: FailureKind) {
    let mut port = start(spec).await.expect("the port starts");
    order(&mut port, ending).await;
    assert_eq!(port.recv().await.expect_err("it ends").kind, kind);
}

async fn all(numbers: std::ops::Range<u32>) {
    let mut running = JoinSet::new();
    for n in numbers {
        if running.len() == AT_A_TIME {
            running.join_next().await.expect("some run").expect("none panics");
        }
        running.spawn(one(n));
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("none panics");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_restarts_leave_no_descriptor_thread_process_or_memory() {
    if !alone(NAME) {
        return;
    }
    all(0..WARM_UP).await;
    eventually("the first have gone", || figures().children == 0).await;
    let (before, began) = (figures(), Instant::now());
    all(0..RESTARTS).await;
    eventually("nothing is left", || {
        let now = figures();
        now.fds <= before.fds && now.threads <= before.threads && now.children == 0
    })
    .await;
    let (after, took) = (figures(), began.elapsed());
    println!("{RESTARTS} ports in {took:.1?}: before {before:?}, after {after:?}");
    assert!(after.memory_kib <= before.memory_kib + GROWTH_KIB_MAX, "memory grows: {before:?}, {after:?}");
}
