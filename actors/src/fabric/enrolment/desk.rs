//! Desk: where boxes ask to be let in, and nodes for their next certificate.
//!
//!   box ══JoinUp══▶ [desk] ──token──▶ enrolment ──▶ certificate ══JoinDown══▶ box
//!   node ═RenewUp═▶   └─── the connection's own certificate says who ═RenewDown═▶ node

use super::Enrolment;
use super::rules::Presented;
use super::tries::network;
use protocol::csr::Csr;
use protocol::enrol::{JoinDown, JoinUp, Refusal, RenewDown, RenewUp, Token, sha256};
use protocol::transport::{Connection, Credentials, Joining, Rx, Tx};
use protocol::{Identity, Timestamp, limits};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tracing::{info, warn};

/// From the stream's opening to the request, and again for the answer to be read.
const RENEW_WITHIN: Duration = Duration::from_secs(5);
/// Less is the time that a message takes.
const SKEW_TOLD: Duration = Duration::from_secs(2);

impl Enrolment {
    /// A box that came to join, to its end.
    pub async fn admit(&self, joining: Joining) {
        let from = joining.remote_addr();
        let served = joining.serve(async |up| match self.join(&up, from).await {
            Ok(joined) => joined,
            Err(refusal) => JoinDown::Refused(refusal),
        });
        if let Err(why) = served.await {
            self.tries.count(&network(from.ip()), Instant::now());
            warn!(%from, "a box that came to join was hung up on: {why}");
        }
    }

    async fn join(&self, up: &JoinUp, from: SocketAddr) -> Result<JoinDown, Refusal> {
        let joined = self.try_join(up, from).await;
        let software = limits::short_text(&up.software);
        match &joined {
            Ok((who, _)) => {
                count_join("joined");
                info!(target: "audit", %from, %who, software, "a node joined");
                tell_skew(who, up.now);
            }
            Err(refusal) => {
                count_join(refusal.kind());
                self.tries.count(&network(from.ip()), Instant::now());
                warn!(target: "audit", %from, software, "a box was not let in: {refusal}");
            }
        }
        let issuer = self.issuer.as_ref().ok_or(Refusal::NoAuthority)?;
        let ca_pem = issuer.authority.pem().to_owned();
        joined.map(|(_, certificate_pem)| JoinDown::Joined { certificate_pem, ca_pem, now: Timestamp::now() })
    }

    /// Who joined, and its certificate.
    async fn try_join(&self, up: &JoinUp, from: SocketAddr) -> Result<(Identity, String), Refusal> {
        if !self.issues() {
            return Err(Refusal::NoAuthority);
        }
        let _place = self.place(&network(from.ip()))?;
        let csr = Csr::read(&up.csr).map_err(|why| Refusal::Garbled(limits::short_text(&why)))?;
        let role = csr.role.ok_or_else(|| Refusal::Garbled("it does not say what kind of node asks".to_owned()))?;
        let token: Token = up.token.parse().map_err(|_| Refusal::Tampered)?;
        let sha256 = sha256(up.token.trim().as_bytes());
        let presented = Presented { sha256, role, key_sha256: csr.key_sha256(), now: Timestamp::now() };
        let who = self.take(token.id, presented).await?;
        let certificate = self.sign(&who, &csr)?;
        Ok((who, certificate))
    }

    /// Answers one request for the next certificate, of the peer that this connection is with.
    pub async fn renew(&self, connection: &Connection, mut tx: Tx, mut rx: Rx) {
        let who = connection.peer();
        let Ok(Ok(Some(up))) = timeout(RENEW_WITHIN, rx.recv::<RenewUp>()).await else {
            return tracing::debug!(%who, "a stream for a certificate asked for none");
        };
        let renewed = self.try_renew(connection, &up);
        let kind = renewed.as_ref().map_or_else(Refusal::kind, |_| "renewed");
        metrics::counter!("watchtree_renew_total", "result" => kind).increment(1);
        let answer = match renewed {
            Ok(certificate_pem) => {
                info!(%who, "renewed its certificate");
                tell_skew(who, up.now);
                RenewDown::Renewed { certificate_pem, now: Timestamp::now() }
            }
            Err(refusal) => {
                // Every node asks a relay that issues none now and then.
                if refusal != Refusal::NoAuthority {
                    warn!(%who, "its certificate is not renewed: {refusal}");
                }
                RenewDown::Refused(refusal)
            }
        };
        let answering = async {
            tx.send(&answer).await.ok()?;
            tx.finish().ok()?;
            tx.delivered().await.ok()
        };
        let _ = timeout(RENEW_WITHIN, answering).await;
    }

    /// Who it is for stands in the certificate that the peer showed, and nowhere else.
    fn try_renew(&self, connection: &Connection, up: &RenewUp) -> Result<String, Refusal> {
        let shown = connection.certificate();
        if !self.issues() {
            return Err(Refusal::NoAuthority);
        }
        let asker = shown.who.to_string();
        let _place = self.place(&asker)?;
        self.tries.count(&asker, Instant::now());
        if self.revoked.of(&shown.who, shown.issued).is_some() {
            return Err(Refusal::Revoked(shown.who.clone()));
        }
        let csr = Csr::read(&up.csr).map_err(|why| Refusal::Garbled(limits::short_text(&why)))?;
        self.sign(&shown.who, &csr)
    }

    /// This node's own next certificate.
    pub fn renew_own(&self, credentials: &Credentials) -> Result<String, Refusal> {
        let request = credentials.request().map_err(|error| Refusal::Unwell(error.to_string()))?;
        self.sign(credentials.identity(), &Csr::read(&request).map_err(Refusal::Garbled)?)
    }

    fn place(&self, of: &str) -> Result<impl Drop + use<>, Refusal> {
        if !self.tries.are_left(of, Instant::now()) {
            return Err(Refusal::Busy);
        }
        self.at_once.clone().try_acquire_owned().map_err(|_| Refusal::Busy)
    }
}

fn count_join(result: &'static str) {
    metrics::counter!("watchtree_enrol_total", "result" => result).increment(1);
}

/// Whose certificates and events bear times that are off.
fn tell_skew(who: &Identity, theirs: Timestamp) {
    let ours = Timestamp::now();
    let (ahead, behind) = (theirs.since(ours), ours.since(theirs));
    if ahead > SKEW_TOLD || behind > SKEW_TOLD {
        let skew_s = ahead.as_secs_f64() - behind.as_secs_f64();
        warn!(%who, skew_s, "its clock is off; certificates tolerate ten minutes");
    }
}
