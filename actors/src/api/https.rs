//! Https: the routes of `http` for people with a certificate, wherever they are.
//!
//!   operator, viewer ══TLS 1.3, their certificate══▶ [https] ──▶ gate ▸ handlers of http, as that identity
//!
//! Off unless `listen.https` is set. Who shows no certificate of our CA does not come through the handshake; a certificate of
//! another role is answered 403, and each sees its own tenant.
//!
//! Stops when: it fails to listen.  On restart: goes on with the same socket; connections are asked for again.

use super::http::{Caller, Http, NotBound, bind};
use crate::fabric::gateway::Doors;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use protocol::Certificate;
use protocol::revoked::Revoked;
use protocol::transport::Credentials;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use supervision::{Failure, ServiceCx};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{Instrument, debug, info, warn};

/// Connections at once, those that still shake hands included. When full, the next is closed unheard; each identity has
/// a limit of its own besides.
const CONNECTIONS_MAX: usize = 128;
/// For the handshake. Who is slower is hung up on.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// From the handshake, or an answer, to the whole head of the next request. Who is slower is hung up on.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Of a request's head. A longer one is answered 431, and hung up on. No request has a body: see the gate.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// In one head. More are answered 431.
const HEADERS_MAX: usize = 64;
/// Of one connection. Whoever still reads an answer then is cut off, and asks again.
const LIFE_MAX: Duration = Duration::from_secs(600);
/// For the last words to who was refused.
const LINGER_WITHIN: Duration = Duration::from_secs(1);
/// After the system gave no connection: it has no descriptor left, and gets some back.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub struct Https {
    socket: Arc<std::net::TcpListener>,
    tls: TlsAcceptor,
    http: Http,
    revoked: Revoked,
    doors: Doors,
}

impl Https {
    pub fn bind(addr: SocketAddr, credentials: &Credentials, http: Http) -> Result<Self, NotBound> {
        let socket = bind("listen.https", addr)?;
        let config =
            credentials.https_config().map_err(|why| NotBound::new("listen.https", addr, io::Error::other(why)))?;
        let revoked = credentials.revoked().clone();
        Ok(Self { socket, tls: TlsAcceptor::from(config), http, revoked, doors: Doors::default() })
    }

    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let listener = self.socket.try_clone().and_then(TcpListener::from_std).map_err(Failure::error)?;
        let addr = listener.local_addr().map_err(Failure::error)?;
        info!(%addr, "serving https");
        cx.place.note(format!("https://{addr}"));
        // They end with this: everything served here can be asked again.
        let mut visits = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((_, from)) if visits.len() >= CONNECTIONS_MAX => turn_away(from),
                    Ok((stream, from)) => {
                        let span = tracing::info_span!("https", %from);
                        visits.spawn(cx.watched(self.clone().visit(stream).instrument(span)));
                    }
                    Err(error) => {
                        warn!("no connection to be had: {error}");
                        cx.waits(sleep(ACCEPT_AGAIN)).await;
                    }
                },
                Some(ended) = visits.join_next(), if !visits.is_empty() => {
                    if let Err(error) = ended {
                        warn!("serving a connection failed: {error}");
                    }
                }
                () = cx.asked() => {}
                () = cx.stop.cancelled() => return Ok(()),
            }
        }
    }

    /// One connection, from its handshake to its end.
    async fn visit(self, stream: TcpStream) {
        let tls = match timeout(HANDSHAKE_WITHIN, self.tls.accept(stream).into_fallible()).await {
            Ok(Ok(tls)) => tls,
            Ok(Err((error, stream))) => {
                refused(&error);
                return linger(stream).await;
            }
            Err(_) => return debug!("no handshake within {} s", HANDSHAKE_WITHIN.as_secs()),
        };
        let peer = match peer(&tls) {
            Ok(peer) => peer,
            Err(why) => return refused(&io::Error::other(why)),
        };
        let _guest = match self.doors.enter(&peer.who) {
            Ok(guest) => guest,
            Err(why) => {
                metrics::counter!("watchtree_link_refusals_total", "what" => "connections").increment(1);
                return warn!("turned away: {why}");
            }
        };
        debug!(peer = %peer.who, "connected");
        let service = TowerToHyperService::new(self.http.router(Caller::Peer(peer.who.clone())));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
        http.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        tokio::select! {
            served = timeout(LIFE_MAX, http.serve_connection(TokioIo::new(tls), service)) => match served {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!("ended: {error}"),
                Err(_) => debug!("ended after {} s", LIFE_MAX.as_secs()),
            },
            why = peer.distrusted(&self.revoked) => {
                metrics::counter!("watchtree_link_refusals_total", "what" => "trust").increment(1);
                warn!("refused: {why}");
            }
        }
    }
}

/// Who it is, from the certificate that TLS has verified.
fn peer(tls: &TlsStream<TcpStream>) -> Result<Certificate, String> {
    let shown = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let shown = shown.ok_or("it presented no certificate; issue one from our CA")?;
    Certificate::read(shown).map_err(|error| error.to_string())
}

/// TLS has told the peer why. What it has sent meanwhile is read away: a socket that is closed over unread bytes takes its
/// last words back.
async fn linger(mut stream: TcpStream) {
    let unread = async {
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut (&mut stream).take(HEAD_BYTES_MAX as u64), &mut tokio::io::sink()).await;
    };
    let _ = timeout(LINGER_WITHIN, unread).await;
}

fn turn_away(from: SocketAddr) {
    metrics::counter!("watchtree_link_refusals_total", "what" => "connections").increment(1);
    warn!(%from, "turned away: {CONNECTIONS_MAX} connections are open");
}

/// A certificate that is not believed; a port scan is not worth a line.
fn refused(error: &io::Error) {
    let fault = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let is_weather = match fault {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => false,
        Some(_) => true,
        None => error.kind() != io::ErrorKind::Other,
    };
    if is_weather {
        return debug!("handshake not finished: {error}");
    }
    metrics::counter!("watchtree_link_refusals_total", "what" => "certificate").increment(1);
    warn!("refused: {error}; issue a certificate from this node's CA");
}

#[cfg(test)]
mod tests;
