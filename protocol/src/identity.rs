//! Who a peer is, read from its certificate and from nothing else.
//!
//!   certificate ── URI SAN ──▶ watchtree://main/edge/yard ──▶ Identity { tenant, role, name }
//!              └── DNS SAN ──▶ edge.watchtree, which a dialler verifies: it proves the role

use crate::certificate::Certificate;
use crate::id::IdError;
use crate::{NodeName, TenantId};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// What a node is for. Its certificate says so; the role table in [`crate::roles`] says what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Edge,
    Relay,
    Gpu,
    /// Looks and steers.
    Operator,
    /// Looks, and changes nothing.
    Viewer,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::Edge, Role::Relay, Role::Gpu, Role::Operator, Role::Viewer];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Relay => "relay",
            Self::Gpu => "gpu",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a role; use edge, relay, gpu, operator or viewer"))
    }
}

/// Tenant, role and name. As text `main/edge/yard`; in a certificate the URI SAN `watchtree://main/edge/yard`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    pub tenant: TenantId,
    pub role: Role,
    pub name: NodeName,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.role, self.name)
    }
}

/// What a watchtree certificate says it is, ahead of the identity.
const URI_SCHEME: &str = "watchtree://";

/// Why a certificate or a text names nobody. Every one of them is refused alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("`{text}` is not an identity: {why}; use TENANT/ROLE/NAME, like main/edge/yard")]
    Malformed { text: String, why: String },
    #[error("not a readable X.509 certificate: {0}")]
    Unreadable(String),
    /// Ambiguity is refused: whoever picks the first name is told another story than whoever picks the last.
    #[error("certificate carries {0} watchtree identities, it must carry one; issue it again with this CA")]
    Count(usize),
}

impl Role {
    /// The DNS name in a certificate of this role. A dialler that verifies it has proved the role.
    pub fn server_name(self) -> String {
        format!("{self}.watchtree")
    }
}

impl Identity {
    /// As in a certificate: `watchtree://main/edge/yard`.
    pub fn uri(&self) -> String {
        format!("{URI_SCHEME}{self}")
    }

    pub fn from_uri(uri: &str) -> Result<Self, IdentityError> {
        match uri.strip_prefix(URI_SCHEME) {
            Some(identity) => identity.parse(),
            None => Err(malformed(uri, format!("it does not begin with {URI_SCHEME}"))),
        }
    }

    /// Reads the certificate's one URI SAN. Does not verify who signed it: TLS has.
    pub fn from_certificate(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        Certificate::read(der).map(|certificate| certificate.who)
    }

    pub(crate) fn in_certificate(certificate: &X509Certificate<'_>) -> Result<Self, IdentityError> {
        let names = certificate.subject_alternative_name().map_err(|e| IdentityError::Unreadable(e.to_string()))?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let uris: Vec<&str> = names.iter().filter_map(watchtree_uri).collect();
        match uris[..] {
            [uri] => Self::from_uri(uri),
            _ => Err(IdentityError::Count(uris.len())),
        }
    }
}

fn watchtree_uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::URI(uri) if uri.starts_with(URI_SCHEME) => Some(uri),
        _ => None,
    }
}

impl FromStr for Identity {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let [tenant, role, name] = parts[..] else {
            return Err(malformed(text, "it does not have three parts".to_owned()));
        };
        Ok(Self {
            tenant: tenant.parse().map_err(|e: IdError| malformed(text, e.to_string()))?,
            role: role.parse().map_err(|e| malformed(text, e))?,
            name: name.parse().map_err(|e: IdError| malformed(text, e.to_string()))?,
        })
    }
}

fn malformed(text: &str, why: String) -> IdentityError {
    IdentityError::Malformed { text: crate::limits::short_text(text), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_text_and_its_uri() {
        let yard: Identity = "main/edge/yard".parse().expect("is an identity");
        assert_eq!(yard.role, Role::Edge);
        assert_eq!(yard.to_string().parse(), Ok(yard.clone()));
        assert_eq!(yard.uri(), "watchtree://main/edge/yard");
        assert_eq!(Identity::from_uri(&yard.uri()), Ok(yard));
    }

    #[test]
    fn a_malformed_identity_is_refused_with_its_fault() {
        let refused = |text: &str| text.parse::<Identity>().expect_err(text).to_string();
        assert!(refused("main/edge").contains("three parts"));
        assert!(refused("main/edge/yard/2").contains("three parts"));
        assert!(refused("main/boss/yard").contains("`boss` is not a role; use edge, relay, gpu, operator or viewer"));
        assert!(refused("main/edge/../relay").contains("three parts"));
        assert!(refused("main/edge/Yard").contains("`Yard` is not a name"));
        assert!(refused("").contains("like main/edge/yard"));
    }

    #[test]
    fn another_uri_scheme_is_no_identity() {
        let refused = Identity::from_uri("spiffe://main/edge/yard").expect_err("another scheme").to_string();
        assert!(refused.contains("does not begin with watchtree://"), "{refused}");
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        let refused = Identity::from_certificate(&CertificateDer::from(vec![1, 2, 3]));
        assert!(matches!(refused, Err(IdentityError::Unreadable(_))));
    }
}
