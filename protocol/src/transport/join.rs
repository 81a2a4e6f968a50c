//! Joining: how a box that has no certificate asks for its first one.
//!
//!   box ══watchtree-join/1, JoinUp══▶ [Joining] ──▶ whoever enrols
//!       ◀═════════JoinDown═══════════     └── more than it may say, or slower: hung up on
//!
//! The box knows the CA's fingerprint from its token: it trusts whoever shows a certificate of that CA, and nobody
//! else, before it says a word. The listener knows nothing of the box, and takes one message of it.

use super::dial::DialError;
use super::endpoint::canonical;
use super::message::{RecvError, Rx, Tx};
use super::reason::{Ending, connection_lost, ending};
use super::traffic::Traffic;
use super::verifier::Verifier;
use super::{CloseCode, settings};
use crate::enrol::{JoinDown, JoinUp, Token, sha256};
use crate::limits::JOIN_BYTES_MAX;
use crate::revoked::Revoked;
use crate::{Role, limits};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::{EndpointConfig, TokioRuntime};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{interval, timeout};

/// What a box that has no certificate speaks, and nothing else.
pub(super) const JOIN_ALPN: &[u8] = b"watchtree-join/1";

/// From the handshake to the box's request, and again from the answer to its goodbye.
pub const JOIN_WITHIN: Duration = Duration::from_secs(5);

/// A join as a whole, seen from the box; the relay may wait for its disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What a box may send in all, its handshake included. One that sends more is hung up on: what nobody reads would
/// wait in memory.
const SENT_BYTES_MAX: u64 = 4 * JOIN_BYTES_MAX as u64;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Addresses of one name that are tried; what a resolver lists after them is ignored.
const ADDRESSES_MAX: usize = 4;

/// A stranger that came to join.
pub struct Joining {
    quic: quinn::Connection,
}

impl Joining {
    /// Whether this connection is for joining and for nothing else.
    pub(super) fn is_meant(quic: &quinn::Connection) -> bool {
        let data = quic.handshake_data().and_then(|any| any.downcast::<HandshakeData>().ok());
        data.and_then(|data| data.protocol).is_some_and(|name| name == JOIN_ALPN)
    }

    pub(super) fn new(quic: quinn::Connection) -> Self {
        Self { quic }
    }

    pub fn remote_addr(&self) -> SocketAddr {
        canonical(self.quic.remote_address())
    }

    /// Reads what the box asks for, answers it, and waits until it has read that; or says why it did not come to it.
    pub async fn serve(self, answer: impl AsyncFnOnce(JoinUp) -> JoinDown) -> Result<(), String> {
        let ended = tokio::select! {
            ended = self.converse(answer) => ended,
            () = self.floods() => Err((CloseCode::Protocol, format!("it sent more than {SENT_BYTES_MAX} B"))),
        };
        let (code, text) = match &ended {
            Ok(()) => (CloseCode::Done, "answered"),
            Err((code, why)) => (*code, why.as_str()),
        };
        self.quic.close(code.on_wire(), text.as_bytes());
        ended.map_err(|(_, why)| why)
    }

    async fn converse(&self, answer: impl AsyncFnOnce(JoinUp) -> JoinDown) -> Result<(), (CloseCode, String)> {
        let slow = |_| (CloseCode::TooSlow, format!("it took more than {} s", JOIN_WITHIN.as_secs()));
        let (up, mut tx) = timeout(JOIN_WITHIN, self.request()).await.map_err(slow)??;
        let down = answer(up).await;
        let lost = |error: &dyn fmt::Display| (CloseCode::GivenUp, error.to_string());
        timeout(JOIN_WITHIN, async {
            tx.send(&down).await.map_err(|error| lost(&error))?;
            tx.finish().map_err(|error| lost(&error))?;
            // It closes when it has read the answer: a close of ours could overtake that.
            self.quic.closed().await;
            Ok(())
        })
        .await
        .map_err(slow)?
    }

    async fn request(&self) -> Result<(JoinUp, Tx), (CloseCode, String)> {
        let lost = |error: String| (CloseCode::GivenUp, error);
        let (send, recv) = self.quic.accept_bi().await.map_err(|error| lost(connection_lost(&error).to_string()))?;
        match Rx::new(recv, Traffic::Calls).recv_within::<JoinUp, JOIN_BYTES_MAX>().await {
            Ok(Some(up)) => Ok((up, Tx::new(send, 0, Traffic::Calls))),
            Ok(None) => Err((CloseCode::Protocol, "it asked for nothing".to_owned())),
            Err(RecvError::Garbled(why)) => Err((CloseCode::Protocol, limits::short_text(&why))),
            Err(RecvError::Lost(why)) => Err(lost(why.to_string())),
        }
    }

    async fn floods(&self) {
        let mut looks = interval(LOOK_EVERY);
        while self.quic.stats().udp_rx.bytes <= SENT_BYTES_MAX {
            looks.tick().await;
        }
    }
}

