//! A port ends with its node, however that ends, and never stays a zombie.

use crate::helpers::*;
use crate::ports::{PROGRAM, exists, is_running, order, port, reply, spec, start};
use rustix::process::{Pid, Signal, getpgid, kill_process_group};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;
use supervision::FailureKind;

/// A process in a group of its own, as a shell starts it.
fn node(how: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut node = Command::new(PROGRAM);
    let mut node = node.args(how).stdout(Stdio::piped()).process_group(0).spawn().expect("the test port can be a node");
    let said = BufReader::new(node.stdout.take().expect("it is piped"));
    (node, said)
}

fn line(said: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    said.read_line(&mut line).expect("the node speaks");
    line.trim().to_owned()
}

fn pid_of(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).expect("a pid is not 0")
}

/// Zombies too.
pub fn children_of(parent: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .expect("proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(parent.to_string().as_str())
    };
    pids.filter(is_child).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_leaves_no_port_behind() {
    let (mut node, mut said) = node(&["parent"]);
    let pid: u32 = line(&mut said).parse().expect("a pid");
    assert!(is_running(pid));
    node.kill().expect("the node runs");
    node.wait().expect("the node is ours");
    eventually("the port has ended", || !is_running(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_its_port_starts_leaves_none_behind() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let go = folder.path().join("go");
    let (mut node, _said) = node(&["late-parent", &go.display().to_string()]);
    let mut ports = Vec::new();
    eventually("the port's process is there", || {
        ports = children_of(node.id());
        !ports.is_empty()
    })
    .await;
    node.kill().expect("the node runs");
    node.wait().expect("the node is ours");
    assert!(is_running(ports[0]), "it has not come so far that anybody could end it");
    std::fs::write(go, "").expect("the file can be written");
    eventually("the port has ended", || !is_running(ports[0])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_on_the_terminal_reaches_the_node_and_not_its_ports() {
    let (mut node, mut said) = node(&["parent"]);
    let pid: u32 = line(&mut said).parse().expect("a pid");
    assert_eq!(getpgid(Some(pid_of(pid))), Ok(pid_of(pid)), "a port has a group of its own");
    // The terminal signals the whole group that the shell made.
    kill_process_group(pid_of(node.id()), Signal::INT).expect("the node runs");
    assert_eq!(line(&mut said), "still here");
    assert!(node.wait().expect("the node is ours").success());
    assert!(!is_running(pid), "it was stopped in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_port_has_started_ends_with_it() {
    for ending in ["abort", "drop", "stop"] {
        let mut port = port().await;
        order(&mut port, "grandchild").await;
        let grandchild: u32 = String::from_utf8_lossy(&reply(&mut port).await).parse().expect("a pid");
        assert!(is_running(grandchild));
        match ending {
            "abort" => {
                order(&mut port, "abort").await;
                let failure = port.recv().await.expect_err("it aborted");
                assert_eq!(failure.kind, FailureKind::Signal, "its end is noticed at once: {failure}");
            }
            "stop" => {
                let began = Instant::now();
                port.stop(PATIENCE).await;
                assert!(began.elapsed() < PATIENCE / 2, "it waited for what the port had started");
            }
            _ => drop(port),
        }
        eventually(ending, || !is_running(grandchild)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_port_is_killed_and_reaped() {
    let port = port().await;
    let pid = port.pid().expect("it runs");
    drop(port);
    eventually("it is reaped", || !exists(pid)).await;
}

#[test]
fn a_port_is_reaped_though_its_runtime_is_gone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let (keep, pid) = runtime.block_on(async {
        let port = port().await;
        let pid = port.pid().expect("it runs");
        (port, pid)
    });
    drop(runtime);
    drop(keep);
    let until = Instant::now() + PATIENCE;
    while exists(pid) {
        assert!(Instant::now() < until, "it is still there");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_given_up_while_it_starts_is_reaped() {
    let mut spec = spec();
    spec.args = vec!["mute".to_owned(), "given-up".to_owned()];
    let mine = || {
        children_of(std::process::id()).into_iter().find(|pid| {
            let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.contains("given-up")
        })
    };
    let mut pid = None;
    tokio::select! {
        _ = start(&spec) => panic!("it never starts"),
        () = eventually("the process is there", || { pid = mine(); pid.is_some() }) => {}
    }
    let pid = pid.expect("it was found");
    eventually("it is reaped", || !exists(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_whose_end_was_told_is_reaped() {
    let mut port = port().await;
    let pid = port.pid().expect("it runs");
    order(&mut port, "exit 0").await;
    assert_eq!(tokio::time::timeout(PATIENCE, port.recv()).await, Ok(Ok(None)));
    assert!(!exists(pid), "it is reaped");
    assert_eq!(port.pid(), None);
}
