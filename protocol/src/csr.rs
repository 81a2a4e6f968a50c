//! A request for a certificate, PKCS #10: a public key, and proof that whoever asks has the private one.
//!
//!   key ──make──▶ request ══▶ Csr::read ──▶ public key, role ──▶ ca::Authority
//!
//! What is believed of it is the key alone. The role that it names says what kind of node asks, so that a box with
//! another's token is told so; who a certificate is for stands in the token or in the certificate before it.

use crate::Role;
use crate::enrol::sha256;
use crate::limits::CERTIFICATE_BYTES_MAX;
use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair, PublicKey, PublicKeyData, SanType};
use rustls::pki_types::CertificateSigningRequestDer;

/// Read, and its signature verified.
pub struct Csr {
    pub(crate) key: PublicKey,
    pub role: Option<Role>,
}

/// A new private key, in PEM.
pub fn new_key() -> Result<String, String> {
    KeyPair::generate().map(|key| key.serialize_pem()).map_err(|error| error.to_string())
}

/// A request for this key, DER.
pub fn for_key(key_pem: &str, role: Role) -> Result<Vec<u8>, String> {
    make(&KeyPair::from_pem(key_pem).map_err(|_| "it holds no PEM private key".to_owned())?, role)
}

/// DER. `Err` says why no request can be made with this key.
pub(crate) fn make(key: &KeyPair, role: Role) -> Result<Vec<u8>, String> {
    let fault = |error: rcgen::Error| error.to_string();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![SanType::DnsName(role.server_name().try_into().map_err(fault)?)];
    let request = params.serialize_request(key).map_err(fault)?;
    Ok(request.der().to_vec())
}

impl Csr {
    /// `der` is a stranger's.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(format!("{} B are more than a request has; the limit is {CERTIFICATE_BYTES_MAX} B", der.len()));
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der));
        let request = request.map_err(|error| error.to_string())?;
        let role = request.params.subject_alt_names.iter().find_map(|name| match name {
            SanType::DnsName(name) => Role::ALL.into_iter().find(|role| role.server_name() == name.as_str()),
            _ => None,
        });
        Ok(Self { key: request.public_key, role })
    }

    /// Tells this key from every other.
    pub fn key_sha256(&self) -> [u8; 32] {
        sha256(&self.key.subject_public_key_info())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_says_its_key_and_its_role() {
        let key = KeyPair::generate().expect("a key");
        let csr = Csr::read(&make(&key, Role::Gpu).expect("is made")).expect("is read");
        assert_eq!(csr.role, Some(Role::Gpu));
        assert_eq!(csr.key_sha256(), sha256(&key.subject_public_key_info()));
    }

    #[test]
    fn a_request_whose_signature_is_not_its_keys_is_refused() {
        let mut der = make(&KeyPair::generate().expect("a key"), Role::Edge).expect("is made");
        let last = der.len() - 1;
        der[last] ^= 1;
        assert!(Csr::read(&der).is_err());
    }

    proptest! {
        #[test]
        fn no_input_panics_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..200) {
            let _ = Csr::read(&bytes);
            let mut der = make(&KeyPair::generate().expect("a key"), Role::Edge).expect("is made");
            let end = (at + bytes.len()).min(der.len());
            if at < end {
                der[at..end].copy_from_slice(&bytes[..end - at]);
            }
            let _ = Csr::read(&der);
        }
    }
}
