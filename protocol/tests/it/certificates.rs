//! The CA's files, and what loading credentials refuses.

use crate::site::{DAY, Site};
use protocol::ca::Authority;
use protocol::csr::Csr;
use protocol::transport::{Credentials, TlsFiles};
use protocol::{Identity, Timestamp, ca};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("exists").permissions().mode() & 0o777
}

fn refused(files: &TlsFiles) -> String {
    Credentials::load(files).expect_err("must be refused").to_string()
}

#[test]
fn a_certificate_says_who_it_was_issued_to() {
    let site = Site::new("test");
    for who in ["main/edge/yard", "main/relay/hub", "acme/gpu/brain-2", "main/operator/ann"] {
        let files = site.issue(who, DAY);
        let cert = CertificateDer::from_pem_file(&files.cert).expect("PEM");
        assert_eq!(Identity::from_certificate(&cert), Ok(who.parse().expect("an identity")));
        assert_eq!(Credentials::load(&files).expect("good").identity().to_string(), who);
    }
}

#[test]
fn keys_are_readable_by_their_owner_alone() {
    let site = Site::new("test");
    assert_eq!(mode(&site.ca_dir().join("ca.key")), 0o600);
    assert_eq!(mode(&site.issue("main/edge/yard", DAY).key), 0o600);
}

#[test]
fn nothing_is_ever_overwritten() {
    let site = Site::new("test");
    let key = site.ca_dir().join("ca.key");
    let before = std::fs::read(&key).expect("a key");
    let error = ca::init(&site.ca_dir(), "again").expect_err("there is one").to_string();
    assert!(error.contains("ca.pem exists and is never overwritten; move it away"), "{error}");
    assert_eq!(std::fs::read(&key).expect("a key"), before);

    let files = site.issue("main/edge/yard", DAY);
    let before = std::fs::read(&files.cert).expect("a certificate");
    let who = "main/edge/yard".parse().expect("an identity");
    let out = files.cert.parent().expect("a directory");
    let error = ca::issue(&site.ca_dir(), out, &who, DAY).expect_err("there is one").to_string();
    assert!(error.contains("yard.pem exists"), "{error}");
    assert_eq!(std::fs::read(&files.cert).expect("a certificate"), before);
}

#[test]
fn a_key_in_the_way_leaves_no_half_pair() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("ca.key"), "precious").expect("written");
    let error = ca::init(dir.path(), "test").expect_err("a key is there").to_string();
    assert!(error.contains("ca.key exists"), "{error}");
    assert!(!dir.path().join("ca.pem").exists());
    assert_eq!(std::fs::read_to_string(dir.path().join("ca.key")).expect("there"), "precious");
}

#[test]
fn a_ca_key_of_another_ca_issues_nothing() {
    let (site, other) = (Site::new("test"), Site::new("test"));
    std::fs::copy(other.ca_dir().join("ca.key"), site.ca_dir().join("ca.key")).expect("copied");
    let who = "main/edge/yard".parse().expect("an identity");
    let error = ca::issue(&site.ca_dir(), site.dir.path(), &who, DAY).expect_err("no match").to_string();
    assert!(error.contains("ca.key does not belong to") && error.contains("copy both"), "{error}");
}

#[test]
fn a_directory_without_a_ca_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let who = "main/edge/yard".parse().expect("an identity");
    let error = ca::issue(dir.path(), dir.path(), &who, DAY).expect_err("no CA").to_string();
    assert!(error.contains("ca.pem") && error.contains("make one there first"), "{error}");
}

