//! systemd, played by a socket: it hears that a node has started, lives and stops; and its units are well-formed.

use protocol::{Act, Fault};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::harness::programs::{self, project};
use tests::harness::{Cluster, Plan};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

const SEED: u64 = 90;
const WITHIN: Duration = Duration::from_secs(40);

/// What systemd is to a node.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    /// Of a relay that is killed after `watchdog` without a sign of life.
    fn of_relay(watchdog: Duration) -> (Self, Cluster) {
        let plan = Plan::new(SEED).relay("hub").set("hub", "supervision.allow_faults", true);
        let path = plan.dir().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let plan = plan.environment("hub", "NOTIFY_SOCKET", &path.display().to_string());
        let site = plan.environment("hub", "WATCHDOG_USEC", &watchdog.as_micros().to_string()).start();
        (Self { socket, heard: Vec::new() }, site)
    }

    /// Waits until a datagram has a line that begins so.
    async fn hears(&mut self, word: &str) {
        let listening = async {
            loop {
                let mut bytes = [0; 1024];
                let length = self.socket.recv(&mut bytes).await.expect("the socket is ours");
                let told = String::from_utf8_lossy(&bytes[..length]).into_owned();
                let is_it = told.lines().any(|line| line.starts_with(word));
                self.heard.push(told);
                if is_it {
                    return;
                }
            }
        };
        let heard = timeout(WITHIN, listening).await;
        assert!(heard.is_ok(), "`{word}` was not heard; of all that was, the last: {:?}", self.heard.last());
    }
}

#[tokio::test]
async fn systemd_hears_that_a_node_starts_lives_and_stops() {
    let within = Duration::from_secs(4);
    let (mut manager, mut site) = Manager::of_relay(within);
    manager.hears("READY=1").await;
    manager.hears("WATCHDOG=1").await;
    for _ in 0..3 {
        let last = Instant::now();
        manager.hears("WATCHDOG=1").await;
        assert!(last.elapsed() < within, "systemd would have killed it");
    }
    assert!(manager.heard.iter().any(|told| told.starts_with("STATUS=ready after")), "{:?}", manager.heard);
    let (_, ended) = tokio::join!(manager.hears("STOPPING=1"), site.node_mut("hub").terminate());
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

#[tokio::test]
async fn a_health_actor_that_was_restarted_gives_a_sign_of_life_at_once() {
    // The next one in time would come long after this test has given up.
    let (mut manager, mut site) = Manager::of_relay(WITHIN * 4);
    manager.hears("WATCHDOG=1").await;
    site.node_ready("hub").await;
    let operator = site.operator();
    for act in [Act::Restart, Act::Inject(Fault::Panic), Act::Inject(Fault::Hang), Act::Inject(Fault::Block)] {
        operator.steer("hub/health", act).await.unwrap_or_else(|why| panic!("{act}: {why}"));
        manager.hears("WATCHDOG=1").await;
    }
    let parked = operator.steer("hub/health", Act::Park).await.expect_err("nobody would give signs of life");
    assert!(parked.contains("systemd") && parked.contains("use restart"), "{parked}");
}

#[test]
fn the_units_are_well_formed_and_what_they_start_can_keep_its_cache() {
    let found = Command::new("systemd-analyze").arg("--version").output().is_ok();
    for role in ["edge", "relay", "gpu"] {
        let (name, program) = (format!("watchtree-{role}.service"), format!("/usr/bin/watchtree-{role}"));
        let unit = std::fs::read_to_string(project().join("nodes/systemd").join(&name)).expect("it is there");
        let says = |line: &str| unit.lines().any(|told| told == line);
        assert!(says(&format!("StateDirectory=watchtree/{role}")), "{name} has no place for its data");
        // Its home is read-only; GStreamer's registry needs another place.
        let cache = says(&format!("CacheDirectory=watchtree/{role}"))
            && says(&format!("Environment=XDG_CACHE_HOME=%C/watchtree/{role}"));
        assert_eq!(cache, role == "edge", "{name}");
        // systemd before 253 hides all other devices with it.
        let devices = unit.contains("\nSupplementaryGroups=");
        assert!(!(devices && says("ProtectClock=yes")), "{name} hides the devices it is given");
        if found {
            let dir = tempfile::tempdir().expect("a directory");
            let ours = programs::path(&format!("watchtree-{role}")).display().to_string();
            std::fs::write(dir.path().join(&name), unit.replace(&program, &ours)).expect("is written");
            verify(&dir.path().join(&name));
        }
    }
    if !found {
        println!("SKIPPED systemd-analyze verify: it is not installed");
    }
}

/// It warns of what it does not understand, and does not fail for it.
fn verify(unit: &Path) {
    let output = Command::new("systemd-analyze").arg("verify").arg(unit).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let name = unit.file_name().expect("a file").to_string_lossy();
    assert!(output.status.success() && !told.contains(name.as_ref()), "{told}");
}