/// Asks the relay at `host` to take this box in, and returns its answer. The relay is known by the token's
/// fingerprint.
pub async fn join(token: &Token, host: &str, port: u16, up: &JoinUp) -> Result<JoinDown, DialError> {
    let target = format!("relay at {host}:{port}");
    let unreachable = |why: String| DialError::Unreachable { target: target.clone(), why };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| unreachable(format!("its name has no address ({error})")))?;
    let mut worst = unreachable("its name has no address".to_owned());
    for addr in found.take(ADDRESSES_MAX) {
        let late = || Ending::Other(format!("no answer within {} s", ANSWER_WITHIN.as_secs()));
        let asked = timeout(ANSWER_WITHIN, ask(token, canonical(addr), up)).await;
        worst = match asked.unwrap_or_else(|_| Err(late())) {
            Ok(answer) => return Ok(answer),
            Err(ending) => super::dial::dial_error(target.clone(), ending),
        };
        // Somebody is there: another address of the name would be the same.
        if !matches!(worst, DialError::Unreachable { .. }) {
            break;
        }
    }
    Err(worst)
}

async fn ask(token: &Token, addr: SocketAddr, up: &JoinUp) -> Result<JoinDown, Ending> {
    let pinned = Arc::new(Pinned::new(token.ca_sha256));
    let endpoint = dialler(&pinned).map_err(Ending::Other)?;
    let connecting = endpoint.connect(addr, &Role::Relay.server_name()).map_err(|e| Ending::Other(e.to_string()))?;
    let quic = connecting.await.map_err(|error| match pinned.missed.load(Ordering::Relaxed) {
        true => Ending::WeRefused(
            "it shows no certificate of the CA that is in the token; check the address, and that the token is of this \
             site"
                .to_owned(),
        ),
        false => ending(&error),
    })?;
    let answer = exchange(&quic, up).await;
    quic.close(CloseCode::Done.on_wire(), b"answered");
    // The relay waits for our goodbye; it notices a lost one by itself.
    let _ = timeout(Duration::from_millis(100), endpoint.wait_idle()).await;
    answer
}

async fn exchange(quic: &quinn::Connection, up: &JoinUp) -> Result<JoinDown, Ending> {
    let (send, recv) = quic.open_bi().await.map_err(|error| ending(&error))?;
    let (mut tx, mut rx) = (Tx::new(send, 0, Traffic::Calls), Rx::new(recv, Traffic::Calls));
    let sent = tx.send(up).await;
    let answer = rx.recv_within::<JoinDown, JOIN_BYTES_MAX>().await;
    match (answer, sent) {
        (Ok(Some(answer)), _) => Ok(answer),
        // What the connection died of says more than what its stream did.
        (_, sent) => match timeout(Duration::from_millis(200), quic.closed()).await {
            Ok(error) => Err(ending(&error)),
            Err(_) => Err(Ending::Other(sent.err().map_or("it gave no answer".to_owned(), |error| error.to_string()))),
        },
    }
}

fn dialler(pinned: &Arc<Pinned>) -> Result<quinn::Endpoint, String> {
    let mut config = ClientConfig::builder_with_provider(pinned.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(pinned.clone())
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![JOIN_ALPN.to_vec()];
    let crypto =
        QuicClientConfig::try_from(config).expect("the aws-lc-rs provider has the cipher suite that QUIC begins with");
    let mut client = quinn::ClientConfig::new(Arc::new(crypto));
    // Whatever it is to become: it takes one message.
    client.transport_config(settings::dialling_config(Role::Edge));
    let socket = settings::dialling_socket().map_err(|error| format!("no UDP socket to dial from: {error}"))?;
    let endpoint = quinn::Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime));
    let mut endpoint = endpoint.map_err(|error| error.to_string())?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// Believes a certificate of the one CA that has this fingerprint.
struct Pinned {
    ca_sha256: [u8; 32],
    provider: Arc<CryptoProvider>,
    /// Somebody showed a certificate of another CA.
    missed: AtomicBool,
}

impl Pinned {
    fn new(ca_sha256: [u8; 32]) -> Self {
        Self { ca_sha256, provider: Arc::new(aws_lc_rs::default_provider()), missed: AtomicBool::new(false) }
    }

    fn verifier(&self, shown: &[CertificateDer<'_>]) -> Result<Verifier, Error> {
        let unknown = || {
            self.missed.store(true, Ordering::Relaxed);
            Error::InvalidCertificate(CertificateError::UnknownIssuer)
        };
        let ca = shown.iter().find(|certificate| sha256(certificate) == self.ca_sha256).ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        Verifier::new(roots, &self.provider, Revoked::default()).map_err(Error::General)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Signed by that very CA, and by no other that it may have signed.
        self.verifier(intermediates)?.verify_server_cert(end_entity, &[], name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}
