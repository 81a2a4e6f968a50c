//! Joins, renewals and revocations over loopback, with a real file and a real authority.

use super::*;
use crate::events::testing::run;
use protocol::ca;
use protocol::csr;
use protocol::enrol::{JoinDown, JoinUp};
use protocol::transport::{self, Arrival, Endpoint, TlsFiles};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;
use supervision::Root;

const HOUR: Duration = Duration::from_secs(3600);
const WITHIN: Duration = Duration::from_secs(20);

fn id(text: &str) -> Identity {
    text.parse().expect("an identity")
}

fn credentials(dir: &Path, who: &str) -> Credentials {
    let out = tempfile::tempdir_in(dir).expect("a directory").keep();
    let paths = ca::issue(&dir.join("ca"), &out, &id(who), HOUR).expect("is issued");
    Credentials::load(&TlsFiles { ca: dir.join("ca/ca.pem"), cert: paths.cert, key: paths.key }).expect("are good")
}

/// A relay that lets boxes in, and nothing else.
struct Fixture {
    dir: tempfile::TempDir,
    enrolment: Enrolment,
    port: u16,
    root: Option<Root>,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        ca::init(&dir.path().join("ca"), "test").expect("a CA");
        let own = credentials(dir.path(), "main/relay/hub");
        let issuer = Issuer::load(&dir.path().join("ca"), HOUR, &own).expect("it is the same CA");
        let enrolment = Enrolment::new(&own, Some(issuer));
        let endpoint = Endpoint::listen((Ipv4Addr::LOCALHOST, 0).into(), &own).expect("listens");
        let port = endpoint.local_addr().expect("is bound").port();
        let desk = enrolment.clone();
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                if let Ok(Arrival::Joining(joining)) = incoming.arrive().await {
                    desk.admit(joining).await;
                }
            }
        });
        let mut fixture = Self { dir, enrolment, port, root: None };
        fixture.open().await;
        fixture
    }

    async fn open(&mut self) {
        let file = self.dir.path().join("fabric.redb");
        self.root = Some(run(vec![self.enrolment.child(file)]).await);
    }

    async fn token(&self, who: &str, ttl: Duration) -> Token {
        let who = id(who);
        let by = id("main/operator/ada");
        self.enrolment.create_token(&by, who.role, who.name, ttl).await.expect("is made").0
    }

    /// A box of `role` with this key brings this text.
    async fn join(&self, token: &Token, text: &str, role: Role, key: &str) -> Result<String, Refusal> {
        let csr = csr::for_key(key, role).expect("a key");
        let up = JoinUp { token: text.to_owned(), csr, now: Timestamp::now(), software: "test".to_owned() };
        match transport::join(token, "127.0.0.1", self.port, &up).await.expect("it is answered") {
            JoinDown::Joined { certificate_pem, .. } => Ok(certificate_pem),
            JoinDown::Refused(refusal) => Err(refusal),
        }
    }

    async fn join_as_yard(&self, token: &Token, key: &str) -> Result<String, Refusal> {
        self.join(token, &token.to_string(), Role::Edge, key).await
    }
}

