//! Bad input gets one clear error that names the thing and the way out, and disturbs nobody else.

use protocol::codec::encode;
use protocol::link::Open;
use protocol::{Epoch, FrameHeader, Priority, Role, Timestamp, ca};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;
use tests::harness::{CameraServer, Cluster, Plan, http, ports, stranger};

const SEED: u64 = 60;
const WITHIN: Duration = Duration::from_secs(30);
/// What is asked for is two seconds; a loaded machine is given more.
const FLIPS_WITHIN: Duration = Duration::from_secs(10);
/// Of the bytes `no model`.
const NO_MODEL_SHA256: &str = "f62c7d17e241fe5c5c0c64d2e32ab6e3bd10547a9c02977cc126acc0fe6e6554";

/// Waits until a line of `node`'s log has all these words.
async fn says(site: &mut Cluster, node: &str, words: &[&str]) {
    let what = format!("{node} says {words:?}");
    site.eventually(&what, WITHIN, async |site| has_line(&site.node(node).log_text(), words)).await;
}

fn has_line(log: &str, words: &[&str]) -> Result<(), String> {
    let found = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
    if found { Ok(()) } else { Err("no such line".to_owned()) }
}

/// Waits until a node that cannot start has ended, and returns what it said and its exit code.
async fn ends(site: &mut Cluster, node: &str) -> (String, Option<i32>) {
    let status = tests::harness::wait_for(&format!("{node} has ended"), WITHIN, async || {
        site.node_mut(node).try_wait().ok_or("it runs".to_owned())
    })
    .await;
    site.node_mut(node).kill();
    (site.node(node).log_text(), status.code())
}

fn site() -> Plan {
    Plan::new(SEED).relay("hub").gpu("engine", &["squares"]).edge("yard")
}

async fn delivers(site: &mut Cluster, camera: &str) {
    let what = format!("an event of {camera} is on the record");
    site.eventually(&what, WITHIN, async |site| {
        let events = site.operator().events().await?;
        let mut seen = events.iter().filter(|event| !event.event.tells_of_coverage());
        let found = seen.any(|event| event.event.camera.as_str() == camera);
        if found { Ok(()) } else { Err(format!("{} events of others", events.len())) }
    })
    .await;
}

#[tokio::test]
async fn an_edge_of_another_ca_is_refused_on_both_sides_and_its_neighbour_is_not_disturbed() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--lifetime-s", "3"]).await;
    let mut plan = site().camera("yard", "front-door", camera.url()).edge("stranger");
    ca::init(&plan.dir().join("other"), "another site").expect("a CA");
    let (cert, key) = plan.certificate("other", "stranger", Role::Edge);
    let other = plan.dir().join("other/ca.pem");
    for (key, path) in [("tls.ca", other), ("tls.cert", cert), ("tls.key", key)] {
        plan = plan.set("stranger", key, path.display().to_string());
    }
    let mut site = plan.start();
    says(&mut site, "stranger", &["no link to the relay", "is not to be trusted"]).await;
    says(&mut site, "hub", &["refused"]).await;
    delivers(&mut site, "front-door").await;
}

#[tokio::test]
async fn a_peer_without_a_certificate_is_refused_and_told_why() {
    let mut site = site().start();
    site.ready().await;
    let (ca, port) = (site.dir().join("ca/ca.pem"), site.node("hub").quic_port.expect("it listens"));
    let told = match stranger::connect(&ca, None, "relay.watchtree", port).await {
        Ok(stranger) => stranger.connection.closed().await.to_string(),
        Err(error) => error.to_string(),
    };
    assert!(told.to_lowercase().contains("certificate"), "{told}");
    says(&mut site, "hub", &["refused", "certificate"]).await;
}

#[tokio::test]
async fn a_node_with_another_roles_certificate_does_not_start() {
    let plan = site();
    let (cert, key) = plan.certificate("ca", "wrong", Role::Gpu);
    let plan = plan.set("yard", "tls.cert", cert.display().to_string());
    let mut site = plan.set("yard", "tls.key", key.display().to_string()).start();
    let (log, code) = ends(&mut site, "yard").await;
    assert_eq!(code, Some(1));
    has_line(&log, &["role gpu", "watchtree ca issue --role edge"]).expect(&log);
}

#[tokio::test]
async fn a_missing_certificate_is_named_before_anything_starts() {
    let mut site = site().set("yard", "tls.cert", "/nowhere/yard.pem").start();
    let (log, code) = ends(&mut site, "yard").await;
    assert_eq!(code, Some(1));
    has_line(&log, &["/nowhere/yard.pem", "must exist"]).expect(&log);
}

