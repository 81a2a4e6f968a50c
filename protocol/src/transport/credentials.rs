//! A node's three files: the CA that it trusts, its own certificate and the key to it.
//!
//!   files ──load──▶ [Credentials] ──▶ endpoints          certificate ◀──request── the relay's CA
//!                        └────────renew◀────────────────────────┘
//!
//! Loading finds at start what would otherwise be refused one connection at a time: each fault
//! names the file and the way out. A certificate is renewed while the node runs; its key stays.

use super::join::JOIN_ALPN;
use super::own::Own;
use super::settings::VERSIONS;
use super::verifier::{Certified, Verifier};
use crate::enrol::sha256;
use crate::identity::IdentityError;
use crate::revoked::Revoked;
use crate::{Certificate, Identity, Timestamp, csr};
use rcgen::KeyPair;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("{}: {why}; the file must exist and be readable by this user", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{}: no PEM {what} in it; name the file that `ca` made", path.display())]
    NotPem { path: PathBuf, what: &'static str },
    #[error("{} is not the key to {}; name the two files that were issued together", key.display(), cert.display())]
    WrongKey { key: PathBuf, cert: PathBuf },
    #[error("{} is not signed by {}; issue it with that CA or name the one that did", cert.display(), ca.display())]
    WrongCa { cert: PathBuf, ca: PathBuf },
    #[error("{} has expired; issue a new one with the same CA", .0.display())]
    Expired(PathBuf),
    #[error("{} is not valid yet; check this host's clock", .0.display())]
    NotYetValid(PathBuf),
    #[error("{}: {source}", path.display())]
    Identity { path: PathBuf, source: IdentityError },
    #[error("{}: {why}; issue a new one with the same CA", path.display())]
    Unfit { path: PathBuf, why: String },
    #[error("the new certificate is of {new}, and this node is {own}; it is not taken")]
    Another { own: Identity, new: Identity },
}

/// Loaded, checked against each other, and ready for use. Cheap to clone; all clones are renewed together.
#[derive(Clone)]
pub struct Credentials {
    identity: Arc<Identity>,
    files: Arc<TlsFiles>,
    key: Arc<PrivateKeyDer<'static>>,
    own: Arc<Own>,
    verifier: Arc<Verifier>,
    revoked: Revoked,
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

impl Credentials {
    pub fn load(files: &TlsFiles) -> Result<Self, CredentialError> {
        Self::load_at(files, Timestamp::now())
    }

    /// As [`Self::load`], also where the certificate has ended: for a node that has other work than to be let in, or
    /// that issues its next one itself.
    pub fn load_even_if_ended(files: &TlsFiles) -> Result<Self, CredentialError> {
        let loaded = Self::load(files);
        let Err(CredentialError::Expired(_)) = &loaded else { return loaded };
        let until =
            CertificateDer::from_pem_slice(&read(&files.cert)?).ok().and_then(|der| Certificate::read(&der).ok());
        until.map_or(loaded, |ended| Self::load_at(files, ended.until))
    }

    /// As [`Self::load`], as if it were `now`: for a host whose clock is wrong and known to be.
    pub fn load_at(files: &TlsFiles, now: Timestamp) -> Result<Self, CredentialError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let broken = |why: String| CredentialError::Unfit { path: files.ca.clone(), why };
        let (ca, revoked) = (load_ca(&files.ca)?, Revoked::default());
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).map_err(|e| broken(e.to_string()))?;
        let verifier = Arc::new(Verifier::new(roots, &provider, revoked.clone()).map_err(broken)?);
        let (leaf, key) = load_own(files, &provider)?;
        let certificate = check_own(files, &leaf.cert[0], &verifier, now)?;
        let identity = Arc::new(certificate.who.clone());
        let own = Arc::new(Own::new(certificate, leaf, ca));

        let broken = |e: rustls::Error| CredentialError::Unfit { path: files.ca.clone(), why: e.to_string() };
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(broken)?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(own.clone());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(broken)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(own.clone());

        // A resumed session would skip the verification: an expired peer could stay for ever.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        client.alpn_protocols = VERSIONS.map(|version| version.alpn()).to_vec();
        server.alpn_protocols.clone_from(&client.alpn_protocols);
        server.alpn_protocols.push(JOIN_ALPN.to_vec());
        let (server, client) = (Arc::new(server), Arc::new(client));
        Ok(Self {
            identity,
            files: Arc::new(files.clone()),
            key: Arc::new(key),
            own,
            verifier,
            revoked,
            server,
            client,
        })
    }

    /// For HTTPS: the same certificate, shown to the same peers, who must show theirs: nobody joins there.
    pub fn https_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut https = ServerConfig::builder_with_provider(self.server.crypto_provider().clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(Certified(self.verifier.clone())))
            .with_cert_resolver(self.own.clone());
        // As on QUIC: each handshake is verified.
        https.session_storage = Arc::new(NoServerSessionStorage {});
        https.send_tls13_tickets = 0;
        https.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(https))
    }

    /// Who this node is to others.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// From where they were loaded.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// What this node shows now.
    pub fn certificate(&self) -> Certificate {
        self.own.certificate()
    }

    /// SHA-256 of the certificate of the CA that is believed.
    pub fn ca_sha256(&self) -> [u8; 32] {
        sha256(self.own.ca())
    }

    /// Who is refused though their certificates are in order. One list for all clones.
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Moves with each certificate that is taken: whoever dials again shows the new one.
    pub fn renewed(&self) -> watch::Receiver<u64> {
        self.own.changes()
    }

    /// A request for the next certificate, for the same key.
    pub fn request(&self) -> Result<Vec<u8>, CredentialError> {
        let unfit = |why: String| CredentialError::Unfit { path: self.files.key.clone(), why };
        let key = KeyPair::try_from(&*self.key).map_err(|error| unfit(error.to_string()))?;
        csr::make(&key, self.identity.role).map_err(unfit)
    }

    /// Shows this certificate from now on, if it is for this node, this key, and in order. Writes no file.
    pub fn renew(&self, cert_pem: &str) -> Result<(), CredentialError> {
        let not_pem = |_| CredentialError::NotPem { path: self.files.cert.clone(), what: "certificate" };
        let cert = CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(not_pem)?;
        let new = check_own(&self.files, &cert, &self.verifier, Timestamp::now())?;
        if new.who != *self.identity {
            return Err(CredentialError::Another { own: (*self.identity).clone(), new: new.who });
        }
        let leaf = CertifiedKey::new(vec![cert], self.own.key());
        leaf.keys_match().map_err(|error| key_fault(&self.files, error))?;
        self.own.show(new, leaf);
        Ok(())
    }
}

