//! Own: the certificate that a node shows, which changes while it runs.
//!
//!   Credentials::renew ──▶ [own] ──▶ every handshake from then on, as listener and as dialler
//!                            └─changes──▶ whoever dials anew to show it

use super::join::JOIN_ALPN;
use crate::Certificate;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

pub(super) struct Own {
    ca: CertificateDer<'static>,
    shown: RwLock<Shown>,
    changes: watch::Sender<u64>,
}

#[derive(Clone)]
struct Shown {
    certificate: Certificate,
    leaf: Arc<CertifiedKey>,
    /// For a box that knows no more than its CA's fingerprint.
    with_ca: Arc<CertifiedKey>,
}

impl Shown {
    fn new(certificate: Certificate, leaf: CertifiedKey, ca: &CertificateDer<'static>) -> Self {
        let mut with_ca = leaf.clone();
        with_ca.cert.push(ca.clone());
        Self { certificate, leaf: Arc::new(leaf), with_ca: Arc::new(with_ca) }
    }
}

impl Own {
    pub fn new(certificate: Certificate, leaf: CertifiedKey, ca: CertificateDer<'static>) -> Self {
        let shown = RwLock::new(Shown::new(certificate, leaf, &ca));
        Self { ca, shown, changes: watch::Sender::new(0) }
    }

    pub fn show(&self, certificate: Certificate, leaf: CertifiedKey) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Shown::new(certificate, leaf, &self.ca);
        self.changes.send_modify(|times| *times += 1);
    }

    pub fn certificate(&self) -> Certificate {
        self.shown().certificate
    }

    pub fn key(&self) -> Arc<dyn rustls::sign::SigningKey> {
        self.shown().leaf.key.clone()
    }

    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.ca
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn shown(&self) -> Shown {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let joins = hello.alpn().is_some_and(|mut offered| offered.any(|name| name == JOIN_ALPN));
        let shown = self.shown();
        Some(if joins { shown.with_ca } else { shown.leaf })
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shown().leaf)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Own {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Own({})", self.shown().certificate.who)
    }
}
