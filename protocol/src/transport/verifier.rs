//! Verifier: whose certificate is believed: of our CA, in its time, and not revoked.
//!
//!   certificate ──webpki──▶ signed, named, in time (give or take ten minutes) ──revoked?──▶ believed
//!
//! Clocks of field boxes are off. What expired, or begins, within the tolerance is taken for good; a peer that is
//! further off is refused with words about clocks. A dialler may come without a certificate: it may join, and
//! nothing else, which is for whoever accepts it to hold.

use crate::Certificate;
use crate::revoked::Revoked;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How far the clocks of two nodes may be apart.
pub const CLOCK_SKEW_TOLERATED: Duration = Duration::from_secs(600);

/// For both sides of a handshake.
pub(super) struct Verifier {
    diallers: Arc<dyn ClientCertVerifier>,
    listeners: Arc<WebPkiServerVerifier>,
    revoked: Revoked,
}

impl Verifier {
    /// Believes what is signed by `roots`.
    pub fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>, revoked: Revoked) -> Result<Self, String> {
        let roots = Arc::new(roots);
        let diallers = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let listeners = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
        Ok(Self {
            diallers: diallers.map_err(|error| error.to_string())?,
            listeners: listeners.map_err(|error| error.to_string())?,
            revoked,
        })
    }

    fn unrevoked(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        // One that names nobody is refused after the handshake, where there is room for the reason.
        match Certificate::read(certificate) {
            Ok(holder) if self.revoked.of(&holder.who, holder.issued).is_some() => {
                Err(Error::InvalidCertificate(CertificateError::Revoked))
            }
            _ => Ok(()),
        }
    }
}

/// Verifies once more with a clock that is as far off as clocks may be, where only the time was wrong.
fn tolerant<T>(now: UnixTime, verify: impl Fn(UnixTime) -> Result<T, Error>) -> Result<T, Error> {
    let skew_s = CLOCK_SKEW_TOLERATED.as_secs();
    verify(now).or_else(|refusal| {
        let then_s = match &refusal {
            Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                now.as_secs().saturating_sub(skew_s)
            }
            Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
                now.as_secs().saturating_add(skew_s)
            }
            _ => return Err(refusal),
        };
        verify(UnixTime::since_unix_epoch(Duration::from_secs(then_s))).map_err(|_| refusal)
    })
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.diallers.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = tolerant(now, |now| self.diallers.verify_client_cert(end_entity, intermediates, now))?;
        self.unrevoked(end_entity).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.diallers.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.diallers.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.diallers.supported_verify_schemes()
    }
}

/// As [`Verifier`], for diallers that must show a certificate.
#[derive(Debug)]
pub(super) struct Certified(pub Arc<Verifier>);

impl ClientCertVerifier for Certified {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        ClientCertVerifier::root_hint_subjects(&*self.0)
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls12_signature(&*self.0, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls13_signature(&*self.0, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(&*self.0)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |now| self.listeners.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        let verified = tolerant(now, verify)?;
        self.unrevoked(end_entity).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.listeners.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.listeners.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.listeners.supported_verify_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a certificate that is good in these seconds is taken at second 10,000.
    #[track_caller]
    fn check(begins_s: u64, until_s: u64, taken: bool) {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(10_000));
        let verified = tolerant(now, |now| match now.as_secs() {
            early if early < begins_s => Err(Error::InvalidCertificate(CertificateError::NotValidYet)),
            late if late > until_s => Err(Error::InvalidCertificate(CertificateError::Expired)),
            _ => Ok(()),
        });
        assert_eq!(verified.is_ok(), taken, "{begins_s} to {until_s} s: {verified:?}");
    }

    #[test]
    fn clocks_may_be_ten_minutes_apart_and_no_more() {
        check(1, 20_000, true);
        check(1, 9_400, true);
        check(1, 9_399, false);
        check(10_600, 20_000, true);
        check(10_601, 20_000, false);
    }

    #[test]
    fn a_fault_that_is_not_of_time_is_never_overlooked() {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(10_000));
        let unknown = || Err::<(), _>(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert_eq!(tolerant(now, |_| unknown()), unknown());
    }
}