#[test]
fn a_time_that_no_certificate_can_hold_is_refused() {
    let site = Site::new("test");
    let who = "main/edge/yard".parse().expect("an identity");
    for valid in [Duration::MAX, Duration::from_secs(9000 * 365 * 24 * 3600)] {
        let error = ca::issue(&site.ca_dir(), site.dir.path(), &who, valid).expect_err("too long").to_string();
        assert!(error.contains("ask for less"), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let site = Site::new("test");
    let good = site.issue("main/edge/yard", DAY);
    for file in ["ca", "cert", "key"] {
        let mut files = good.clone();
        let missing = site.dir.path().join("nowhere.pem");
        match file {
            "ca" => files.ca = missing,
            "cert" => files.cert = missing,
            _ => files.key = missing,
        }
        let error = refused(&files);
        assert!(error.contains("nowhere.pem") && error.contains("must exist and be readable"), "{file}: {error}");
    }
}

#[test]
fn a_file_that_is_no_pem_is_named_with_what_it_should_hold() {
    let site = Site::new("test");
    let good = site.issue("main/edge/yard", DAY);
    let text = site.dir.path().join("notes.txt");
    std::fs::write(&text, "not a key").expect("written");
    let error = refused(&TlsFiles { key: text.clone(), ..good.clone() });
    assert!(error.contains("notes.txt: no PEM private key"), "{error}");
    let error = refused(&TlsFiles { cert: text.clone(), ..good.clone() });
    assert!(error.contains("notes.txt: no PEM certificate"), "{error}");
    let error = refused(&TlsFiles { ca: text, ..good });
    assert!(error.contains("notes.txt: no PEM certificate"), "{error}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let site = Site::new("test");
    let (yard, gate) = (site.issue("main/edge/yard", DAY), site.issue("main/edge/gate", DAY));
    let error = refused(&TlsFiles { key: gate.key, ..yard });
    assert!(error.contains("gate.key is not the key to") && error.contains("issued together"), "{error}");
}

#[test]
fn a_certificate_of_another_ca_is_refused_even_if_the_cas_share_a_name() {
    for name in ["other", "test"] {
        let (site, other) = (Site::new("test"), Site::new(name));
        let files = TlsFiles { ca: site.ca_dir().join("ca.pem"), ..other.issue("main/edge/yard", DAY) };
        let error = refused(&files);
        assert!(error.contains("yard.pem is not signed by") && error.contains("issue it with that CA"), "{error}");
    }
}

#[test]
fn a_ca_certificate_is_no_nodes_certificate() {
    let site = Site::new("test");
    let (cert, key) = (site.ca_dir().join("ca.pem"), site.ca_dir().join("ca.key"));
    let error = refused(&TlsFiles { ca: cert.clone(), cert, key });
    assert!(error.contains("carries 0 watchtree identities"), "{error}");
}

#[test]
fn an_expired_certificate_is_refused_at_load() {
    let site = Site::new("test");
    let (files, _) = site.expired("main/edge/yard");
    let error = refused(&files);
    assert!(error.contains("yard.pem has expired; issue a new one"), "{error}");
}

#[test]
fn a_node_that_has_other_work_loads_a_certificate_that_has_ended_and_nothing_worse() {
    let (site, other) = (Site::new("test"), Site::new("test"));
    let (files, _) = site.expired("main/edge/yard");
    let credentials = Credentials::load_even_if_ended(&files).expect("it is in order but for its end");
    assert!(credentials.certificate().until < Timestamp::now());
    let foreign = TlsFiles { ca: other.ca_dir().join("ca.pem"), ..files };
    let refused = Credentials::load_even_if_ended(&foreign).expect_err("another CA").to_string();
    assert!(refused.contains("is not signed by"), "{refused}");
}

#[test]
fn a_certificate_says_when_it_was_issued_and_until_when_it_is_good() {
    let site = Site::new("test");
    let before = Timestamp::now();
    let credentials = site.credentials("main/edge/yard");
    let certificate = credentials.certificate();
    // Certificates count in seconds.
    let second = Duration::from_secs(1);
    assert!(certificate.issued >= before.minus(second) && certificate.issued <= Timestamp::now(), "{certificate:?}");
    assert_eq!(certificate.life(), DAY);
}

/// Asks for the next certificate of `credentials` and signs it for `who`.
fn next(site: &Site, credentials: &Credentials, who: &str) -> String {
    let csr = Csr::read(&credentials.request().expect("a request")).expect("is read");
    let authority = Authority::load(&site.ca_dir()).expect("a CA");
    authority.sign(&who.parse().expect("an identity"), &csr, None, DAY / 2).expect("is signed")
}

#[test]
fn a_renewed_certificate_is_shown_by_all_clones() {
    let site = Site::new("test");
    let credentials = site.credentials("main/edge/yard");
    let (clone, renewed) = (credentials.clone(), credentials.renewed());
    credentials.renew(&next(&site, &credentials, "main/edge/yard")).expect("is in order");
    assert_eq!((clone.certificate().life(), *renewed.borrow()), (DAY / 2, 1));
}

#[test]
fn a_certificate_of_another_node_key_or_ca_is_not_taken() {
    let (site, other) = (Site::new("test"), Site::new("test"));
    let (yard, gate) = (site.credentials("main/edge/yard"), site.credentials("main/edge/gate"));
    for (certificate, why) in [
        (next(&site, &yard, "main/edge/gate"), "is of main/edge/gate, and this node is main/edge/yard"),
        (next(&site, &gate, "main/edge/yard"), "is not the key to"),
        (next(&other, &yard, "main/edge/yard"), "is not signed by"),
        ("no certificate".to_owned(), "no PEM certificate"),
    ] {
        let refused = yard.renew(&certificate).expect_err(why).to_string();
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!((yard.certificate().life(), *yard.renewed().borrow()), (DAY, 0), "it shows what it had");
}

#[test]
fn a_certificate_can_be_issued_after_a_moment_that_is_still_to_come() {
    let site = Site::new("test");
    let credentials = site.credentials("main/edge/yard");
    let csr = Csr::read(&credentials.request().expect("a request")).expect("is read");
    let later = Timestamp::now().plus(Duration::from_secs(5));
    let who = credentials.identity();
    let signed = Authority::load(&site.ca_dir()).expect("a CA").sign(who, &csr, Some(later), DAY).expect("is signed");
    credentials.renew(&signed).expect("it is good at once");
    assert!(later.since(credentials.certificate().issued) < Duration::from_secs(1));
}
