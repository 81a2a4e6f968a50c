//! The certificate authority: two files in a directory, and the certificates it issues.
//!
//!   init ──▶ ca.pem ca.key ──issue──────────▶ yard.pem yard.key
//!                        └──Authority::sign──▶ the certificate that a node's request asks for
//!
//! A certificate carries its holder twice: as the URI SAN that is its identity, and as the DNS SAN
//! `ROLE.watchtree`, so that ordinary name verification by a dialler proves the role. Every node
//! both dials and listens, so a certificate is good for both. No file is ever overwritten: a lost
//! CA key means a new certificate for every node.

use crate::csr::Csr;
use crate::enrol::sha256;
use crate::{Identity, Timestamp, certificate};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;

const CA_CERT_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key";

/// Ten years. Renewing a CA means a visit to every node.
const CA_VALID: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A CA's name, in characters. Longer ones are refused.
const CA_NAME_CHARS_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Choose another place; what is there stays.
    #[error("{} exists and is never overwritten; move it away or choose another directory", .0.display())]
    Exists(PathBuf),
    #[error("{}: {why}; {way_out}", path.display())]
    File { path: PathBuf, why: String, way_out: &'static str },
    #[error("{} does not belong to {}; copy both from where the CA was made", key.display(), cert.display())]
    WrongKey { key: PathBuf, cert: PathBuf },
    /// The request asks for what no certificate can say.
    #[error("{0}")]
    Request(String),
}

/// Where a certificate and its key were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedPaths {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Makes a CA in `dir`: `ca.pem` for every node, and `ca.key`, which never leaves this machine.
pub fn init(dir: &Path, name: &str) -> Result<(), CaError> {
    if name.is_empty() || name.chars().count() > CA_NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(CaError::Request(format!("a CA's name has 1 to {CA_NAME_CHARS_MAX} printable characters")));
    }
    let mut params = params(name, Timestamp::now(), CA_VALID)?;
    // It signs nodes and never another CA.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(refused)?;
    let cert = params.self_signed(&key).map_err(refused)?;
    write_pair(dir.join(CA_CERT_FILE), &cert.pem(), dir.join(CA_KEY_FILE), &key.serialize_pem()).map(drop)
}

/// Issues `NAME.pem` and `NAME.key` into `out_dir`, good from an hour ago until `valid` from now.
pub fn issue(ca_dir: &Path, out_dir: &Path, who: &Identity, valid: Duration) -> Result<IssuedPaths, CaError> {
    issue_at(ca_dir, out_dir, who, Timestamp::now(), valid)
}

/// As [`issue`], as if it were `issued`: for a host whose clock is wrong and known to be.
pub fn issue_at(
    ca_dir: &Path,
    out_dir: &Path,
    who: &Identity,
    issued: Timestamp,
    valid: Duration,
) -> Result<IssuedPaths, CaError> {
    let ca = Authority::load(ca_dir)?;
    let key = KeyPair::generate().map_err(refused)?;
    let cert = ca.certificate(who, &key, issued, valid)?;
    let name = who.name.as_str();
    let (cert_path, key_path) = (out_dir.join(format!("{name}.pem")), out_dir.join(format!("{name}.key")));
    write_pair(cert_path, &cert, key_path, &key.serialize_pem())
}

/// A CA in memory: what a relay needs that issues certificates while it runs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    sha256: [u8; 32],
}

impl Authority {
    /// From the directory that [`init`] filled.
    pub fn load(dir: &Path) -> Result<Self, CaError> {
        let (cert_path, key_path) = (dir.join(CA_CERT_FILE), dir.join(CA_KEY_FILE));
        let wrong = |path: &Path, why: String| {
            let way_out = "name the directory of an existing CA, or make one there first";
            CaError::File { path: path.to_owned(), why, way_out }
        };
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| wrong(path, e.to_string()));
        let (pem, key_pem) = (read(&cert_path)?, read(&key_path)?);
        let cert = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| wrong(&cert_path, "not a PEM certificate".to_owned()))?;
        let key = KeyPair::from_pem(&key_pem).map_err(|_| wrong(&key_path, "not a PEM private key".to_owned()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&cert)
            .map_err(|e| wrong(&cert_path, format!("not a certificate: {e}")))?;
        // rcgen would sign with any key and name this CA as the issuer; nobody could verify the result.
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(CaError::WrongKey { key: key_path, cert: cert_path });
        }
        let sha256 = sha256(&cert);
        let issuer = Issuer::from_ca_cert_der(&cert, key).map_err(|e| wrong(&cert_path, e.to_string()))?;
        Ok(Self { issuer, pem, sha256 })
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What a token carries: SHA-256 of its certificate.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// A certificate in PEM for the key in `request`, issued now, or at `later` if that is still to come.
    pub fn sign(
        &self,
        who: &Identity,
        request: &Csr,
        later: Option<Timestamp>,
        valid: Duration,
    ) -> Result<String, CaError> {
        let now = Timestamp::now();
        self.certificate(who, &request.key, later.map_or(now, |later| later.max(now)), valid)
    }

    fn certificate(
        &self,
        who: &Identity,
        key: &impl PublicKeyData,
        issued: Timestamp,
        valid: Duration,
    ) -> Result<String, CaError> {
        let mut params = params(&who.to_string(), issued, valid)?;
        params.subject_alt_names = vec![
            SanType::DnsName(who.role.server_name().try_into().map_err(refused)?),
            SanType::URI(who.uri().try_into().map_err(refused)?),
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer).map_err(refused)?.pem())
    }
}

fn params(common_name: &str, issued: Timestamp, valid: Duration) -> Result<CertificateParams, CaError> {
    let valid_s = valid.as_secs();
    let at = |time: Timestamp| OffsetDateTime::from_unix_timestamp(time.micros().div_euclid(1_000_000)).ok();
    let until = time::Duration::try_from(valid).ok().and_then(|valid| at(issued)?.checked_add(valid));
    let (Some(begins), Some(until)) = (at(certificate::begins(issued)), until.filter(|until| until.year() < 9999))
    else {
        return Err(CaError::Request(format!("no certificate can be valid for {valid_s} s; ask for less")));
    };
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (begins, until);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// What rcgen refuses for reasons of its own.
fn refused(error: rcgen::Error) -> CaError {
    CaError::Request(format!("certificate not made: {error}"))
}

/// Both files or neither, as far as a file system allows.
fn write_pair(cert: PathBuf, cert_pem: &str, key: PathBuf, key_pem: &str) -> Result<IssuedPaths, CaError> {
    if let Some(dir) = cert.parent() {
        std::fs::create_dir_all(dir).map_err(|e| unwritable(dir, &e))?;
    }
    write_new(&cert, cert_pem, 0o644)?;
    if let Err(error) = write_new(&key, key_pem, 0o600) {
        // Ours, made a moment ago: without its key it is of no use and would block the next try.
        let _ = std::fs::remove_file(&cert);
        return Err(error);
    }
    Ok(IssuedPaths { cert, key })
}

/// Exclusive creation with the final mode: a key is at no instant readable by others, nor does it
/// follow a link that someone left in its place.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(CaError::Exists(path.to_owned())),
        Err(e) => return Err(unwritable(path, &e)),
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|e| {
        let _ = std::fs::remove_file(path);
        unwritable(path, &e)
    })
}

fn unwritable(path: &Path, error: &std::io::Error) -> CaError {
    let way_out = "choose a directory that this user may write, with space left";
    CaError::File { path: path.to_owned(), why: error.to_string(), way_out }
}
