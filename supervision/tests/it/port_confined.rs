//! What a port is given and what it may do: as little as it needs.

use crate::ports::{PROGRAM, port};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn proc(pid: u32, file: &str) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/{file}")).expect("the port runs");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_gains_no_privileges_dumps_no_core_and_has_limits() {
    let port = port().await;
    let pid = port.pid().expect("it runs");
    let status = proc(pid, "status");
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    let limits = proc(pid, "limits");
    let hard = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{limits}"));
        line[26..].split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!((hard("Max core file size").as_str(), hard("Max open files").as_str()), ("0", "512"));
    let data_bytes_max = supervision::port::child::data_bytes_max(1 << 30);
    assert_eq!(hard("Max data size"), data_bytes_max.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_inherits_no_descriptor() {
    let secret = tempfile::NamedTempFile::new().expect("a file can be made");
    // As a careless library or the shell leaves one behind: not marked to be closed.
    let _open = rustix::io::dup(secret.as_file()).expect("it can be opened twice");
    let port = port().await;
    let folder = std::fs::read_dir(format!("/proc/{}/fd", port.pid().expect("it runs"))).expect("it runs");
    let fds: Vec<_> = folder.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect();
    assert!(fds.len() >= 3, "{fds:?}");
    assert!(!fds.iter().any(|fd| fd == secret.path()), "{fds:?}");
    let own = |fd: &&std::path::PathBuf| {
        ["socket:", "pipe:", "/dev/null"].iter().any(|kind| fd.to_string_lossy().starts_with(kind))
    };
    assert_eq!(fds.iter().filter(own).count(), fds.len(), "{fds:?}");
}

#[test]
fn a_port_inherits_nothing_secret_from_its_node() {
    let mut node = Command::new(PROGRAM);
    node.arg("parent").env("WATCHTREE_KEY", "s3cret").env("AWS_SESSION_TOKEN", "s3cret").env("GST_DEBUG_NO_COLOR", "1");
    let mut node = node.stdout(Stdio::piped()).spawn().expect("the test port can be a node");
    let mut pid = String::new();
    BufReader::new(node.stdout.take().expect("it is piped")).read_line(&mut pid).expect("the node speaks");
    let environment = proc(pid.trim().parse().expect("a pid"), "environ");
    node.kill().expect("the node runs");
    node.wait().expect("the node is ours");
    assert!(!environment.contains("s3cret"), "{environment}");
    for needed in ["PATH=", "GST_DEBUG_NO_COLOR=1", "WATCHTREE_PORT_PARENT="] {
        assert!(environment.split('\0').any(|entry| entry.starts_with(needed)), "no {needed} in {environment}");
    }
}
