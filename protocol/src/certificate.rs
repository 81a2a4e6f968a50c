//! A certificate, read once: whose it is, when it was issued, and until when it is good.
//!
//!   begins ── an hour ──▶ issued ── half of its life ──▶ renewed ──▶ until
//!
//! It begins before it is issued, so that a box whose clock is behind may use it at once.

use crate::identity::IdentityError;
use crate::revoked::Revoked;
use crate::transport::CLOCK_SKEW_TOLERATED;
use crate::{Identity, Timestamp};
use rustls::pki_types::CertificateDer;
use std::time::Duration;

/// A certificate begins this long before it is issued.
const BEGINS_BEFORE: Duration = Duration::from_secs(3600);

/// What a certificate of a watchtree CA says. Who signed it is verified elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub who: Identity,
    pub issued: Timestamp,
    pub until: Timestamp,
}

impl Certificate {
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let parsed = x509_parser::parse_x509_certificate(der);
        let (_, parsed) = parsed.map_err(|error| IdentityError::Unreadable(error.to_string()))?;
        let at = |time: x509_parser::time::ASN1Time| Timestamp::from_micros(time.timestamp().saturating_mul(1_000_000));
        let validity = parsed.validity();
        let (begins, until) = (at(validity.not_before), at(validity.not_after));
        Ok(Self { who: Identity::in_certificate(&parsed)?, issued: begins.plus(BEGINS_BEFORE), until })
    }

    /// Waits until it is worth nothing any more, and says why: it was revoked, or it ended longer ago than clocks may be
    /// apart. Cancel-safe.
    pub async fn distrusted(&self, revoked: &Revoked) -> String {
        let mut changes = revoked.changes();
        let Self { who, issued, until } = self;
        loop {
            changes.mark_unchanged();
            if revoked.of(who, *issued).is_some() {
                return format!("the certificate of {who} is revoked; enrol it again with a new token");
            }
            let left = until.plus(CLOCK_SKEW_TOLERATED).since(Timestamp::now());
            if left.is_zero() {
                return format!("the certificate of {who} ended at {until} and was not renewed; enrol it again");
            }
            tokio::select! {
                _ = changes.changed() => {}
                // A wall clock may jump.
                () = tokio::time::sleep(left.min(CLOCK_SKEW_TOLERATED)) => {}
            }
        }
    }

    /// From its issue to its end.
    pub fn life(&self) -> Duration {
        self.until.since(self.issued)
    }
}

/// When a certificate that is issued at this time begins.
pub fn begins(issued: Timestamp) -> Timestamp {
    issued.minus(BEGINS_BEFORE)
}
