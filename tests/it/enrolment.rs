//! A box joins with a token, renews its certificate while it works, is revoked, and joins again.

use protocol::{Epoch, Timestamp};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;
use tests::harness::{CameraServer, Cluster, Plan, http, programs};

const SEED: u64 = 70;
const WITHIN: Duration = Duration::from_secs(60);
/// What is asked for.
const CUT_WITHIN: Duration = Duration::from_secs(5);
/// Long enough for a busy machine, and several renewals fit into a test.
const CERTIFICATE_S: i64 = 20;

/// A relay that has the authority, and the plan of an edge `yard` whose certificate will lie in `joined`.
fn planned() -> Plan {
    let plan = Plan::new(SEED).relay("hub").edge("yard").later("yard");
    let (ca, joined) = (plan.dir().join("ca"), plan.dir().join("joined"));
    let path = |name: &str| joined.join(name).display().to_string();
    let plan =
        plan.set("hub", "enrol.ca_dir", ca.display().to_string()).set("hub", "enrol.certificate_s", CERTIFICATE_S);
    let plan = plan.set("yard", "tls.ca", path("ca.pem"));
    plan.set("yard", "tls.cert", path("yard.pem")).set("yard", "tls.key", path("yard.key"))
}

fn joined(site: &Cluster, name: &str) -> PathBuf {
    site.dir().join("joined").join(name)
}

fn port(site: &Cluster) -> u16 {
    site.node("hub").quic_port.expect("a relay listens")
}

/// What the command says, as an operator, of the site's relay.
fn watchtree(site: &Cluster, line: &str) -> Output {
    let mut command = Command::new(programs::path("watchtree"));
    command.args(line.split_whitespace()).env("WATCHTREE_CONNECT", format!("127.0.0.1:{}", port(site)));
    let of = |name: &str| site.dir().join(name);
    command.env("WATCHTREE_CA", of("ca/ca.pem")).env("WATCHTREE_CERT", of("tls-ca-operator/operator.pem"));
    command.env("WATCHTREE_KEY", of("tls-ca-operator/operator.key")).output().expect("it starts")
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Why a command failed.
#[track_caller]
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn token(site: &Cluster, role: &str, name: &str, more: &str) -> String {
    let made = watchtree(site, &format!("token create --role {role} --name {name} {more} -o json"));
    let made: Value = serde_json::from_str(&done(&made)).expect("it is JSON");
    made["token"].as_str().expect("a token").to_owned()
}

/// A node of `role` joins with this token, into the directory `dir` of the site.
fn join(site: &Cluster, role: &str, token: &str, dir: &str) -> Output {
    let mut command = Command::new(programs::path(&format!("watchtree-{role}")));
    command.args(["join", token, &format!("127.0.0.1:{}", port(site)), "--dir"]).arg(site.dir().join(dir));
    command.output().expect("it starts")
}

/// Which life of the edge the relay sees; `Err` while it is not linked.
async fn boot(site: &Cluster) -> Result<Epoch, String> {
    let trees = site.operator().trees().await?;
    let yard = trees.into_iter().find(|tree| tree.node.name.as_str() == "yard");
    yard.map(|yard| yard.boot).ok_or("the edge is not linked".to_owned())
}

async fn is_linked(site: &mut Cluster) -> Epoch {
    site.eventually("the edge is linked", WITHIN, async |site| boot(site).await).await
}

async fn delivers_after(site: &mut Cluster, known: usize) -> usize {
    site.eventually("another event is on the record", WITHIN, async |site| {
        let events = site.operator().events().await?.len();
        if events > known { Ok(events) } else { Err(format!("{events} events")) }
    })
    .await
}

/// Waits until a line of `node`'s log, after so many, has all these words.
async fn says(site: &mut Cluster, node: &str, after: usize, words: &[&str]) {
    let what = format!("{node} says {words:?}");
    site.eventually(&what, WITHIN, async |site| {
        let log = site.node(node).log_text();
        let found = log.lines().skip(after).any(|line| words.iter().all(|word| line.contains(word)));
        if found { Ok(()) } else { Err("no such line".to_owned()) }
    })
    .await;
}

fn lines(site: &Cluster, node: &str) -> usize {
    site.node(node).log_text().lines().count()
}

#[tokio::test]
async fn a_box_joins_renews_while_it_works_is_cut_off_when_revoked_and_joins_again() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--lifetime-s", "3"]).await;
    let mut site = planned().camera("yard", "front-door", camera.url()).start();
    site.node_ready("hub").await;

    let made = watchtree(&site, "token create --role edge --name yard");
    let (text, hint) = (done(&made), String::from_utf8_lossy(&made.stderr).into_owned());
    let text = text.trim_end();
    assert!(text.starts_with("wt1.edge.yard.main.") && !text.contains('\n'), "{text}");
    assert!(hint.contains(&format!("watchtree-edge join {text} 127.0.0.1:{}", port(&site))), "{hint}");
    let told = done(&join(&site, "edge", text, "joined"));
    assert!(told.contains("main/edge/yard joined") && told.contains("[link]"), "{told}");
    let mode = std::fs::metadata(joined(&site, "yard.key")).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "the key is its owner's alone");
    assert!(!site.node("hub").log_text().contains(text), "a token is in no log");

    site.node_mut("yard").start();
    let (first_boot, mut events) = (is_linked(&mut site).await, 0);
    events = delivers_after(&mut site, events).await;

    let mut certificate = std::fs::read(joined(&site, "yard.pem")).expect("it is there");
    for _ in 0..2 {
        let path = joined(&site, "yard.pem");
        certificate = site
            .eventually("the edge has its next certificate, and its link all along", WITHIN, async |site| {
                assert_eq!(boot(site).await.as_ref(), Ok(&first_boot), "the link was lost");
                let now = std::fs::read(&path).expect("it is there at every moment");
                if now == certificate { Err("it is the same".to_owned()) } else { Ok(now) }
            })
            .await;
    }
    events = delivers_after(&mut site, events).await;

    done(&watchtree(&site, "revoke yard"));
    site.eventually("the edge is cut off", CUT_WITHIN, async |site| match boot(site).await {
        Err(_) => Ok(()),
        Ok(_) => Err("it is linked".to_owned()),
    })
    .await;
    says(&mut site, "yard", 0, &["our certificate is revoked; enrol this node again with a new token"]).await;

    let before = lines(&site, "hub");
    site.node_mut("hub").kill();
    site.node_mut("hub").start();
    site.node_ready("hub").await;
    says(&mut site, "hub", before, &["its certificate is revoked"]).await;
    let listed = done(&watchtree(&site, "revoked"));
    assert!(listed.contains("main/edge/yard") && listed.contains("main/operator/operator"), "{listed}");

    site.node_mut("yard").terminate().await;
    for name in ["yard.pem", "yard.key"] {
        std::fs::remove_file(joined(&site, name)).expect("it is there");
    }
    let again = token(&site, "edge", "yard", "");
    done(&join(&site, "edge", &again, "joined"));
    site.node_mut("yard").start();
    is_linked(&mut site).await;
    delivers_after(&mut site, events).await;
}