#[tokio::test]
async fn an_unknown_key_is_named_and_the_node_does_not_start() {
    let mut site = site().set("yard", "link.realy", "127.0.0.1:1").start();
    let (log, code) = ends(&mut site, "yard").await;
    assert_eq!(code, Some(78));
    has_line(&log, &["link.realy"]).expect(&log);
}

#[tokio::test]
async fn a_model_that_cannot_be_read_is_parked_and_another_model_works() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub");
    let broken = plan.dir().join("broken.toml");
    std::fs::write(plan.dir().join("broken.onnx"), "no model").expect("written");
    let squares = tests::harness::programs::project().join("config/models/squares.toml");
    let spec = std::fs::read_to_string(squares).expect("it is there").replace("squares", "broken");
    let own_sum = |line: &str| match line.starts_with("sha256") {
        true => format!("sha256 = \"{NO_MODEL_SHA256}\"\n"),
        false => format!("{line}\n"),
    };
    let spec: String = spec.lines().map(own_sum).collect();
    std::fs::write(&broken, spec).expect("written");
    let plan = plan.gpu("engine", &["squares", "squares"]).set("engine", "models.1.spec", broken.display().to_string());
    let plan = plan.edge("yard").camera("yard", "front-door", camera.url());
    let mut site = plan.camera("yard", "blind", camera.url()).set("yard", "cameras.1.model", "broken").start();
    site.eventually("the broken model's worker says why it is down", WITHIN, async |site| {
        let tree = site.node("engine").tree().await?;
        let worker = tree.actors.iter().find(|actor| actor.path.ends_with("/broken-0")).ok_or("no worker")?;
        let reason = worker.last_reason.as_deref().unwrap_or_default();
        if reason.contains("broken.onnx") && worker.state != "running" { Ok(()) } else { Err(format!("{worker:?}")) }
    })
    .await;
    delivers(&mut site, "front-door").await;
}

#[tokio::test]
async fn cameras_that_cannot_be_watched_say_why_and_the_others_are_watched() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--lifetime-s", "3"]).await;
    let login = ["--user", "watch", "--password", "hunter2"];
    let locked = CameraServer::start(&[&["--gop-s", "0.5", "--lifetime-s", "3"][..], &login].concat()).await;
    // Accepts connections and never says a word.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = hanging.local_addr().expect("it is bound").port();
    let not_there = camera.url().replace("/cam", "/attic");
    let bad = [
        ("refused", format!("rtsp://127.0.0.1:{}/cam", ports::free()), "no server answers"),
        ("not-found", not_there, "404"),
        ("locked", locked.url().to_owned(), "login"),
        ("hanging", format!("rtsp://127.0.0.1:{port}/cam"), "no answer"),
    ];
    let mut plan = site().camera("yard", "front-door", camera.url());
    for (id, url, _) in &bad {
        plan = plan.camera("yard", id, url);
    }
    let mut site = plan.start();
    for (id, _, word) in &bad {
        site.eventually(&format!("{id} says {word}"), WITHIN, async |site| told_of_camera(site, id, word).await).await;
    }
    delivers(&mut site, "front-door").await;
    let log = site.node("yard").log_text();
    assert!(!log.contains("hunter2"), "a password is in the log");
}

/// What the tree says of a camera's session.
async fn told_of_camera(site: &Cluster, id: &str, word: &str) -> Result<(), String> {
    let tree = site.node("yard").tree().await?;
    let path = format!("yard/cameras/{id}/session");
    let session = tree.actors.into_iter().find(|actor| actor.path == path).ok_or("no session")?;
    let told = format!("{:?} {:?}", session.note, session.last_reason).to_lowercase();
    if told.contains(&word.to_lowercase()) { Ok(()) } else { Err(told) }
}