impl fmt::Debug for Credentials {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.identity)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialError> {
    std::fs::read(path).map_err(|e| CredentialError::Unreadable { path: path.to_owned(), why: e.to_string() })
}

fn load_ca(path: &Path) -> Result<CertificateDer<'static>, CredentialError> {
    let not_pem = |_| CredentialError::NotPem { path: path.to_owned(), what: "certificate" };
    CertificateDer::from_pem_slice(&read(path)?).map_err(not_pem)
}

fn load_own(
    files: &TlsFiles,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, PrivateKeyDer<'static>), CredentialError> {
    let not_pem = |path: &Path, what| CredentialError::NotPem { path: path.to_owned(), what };
    let cert = CertificateDer::from_pem_slice(&read(&files.cert)?).map_err(|_| not_pem(&files.cert, "certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|_| not_pem(&files.key, "private key"))?;
    let leaf = CertifiedKey::from_der(vec![cert], key.clone_key(), provider);
    Ok((leaf.map_err(|error| key_fault(files, error))?, key))
}

fn key_fault(files: &TlsFiles, error: rustls::Error) -> CredentialError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            CredentialError::WrongKey { key: files.key.clone(), cert: files.cert.clone() }
        }
        other => CredentialError::Unfit { path: files.cert.clone(), why: other.to_string() },
    }
}

/// Verifies our own certificate as a dialling peer will.
fn check_own(
    files: &TlsFiles,
    cert: &CertificateDer<'static>,
    verifier: &Verifier,
    now: Timestamp,
) -> Result<Certificate, CredentialError> {
    let path = || files.cert.clone();
    let own = Certificate::read(cert).map_err(|source| CredentialError::Identity { path: path(), source })?;
    let unfit = |why: String| CredentialError::Unfit { path: path(), why };
    let name = ServerName::try_from(own.who.role.server_name()).map_err(|e| unfit(e.to_string()))?;
    let now = UnixTime::since_unix_epoch(Duration::from_micros(now.micros().max(0).unsigned_abs()));
    match verifier.verify_server_cert(cert, &[], &name, &[], now) {
        Ok(_) => Ok(own),
        Err(rustls::Error::InvalidCertificate(fault)) => Err(match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => CredentialError::Expired(path()),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                CredentialError::NotYetValid(path())
            }
            // A CA of the same name with another key signs what looks right and does not verify.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                CredentialError::WrongCa { cert: path(), ca: files.ca.clone() }
            }
            other => unfit(other.to_string()),
        }),
        Err(other) => Err(unfit(other.to_string())),
    }
}
