//! Enrolment: how a new node gets its certificate, and how one that has one gets the next.
//!
//!   operator ──Request::CreateToken──▶ relay ──▶ token, told to whoever sets the box up
//!   box ══watchtree-join/1, no certificate══▶ relay:  JoinUp(token, CSR) ▸ JoinDown(certificate, CA)
//!   node ══Open::Renew══▶ relay:                      RenewUp(CSR) ▸ RenewDown(certificate)
//!
//! A token is good once, for one role and one name, until its end. Its text carries the fingerprint of the CA, so that
//! a box that has never met the relay knows it from an impostor.

use crate::{Identity, NodeName, Role, TenantId, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// What a token's text begins with.
const PREFIX: &str = "wt1";

/// Random bytes of the part that finds a token, and of the part that proves it.
pub const TOKEN_ID_BYTES: usize = 8;
pub const TOKEN_SECRET_BYTES: usize = 16;

/// `wt1.ROLE.NAME.TENANT.ID.SECRET.CA`: what a box needs to join. Whoever holds it is let in once.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub who: Identity,
    pub id: [u8; TOKEN_ID_BYTES],
    pub secret: [u8; TOKEN_SECRET_BYTES],
    /// SHA-256 of the CA's certificate, DER.
    pub ca_sha256: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no token: {0}; copy the whole line that `watchtree token create` printed")]
pub struct TokenError(pub String);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { tenant, role, name } = &self.who;
        write!(f, "{PREFIX}.{role}.{name}.{tenant}.{}.{}.{}", hex(&self.id), hex(&self.secret), hex(&self.ca_sha256))
    }
}

impl fmt::Debug for Token {
    /// Without its secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, {})", self.who, hex(&self.id))
    }
}

impl FromStr for Token {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let wrong = |why: &str| TokenError(why.to_owned());
        let parts: Vec<&str> = text.trim().split('.').collect();
        let [prefix, role, name, tenant, id, secret, ca] = parts[..] else {
            return Err(wrong("it does not have seven parts"));
        };
        if prefix != PREFIX {
            return Err(wrong("it does not begin with wt1"));
        }
        let who = Identity {
            tenant: tenant.parse::<TenantId>().map_err(|e| TokenError(e.to_string()))?,
            role: role.parse::<Role>().map_err(TokenError)?,
            name: name.parse::<NodeName>().map_err(|e| TokenError(e.to_string()))?,
        };
        let part = |text, what: &str| unhex(text).ok_or_else(|| TokenError(format!("its {what} is cut or mistyped")));
        Ok(Self {
            who,
            id: array(part(id, "id")?)?,
            secret: array(part(secret, "secret")?)?,
            ca_sha256: array(part(ca, "fingerprint")?)?,
        })
    }
}

fn array<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], TokenError> {
    bytes.try_into().map_err(|_| TokenError("a part of it is cut or too long".to_owned()))
}

/// What finds a certificate, a token or a key without being it.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What a token carries of its CA: the fingerprint of this certificate; `None` if it is none in PEM.
pub fn certificate_sha256(pem: &str) -> Option<[u8; 32]> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|der| sha256(&der))
}

/// A token's text on its way to whoever sets the box up. In no log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenText(pub String);

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText")
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let fits = digits.len() % 2 == 0 && digits.len() <= 64 && digits.iter().all(u8::is_ascii_hexdigit);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if fits { digits.chunks(2).map(byte).collect() } else { None }
}

/// Box to relay, once, on the one stream of a join connection.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct JoinUp {
    /// The token's text.
    pub token: String,
    /// PKCS #10, DER: the box's public key, and that it has the private one.
    pub csr: Vec<u8>,
    /// The box's wall clock.
    pub now: Timestamp,
    pub software: String,
}

impl fmt::Debug for JoinUp {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinUp({}, clock {})", self.software, self.now)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum JoinDown {
    Joined { certificate_pem: String, ca_pem: String, now: Timestamp },
    Refused(Refusal),
}

/// A node asks for its next certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenewUp {
    pub csr: Vec<u8>,
    pub now: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RenewDown {
    Renewed { certificate_pem: String, now: Timestamp },
    Refused(Refusal),
}

/// Why no certificate is issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("this token was used already, {0}; make a new one with `watchtree token create`")]
    Used(Timestamp),
    #[error("this token expired {0}; make a new one with `watchtree token create`")]
    Expired(Timestamp),
    #[error(
        "this token was not issued here, or was changed; copy the whole line that `watchtree token create` printed"
    )]
    Tampered,
    #[error("this token is for a node of role {token}, and a node of role {asked} came; use `watchtree-{token} join`")]
    WrongRole { token: Role, asked: Role },
    #[error("{0} is revoked; make a new token for it with `watchtree token create`")]
    Revoked(Identity),
    #[error("this relay issues no certificates; use one that has `enrol.ca_dir` set")]
    NoAuthority,
    #[error("the request is unreadable: {0}")]
    Garbled(String),
    #[error("too many tries; wait a minute")]
    Busy,
    #[error("this relay cannot enrol now: {0}")]
    Unwell(String),
}

impl Refusal {
    /// Every [`Self::kind`].
    pub const KINDS: [&str; 9] =
        ["used", "expired", "tampered", "role", "revoked", "no_authority", "garbled", "busy", "unwell"];

    /// The name in counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Used(_) => "used",
            Self::Expired(_) => "expired",
            Self::Tampered => "tampered",
            Self::WrongRole { .. } => "role",
            Self::Revoked(_) => "revoked",
            Self::NoAuthority => "no_authority",
            Self::Garbled(_) => "garbled",
            Self::Busy => "busy",
            Self::Unwell(_) => "unwell",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        let who = "main/edge/yard".parse().expect("an identity");
        Token { who, id: [1; TOKEN_ID_BYTES], secret: [0xab; TOKEN_SECRET_BYTES], ca_sha256: [7; 32] }
    }

    #[test]
    fn a_token_survives_its_text_and_hides_its_secret_from_logs() {
        let token = token();
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("abab"));
        let up = JoinUp { token: token.to_string(), csr: vec![], now: Timestamp::now(), software: "x".to_owned() };
        assert!(!format!("{up:?}").contains("abab"));
    }

    #[test]
    fn what_is_no_token_is_refused_with_the_way_out() {
        let whole = token().to_string();
        for wrong in [
            "",
            "x",
            &whole[1..],
            &whole[..whole.len() - 1],
            &whole.replace("edge", "boss"),
            &whole.replace("abab", "xyxy"),
        ] {
            let refused = wrong.parse::<Token>().expect_err(wrong).to_string();
            assert!(refused.contains("watchtree token create"), "{refused}");
        }
    }
}