#[tokio::test]
async fn a_garbled_and_an_oversize_frame_are_refused_and_the_sender_is_told() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--lifetime-s", "3"]).await;
    let plan = site().camera("yard", "front-door", camera.url());
    let own = plan.certificate("ca", "hostile", Role::Edge);
    let mut site = plan.start();
    site.ready().await;
    let header = FrameHeader {
        asker: Epoch(7),
        seq: 1,
        camera: "door".parse().expect("a name"),
        captured: Timestamp::now(),
        deadline_ms: 500,
        priority: Priority::Normal,
        model: None,
        width: u32::MAX,
        height: u32::MAX,
    };
    let oversize = vec![encode(&Open::Frame), encode(&header)];
    let garbled = vec![b"\xff\xffGET / HTTP/1.1".to_vec()];
    for messages in [oversize, garbled] {
        let (ca, port) = (site.dir().join("ca/ca.pem"), site.node("engine").quic_port.expect("it listens"));
        let hostile = stranger::connect(&ca, Some(&own), "gpu.watchtree", port).await.expect("its certificate is good");
        // Frames are read from those who want verdicts.
        let _asking = hostile.open(&encode(&Open::Verdicts { asker: Epoch(7) })).await;
        hostile.send(&messages).await;
        let told =
            tokio::time::timeout(WITHIN, hostile.connection.closed()).await.expect("it is hung up on").to_string();
        println!("the sender was told: {told}");
        assert!(told.contains("frame") || told.contains("unreadable"), "{told}");
    }
    says(&mut site, "engine", &["hostile", "frame"]).await;
    delivers(&mut site, "front-door").await;
}

/// A file system of its own that is full. `None`: this user may not mount one.
struct FullDisk(std::path::PathBuf);

impl FullDisk {
    fn mount(at: &std::path::Path) -> Option<Self> {
        let disk = Self::with_space(at, "64k")?;
        disk.fill();
        Some(disk)
    }

    fn with_space(at: &std::path::Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the site's directory is ours");
        let size = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    /// Ends with "no space left", as it should.
    fn fill(&self) {
        let _ = std::fs::write(self.0.join("ballast"), vec![0; 64 << 20]);
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("ballast")).expect("it was filled");
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_at_start_is_named_and_the_rest_of_the_site_goes_on() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--lifetime-s", "3"]).await;
    let plan = site().camera("yard", "front-door", camera.url()).edge("full").camera("full", "gate", camera.url());
    let data = plan.dir().join("full-disk");
    let Some(_disk) = FullDisk::mount(&data) else {
        return eprintln!("SKIPPED a full disk at start: this user may not mount a small file system");
    };
    let mut site = plan.set("full", "node.data_dir", data.join("data").display().to_string()).start();
    let log = tests::harness::wait_for("the edge names its full disk", WITHIN, async || {
        let log = site.node("full").log_text();
        has_line(&log, &["full-disk"]).map(|()| log)
    })
    .await;
    let named = log.lines().find(|line| line.contains("full-disk")).unwrap_or_default();
    assert!(named.to_lowercase().contains("space") || named.contains("full:"), "{named}");
    // It may end, or wait for space; in either case the others go on.
    site.node_mut("full").kill();
    delivers(&mut site, "front-door").await;
}

#[tokio::test]
async fn a_relay_whose_disk_fills_up_says_so_lives_and_has_everything_once_there_is_space() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "3", "--lifetime-s", "2"]).await;
    let plan = site().camera("yard", "front-door", camera.url()).set("yard", "track.update_every_ms", 200);
    let data = plan.dir().join("relay-disk");
    let Some(disk) = FullDisk::with_space(&data, "8m") else {
        return eprintln!("SKIPPED a disk that fills up: this user may not mount a small file system");
    };
    let mut site = plan.set("hub", "node.data_dir", data.join("data").display().to_string()).start();
    site.ready().await;
    let pid = site.node("hub").pid();
    disk.fill();
    let hub = site.node("hub").http;
    site.eventually("the relay says that its disk is full", WITHIN, async |_| {
        let answer = http::get(hub, "/health/ready").await?;
        let full = answer.status == 503 && answer.body.contains("free space");
        if full { Ok(()) } else { Err(format!("{} {}", answer.status, answer.body)) }
    })
    .await;
    // While its file is opened again, nobody reads it.
    site.eventually("the record is still read", WITHIN, async |_| {
        let page = http::get(hub, "/api/v1/events").await?;
        if page.status == 200 { Ok(()) } else { Err(format!("{} {}", page.status, page.body)) }
    })
    .await;
    site.eventually("events wait at the edge", WITHIN, async |site| {
        let (accepted, acked) = site.node("yard").outbox().await?;
        if accepted >= acked + 20 { Ok(()) } else { Err(format!("{accepted} accepted, {acked} acked")) }
    })
    .await;
    disk.free();
    site.eventually("the relay is ready again", FLIPS_WITHIN, async |_| {
        let answer = http::get(hub, "/health/ready").await?;
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    })
    .await;
    site.eventually("all of them are on the record", WITHIN, async |site| {
        let (accepted, acked) = site.node("yard").outbox().await?;
        if acked + 20 >= accepted { Ok(()) } else { Err(format!("{accepted} accepted, {acked} acked")) }
    })
    .await;
    assert_eq!(site.node("hub").pid(), pid, "the relay never ended");
}
