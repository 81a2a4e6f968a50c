//! Certificates that are renewed over loopback, and those that are not.

use super::*;
use crate::events::testing::run;
use crate::fabric::enrolment::Issuer;
use protocol::ca;
use protocol::transport::{Endpoint, TlsFiles};
use protocol::{Identity, Role};
use std::net::Ipv4Addr;
use supervision::{Root, service};

const WITHIN: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

/// Credentials whose certificate was issued so long ago and is good for an hour.
fn credentials(dir: &Path, who: &str, age: Duration) -> Credentials {
    let out = tempfile::tempdir_in(dir).expect("a directory").keep();
    let who: Identity = who.parse().expect("an identity");
    let paths = ca::issue_at(&dir.join("ca"), &out, &who, Timestamp::now().minus(age), HOUR).expect("is issued");
    Credentials::load(&TlsFiles { ca: dir.join("ca/ca.pem"), cert: paths.cert, key: paths.key }).expect("are good")
}

fn site() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    ca::init(&dir.path().join("ca"), "test").expect("a CA");
    dir
}

/// A relay that answers requests for certificates, and the link to it as `yard` has it.
async fn linked(dir: &Path, yard: &Credentials, issues: bool) -> Issues {
    let own = credentials(dir, "main/relay/hub", Duration::ZERO);
    let issuer = issues.then(|| Issuer::load(&dir.join("ca"), 2 * HOUR, &own).expect("it is the same CA"));
    let enrolment = Enrolment::new(&own, issuer);
    let relay = Endpoint::listen((Ipv4Addr::LOCALHOST, 0).into(), &own).expect("listens");
    let port = relay.local_addr().expect("is bound").port();
    let dialler = Endpoint::dialer(yard).expect("a socket");
    let accepting = async { relay.accept().await.expect("is open").establish().await.expect("is let in") };
    let (dialled, accepted) = tokio::join!(dialler.dial("127.0.0.1", port, Role::Relay), accepting);
    tokio::spawn(async move {
        while let Ok(pending) = accepted.accept_bi().await {
            if let Ok((Open::Renew, tx, rx)) = pending.open().await {
                enrolment.renew(&accepted, tx, rx).await;
            }
        }
    });
    Issues::Relay(watch::Sender::new(Some(dialled.expect("is let in"))).subscribe())
}

async fn start(renewal: &Renewal) -> Root {
    let renewal = renewal.clone();
    run(vec![service("renewal", move |cx| renewal.clone().run(cx))]).await
}

async fn becomes(what: &str, is_so: impl Fn() -> bool) {
    let change = async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WITHIN, change).await.unwrap_or_else(|_| panic!("it never was so that {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_past_half_of_its_life_is_replaced_in_memory_and_on_disk() {
    let dir = site();
    let yard = credentials(dir.path(), "main/edge/yard", HOUR / 5 * 3);
    let before = std::fs::read(&yard.files().cert).expect("is there");
    let renewal = Renewal::new(yard.clone(), linked(dir.path(), &yard, true).await);
    let root = start(&renewal).await;
    becomes("another certificate is on disk", || std::fs::read(&yard.files().cert).is_ok_and(|now| now != before))
        .await;
    assert_eq!((yard.certificate().life(), *yard.renewed().borrow()), (2 * HOUR, 1));
    let afresh = Credentials::load(yard.files()).expect("what is on disk is in order");
    assert_eq!(afresh.certificate(), yard.certificate());
    assert!(!yard.files().cert.with_extension("pem.new").exists());
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_young_certificate_stays() {
    let dir = site();
    let yard = credentials(dir.path(), "main/edge/yard", HOUR / 5 * 2);
    let renewal = Renewal::new(yard.clone(), linked(dir.path(), &yard, true).await);
    let left = renewal.due().since(Timestamp::now());
    assert!(left > HOUR / 25 && left < HOUR / 5, "{left:?}");
    assert_eq!(renewal.finding().map(|told| told.contains("35 min left")), Ok(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_issues_none_is_no_failure_until_little_is_left() {
    let dir = site();
    let yard = credentials(dir.path(), "main/edge/yard", HOUR / 5 * 3);
    let renewal = Renewal::new(yard.clone(), linked(dir.path(), &yard, false).await);
    assert_eq!(renewal.renew().await, Err(Unrenewed::NoAuthority));
    let root = start(&renewal).await;
    becomes("it is told", || renewal.finding().is_ok_and(|told| told.contains("issues no certificates"))).await;
    root.stop().await;

    let old = Renewal::new(credentials(dir.path(), "main/edge/barn", HOUR / 5 * 4), Issues::Nobody);
    let why = old.finding().expect_err("little is left");
    assert!(why.contains("min left, and it is not renewed: nobody issues certificates to this node"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_the_authority_renews_its_own() {
    let dir = site();
    let hub = credentials(dir.path(), "main/relay/hub", HOUR / 5 * 3);
    let issuer = Issuer::load(&dir.path().join("ca"), 2 * HOUR, &hub).expect("it is the same CA");
    let renewal = Renewal::new(hub.clone(), Issues::Here(Enrolment::new(&hub, Some(issuer))));
    renewal.renew().await.expect("it is renewed");
    assert_eq!(hub.certificate().life(), 2 * HOUR);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_does_not_keep_the_certificate_from_being_shown() {
    let dir = site();
    let yard = credentials(dir.path(), "main/edge/yard", HOUR / 5 * 3);
    let beside = yard.files().cert.with_extension("pem.new");
    std::fs::create_dir(&beside).expect("something is in the way");
    let renewal = Renewal::new(yard.clone(), linked(dir.path(), &yard, true).await);
    renewal.renew().await.expect("it is renewed");
    assert_eq!(yard.certificate().life(), 2 * HOUR);
}

#[tokio::test]
async fn without_a_link_it_is_tried_again() {
    let dir = site();
    let yard = credentials(dir.path(), "main/edge/yard", Duration::ZERO);
    let renewal = Renewal::new(yard, Issues::Relay(watch::Sender::new(None).subscribe()));
    assert!(matches!(renewal.renew().await, Err(Unrenewed::Failed(why)) if why.contains("no link")));
}