#[tokio::test]
async fn a_token_that_is_not_in_order_lets_nobody_in_and_the_relay_says_who_came() {
    let mut site = planned().start();
    site.node_ready("hub").await;
    let good = token(&site, "edge", "yard", "");
    let why = refused(&join(&site, "gpu", &good, "gpu"));
    assert!(why.contains("this token is for a node of role edge, and a node of role gpu came"), "{why}");
    let why = refused(&join(&site, "edge", &good.replace(".yard.", ".barn."), "barn"));
    assert!(why.contains("this token was not issued here, or was changed"), "{why}");
    let why = refused(&join(&site, "edge", &good[..good.len() - 1], "cut"));
    assert!(why.contains("copy the whole line that `watchtree token create` printed"), "{why}");

    let taken = done(&join(&site, "edge", &good, "joined"));
    assert!(taken.contains("joined"), "{taken}");
    let why = refused(&join(&site, "edge", &good, "joined"));
    assert!(why.contains("yard.key exists and is never overwritten"), "{why}");
    let why = refused(&join(&site, "edge", &good, "another"));
    assert!(why.contains("this token was used already"), "{why}");
    assert!(!site.dir().join("another/yard.key.joining").exists(), "a key that is of no use is not left behind");

    let made = done(&watchtree(&site, "token create --role edge --name shed --ttl 1s -o json"));
    let made: Value = serde_json::from_str(&made).expect("it is JSON");
    let until: Timestamp = made["until"].as_str().expect("a time").parse().expect("a time");
    site.eventually("a token of one second has ended", WITHIN, async |_| {
        if Timestamp::now() > until { Ok(()) } else { Err(format!("it is good until {until}")) }
    })
    .await;
    let why = refused(&join(&site, "edge", made["token"].as_str().expect("a token"), "shed"));
    assert!(why.contains("this token expired"), "{why}");

    for reason in ["a node of role gpu came", "was not issued here", "was used already", "this token expired"] {
        says(&mut site, "hub", 0, &["\"target\":\"audit\"", "a box was not let in", reason, "127.0.0.1:"]).await;
    }
    let metrics = http::get(site.node("hub").http, "/metrics").await.expect("it answers").body;
    for result in ["joined", "role", "tampered", "used", "expired"] {
        let line = format!("watchtree_enrol_total{{node=\"hub\",result=\"{result}\"}} 1");
        assert!(metrics.contains(&line), "no `{line}` in {metrics}");
    }

    let unknown = refused(&watchtree(&site, "revoke nobody"));
    assert!(unknown.contains("as in --role edge"), "{unknown}");
    let itself = refused(&watchtree(&site, "revoke hub --role relay"));
    assert!(itself.contains("is this node itself"), "{itself}");
}
