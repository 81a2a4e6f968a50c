//! A node's three files: the CA that it trusts, its own certificate and the key to it.
//!
//! Loading finds at start what would otherwise be refused one connection at a time: each fault
//! names the file and the way out.

use super::settings::VERSIONS;
use crate::Identity;
use crate::identity::IdentityError;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
}

/// Loaded, checked against each other, and ready for use. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    identity: Arc<Identity>,
    renewals: watch::Sender<u64>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

impl Credentials {
    pub fn load(files: &TlsFiles) -> Result<Self, CredentialError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(load_ca(&files.ca)?);
        let own = Arc::new(load_own(files, &provider)?);
        let identity = check_own(files, &own.cert[0], &roots, &provider)?;
        let broken = |e: &dyn fmt::Display| CredentialError::Unfit { path: files.ca.clone(), why: e.to_string() };

        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let verifier = verifier.build().map_err(|e| broken(&e))?;
        let resolver = Arc::new(SingleCertAndKey::from(own));
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| broken(&e))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver.clone());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| broken(&e))?
            .with_root_certificates(roots)
            .with_client_cert_resolver(resolver);

        // A resumed session would skip the verification: an expired peer could stay for ever.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        let versions = VERSIONS.map(|version| version.alpn()).to_vec();
        server.alpn_protocols.clone_from(&versions);
        client.alpn_protocols = versions;
        Ok(Self {
            identity: Arc::new(identity),
            renewals: watch::Sender::new(0),
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    /// Counts the certificates that this process has had after its first.
    pub fn renewed(&self) -> watch::Receiver<u64> {
        self.renewals.subscribe()
    }

    /// Who this node is to others.
    pub fn identity(&self) -> &Identity {
        &self.identity
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

fn load_ca(path: &Path) -> Result<RootCertStore, CredentialError> {
    let not_pem = || CredentialError::NotPem { path: path.to_owned(), what: "certificate" };
    let cert = CertificateDer::from_pem_slice(&read(path)?).map_err(|_| not_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(cert).map_err(|e| CredentialError::Unfit { path: path.to_owned(), why: e.to_string() })?;
    Ok(roots)
}

fn load_own(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, CredentialError> {
    let not_pem = |path: &Path, what| CredentialError::NotPem { path: path.to_owned(), what };
    let cert = CertificateDer::from_pem_slice(&read(&files.cert)?).map_err(|_| not_pem(&files.cert, "certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|_| not_pem(&files.key, "private key"))?;
    CertifiedKey::from_der(vec![cert], key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            CredentialError::WrongKey { key: files.key.clone(), cert: files.cert.clone() }
        }
        other => CredentialError::Unfit { path: files.cert.clone(), why: other.to_string() },
    })
}

/// Verifies our own certificate as a dialling peer will.
fn check_own(
    files: &TlsFiles,
    cert: &CertificateDer<'static>,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Identity, CredentialError> {
    let path = || files.cert.clone();
    let identity =
        Identity::from_certificate(cert).map_err(|source| CredentialError::Identity { path: path(), source })?;
    let unfit = |why: String| CredentialError::Unfit { path: path(), why };
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
    let verifier = verifier.map_err(|e| CredentialError::Unfit { path: files.ca.clone(), why: e.to_string() })?;
    let name = ServerName::try_from(identity.role.server_name()).map_err(|e| unfit(e.to_string()))?;
    match verifier.verify_server_cert(cert, &[], &name, &[], UnixTime::now()) {
        Ok(_) => Ok(identity),
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