fn key() -> String {
    csr::new_key().expect("a key")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_one_box_in_and_the_same_box_again() {
    let relay = Fixture::new().await;
    let token = relay.token("main/edge/yard", HOUR).await;
    let (first, second) = (key(), key());
    relay.join_as_yard(&token, &first).await.expect("it is let in");
    // Its answer may have been lost.
    relay.join_as_yard(&token, &first).await.expect("it is the same box");
    assert!(matches!(relay.join_as_yard(&token, &second).await, Err(Refusal::Used(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_token_is_told() {
    let relay = Fixture::new().await;
    let token = relay.token("main/edge/yard", HOUR).await;
    let text = token.to_string();
    let (other_name, other_tenant) = (text.replace(".yard.", ".barn."), text.replace(".main.", ".acme."));
    for tampered in [&other_name, &other_tenant, &text.replace("edge", "gpu"), &text[1..]] {
        let refused = relay.join(&token, tampered, Role::Edge, &key()).await;
        assert_eq!(refused, Err(Refusal::Tampered), "{tampered}");
    }
    let refused = relay.join(&token, &text, Role::Gpu, &key()).await;
    assert_eq!(refused, Err(Refusal::WrongRole { token: Role::Edge, asked: Role::Gpu }));
    relay.join_as_yard(&token, &key()).await.expect("it was not spent on those");

    let brief = relay.token("main/edge/barn", Duration::from_millis(1)).await;
    assert!(matches!(relay.join_as_yard(&brief, &key()).await, Err(Refusal::Expired(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_too_often_waits() {
    let relay = Fixture::new().await;
    let token = relay.token("main/edge/yard", HOUR).await;
    let mut forged = token.clone();
    forged.secret = [0; TOKEN_SECRET_BYTES];
    let mut refusals = Vec::new();
    for _ in 0..12 {
        refusals.push(relay.join(&token, &forged.to_string(), Role::Edge, &key()).await.expect_err("forged"));
    }
    assert_eq!((&refusals[0], refusals.last()), (&Refusal::Tampered, Some(&Refusal::Busy)), "{refusals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_name_is_known_after_a_restart_and_enrols_again_with_a_new_token() {
    let mut relay = Fixture::new().await;
    let ada = id("main/operator/ada");
    let (used, unused) = (relay.token("main/edge/yard", HOUR).await, relay.token("main/edge/yard", HOUR).await);
    relay.join_as_yard(&used, &key()).await.expect("it is let in");
    let revocation = relay.enrolment.revoke(&ada, id("main/edge/yard")).await.expect("is revoked");
    for void in [&used, &unused] {
        assert_eq!(relay.join_as_yard(void, &key()).await, Err(Refusal::Revoked(id("main/edge/yard"))));
    }
    // A process that knows nothing but the file.
    relay.root.take().expect("it runs").stop().await;
    let afresh = credentials(relay.dir.path(), "main/relay/hub");
    let issuer = Issuer::load(&relay.dir.path().join("ca"), HOUR, &afresh).expect("it is the same CA");
    relay.enrolment = Enrolment::new(&afresh, Some(issuer));
    relay.open().await;
    assert_eq!(relay.enrolment.revoked().all(), std::slice::from_ref(&revocation));

    let new = relay.token("main/edge/yard", HOUR).await;
    let key = key();
    let csr = Csr::read(&csr::for_key(&key, Role::Edge).expect("a key")).expect("is read");
    let presented = Presented {
        sha256: sha256(new.to_string().as_bytes()),
        role: Role::Edge,
        key_sha256: csr.key_sha256(),
        now: Timestamp::now(),
    };
    let who = relay.enrolment.take(new.id, presented).await.expect("a new token is good");
    let pem = relay.enrolment.sign(&who, &csr).expect("is signed");
    let (cert, key_path) = (relay.dir.path().join("yard.pem"), relay.dir.path().join("yard.key"));
    std::fs::write(&cert, pem).and_then(|()| std::fs::write(&key_path, key)).expect("are written");
    let files = TlsFiles { ca: relay.dir.path().join("ca/ca.pem"), cert, key: key_path };
    let issued = Credentials::load(&files).expect("are good").certificate().issued;
    assert!(relay.enrolment.revoked().of(&who, issued).is_none(), "issued {issued}, revoked {}", revocation.at);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_revoked_is_kept_and_told_once() {
    let relay = Fixture::new().await;
    let by = id("main/operator/ada");
    let of = |who: &str| Revocation { who: id(who), at: Timestamp::now(), by: by.clone() };
    let changes = relay.enrolment.revoked().changes();
    let news = vec![of("main/edge/yard"), of("main/relay/hub")];
    relay.enrolment.learn(news.clone()).await.expect("is kept");
    relay.enrolment.learn(news).await.expect("is known");
    let known: Vec<String> = relay.enrolment.revoked().all().iter().map(|known| known.who.to_string()).collect();
    assert_eq!((known.as_slice(), *changes.borrow()), (["main/edge/yard".to_owned()].as_slice(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_with_the_way_out() {
    let relay = Fixture::new().await;
    let ada = id("main/operator/ada");
    let create = async |role, name: &str, ttl| {
        let name = name.parse().expect("a name");
        relay.enrolment.create_token(&ada, role, name, ttl).await.expect_err("refused")
    };
    assert!(create(Role::Operator, "me", HOUR).await.contains("watchtree ca issue --role operator"));
    assert!(create(Role::Relay, "hub", HOUR).await.contains("is this node itself"));
    assert!(create(Role::Edge, "yard", 10_000 * HOUR).await.contains("1 s to 30 days"));
    let itself = relay.enrolment.revoke(&ada, id("main/relay/hub")).await.expect_err("refused");
    assert!(itself.contains("ask another core node"), "{itself}");
    let asker = relay.enrolment.revoke(&ada, ada.clone()).await.expect_err("refused");
    assert!(asker.contains("let another operator"), "{asker}");
}

#[tokio::test]
async fn a_node_without_the_authority_lets_nobody_in() {
    let dir = tempfile::tempdir().expect("a directory");
    ca::init(&dir.path().join("ca"), "test").expect("a CA");
    ca::init(&dir.path().join("other"), "test").expect("a CA");
    let own = credentials(dir.path(), "main/gpu/engine");
    let enrolment = Enrolment::new(&own, None);
    let ada = id("main/operator/ada");
    let made = enrolment.create_token(&ada, Role::Edge, "yard".parse().expect("a name"), HOUR).await;
    assert!(made.expect_err("refused").contains("use one that has `enrol.ca_dir` set"));
    assert_eq!(enrolment.renew_own(&own), Err(Refusal::NoAuthority));
    let other = Issuer::load(&dir.path().join("other"), HOUR, &own).err().expect("another CA").to_string();
    assert!(other.contains("holds another authority than tls.ca"), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_takes_no_node_down() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(disk) = crate::events::testing::SmallDisk::mount(dir.path()) else { return };
    let made = tempfile::tempdir().expect("a directory");
    ca::init(&made.path().join("ca"), "test").expect("a CA");
    let own = credentials(made.path(), "main/relay/hub");
    let issuer = Issuer::load(&made.path().join("ca"), HOUR, &own).expect("it is the same CA");
    let enrolment = Enrolment::new(&own, Some(issuer));
    let root = run(vec![enrolment.child(dir.path().join("fabric.redb"))]).await;
    let (ada, yard) = (id("main/operator/ada"), || "yard".parse().expect("a name"));
    disk.fill();
    // Some room is left in the file itself.
    let began = Instant::now();
    let refused = loop {
        let made = enrolment.create_token(&ada, Role::Edge, yard(), HOUR).await;
        match made {
            Err(why) => break why,
            Ok(_) => assert!(began.elapsed() < WITHIN, "the disk is never full"),
        }
    };
    assert!(refused.contains("its disk may be full"), "{refused}");
    disk.free();
    let began = Instant::now();
    while let Err(why) = enrolment.create_token(&ada, Role::Edge, yard(), HOUR).await {
        assert!(began.elapsed() < WITHIN, "{why}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    root.stop().await;
}
