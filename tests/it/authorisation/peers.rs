//! Who comes: certificates of every role that are in order, and of every kind that are not.

use protocol::transport::{Credentials, Endpoint, TlsFiles};
use protocol::{Identity, Role, ca};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Certificate and key.
pub type Files = (PathBuf, PathBuf);

const HOUR: time::Duration = time::Duration::hours(1);

/// What is wrong with a peer's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    Missing,
    OtherCa,
    Expired,
    NotYet,
    Revoked,
}

impl Wrong {
    pub const ALL: [Self; 5] = [Self::Missing, Self::OtherCa, Self::Expired, Self::NotYet, Self::Revoked];

    /// Of the peer's end of the handshake: the TLS alerts that say so, and the words of a refusal after it.
    pub fn reasons(self) -> (&'static [u64], &'static str) {
        match self {
            // certificate_required
            Self::Missing => (&[116], "no certificate"),
            // unknown_ca; decrypt_error is what a CA of the same name with another key looks like
            Self::OtherCa => (&[48, 51], "not signed"),
            // certificate_expired, which also covers "not yet valid"
            Self::Expired | Self::NotYet => (&[45], "expired"),
            // certificate_revoked
            Self::Revoked => (&[44], "revoked"),
        }
    }

    /// As rustls names those alerts.
    pub fn alerts(self) -> &'static [&'static str] {
        match self {
            Self::Missing => &["CertificateRequired"],
            Self::OtherCa => &["UnknownCA", "DecryptError"],
            Self::Expired | Self::NotYet => &["CertificateExpired"],
            Self::Revoked => &["CertificateRevoked"],
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no certificate",
            Self::OtherCa => "a certificate of another CA",
            Self::Expired => "an expired certificate",
            Self::NotYet => "a certificate that is not valid yet",
            Self::Revoked => "a revoked certificate",
        })
    }
}

/// The site's CA and another one, and what they issue.
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// `dir` has the site's CA in `ca`.
    pub fn new(dir: &Path) -> Self {
        ca::init(&dir.join("other"), "a throw-away site").expect("a second CA, of the same name");
        Self { dir: dir.to_owned() }
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca/ca.pem")
    }

    /// A certificate of the site that is in order.
    pub fn issue(&self, who: &Identity) -> Files {
        let out = self.dir.join("peers").join(who.to_string());
        let issued = ca::issue(&self.dir.join("ca"), &out, who, Duration::from_secs(24 * 3600)).expect("is issued");
        (issued.cert, issued.key)
    }

    pub fn dialler(&self, who: &Identity) -> Endpoint {
        let (cert, key) = self.issue(who);
        let credentials = Credentials::load(&TlsFiles { ca: self.ca(), cert, key }).expect("they are in order");
        Endpoint::dialer(&credentials).expect("a socket")
    }

    /// A certificate for `role` of which this is wrong, and nothing else; that one is revoked is told elsewhere.
    pub fn wrong(&self, wrong: Wrong, role: Role) -> Option<Files> {
        let (ca, from, until) = match wrong {
            Wrong::Missing => return None,
            Wrong::Revoked => return Some(self.issue(&format!("main/{role}/revoked").parse().expect("an identity"))),
            Wrong::OtherCa => ("other", -HOUR, HOUR),
            Wrong::Expired => ("ca", -2 * HOUR, -HOUR),
            Wrong::NotYet => ("ca", HOUR, 2 * HOUR),
        };
        let who: Identity = format!("main/{role}/wrong").parse().expect("an identity");
        Some(self.sign(ca, &who, from, until))
    }

    /// Valid between two moments, from now.
    fn sign(&self, ca: &str, who: &Identity, from: time::Duration, until: time::Duration) -> Files {
        let read = |name: &str| std::fs::read_to_string(self.dir.join(ca).join(name)).expect("the CA is there");
        let ca_key = KeyPair::from_pem(&read("ca.key")).expect("a key");
        let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).expect("a CA");
        let now = time::OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (now + from, now + until);
        params.subject_alt_names = vec![
            SanType::DnsName(who.role.server_name().try_into().expect("a name")),
            SanType::URI(who.uri().try_into().expect("a URI")),
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &issuer).expect("is signed");
        let out = self.dir.join("wrong").join(format!("{ca}{}", from.whole_hours())).join(who.to_string());
        std::fs::create_dir_all(&out).expect("the site's directory is ours");
        let files = (out.join("cert.pem"), out.join("key.pem"));
        std::fs::write(&files.0, cert.pem()).expect("written");
        std::fs::write(&files.1, key.serialize_pem()).expect("written");
        files
    }
}
